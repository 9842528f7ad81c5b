"""Small blocks of convolutions that several networks are made of."""

from collections import OrderedDict

from torch import nn


class ConvNormRelu(nn.Sequential):
    """3×3 convolution, group norm, ReLU: (I, C_in, h, w) → (I, C_out, h/stride, w/stride)."""

    def __init__(self, in_channels: int, out_channels: int, groups: int, stride: int = 1):
        super().__init__(
            OrderedDict(
                conv=nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False),
                norm=nn.GroupNorm(groups, out_channels),
                activation=nn.ReLU(),
            )
        )


__all__ = ["ConvNormRelu"]
