"""Small convolution blocks that several networks share."""

from torch import nn


class ConvNormRelu(nn.Sequential):
    """3×3 convolution, group norm, ReLU: (I, C_in, h, w) → (I, C_out, h/stride, w/stride)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        groups: int,
        stride: int = 1,
        names: tuple[str, str, str] = ("conv", "norm", "activation"),
    ):
        """
        Args:
            in_channels, out_channels: C_in, C_out.
            groups: of the group norm, a divisor of `out_channels`.
            stride: of the convolution.
            names: of convolution, norm and activation in the state dict.
        """
        super().__init__()
        conv = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        for name, part in zip(names, (conv, nn.GroupNorm(groups, out_channels), nn.ReLU(inplace=True)), strict=True):
            self.add_module(name, part)


__all__ = ["ConvNormRelu"]
