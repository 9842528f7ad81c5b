"""SOLO: instance segmentation by location, one mask for every cell of a grid (arXiv 1912.04488).

trunk -> feature pyramid -> two towers shared by all levels: masks (with coordinate channels) and classes. Cell (i, j)
of a level's S×S grid corresponds to mask channel i·S + j. Expects letterboxed, ImageNet-normalised canvases whose
sides are multiples of the largest stride. The trunk is any transformers backbone; its BatchNorm layers stay in
evaluation mode. `propose` runs one level only and defers the last mask convolution (`LazyMasks`). Knows nothing of
expressions, targets and losses.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, cast

import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoBackbone, AutoConfig, PreTrainedConfig
from transformers import initialization as init
from transformers.configuration_utils import SubConfigSpec
from transformers.utils import ModelOutput
from transformers.utils.generic import can_return_tuple

from ..geometry.letterbox import canvas_of
from ..geometry.proposals import Proposals
from ..geometry.proposed_masks import LazyMasks
from ..layers.convolutions import ConvNormRelu
from ..layers.initialization import PRIOR_BIAS, starting
from .base import Detector, DetectorConfig, require_multiple
from .solo_detections import SoloThresholds, solo_detections

NECKS = ("fpn", "lateral")


@strict
class SoloConfig(DetectorConfig):
    """
    Architecture of a SOLO detector; the defaults are those of SOLO-R101.

    Args:
        backbone_config: any transformers backbone; all its `feature_maps` are used, fine to coarse.
        neck: "fpn" (top-down sums and 3×3 smoothing), or "lateral" for a trunk that already has a neck.
        neck_channels: channels of the pyramid.
        extra_levels: number of levels appended to the pyramid, each at half the size of the one before.
        level_maps: index of the pyramid map that each level of the head uses.
        strides: strides in canvas pixels to which these maps are resized, per level.
        num_grids: cells per side of the grid, per level.
        scale_ranges: (low, high) of sqrt(width · height), in canvas pixels, of the objects each level is trained on.
        channels: channels of both towers.
        stacked_convs: number of convolutions in each tower.
        norm_groups: groups of their group norm.
        center_region: share of the box, around the centre of mass, whose cells are positive in training.
        proposal_level: the level whose masks `propose` returns.
        freeze_backbone: whether the trunk is excluded from training.
        initializer_range: standard deviation of convolution weights without a recipe of their own.
        id2label: the classes, by default the 80 of COCO.
    """

    model_type = "pbrec_solo"
    sub_configs_defaults = {
        "backbone_config": SubConfigSpec(
            config_class=AutoConfig,
            model_type="resnet",
            init_kwargs={"depths": [3, 4, 23, 3], "out_features": ["stage1", "stage2", "stage3", "stage4"]},
        )
    }

    backbone_config: dict[str, Any] | PreTrainedConfig | None = None
    neck: str = "fpn"
    neck_channels: int = 256
    extra_levels: int = 1
    level_maps: list[int] | tuple[int, ...] = (0, 1, 2, 3, 4)
    strides: list[int] | tuple[int, ...] = (8, 8, 16, 32, 32)
    num_grids: list[int] | tuple[int, ...] = (40, 36, 24, 16, 12)
    scale_ranges: list[Any] | tuple[Any, ...] = ((1, 96), (48, 192), (96, 384), (192, 768), (384, 2048))
    channels: int = 256
    stacked_convs: int = 7
    norm_groups: int = 32
    center_region: float | int = 0.2
    proposal_level: int = 2
    freeze_backbone: bool = False
    initializer_range: float | int = 0.01

    limits: ClassVar = {
        "neck_channels": (1, 4096),
        "channels": (1, 4096),
        "stacked_convs": (1, 32),
        "norm_groups": (1, 4096),
        "extra_levels": (0, 4),
        "strides": (1, 512),
        "num_grids": (1, 512),
    }

    def __post_init__(self, **kwargs: Any) -> None:
        for name in ("level_maps", "strides", "num_grids"):
            setattr(self, name, list(getattr(self, name)))
        self.scale_ranges = [list(pair) for pair in self.scale_ranges]
        super().__post_init__(**kwargs)

    def validate_architecture(self) -> None:
        """
        Check the fields; transformers calls it after construction.

        Raises:
            ValueError: a field is out of range, or the fields contradict each other.
        """
        self.check_limits()
        self.check_choice("neck", NECKS)
        if self.channels % self.norm_groups:
            raise ValueError(f"channels={self.channels}: give a multiple of norm_groups={self.norm_groups}.")
        levels = len(self.level_maps)
        for name in ("strides", "num_grids", "scale_ranges"):
            if len(getattr(self, name)) != levels or not levels:
                raise ValueError(f"{name}={getattr(self, name)}: give one entry per level, {levels} as in level_maps.")
        if any(max(self.strides) % stride for stride in self.strides):
            raise ValueError(f"strides={self.strides}: give strides that divide the largest of them.")
        if any(len(pair) != 2 or not 0 <= pair[0] <= pair[1] for pair in self.scale_ranges):
            raise ValueError(f"scale_ranges={self.scale_ranges}: give pairs (low, high) with 0 <= low <= high.")
        # `__post_init__` has built the sub-config by now.
        maps = len(cast(Any, self.backbone_config).out_features) + self.extra_levels
        if any(not 0 <= index < maps for index in self.level_maps):
            raise ValueError(f"level_maps={self.level_maps}: give indices into the {maps} maps of the pyramid.")
        if not 0 <= self.proposal_level < levels:
            raise ValueError(f"proposal_level={self.proposal_level}: give a number from 0 to {levels - 1}.")
        if not 0 < self.center_region <= 1:
            raise ValueError(f"center_region={self.center_region}: give a number in (0, 1].")


@dataclass
class SoloOutput(ModelOutput):
    """
    Raw predictions, as in training, one entry per level.

    Attributes:
        mask_logits: (I, S·S, 2H/stride, 2W/stride) each.
        class_logits: (I, classes, S, S) each.
    """

    # `forward` fills both fields; ModelOutput requires the defaults.
    mask_logits: tuple[Tensor, ...] = None  # type: ignore[assignment]
    class_logits: tuple[Tensor, ...] = None  # type: ignore[assignment]


class SoloPyramid(nn.Module):
    """Feature pyramid (arXiv 1612.03144): maps of the trunk -> maps of equal width, without sums for "lateral"."""

    def __init__(self, in_channels: list[int], config: SoloConfig):
        super().__init__()
        self.extra_levels = config.extra_levels
        self.lateral = nn.ModuleList(
            starting(nn.Conv2d(width, config.neck_channels, 1), weight=init.xavier_uniform_) for width in in_channels
        )
        self.smooth: nn.ModuleList | None = None
        if config.neck == "fpn":
            convolutions = (nn.Conv2d(config.neck_channels, config.neck_channels, 3, padding=1) for _ in in_channels)
            self.smooth = nn.ModuleList(starting(conv, weight=init.xavier_uniform_) for conv in convolutions)

    def forward(self, maps: tuple[Tensor, ...], wanted: set[int]) -> dict[int, Tensor]:
        """
        Compute the maps with the indices in `wanted`, and only what they depend on.

        Args:
            maps: (I, C, h, w) of the trunk, fine to coarse.
            wanted: indices into the pyramid, fine to coarse.

        Returns:
            Index -> (I, neck_channels, h, w); it may contain more maps than those wanted.
        """
        last = len(maps) - 1
        needed = {min(index, last) for index in wanted}
        lowest = min(needed) if self.smooth is not None else 0
        sums: dict[int, Tensor] = {}
        for index in range(last, lowest - 1, -1):
            if self.smooth is None and index not in needed:
                continue
            sums[index] = self.lateral[index](maps[index])
            if self.smooth is not None and index < last:
                sums[index] = sums[index] + F.interpolate(sums[index + 1], maps[index].shape[-2:], mode="nearest")
        pyramid = {index: sums[index] if self.smooth is None else self.smooth[index](sums[index]) for index in needed}
        for index in range(last + 1, max(wanted) + 1):
            pyramid[index] = F.max_pool2d(pyramid[index - 1], kernel_size=1, stride=2)
        return pyramid


def append_coordinates(features: Tensor) -> Tensor:
    """(I, C, h, w) -> (I, C + 2, h, w): appends x, then y, each from -1 at the first pixel to 1 at the last."""
    images, _, height, width = features.shape
    y = torch.linspace(-1, 1, height, device=features.device, dtype=features.dtype)
    x = torch.linspace(-1, 1, width, device=features.device, dtype=features.dtype)
    y, x = torch.meshgrid(y, x, indexing="ij")
    return torch.cat([features, x.expand(images, 1, -1, -1), y.expand(images, 1, -1, -1)], dim=1)


def resize(features: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear resize of (I, C, h, w) to `size` (height, width); a map of this size is returned unchanged."""
    if features.shape[-2:] == torch.Size(size):
        return features
    return F.interpolate(features, size, mode="bilinear", align_corners=False)


class SoloHead(nn.Module):
    """The mask and the class branch. The levels share all weights except those of the last mask convolution."""

    def __init__(self, config: SoloConfig):
        super().__init__()
        self.config = config

        def tower(in_channels: int) -> nn.Sequential:
            widths = [in_channels] + [config.channels] * config.stacked_convs
            return nn.Sequential(*(ConvNormRelu(a, b, config.norm_groups) for a, b in pairwise(widths)))

        self.mask_tower = tower(config.neck_channels + 2)
        # Dice loss, too, starts from "nearly everything is background".
        self.mask_outputs = nn.ModuleList(
            starting(nn.Conv2d(config.channels, grid**2, 1), bias=PRIOR_BIAS) for grid in config.num_grids
        )
        self.class_tower = tower(config.neck_channels)
        self.class_output = starting(
            nn.Conv2d(config.channels, len(config.class_names), 3, padding=1), bias=PRIOR_BIAS
        )

    def level_features(self, pyramid: dict[int, Tensor], level: int, canvas: tuple[int, int]) -> Tensor:
        """Input of a level of the head: its pyramid map at its stride, (I, neck_channels, H/stride, W/stride)."""
        stride = self.config.strides[level]
        return resize(pyramid[self.config.level_maps[level]], (canvas[0] // stride, canvas[1] // stride))

    def mask_features(self, features: Tensor) -> Tensor:
        """(I, neck_channels, h, w) -> (I, channels, 2h, 2w), the input of the last mask convolution."""
        features = self.mask_tower(append_coordinates(features))
        return F.interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)

    def class_logits(self, features: Tensor, level: int) -> Tensor:
        """(I, neck_channels, h, w) -> (I, classes, S, S)."""
        grid = self.config.num_grids[level]
        return self.class_output(self.class_tower(resize(features, (grid, grid))))

    def forward(self, pyramid: dict[int, Tensor], canvas: tuple[int, int]) -> SoloOutput:
        """
        Logits of all levels.

        Args:
            pyramid: index -> (I, neck_channels, h, w).
            canvas: (H, W) in pixels.
        """
        features = [self.level_features(pyramid, level, canvas) for level in range(len(self.config.strides))]
        return SoloOutput(
            mask_logits=tuple(
                output(self.mask_features(f)) for output, f in zip(self.mask_outputs, features, strict=True)
            ),
            class_logits=tuple(self.class_logits(f, level) for level, f in enumerate(features)),
        )


def keep_local_maxima(probabilities: Tensor) -> Tensor:
    """Set class probabilities (I, classes, S, S) to 0 where the cell above, to the left or above left is greater."""
    greatest = F.max_pool2d(probabilities, 2, stride=1, padding=1)[..., :-1, :-1]
    return probabilities * (greatest == probabilities)


def evaluation_form(output: SoloOutput, mask_size: tuple[int, int]) -> tuple[list[Tensor], list[Tensor]]:
    """
    Predictions for inference.

    Args:
        output: logits of all levels.
        mask_size: (h', w') of the masks.

    Returns:
        Per level: mask probabilities (I, S·S, h', w'), and local maxima of class probabilities (I, classes, S, S).
    """
    masks = [resize(logits.sigmoid(), mask_size) for logits in output.mask_logits]
    return masks, [keep_local_maxima(logits.sigmoid()) for logits in output.class_logits]


class SoloDetector(Detector):
    """SOLO; see the module docstring."""

    config: SoloConfig
    exportable = True

    def __init__(self, config: SoloConfig):
        super().__init__(config)
        self.backbone = AutoBackbone.from_config(config.backbone_config)
        self.pyramid = SoloPyramid(list(self.backbone.channels), config)
        self.head = SoloHead(config)
        self.post_init()
        self.freeze_parts()

    def freeze_parts(self) -> None:
        """Freeze the trunk according to the config; loading a checkpoint calls this again."""
        self.backbone.requires_grad_(not self.config.freeze_backbone)

    def train(self, mode: bool = True) -> "SoloDetector":
        """Set the training mode; the trunk's BatchNorm stays in evaluation mode."""
        super().train(mode)
        for module in self.backbone.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self

    def mask_size(self, canvas: tuple[int, int]) -> tuple[int, int]:
        """Size (h', w') of mask probabilities of all levels: twice the map of the first level."""
        return 2 * canvas[0] // self.config.strides[0], 2 * canvas[1] // self.config.strides[0]

    @can_return_tuple
    def forward(self, pixel_values: Tensor, **kwargs: Any) -> SoloOutput:
        """
        Args:
            pixel_values: (I, 3, H, W) RGB, ImageNet-normalised; H and W multiples of the largest stride.

        Raises:
            ValueError: a side is not such a multiple.
        """
        pyramid, canvas = self._pyramid(pixel_values, set(self.config.level_maps))
        return self.head(pyramid, canvas)

    @property
    def source(self) -> None:
        """None: `propose` runs only a part of `forward`, so there is no output to share."""

    @torch.no_grad()
    def propose(self, pixel_values: Tensor, pixel_mask: Tensor | None = None, output: None = None) -> Proposals:
        """
        Masks of `proposal_level`, computed on request, and the best class of each point; no quality and no boxes.

        Args:
            pixel_values: (I, 3, H, W) RGB, ImageNet-normalised; H and W multiples of the largest stride.
            pixel_mask, output: unused.
        """
        level = self.config.proposal_level
        pyramid, canvas = self._pyramid(pixel_values, {self.config.level_maps[level]})
        features = self.head.level_features(pyramid, level, canvas)
        convolution = cast(nn.Conv2d, self.head.mask_outputs[level])
        bias = cast(Tensor, convolution.bias)
        masks = LazyMasks(
            features=self.head.mask_features(features).float(),
            weight=convolution.weight.detach().flatten(1).float(),
            bias=bias.detach().float(),
            size=self.mask_size(canvas),
        )
        grid = self.config.num_grids[level]
        labels = self.head.class_logits(features, level).flatten(2).argmax(1)
        return Proposals(((grid, grid),), canvas, masks=masks, labels=labels)

    @torch.no_grad()
    def detect(
        self, pixel_values: Tensor, letterbox: Tensor | None = None, thresholds: SoloThresholds | None = None
    ) -> list[dict[str, Tensor]]:
        """
        Ordinary object detection with all levels and Matrix-NMS.

        Args:
            pixel_values: (I, 3, H, W) RGB, ImageNet-normalised; H and W multiples of the largest stride.
            letterbox: (I, 6), to return masks at the size of the original pictures; None = at that of the canvas.
            thresholds: of scores, masks and counts; None = those of SOLO.

        Returns:
            Per picture "scores" (n,), descending, "labels" int64 (n,) and "masks" bool (n, h, w).
        """
        canvas = canvas_of(pixel_values)
        masks, classes = evaluation_form(self(pixel_values), self.mask_size(canvas))
        return solo_detections(
            masks=[torch.cat([m[i] for m in masks]).float() for i in range(len(pixel_values))],
            classes=[torch.cat([c[i].flatten(1).T for c in classes]).float() for i in range(len(pixel_values))],
            strides=torch.tensor(self.config.strides).repeat_interleave(torch.tensor(self.config.num_grids) ** 2),
            canvas=canvas,
            letterbox=letterbox,
            thresholds=thresholds or SoloThresholds(),
        )

    def _pyramid(self, pixel_values: Tensor, wanted: set[int]) -> tuple[dict[int, Tensor], tuple[int, int]]:
        canvas = require_multiple(pixel_values.shape, max(self.config.strides))
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.config.freeze_backbone):
            maps = self.backbone(pixel_values.to(self.dtype)).feature_maps
        return self.pyramid(maps, wanted), canvas


__all__ = ["SoloConfig", "SoloDetector", "SoloOutput"]
