"""BatchNorm with fixed statistics for a trunk in training: one pass over a map, in the map's own type.

torchvision's multiplies and adds in two passes, and under autocast its float32 buffers turn every map of the trunk
into float32 again, which then takes twice the memory and a conversion before the next convolution.
"""

import torch
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d


class FrozenNorm(FrozenBatchNorm2d):
    """torchvision's `FrozenBatchNorm2d`: the same buffers under the same names, the same values to float noise."""

    def forward(self, x: Tensor) -> Tensor:
        """(I, C, H, W) of any floating type -> the same shape and type."""
        scale = self.weight * (self.running_var + self.eps).rsqrt()  # in the type of the buffers, rounded once
        shift = self.bias - self.running_mean * scale
        scale, shift = (value.to(x.dtype).view(1, -1, 1, 1) for value in (scale, shift))
        return torch.addcmul(shift, x, scale)


def freeze_batch_norm(module: nn.Module) -> None:
    """Replace every BatchNorm2d below `module` by one with fixed statistics; names and values of its tensors stay."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            frozen = FrozenNorm(child.num_features, eps=child.eps).to(child.weight.device)
            for key in ("weight", "bias", "running_mean", "running_var"):
                getattr(frozen, key).data.copy_(getattr(child, key).data)
            setattr(module, name, frozen)
        else:
            freeze_batch_norm(child)


__all__ = ["FrozenNorm", "freeze_batch_norm"]
