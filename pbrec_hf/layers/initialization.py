"""How layers start: each leaf carries its own recipe.

transformers initialises classes from outside its tree module by module, and skips those without tensors of their own:
a parent cannot say how its children start. So leaves are told, by `starting`, and every model of this package follows
what they were told. The fillers are those of `transformers.initialization`, which leave loaded tensors alone.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d
from transformers import initialization as init

Fill = Callable[[Tensor], object]
Layer = TypeVar("Layer", bound=nn.Module)


def starting(layer: Layer, weight: Fill | None = None, bias: Fill | None = None) -> Layer:
    """`layer`, told how its weight and its bias start; None leaves a tensor to transformers."""
    layer.initial = {"weight": weight, "bias": bias}
    return layer


def initialize(module: nn.Module) -> None:
    """Fill the tensors of a layer that was told how; a norm with fixed statistics starts as the identity."""
    if isinstance(module, FrozenBatchNorm2d):
        for name in ("weight", "running_var"):
            init.ones_(getattr(module, name))
        for name in ("bias", "running_mean"):
            init.zeros_(getattr(module, name))
    for name, fill in getattr(module, "initial", {}).items():
        tensor = getattr(module, name)
        if fill is not None and tensor is not None:
            fill(tensor)


def normal(std: float) -> Fill:
    """Normal distribution around 0."""
    return partial(init.normal_, mean=0.0, std=std)


def uniform(bound: float) -> Fill:
    """Uniform distribution from -bound to bound."""
    return partial(init.uniform_, a=-bound, b=bound)


def constant(value: float) -> Fill:
    """The same value everywhere."""
    return partial(init.constant_, val=value)


# Bias of a class output, so that focal losses start from "nearly everything is background".
PRIOR_CLASS_PROBABILITY = 0.01
RARE = constant(-math.log(1 / PRIOR_CLASS_PROBABILITY - 1))


__all__ = ["PRIOR_CLASS_PROBABILITY", "RARE", "Fill", "constant", "initialize", "normal", "starting", "uniform"]
