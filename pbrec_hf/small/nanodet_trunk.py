"""The trunk of NanoDet and NanoDet-Plus: ShuffleNetV2 and a neck, maps of equal width at strides 8, 16, 32 (and 64).

Also a stand-alone transformers backbone (`AutoBackbone`). Expects letterboxed canvases, normalised with ImageNet's RGB
mean and standard deviation, whose sides are multiples of 32. BatchNorm is folded into the convolutions, so that
training and evaluation mode compute the same function. Knows nothing of classes and boxes.

Source: NanoDet (RangiLyu/nanodet, Apache-2.0).
"""

from typing import Any

import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.backbone_utils import BackboneConfigMixin, BackboneMixin
from transformers.modeling_outputs import BackboneOutput
from transformers.utils.generic import can_return_tuple

from ..detectors.base import require_multiple
from ..layers.initialization import initialize
from .necks import LEVELS, NECKS
from .shufflenet import ConvAct, ShuffleStage

# Both sides of a canvas are multiples of this; the map of stride 64 is rounded up.
CANVAS_MULTIPLE = 32


@strict
class NanoDetTrunkConfig(BackboneConfigMixin, PreTrainedConfig):
    """
    Architecture of the trunk; the defaults are those of NanoDet-m.

    NanoDet-Plus has neck="ghost_pan". Its sizes m and m-1.5x have stage_channels (116, 232, 464) and (176, 352, 704),
    and neck_channels 96 and 128.

    Args:
        out_features: names of the returned maps, out of "stride8", "stride16", "stride32" and, of a neck that has it,
            "stride64".
        stem_channels: channels after the stem.
        stage_channels: channels of the three ShuffleNet stages, even numbers.
        stage_depths: numbers of blocks in the three stages.
        neck: "pan" (NanoDet-m's sums, three maps) or "ghost_pan" (NanoDet-Plus' Ghost-PAN, four maps).
        neck_channels: channels of every output map, an even number for "ghost_pan".
        negative_slope: slope of the leaky ReLU.
    """

    model_type = "pbrec_nanodet_trunk"

    stem_channels: int = 24
    stage_channels: list[int] | tuple[int, ...] = (116, 232, 464)
    stage_depths: list[int] | tuple[int, ...] = (4, 8, 4)
    neck: str = "pan"
    neck_channels: int = 96
    negative_slope: float | int = 0.1

    def __post_init__(self, **kwargs: Any) -> None:
        self.stage_channels = list(self.stage_channels)
        self.stage_depths = list(self.stage_depths)
        kwargs.pop("stage_names", None)
        neck = NECKS.get(self.neck, NECKS["pan"])  # `validate_architecture` refuses others
        self.stage_names = list(LEVELS[: neck.num_levels])
        self.set_output_features_output_indices(
            out_features=kwargs.pop("out_features", None), out_indices=kwargs.pop("out_indices", None)
        )
        super().__post_init__(**kwargs)

    @property
    def strides(self) -> tuple[int, ...]:
        """Of all maps, fine to coarse, in canvas pixels."""
        return tuple(int(name.removeprefix("stride")) for name in self.stage_names)

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
        if self.neck not in NECKS:
            raise ValueError(f"neck={self.neck!r}: give one of {', '.join(map(repr, NECKS))}.")
        if self.neck == "ghost_pan" and self.neck_channels % 2:
            raise ValueError(f"neck_channels={self.neck_channels}: give an even number, of which Ghost modules halve.")
        if not 0 <= self.negative_slope < 1:
            raise ValueError(f"negative_slope={self.negative_slope} is out of range: give a number in [0, 1).")


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
        self.num_features = [config.neck_channels] * len(config.stage_names)
        widths = [config.stem_channels, *config.stage_channels]
        self.stem = ConvAct(3, config.stem_channels, 3, config.negative_slope, stride=2)
        self.stage2 = ShuffleStage(widths[0], widths[1], config.stage_depths[0], config.negative_slope)
        self.stage3 = ShuffleStage(widths[1], widths[2], config.stage_depths[1], config.negative_slope)
        self.stage4 = ShuffleStage(widths[2], widths[3], config.stage_depths[2], config.negative_slope)
        self.neck = NECKS[config.neck](config.stage_channels, config.neck_channels, config.negative_slope)
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
            output_hidden_states: whether to return all maps as `hidden_states`, regardless of `out_features`;
                None = as in the config.

        Raises:
            ValueError: a side is not a multiple of 32.
        """
        require_multiple(pixel_values.shape, CANVAS_MULTIPLE)
        stage2 = self.stage2(F.max_pool2d(self.stem(pixel_values), 3, 2, 1))
        stage3 = self.stage3(stage2)
        maps = self.neck([stage2, stage3, self.stage4(stage3)])
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        return BackboneOutput(
            feature_maps=tuple(maps[index] for index in self.out_indices),
            hidden_states=tuple(maps) if output_hidden_states else None,
        )


__all__ = ["CANVAS_MULTIPLE", "NanoDetBackbone", "NanoDetTrunkConfig"]
