"""BatchNorm with fixed statistics, for training on top of a frozen trunk: one pass over a map, in the map's own dtype.

torchvision's version multiplies and adds in two passes. Under autocast, its float32 buffers also convert every map of
the trunk back to float32, which doubles the memory and costs a conversion before the next convolution.
"""

import torch
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d


class FrozenNorm(FrozenBatchNorm2d):
    """torchvision's `FrozenBatchNorm2d` with the same buffers, and the same values up to rounding."""

    def forward(self, x: Tensor) -> Tensor:
        """(I, C, H, W) of any floating-point dtype -> same shape and dtype."""
        scale = self.weight * (self.running_var + self.eps).rsqrt()  # in the buffers' dtype, rounded once below
        shift = self.bias - self.running_mean * scale
        scale, shift = (value.to(x.dtype).view(1, -1, 1, 1) for value in (scale, shift))
        return torch.addcmul(shift, x, scale)


def freeze_batch_norm(module: nn.Module) -> None:
    """Replace every BatchNorm2d inside `module` by a `FrozenNorm` with the same tensor names and values."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            frozen = FrozenNorm(child.num_features, eps=child.eps).to(child.weight.device)
            for key in ("weight", "bias", "running_mean", "running_var"):
                getattr(frozen, key).data.copy_(getattr(child, key).data)
            setattr(module, name, frozen)
        else:
            freeze_batch_norm(child)


__all__ = ["FrozenNorm", "freeze_batch_norm"]
