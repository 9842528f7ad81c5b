"""The NanoDet-m trunk: ShuffleNetV2 1.0× and a path-aggregation neck, three maps of 96 channels at strides 8, 16, 32.

Also a stand-alone transformers backbone (`AutoBackbone`). Expects letterboxed canvases, normalised with ImageNet's RGB
mean and standard deviation, whose sides are multiples of 32. BatchNorm is folded into the convolutions, so that
training and evaluation mode compute the same function. Knows nothing of classes and boxes.

Sources: ShuffleNetV2 (arXiv 1807.11164), PANet (arXiv 1803.01534), NanoDet (RangiLyu/nanodet, Apache-2.0).
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.backbone_utils import BackboneConfigMixin, BackboneMixin
from transformers.modeling_outputs import BackboneOutput
from transformers.utils.generic import can_return_tuple

from ..detectors.base import require_multiple
from ..layers.initialization import initialize, starting

STAGE_NAMES = ("stride8", "stride16", "stride32")
STRIDES = (8, 16, 32)


@strict
class NanoDetTrunkConfig(BackboneConfigMixin, PreTrainedConfig):
    """
    Architecture of the trunk; the defaults are those of NanoDet-m.

    Args:
        out_features: names of the returned maps, out of "stride8", "stride16", "stride32".
        stem_channels: channels after the stem.
        stage_channels: channels of the three ShuffleNet stages, even numbers.
        stage_depths: numbers of blocks in the three stages.
        neck_channels: channels of every output map.
        negative_slope: slope of the leaky ReLU.
    """

    model_type = "pbrec_nanodet_trunk"

    stem_channels: int = 24
    stage_channels: list[int] | tuple[int, ...] = (116, 232, 464)
    stage_depths: list[int] | tuple[int, ...] = (4, 8, 4)
    neck_channels: int = 96
    negative_slope: float | int = 0.1

    def __post_init__(self, **kwargs: Any) -> None:
        self.stage_channels = list(self.stage_channels)
        self.stage_depths = list(self.stage_depths)
        kwargs.pop("stage_names", None)
        self.stage_names = list(STAGE_NAMES)
        self.set_output_features_output_indices(
            out_features=kwargs.pop("out_features", None), out_indices=kwargs.pop("out_indices", None)
        )
        super().__post_init__(**kwargs)

    def validate_architecture(self) -> None:
        """
        Check the fields; transformers calls it after construction.

        Raises:
            ValueError: a field is out of range.
        """
        for name, values, low, high in (
            ("stem_channels", [self.stem_channels], 1, 4096),
            ("neck_channels", [self.neck_channels], 1, 4096),
            ("stage_channels", self.stage_channels, 2, 4096),
            ("stage_depths", self.stage_depths, 1, 64),
        ):
            if any(not low <= value <= high for value in values):
                raise ValueError(f"{name}={getattr(self, name)} is out of range: give numbers from {low} to {high}.")
        if len(self.stage_channels) != 3 or len(self.stage_depths) != 3:
            raise ValueError(
                f"stage_channels={self.stage_channels} and stage_depths={self.stage_depths} must have three entries "
                "each: give one per stage."
            )
        if any(channels % 2 for channels in self.stage_channels):
            raise ValueError(
                f"stage_channels={self.stage_channels} must be even, since every block splits its channels in two: "
                "give even numbers."
            )
        if not 0 <= self.negative_slope < 1:
            raise ValueError(f"negative_slope={self.negative_slope} is out of range: give a number in [0, 1).")


class ConvAct(nn.Module):
    """Convolution with bias, then a leaky ReLU."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        negative_slope: float,
        stride: int = 1,
        groups: int = 1,
    ):
        super().__init__()
        conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, groups=groups)
        self.conv = _variance_preserving(conv, negative_slope)
        self.negative_slope = negative_slope

    def forward(self, features: Tensor) -> Tensor:
        """(I, C_in, h, w) -> (I, C_out, h/stride, w/stride)."""
        return F.leaky_relu(self.conv(features), self.negative_slope)


def depthwise(channels: int, stride: int = 1) -> nn.Conv2d:
    """Depthwise 3×3 convolution with bias."""
    return _variance_preserving(nn.Conv2d(channels, channels, 3, stride, 1, groups=channels), 0.0)


def _variance_preserving(conv: nn.Conv2d, negative_slope: float) -> nn.Conv2d:
    """
    Attach Kaiming initialisation to `conv` and return it.

    Without BatchNorm, weights of a fixed small deviation would make the signal vanish over the depth of the trunk.
    Depthwise convolutions are not followed by an activation, so their gain is linear.
    """
    gain = "linear" if conv.groups > 1 else "leaky_relu"
    return starting(conv, weight=partial(init.kaiming_normal_, a=negative_slope, nonlinearity=gain))


class LeftBranch(nn.Module):
    """The left branch of a block that halves the map; in other blocks it is the identity."""

    def __init__(self, in_channels: int, out_channels: int, negative_slope: float):
        super().__init__()
        self.depthwise = depthwise(in_channels, stride=2)
        self.pointwise = ConvAct(in_channels, out_channels, 1, negative_slope)

    def forward(self, features: Tensor) -> Tensor:
        """(I, C_in, h, w) -> (I, C_out, h/2, w/2)."""
        return self.pointwise(self.depthwise(features))


class RightBranch(nn.Module):
    """The right branch of every block: 1×1, depthwise 3×3 and 1×1 convolution."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, negative_slope: float):
        super().__init__()
        self.pointwise_in = ConvAct(in_channels, out_channels, 1, negative_slope)
        self.depthwise = depthwise(out_channels, stride)
        self.pointwise_out = ConvAct(out_channels, out_channels, 1, negative_slope)

    def forward(self, features: Tensor) -> Tensor:
        """(I, C_in, h, w) -> (I, C_out, h/stride, w/stride)."""
        return self.pointwise_out(self.depthwise(self.pointwise_in(features)))


class ShuffleBlock(nn.Module):
    """ShuffleNetV2 block. The first block of a stage halves the map, and both its branches take all channels."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, negative_slope: float):
        super().__init__()
        half = out_channels // 2
        self.branch_left = LeftBranch(in_channels, half, negative_slope) if stride == 2 else None
        self.branch_right = RightBranch(in_channels if stride == 2 else half, half, stride, negative_slope)

    def forward(self, features: Tensor) -> Tensor:
        """(I, C_in, h, w) -> (I, C_out, h/stride, w/stride)."""
        if self.branch_left is None:
            kept, changed = features.chunk(2, dim=1)
        else:
            kept, changed = self.branch_left(features), features
        return F.channel_shuffle(torch.cat([kept, self.branch_right(changed)], dim=1), 2)


class ShuffleStage(nn.Module):
    """`depth` blocks, the first of which halves the map."""

    def __init__(self, in_channels: int, out_channels: int, depth: int, negative_slope: float):
        super().__init__()
        for index in range(depth):
            channels, stride = (in_channels, 2) if index == 0 else (out_channels, 1)
            self.add_module(f"block{index}", ShuffleBlock(channels, out_channels, stride, negative_slope))

    def forward(self, features: Tensor) -> Tensor:
        """(I, C_in, h, w) -> (I, C_out, h/2, w/2)."""
        for block in self.children():
            features = block(features)
        return features


class PathAggregationNeck(nn.Module):
    """1×1 convolutions to equal width, then top-down and bottom-up sums."""

    def __init__(self, in_channels: Sequence[int], channels: int, negative_slope: float):
        super().__init__()
        convolutions = [_variance_preserving(nn.Conv2d(width, channels, 1), negative_slope) for width in in_channels]
        self.lateral = nn.ModuleDict(dict(zip(STAGE_NAMES, convolutions, strict=True)))

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Maps (I, C, h, w), fine to coarse -> maps (I, channels, h, w)."""
        maps = [conv(feature) for conv, feature in zip(self.lateral.values(), features, strict=True)]
        for fine in range(len(maps) - 2, -1, -1):
            maps[fine] = maps[fine] + _resize_like(maps[fine + 1], maps[fine])
        for coarse in range(1, len(maps)):
            maps[coarse] = maps[coarse] + _resize_like(maps[coarse - 1], maps[coarse])
        return maps


def _resize_like(features: Tensor, other: Tensor) -> Tensor:
    return F.interpolate(features, other.shape[-2:], mode="bilinear", align_corners=False)


class NanoDetBackbone(BackboneMixin, PreTrainedModel):
    """(I, 3, H, W) canvases -> `feature_maps`, one (I, neck_channels, H/stride, W/stride) per `out_features`."""

    config: NanoDetTrunkConfig
    main_input_name = "pixel_values"
    input_modalities = ["image"]
    base_model_prefix = "trunk"
    has_attentions = False
    _no_split_modules = ["ShuffleBlock"]

    def __init__(self, config: NanoDetTrunkConfig):
        super().__init__(config)
        self.num_features = [config.neck_channels] * len(STAGE_NAMES)
        widths = [config.stem_channels, *config.stage_channels]
        self.stem = ConvAct(3, config.stem_channels, 3, config.negative_slope, stride=2)
        self.stage2 = ShuffleStage(widths[0], widths[1], config.stage_depths[0], config.negative_slope)
        self.stage3 = ShuffleStage(widths[1], widths[2], config.stage_depths[1], config.negative_slope)
        self.stage4 = ShuffleStage(widths[2], widths[3], config.stage_depths[2], config.negative_slope)
        self.neck = PathAggregationNeck(config.stage_channels, config.neck_channels, config.negative_slope)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        initialize(module)

    @can_return_tuple
    def forward(self, pixel_values: Tensor, output_hidden_states: bool | None = None, **kwargs: Any) -> BackboneOutput:
        """
        Args:
            pixel_values: (I, 3, H, W) RGB, ImageNet-normalised; H and W multiples of 32.
            output_hidden_states: whether to return all three maps as `hidden_states`, regardless of `out_features`;
                None = as in the config.

        Raises:
            ValueError: a side is not a multiple of 32.
        """
        require_multiple(pixel_values.shape, STRIDES[-1])
        stage2 = self.stage2(F.max_pool2d(self.stem(pixel_values), 3, 2, 1))
        stage3 = self.stage3(stage2)
        maps = self.neck([stage2, stage3, self.stage4(stage3)])
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        return BackboneOutput(
            feature_maps=tuple(maps[index] for index in self.out_indices),
            hidden_states=tuple(maps) if output_hidden_states else None,
        )


__all__ = ["NanoDetBackbone", "NanoDetTrunkConfig"]
