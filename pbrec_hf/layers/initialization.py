"""Initialisation of layers: each leaf module carries its own recipe.

transformers initialises module by module, and for classes outside its own tree it skips modules without tensors of
their own, so a parent cannot initialise its children. `starting` therefore attaches the recipe to the leaf, and the
models of this package apply it (`initialize`). The fill functions are those of `transformers.initialization`, which
leave loaded tensors unchanged.
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
    """Attach the initialisation of weight and bias to `layer` and return it; None leaves a tensor to transformers."""
    layer.initial = {"weight": weight, "bias": bias}  # type: ignore[assignment]  # torch types tensors and modules only
    return layer


def initialize(module: nn.Module) -> None:
    """Apply the recipe attached by `starting`; a norm with fixed statistics becomes the identity."""
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
    """Normal distribution with mean 0."""
    return partial(init.normal_, mean=0.0, std=std)


def uniform(bound: float) -> Fill:
    """Uniform distribution from -bound to bound."""
    return partial(init.uniform_, a=-bound, b=bound)


def constant(value: float) -> Fill:
    """The same value everywhere."""
    return partial(init.constant_, val=value)


# Focal losses need class outputs that start from "nearly everything is background" (arXiv 1708.02002).
PRIOR_CLASS_PROBABILITY = 0.01
PRIOR_BIAS = constant(-math.log(1 / PRIOR_CLASS_PROBABILITY - 1))


__all__ = ["PRIOR_BIAS", "PRIOR_CLASS_PROBABILITY", "Fill", "constant", "initialize", "normal", "starting", "uniform"]
