"""A light mask head on a frozen NanoDet: a mask in addition to the box at every point of its grids.

Similar to SOLOv2 (arXiv 2003.10152), with the outputs of the frozen detector as input: its maps, class logits and box
distances at all strides of its first scale, summed top-down. Shallow features of the pixels add edges and
colours. Each point predicts a kernel that computes its mask at a quarter of the canvas size, starting from the ellipse
in its box. A refiner may draw masks again inside of their boxes (`mask_refiner.py`). Expects letterboxed,
ImageNet-normalised canvases whose sides are multiples of 32. Knows nothing of targets and losses.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, cast

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
from ..geometry.letterbox import canvas_of
from ..geometry.proposals import Proposals
from ..layers.convolutions import ConvNormRelu
from ..layers.initialization import normal, starting
from .adaptive import adaptive_mean
from .dynamic_masks import NUM_SHAPE, DynamicMasks, RefinedMasks
from .mask_refiner import CROP_SIDE, MaskRefiner, enlarged
from .nanodet import NanoDetConfig, NanoDetDetector, places_of, strides_of_points
from .nanodet_outputs import NanoDetOutput

# Scales class logits to the magnitude of the other channels.
CLASS_LOGIT_SCALE = 0.25
# Lower limit for the half-axes of a box's ellipse, in canvas pixels.
SMALLEST_HALF_AXIS = 2.0
# Limit for the predicted log ratio of an ellipse's axes to its box.
LARGEST_LOG_SCALE = 2.0
# Sizes that a crop can be halved to.
MOST_WIDTHS = CROP_SIDE.bit_length()
_KAIMING = partial(init.kaiming_normal_, mode="fan_in", nonlinearity="relu")


@strict
class NanoDetMasksConfig(DetectorConfig):
    """
    Architecture of the mask head.

    Args:
        detector_config: of NanoDet, which also defines the classes.
        channels: channels of the towers.
        mask_channels: channels of the pixel features computed from the detector's maps.
        picture_channels: channels of the pixel features computed from the canvas itself.
        stacked_convs: number of convolutions in each tower.
        norm_groups: groups of the group norms.
        refiner_widths: channels of the refiner at each of its sizes, fine to coarse; none = masks are not refined.
        detail_channels: channels of the maps that it reads besides masks and canvas.
        freeze_detector: whether NanoDet is excluded from training.
    """

    model_type = "pbrec_nanodet_masks"
    sub_configs_defaults = {"detector_config": SubConfigSpec(config_class=NanoDetConfig)}

    detector_config: dict[str, Any] | PreTrainedConfig | None = None
    channels: int = 64
    mask_channels: int = 32
    picture_channels: int = 24
    stacked_convs: int = 2
    norm_groups: int = 8
    refiner_widths: list[int] | tuple[int, ...] = ()
    detail_channels: int = 16
    freeze_detector: bool = True

    limits: ClassVar = {
        "channels": (1, 4096),
        "mask_channels": (1, 4096),
        "picture_channels": (1, 4096),
        "stacked_convs": (1, 32),
        "norm_groups": (1, 4096),
        "refiner_widths": (1, 4096),
        "detail_channels": (1, 4096),
    }

    def __post_init__(self, **kwargs: Any) -> None:
        self.refiner_widths = list(self.refiner_widths)
        given = len(self.id2label) if self.id2label is not None else kwargs.get("num_labels")
        super().__post_init__(**kwargs)
        classes = self.detector._classes
        if given not in (None, len(classes)):
            raise ValueError(
                f"num_labels={given}, but the NanoDet in detector_config has {len(classes)} classes: set the classes "
                "there only."
            )
        self.id2label = dict(classes)
        self.label2id = {name: index for index, name in classes.items()}

    @property
    def detector(self) -> NanoDetConfig:
        """`detector_config` as the config object that it is after construction."""
        return cast(NanoDetConfig, self.detector_config)

    @property
    def refiner_form(self) -> tuple[int, ...]:
        """The refiner's `widths` one by one, with `norm_groups` last, as `refined_logits` takes them."""
        return (*self.refiner_widths, self.norm_groups)

    def validate_architecture(self) -> None:
        """
        Check the fields; transformers calls it after construction.

        Raises:
            ValueError: a field is out of range.
        """
        self.check_limits()
        for name in ("channels", "picture_channels", "refiner_widths"):
            value = getattr(self, name)
            if any(width % self.norm_groups for width in (value if isinstance(value, Sequence) else [value])):
                raise ValueError(f"{name}={value}: give multiples of norm_groups={self.norm_groups}.")
        if len(self.refiner_widths) > MOST_WIDTHS:
            raise ValueError(f"refiner_widths={self.refiner_widths}: give at most {MOST_WIDTHS} numbers.")


@dataclass
class NanoDetMasksOutput(ModelOutput):
    """
    Features and kernels of the masks (see `dynamic_masks.py`), and the detector's predictions at the same N points.

    Attributes:
        features: (I, C, h, w) pixel features, at a quarter of the canvas' size at the detector's first scale.
        kernels: (I, N, C + NUM_SHAPE).
        boxes: (I, N, 4) XYXY in canvas pixels.
        scores: (I, N, classes), class probabilities.
        points: (N, 2) XY in canvas pixels.
        grids: (rows, cols) of the grids.
        details: (I, D, h, w), maps for the refiner, as all that follows; None without one.
        picture: (I, 3, H, W), the canvases at the detector's first scale.
        regions: (I, N, 4) XYXY in cells of the features, the enlarged boxes.
        refiner: (P,), its weights.
    """

    # `forward` fills every field; ModelOutput requires the defaults.
    features: Tensor = None  # type: ignore[assignment]
    kernels: Tensor = None  # type: ignore[assignment]
    boxes: Tensor = None  # type: ignore[assignment]
    scores: Tensor = None  # type: ignore[assignment]
    points: Tensor = None  # type: ignore[assignment]
    grids: tuple[tuple[int, int], ...] = None  # type: ignore[assignment]
    details: Tensor | None = None
    picture: Tensor | None = None
    regions: Tensor | None = None
    refiner: Tensor | None = None


class MaskHead(nn.Module):
    """Computes pixel features and the kernels of all points from the detector's maps and the canvas."""

    def __init__(self, in_channels: int, config: NanoDetMasksConfig):
        super().__init__()
        channels, fine, groups = config.channels, config.picture_channels, config.norm_groups
        pixel_channels = config.mask_channels + fine

        def block(in_channels: int, out_channels: int, stride: int = 1) -> ConvNormRelu:
            # The names in the checkpoint of pbrec-mt-small.
            return ConvNormRelu(in_channels, out_channels, groups, stride, names=("0", "1", "2"))

        def tower() -> nn.Sequential:
            return nn.Sequential(*(block(channels, channels) for _ in range(config.stacked_convs)))

        self.lateral = nn.ModuleList(nn.Conv2d(in_channels, channels, 1) for _ in config.detector.trunk.strides)
        self.picture = nn.Sequential(block(3, fine, stride=2), block(fine, fine, stride=2))
        self.picture_to_kernel = nn.Conv2d(fine, channels, 1)
        self.mask_tower, self.kernel_tower = tower(), tower()
        self.mask_output = nn.Conv2d(channels, config.mask_channels, 1)
        if config.refiner_widths:
            self.details = nn.Conv2d(pixel_channels, config.detail_channels, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                starting(module, weight=_KAIMING)
        # Initial kernels consist of the ellipse in the box of their point only.
        self.kernel_output = starting(nn.Conv2d(channels, pixel_channels + NUM_SHAPE, 1), weight=normal(0.01))
        if config.refiner_widths:
            self.refiner = MaskRefiner(config.detail_channels, config.refiner_widths, groups)

    def forward(self, maps: list[Tensor], pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        """
        Args:
            maps: (I, in_channels, H/stride, W/stride) for the strides of the detector, fine to coarse.
            pixel_values: (I, 3, H, W).

        Returns:
            Pixel features (I, C, H/4, W/4), and kernels (I, N, C + NUM_SHAPE) with ellipses relative to boxes.
        """
        sums = [conv(values) for conv, values in zip(self.lateral, maps, strict=True)]
        for level in range(len(sums) - 2, -1, -1):
            sums[level] = sums[level] + _resize(sums[level + 1], sums[level].shape[-2:])
        picture = self.picture(pixel_values)
        # A 1×1 convolution of averages is the average of the convolution, at a fraction of its cost.
        contexts = [
            self.picture_to_kernel(adaptive_mean(picture, (values.shape[-2], values.shape[-1]))) for values in sums
        ]
        kernels = [
            self.kernel_output(self.kernel_tower(values + context))
            for values, context in zip(sums, contexts, strict=True)
        ]
        masks = self.mask_output(self.mask_tower(sums[0]))
        pixels = torch.cat([_resize(masks, picture.shape[-2:]), picture], dim=1)
        return pixels, torch.cat([values.flatten(2) for values in kernels], dim=2).transpose(1, 2)


def _resize(features: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(features, tuple(size), mode="bilinear", align_corners=False)


def ellipses_in_boxes(kernels: Tensor, boxes: Tensor, canvas: tuple[int, int]) -> Tensor:
    """
    Convert ellipses relative to boxes to ellipses on the canvas.

    Args:
        kernels: (…, C + NUM_SHAPE), relative.
        boxes: (…, 4) XYXY in canvas pixels.
        canvas: (H, W) in pixels.

    Returns:
        (…, C + NUM_SHAPE), the same kernels with ellipses on a canvas from -1 to 1.
    """
    sides = boxes.new_tensor([canvas[1], canvas[0]])
    half = ((boxes[..., 2:] - boxes[..., :2]) / 2).clamp(min=SMALLEST_HALF_AXIS) * (2 / sides)
    middle = (boxes[..., :2] + boxes[..., 2:]) / sides - 1
    rest, offset, scale = kernels.split([kernels.shape[-1] - 4, 2, 2], dim=-1)
    log_axes = half.log() + scale.clamp(-LARGEST_LOG_SCALE, LARGEST_LOG_SCALE)
    return torch.cat([rest, middle + offset * half, log_axes], dim=-1)


class NanoDetMasksDetector(Detector):
    """NanoDet with a mask head; see the module docstring."""

    config: NanoDetMasksConfig
    base_model_prefix = "mask_detector"  # what is called `detector` inside is another model, and no part of this one
    _no_split_modules = ["ShuffleBlock"]
    exportable = True

    def __init__(self, config: NanoDetMasksConfig):
        super().__init__(config)
        self.detector = NanoDetDetector(config.detector)
        self.head = MaskHead(config.detector.trunk.neck_channels + len(config.class_names) + 4, config)
        self.post_init()
        self.freeze_parts()

    def freeze_parts(self) -> None:
        """Freeze NanoDet according to the config; loading a checkpoint calls this again."""
        self.detector.requires_grad_(not self.config.freeze_detector)

    @property
    def source(self) -> NanoDetDetector:
        """NanoDet, whose output `propose` accepts."""
        return self.detector

    @can_return_tuple
    def forward(
        self, pixel_values: Tensor, detected: NanoDetOutput | None = None, **kwargs: Any
    ) -> NanoDetMasksOutput:
        """
        Args:
            pixel_values: (I, 3, H, W) RGB, ImageNet-normalised; H and W multiples of 32.
            detected: the output of NanoDet for these canvases, if it has been computed already.

        Raises:
            ValueError: a side is not a multiple of 32.
        """
        if detected is None:
            with torch.set_grad_enabled(torch.is_grad_enabled() and not self.config.freeze_detector):
                detected = cast(NanoDetOutput, self.detector(pixel_values.to(self.detector.dtype)))
        # NanoDet may be shared with a model in another dtype than the head's.
        head_type = self.head.mask_output.weight.dtype
        levels = self.config.detector.trunk.strides
        grids = detected.grids[: len(levels)]
        canvas = canvas_of(pixel_values)
        first_size = (grids[0][0] * levels[0], grids[0][1] * levels[0])
        count = sum(rows * cols for rows, cols in grids)
        logits, distances = detected.class_logits[:, :count], detected.distances[:, :count]
        points = detected.points[:count]
        scale = distances.new_tensor([canvas[1] / first_size[1], canvas[0] / first_size[0]])
        strides = strides_of_points(self.config.detector, grids, distances.device).to(distances.dtype)[:, None] * scale
        predicted = torch.cat([logits * CLASS_LOGIT_SCALE, distances / strides.repeat(1, 2)], dim=-1)
        # Channels are moved last of all: a map of one picture would lose its channels-last memory by another order.
        maps = [
            torch.cat([features.to(head_type), part.unflatten(1, grid).movedim(-1, 1).to(head_type)], dim=1)
            for features, part, grid in zip(
                detected.feature_maps,
                predicted.split([rows * cols for rows, cols in grids], dim=1),
                grids,
                strict=True,
            )
        ]
        picture = pixel_values if detected.picture is None else detected.picture
        picture = picture.to(head_type)
        features, kernels = self.head(maps, picture)
        boxes = boxes_from_distances(points, distances.float(), canvas)
        kernels = ellipses_in_boxes(kernels.float(), boxes, canvas)
        output = NanoDetMasksOutput(features.float(), kernels, boxes, detected.scores[:, :count], points, grids)
        if self.config.refiner_widths:
            cells = boxes.new_tensor([features.shape[-1] / canvas[1], features.shape[-2] / canvas[0]])
            output.details, output.picture = self.head.details(features).float(), picture.float()
            output.regions = enlarged(boxes * cells.repeat(2))
            output.refiner = self.head.refiner.vector().float()
        return output

    @torch.no_grad()
    def propose(
        self, pixel_values: Tensor, pixel_mask: Tensor | None = None, output: NanoDetOutput | None = None
    ) -> Proposals:
        """
        The box, mask (computed on request) and best class of every point, with the class probability as quality.

        Args:
            pixel_values: (I, 3, H, W) RGB, ImageNet-normalised; H and W multiples of 32.
            pixel_mask: unused.
            output: the output of NanoDet for these canvases, if it has been computed already.
        """
        predicted: NanoDetMasksOutput = self(pixel_values, detected=output)
        quality, labels = predicted.scores.max(-1)
        return Proposals(
            **places_of(self.config.detector, predicted.grids, predicted.points, quality.shape[0]),
            canvas=canvas_of(pixel_values),
            quality=quality,
            boxes=predicted.boxes,
            masks=self._masks(predicted),
            labels=labels,
        )

    def _masks(self, predicted: NanoDetMasksOutput) -> DynamicMasks:
        if predicted.refiner is None:
            return DynamicMasks(predicted.features, predicted.kernels)
        names = "features", "kernels", "details", "picture", "regions", "refiner"
        others = {name: predicted[name] for name in names}
        return RefinedMasks(form=self.config.refiner_form, **others)


__all__ = ["NanoDetMasksConfig", "NanoDetMasksDetector", "NanoDetMasksOutput"]
