"""Convolutions for inference on a CPU, with activation and sum fused into them.

Every separate addition or activation reads and writes a whole feature map; at 640 pixels that costs as much as some
convolutions. oneDNN does both while it writes the output of a convolution. torch exposes this only through private
operators for its compiler, so they are tested once against the plain arithmetic. Where they are missing, changed or
not applicable (other devices or dtypes, gradients), the plain arithmetic runs.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def conv_relu(features: Tensor, convolution: nn.Conv2d) -> Tensor:
    """relu(convolution(features)): (I, C, H, W) -> (I, C', H', W')."""
    if not _can_fuse(features):
        return F.relu(convolution(features), inplace=_eager())
    return _pointwise()(features, *_arguments(convolution), "relu", [], "")


def conv_leaky_relu(features: Tensor, convolution: nn.Conv2d, negative_slope: float) -> Tensor:
    """The same with a leaky ReLU."""
    if not _can_fuse(features):
        return F.leaky_relu(convolution(features), negative_slope, inplace=_eager() and not torch.is_grad_enabled())
    return _pointwise()(features, *_arguments(convolution), "leaky_relu", [negative_slope], "")


def conv_add_relu(features: Tensor, other: Tensor, convolution: nn.Conv2d) -> Tensor:
    """relu(convolution(features) + other), with `other` of the output's shape (I, C', H', W')."""
    if not _can_fuse(features):
        return F.relu(convolution(features) + other, inplace=_eager())
    return _pointwise().binary(features, other, *_arguments(convolution), "add", 1.0, "relu", [], "")


def _arguments(convolution: nn.Conv2d) -> tuple[Any, ...]:
    geometry = (list(convolution.padding), list(convolution.stride), list(convolution.dilation))
    return convolution.weight, convolution.bias, *geometry, convolution.groups


def _can_fuse(features: Tensor) -> bool:
    plain = features.device.type != "cpu" or features.dtype != torch.float32 or torch.is_grad_enabled()
    return not plain and _eager() and _works()


def _eager() -> bool:
    # Compilers fuse and reuse memory by themselves; exporters take public operators alone, and undo what is in place.
    return not torch.compiler.is_compiling()


def _pointwise() -> Any:
    return torch.ops.mkldnn._convolution_pointwise


@cache
def _works() -> bool:
    """Whether the operators exist and return the expected values."""
    generator = torch.Generator().manual_seed(0)
    features, other = (torch.randn(1, 8, 6, 6, generator=generator, dtype=torch.float32) for _ in range(2))
    with torch.random.fork_rng(devices=[]):
        convolution = nn.Conv2d(8, 8, 3, padding=1, dtype=torch.float32)
    with torch.no_grad():
        expected = convolution(features)
        try:
            relu = _pointwise()(features, *_arguments(convolution), "relu", [], "")
            leaky = _pointwise()(features, *_arguments(convolution), "leaky_relu", [0.1], "")
            added = _pointwise().binary(features, other, *_arguments(convolution), "add", 1.0, "relu", [], "")
        except (AttributeError, RuntimeError, TypeError):
            return False
    pairs = ((relu, expected.relu()), (leaky, F.leaky_relu(expected, 0.1)), (added, (expected + other).relu()))
    return all(torch.allclose(one, plain, atol=1e-5) for one, plain in pairs)


__all__ = ["conv_add_relu", "conv_leaky_relu", "conv_relu"]
