"""A light mask head on a frozen NanoDet: a mask beside the box of every point of its three grids.

Like SOLOv2 (arXiv 2003.10152), with what the frozen detector knows as input: its maps, class logits and box distances
of all three strides at the first of its scales, summed from coarse to fine. Shallow features of the picture itself add
edges and colours. Each point predicts the kernel that draws its mask at a quarter of the canvas, beginning from the
ellipse in its box. It expects letterboxed, ImageNet-normalised canvases whose sides are multiples of 32, of any size.
Knows nothing of targets and losses.
"""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedConfig
from transformers import initialization as init
from transformers.configuration_utils import SubConfigSpec
from transformers.utils import ModelOutput
from transformers.utils.generic import can_return_tuple

from ..detectors.base import Detector, DetectorConfig
from ..geometry.boxes import boxes_from_distances
from ..geometry.proposals import Proposals
from ..layers.convolutions import ConvNormRelu
from ..layers.initialization import normal, starting
from .dynamic_masks import NUM_SHAPE, DynamicMasks
from .nanodet import NanoDetConfig, NanoDetDetector, NanoDetOutput
from .nanodet_trunk import STRIDES

# Brings class logits to the size of the other channels.
CLASS_LOGIT_SCALE = 0.25
# A box's ellipse is never thinner than this, in canvas pixels.
SMALLEST_HALF_AXIS = 2.0
LARGEST_LOG_SCALE = 2.0
_KAIMING = partial(init.kaiming_normal_, mode="fan_in", nonlinearity="relu")


@strict
class NanoDetMasksConfig(DetectorConfig):
    """Sizes of the mask head.

    Args:
        detector_config: the NanoDet inside; its classes are the labels.
        channels: channels of the towers.
        mask_channels: channels of the pixel features that come from the detector's maps.
        picture_channels: channels of those that come from the picture itself.
        stacked_convs: convolutions in each tower.
        norm_groups: groups of the group norms.
        freeze_detector: whether NanoDet is excluded from training.
    """

    model_type = "pbrec_nanodet_masks"
    sub_configs_defaults = {"detector_config": SubConfigSpec(config_class=NanoDetConfig)}

    detector_config: dict | PreTrainedConfig | None = None
    channels: int = 64
    mask_channels: int = 32
    picture_channels: int = 24
    stacked_convs: int = 2
    norm_groups: int = 8
    freeze_detector: bool = True

    limits: ClassVar = {
        "channels": (1, 4096),
        "mask_channels": (1, 4096),
        "picture_channels": (1, 4096),
        "stacked_convs": (1, 32),
        "norm_groups": (1, 4096),
    }

    def __post_init__(self, **kwargs):
        given = len(self.id2label) if self.id2label is not None else kwargs.get("num_labels")
        super().__post_init__(**kwargs)
        classes = self.detector_config.id2label
        if given not in (None, len(classes)):
            raise ValueError(
                f"num_labels={given}, but the NanoDet inside has {len(classes)} classes, which are the labels: set "
                "them in detector_config."
            )
        self.id2label = dict(classes)
        self.label2id = {name: index for index, name in classes.items()}

    def validate_architecture(self):
        self.check_limits()
        for name in ("channels", "picture_channels"):
            if getattr(self, name) % self.norm_groups:
                raise ValueError(f"{name}={getattr(self, name)}: give a multiple of norm_groups={self.norm_groups}.")


@dataclass
class NanoDetMasksOutput(ModelOutput):
    """What draws the masks (see `dynamic_masks.py`), and what the detector says at the same N points.

    Args:
        features: (I, C, H/4, W/4) pixel features; of the canvas at the detector's first scale.
        kernels: (I, N, C + NUM_SHAPE).
        boxes: (I, N, 4) XYXY in canvas pixels.
        scores: (I, N, classes), class probabilities.
        grids: (rows, cols) of the three grids.
    """

    features: Tensor | None = None
    kernels: Tensor | None = None
    boxes: Tensor | None = None
    scores: Tensor | None = None
    grids: tuple[tuple[int, int], ...] | None = None


class MaskHead(nn.Module):
    """Maps of the detector at strides 8, 16, 32 and the picture -> pixel features and kernels of all points."""

    def __init__(self, in_channels: int, config: NanoDetMasksConfig):
        super().__init__()
        channels, fine, groups = config.channels, config.picture_channels, config.norm_groups
        pixel_channels = config.mask_channels + fine

        def block(in_channels: int, out_channels: int, stride: int = 1) -> ConvNormRelu:
            # By number, as the weights of pbrec-mt-small are named.
            return ConvNormRelu(in_channels, out_channels, groups, stride, names=("0", "1", "2"))

        def tower() -> nn.Sequential:
            return nn.Sequential(*(block(channels, channels) for _ in range(config.stacked_convs)))

        self.lateral = nn.ModuleList(nn.Conv2d(in_channels, channels, 1) for _ in STRIDES)
        self.picture = nn.Sequential(block(3, fine, stride=2), block(fine, fine, stride=2))
        self.picture_to_kernel = nn.Conv2d(fine, channels, 1)
        self.mask_tower, self.kernel_tower = tower(), tower()
        self.mask_output = nn.Conv2d(channels, config.mask_channels, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                starting(module, weight=_KAIMING)
        # Kernels start as nothing but the ellipse in their point's box.
        self.kernel_output = starting(nn.Conv2d(channels, pixel_channels + NUM_SHAPE, 1), weight=normal(0.01))

    def forward(self, maps: list[Tensor], pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        """
        Args:
            maps: (I, in_channels, H/stride, W/stride) for strides 8, 16, 32.
            pixel_values: (I, 3, H, W).

        Returns:
            pixel features (I, C, H/4, W/4) and kernels (I, N, C + NUM_SHAPE), whose ellipses are relative to boxes.
        """
        sums = [conv(values) for conv, values in zip(self.lateral, maps, strict=True)]
        for level in (1, 0):
            sums[level] = sums[level] + _doubled(sums[level + 1])
        picture = self.picture(pixel_values)
        seen = self.picture_to_kernel(picture)
        kernels = [
            self.kernel_output(self.kernel_tower(values + F.adaptive_avg_pool2d(seen, values.shape[-2:])))
            for values in sums
        ]
        pixels = torch.cat([_doubled(self.mask_output(self.mask_tower(sums[0]))), picture], dim=1)
        return pixels, torch.cat([values.flatten(2) for values in kernels], dim=2).transpose(1, 2)


def _doubled(features: Tensor) -> Tensor:
    return F.interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)


def ellipses_in_boxes(kernels: Tensor, boxes: Tensor, canvas: tuple[int, int]) -> Tensor:
    """Kernels (…, C + NUM_SHAPE) with absolute ellipses, from ones relative to boxes (…, 4) XYXY canvas pixels."""
    sides = boxes.new_tensor([canvas[1], canvas[0]])
    half = ((boxes[..., 2:] - boxes[..., :2]) / 2).clamp(min=SMALLEST_HALF_AXIS) * (2 / sides)
    middle = (boxes[..., :2] + boxes[..., 2:]) / sides - 1
    rest, offset, scale = kernels.split([kernels.shape[-1] - 4, 2, 2], dim=-1)
    log_axes = half.log() + scale.clamp(-LARGEST_LOG_SCALE, LARGEST_LOG_SCALE)
    return torch.cat([rest, middle + offset * half, log_axes], dim=-1)


class NanoDetMasksDetector(Detector):
    """The detector; see the module's text for what it expects."""

    config: NanoDetMasksConfig
    _no_split_modules = ["ShuffleBlock"]

    def __init__(self, config: NanoDetMasksConfig):
        super().__init__(config)
        self.detector = NanoDetDetector(config.detector_config)
        self.head = MaskHead(config.detector_config.trunk_config.neck_channels + config.num_labels + 4, config)
        self.post_init()
        self.freeze_parts()

    def freeze_parts(self) -> None:
        """Stop the training of the NanoDet inside, if the config says so; loading a checkpoint does so again."""
        self.detector.requires_grad_(not self.config.freeze_detector)

    @property
    def source(self) -> NanoDetDetector:
        """The NanoDet inside, whose output the masks are made from."""
        return self.detector

    @can_return_tuple
    def forward(self, pixel_values: Tensor, detected: NanoDetOutput | None = None, **kwargs) -> NanoDetMasksOutput:
        """
        Args:
            pixel_values: (I, 3, H, W) RGB, ImageNet-normalised; H and W multiples of 32.
            detected: the output of the NanoDet inside for these canvases, if it has run already.
        """
        if detected is None:
            with torch.set_grad_enabled(torch.is_grad_enabled() and not self.config.freeze_detector):
                detected = self.detector(pixel_values.to(self.detector.dtype))
        # The NanoDet may be shared with a model that was cast: the head has a type of its own.
        head_type = self.head.mask_output.weight.dtype
        pixel_values = pixel_values.to(head_type)
        grids = detected.grids[: len(STRIDES)]
        canvas = tuple(pixel_values.shape[-2:])
        count = sum(rows * cols for rows, cols in grids)
        logits, distances, points = detected.class_logits[:, :count], detected.distances[:, :count], detected.points
        strides = torch.cat([distances.new_tensor([canvas[1] / cols, canvas[0] / rows]).expand(rows * cols, -1)
                             for rows, cols in grids])  # fmt: skip
        known = torch.cat([logits * CLASS_LOGIT_SCALE, distances / strides.repeat(1, 2)], dim=-1).transpose(1, 2)
        maps = [
            torch.cat([features.to(head_type), part.unflatten(2, grid).to(head_type)], dim=1)
            for features, part, grid in zip(
                detected.feature_maps, known.split([rows * cols for rows, cols in grids], dim=2), grids, strict=True
            )
        ]
        seen = tuple(side * STRIDES[0] for side in grids[0])
        if seen != canvas:
            pixel_values = F.interpolate(pixel_values, seen, mode="bilinear", align_corners=False)
        features, kernels = self.head(maps, pixel_values)
        boxes = boxes_from_distances(points[:count], distances.float(), canvas)
        kernels = ellipses_in_boxes(kernels.float(), boxes, canvas)
        return NanoDetMasksOutput(features.float(), kernels, boxes, detected.scores[:, :count], grids)

    @torch.no_grad()
    def propose(
        self, pixel_values: Tensor, pixel_mask: Tensor | None = None, output: NanoDetOutput | None = None
    ) -> Proposals:
        """Boxes of all points, masks drawn when asked for, best classes and, as quality, their probabilities.

        Args:
            pixel_values: (I, 3, H, W) RGB, ImageNet-normalised; H and W multiples of 32.
            pixel_mask: not needed.
            output: of the NanoDet inside for these canvases, if it has run already.
        """
        drawn = self(pixel_values, detected=output)
        quality, labels = drawn.scores.max(-1)
        return Proposals(
            grids=drawn.grids,
            canvas=tuple(pixel_values.shape[-2:]),
            quality=quality,
            boxes=drawn.boxes,
            masks=DynamicMasks.pack(drawn.features, drawn.kernels),
            labels=labels,
        )


__all__ = ["NanoDetMasksConfig", "NanoDetMasksDetector", "NanoDetMasksOutput"]
