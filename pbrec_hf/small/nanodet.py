"""NanoDet and NanoDet-Plus: light one-stage detectors that propose a box at every point of three or four grids.

One head per stride on the maps of `NanoDetBackbone` predicts class logits and, for each side of the box, a
distribution over `num_bins` distances (generalised focal loss, arXiv 2006.04388), whose mean times the stride is the
distance from the point to the side. NanoDet's points are the centres of the cells, those of NanoDet-Plus their
top-left corners. Expects letterboxed, ImageNet-normalised canvases whose sides are multiples of 32. `forward` is
differentiable; `propose` and `detect` run without gradients.

Notable features:

- `scales`: multi-scale inference. The canvas is processed at several sizes, each with its own grids, and all proposals
  compete: large objects are detected best on a small canvas, small objects on a large one.
- `mirrored`: test-time flip. The canvas and its mirror image are processed, and both outputs are averaged
  (`average_outputs`), so that the detections of a mirrored picture are the mirrored detections.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar, cast

import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import batched_nms, nms
from transformers import PreTrainedConfig
from transformers import initialization as init
from transformers.configuration_utils import SubConfigSpec
from transformers.utils.generic import can_return_tuple

from ..detectors.base import Detector, DetectorConfig, require_multiple
from ..geometry.boxes import boxes_from_distances
from ..geometry.letterbox import canvas_of
from ..geometry.points import grid_points
from ..geometry.proposals import Proposals
from ..geometry.suppression import MOST_RIVALS, best_points, survivors
from ..layers.initialization import PRIOR_BIAS, normal, starting
from .nanodet_outputs import NanoDetOutput, average_outputs, concatenate_scales, flip_output
from .nanodet_trunk import CANVAS_MULTIPLE, NanoDetBackbone, NanoDetTrunkConfig
from .shufflenet import ConvAct

MAX_SCALES = 8
POINTS = ("center", "corner")


@strict
class NanoDetConfig(DetectorConfig):
    """
    Architecture of the detector, settings of its non-maximum suppression, and test-time augmentation.

    The defaults are those of NanoDet-m. NanoDet-Plus has tower_kernel=5, points="corner" and a trunk with a Ghost-PAN.

    Args:
        trunk_config: of the trunk, all of whose maps are used.
        tower_depth: number of depthwise-separable convolutions in each head.
        tower_kernel: side of their depthwise kernels, 3 or 5.
        points: where distances are measured from: the "center" or the top-left "corner" of each cell.
        num_bins: length of the distribution of a side's distance, over 0 … num_bins - 1 strides.
        candidate_nms_iou: a proposal that overlaps a better one by more is not a candidate; None = no candidates.
        candidate_nms_class_agnostic: whether proposals are also suppressed by those of other classes.
        candidate_min_quality: proposals below this quality are not candidates.
        scales: sizes at which the canvas is processed, relative to its own and rounded so that both sides are
            multiples of 32. `feature_maps` are those of the first scale. Ignored while the detector is being trained.
        mirrored: whether to average the outputs for the canvas and its mirror image, at twice the time; points
            between those of both (`average_outputs`). Ignored while the detector is being trained.
        id2label: the classes, by default the 80 of COCO.
    """

    model_type = "pbrec_nanodet"
    sub_configs_defaults = {"trunk_config": SubConfigSpec(config_class=NanoDetTrunkConfig)}

    trunk_config: dict[str, Any] | PreTrainedConfig | None = None
    tower_depth: int = 2
    tower_kernel: int = 3
    points: str = "center"
    num_bins: int = 8
    candidate_nms_iou: float | int | None = 0.6
    candidate_nms_class_agnostic: bool = False
    candidate_min_quality: float | int = 0.05
    scales: list[float | int] | tuple[float | int, ...] = (1.0,)
    mirrored: bool = False

    limits: ClassVar = {
        "tower_depth": (1, 16),
        "num_bins": (2, 64),
        "candidate_min_quality": (0, 1),
        "scales": (0.1, 4),
    }

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        self.trunk.out_features = list(self.trunk.stage_names)

    @property
    def trunk(self) -> NanoDetTrunkConfig:
        """`trunk_config` as the config object that it is after construction."""
        return cast(NanoDetTrunkConfig, self.trunk_config)

    def validate_architecture(self) -> None:
        """
        Check the fields; transformers calls it after construction.

        Raises:
            ValueError: a field is out of range.
        """
        self.check_limits()
        self.check_choice("tower_kernel", (3, 5))
        self.check_choice("points", POINTS)
        if self.candidate_nms_iou is not None and not 0 <= self.candidate_nms_iou <= 1:
            raise ValueError(f"candidate_nms_iou={self.candidate_nms_iou}: give None or a number from 0 to 1.")
        if not 1 <= len(self.scales) <= MAX_SCALES:
            raise ValueError(f"scales={self.scales} has {len(self.scales)} entries: give 1 to {MAX_SCALES} numbers.")


class NanoDetHead(nn.Module):
    """Head of one stride: depthwise-separable convolutions, then a 1×1 convolution for classes and distances."""

    def __init__(self, config: NanoDetConfig):
        super().__init__()
        channels, slope = config.trunk.neck_channels, config.trunk.negative_slope
        num_labels = len(config.class_names)
        self.tower = nn.Sequential()
        for index in range(config.tower_depth):
            depthwise = ConvAct(channels, channels, config.tower_kernel, slope, groups=channels)
            self.tower.add_module(f"depthwise{index}", depthwise)
            self.tower.add_module(f"pointwise{index}", ConvAct(channels, channels, 1, slope))
        output = nn.Conv2d(channels, num_labels + 4 * config.num_bins, 1)
        self.output = starting(output, weight=normal(0.01), bias=partial(_init_bias, num_labels=num_labels))

    def forward(self, features: Tensor) -> Tensor:
        """(I, C, h, w) -> (I, h·w, num_labels + 4 · num_bins)."""
        return self.output(self.tower(features)).flatten(2).transpose(1, 2)


def _init_bias(bias: Tensor, num_labels: int) -> None:
    """Initialise the class part of an output's bias with the prior of focal losses, and the distances with 0."""
    values = torch.zeros_like(bias)
    PRIOR_BIAS(values[:num_labels])
    init.copy_(bias, values)


class NanoDetDetector(Detector):
    """NanoDet; see the module docstring."""

    config: NanoDetConfig
    _no_split_modules = ["ShuffleBlock"]
    exportable = True

    def __init__(self, config: NanoDetConfig):
        super().__init__(config)
        self.num_classes = len(config.class_names)
        self.trunk = NanoDetBackbone(config.trunk)
        self.heads = nn.ModuleDict({name: NanoDetHead(config) for name in config.trunk.stage_names})
        self.post_init()

    @can_return_tuple
    def forward(self, pixel_values: Tensor, **kwargs: Any) -> NanoDetOutput:
        """
        Args:
            pixel_values: (I, 3, H, W) RGB, ImageNet-normalised; H and W multiples of 32.

        Raises:
            ValueError: a side is not a multiple of 32.
        """
        if self._is_being_trained():
            return self._forward_once(pixel_values)
        return concatenate_scales([self._forward_at(pixel_values, scale) for scale in self.config.scales])

    def _is_being_trained(self) -> bool:
        """Training mode does not suffice: a frozen detector inside a model in training augments as in evaluation."""
        return self.training and any(parameter.requires_grad for parameter in self.parameters())

    def _forward_at(self, pixel_values: Tensor, scale: float) -> NanoDetOutput:
        """The output for the canvas at a relative size, with points and distances in pixels of the original canvas."""
        canvas = require_multiple(pixel_values.shape, CANVAS_MULTIPLE)
        height, width = (max(1, round(side * scale / CANVAS_MULTIPLE)) * CANVAS_MULTIPLE for side in canvas)
        size = (height, width)
        if size != canvas:
            # Channels-last is resized in half of the time, and the layout that convolutions want.
            pixel_values = pixel_values.contiguous(memory_format=torch.channels_last)
            # Without antialiasing, like the resizing of NanoDet's training pictures.
            pixel_values = F.interpolate(pixel_values, size, mode="bilinear", align_corners=False)
        output = self._forward_once(pixel_values)
        if self.config.mirrored:
            output = average_outputs(output, flip_output(self._forward_once(pixel_values.flip(-1)), width))
        if size != canvas:
            output.picture = pixel_values
            factors = output.points.new_tensor([canvas[1] / size[1], canvas[0] / size[0]])
            output.points = output.points * factors
            output.distances = output.distances * factors.repeat(2).to(output.distances.dtype)
        return output

    def _forward_once(self, pixel_values: Tensor) -> NanoDetOutput:
        """The output for one canvas size, without test-time augmentation."""
        feature_maps: tuple[Tensor, ...] = self.trunk(pixel_values).feature_maps
        grids = tuple((features.shape[-2], features.shape[-1]) for features in feature_maps)
        values = [head(features) for head, features in zip(self.heads.values(), feature_maps, strict=True)]
        strides = strides_of_points(self.config, grids, pixel_values.device).to(values[0].dtype)
        sizes = [self.num_classes, 4 * self.config.num_bins]
        levels = zip(*(level.split(sizes, dim=-1) for level in values), strict=True)
        class_logits, distance_logits = (torch.cat(level, dim=1) for level in levels)
        distance_logits = distance_logits.unflatten(-1, (4, self.config.num_bins))
        return NanoDetOutput(
            class_logits=class_logits,
            scores=class_logits.detach().float().sigmoid(),
            distances=_means(distance_logits) * strides[:, None],
            distance_logits=distance_logits,
            points=self._points(grids, pixel_values.device),
            grids=grids,
            feature_maps=feature_maps,
        )

    def _points(self, grids: Sequence[tuple[int, int]], device: torch.device) -> Tensor:
        """(N, 2) XY in pixels of the canvas that is processed."""
        offset = 0.0 if self.config.points == "center" else 0.5
        levels = zip(grids, self.config.trunk.strides, strict=True)
        return torch.cat([grid_points(*grid, s, device=device) - offset * s for grid, s in levels])

    @torch.no_grad()
    def propose(
        self, pixel_values: Tensor, pixel_mask: Tensor | None = None, output: NanoDetOutput | None = None
    ) -> Proposals:
        """
        The box and the best class of every point, with the probability of the class as quality.

        Args:
            pixel_values: (I, 3, H, W) RGB, ImageNet-normalised; H and W multiples of 32.
            pixel_mask: (I, H, W), 1 = picture, 0 = padding; None = no padding. Points in the padding are not
                candidates and suppress no others.
            output: the output of this detector for these canvases, if it has been computed already.
        """
        outputs, boxes = self._output_and_boxes(pixel_values, output)
        quality, labels = outputs.scores.max(-1)
        candidates = None
        if self.config.candidate_nms_iou is not None:
            eligible = quality >= self.config.candidate_min_quality
            if pixel_mask is not None:
                height, width = pixel_mask.shape[-2:]
                column, row = outputs.points.long().unbind(-1)
                eligible &= pixel_mask[:, row.clamp(max=height - 1), column.clamp(max=width - 1)].bool()
            if torch.compiler.is_compiling():
                candidates = self._survivors_of_fixed_size(boxes, quality, labels, eligible)
            else:
                images = zip(boxes, quality, labels, eligible, strict=True)
                candidates = torch.stack([self._survivors(*image) for image in images])
        return Proposals(
            **places_of(self.config, outputs.grids, outputs.points, boxes.shape[0]),
            canvas=canvas_of(pixel_values),
            quality=quality,
            boxes=boxes,
            candidates=candidates,
            labels=labels,
        )

    @torch.no_grad()
    def detect(
        self, pixel_values: Tensor, min_score: float = 0.05, nms_iou: float = 0.6, max_detections: int = 100
    ) -> list[dict[str, Tensor]]:
        """
        Ordinary object detection. A point may be detected as several classes; suppression is within a class.

        Args:
            pixel_values: (I, 3, H, W) RGB, ImageNet-normalised; H and W multiples of 32.
            min_score: class probability above which a point is a detection.
            nms_iou: a detection that overlaps a better one of its class by more is suppressed.
            max_detections: largest number of detections per canvas.

        Returns:
            Per canvas "scores" (n,), descending, "labels" int64 (n,) and "boxes" (n, 4) XYXY in canvas pixels.
        """
        outputs, boxes = self._output_and_boxes(pixel_values)
        detections = []
        for image_scores, image_boxes in zip(outputs.scores, boxes, strict=True):
            point, label = (image_scores > min_score).nonzero(as_tuple=True)
            score, box = image_scores[point, label], image_boxes[point]
            keep = batched_nms(box, score, label, nms_iou)[:max_detections]
            detections.append({"scores": score[keep], "labels": label[keep], "boxes": box[keep]})
        return detections

    def _output_and_boxes(
        self, pixel_values: Tensor, output: NanoDetOutput | None = None
    ) -> tuple[NanoDetOutput, Tensor]:
        outputs = self(pixel_values.to(self.dtype)) if output is None else output
        boxes = boxes_from_distances(outputs.points, outputs.distances.float(), canvas_of(pixel_values))
        return outputs, boxes

    def _survivors(self, boxes: Tensor, quality: Tensor, labels: Tensor, eligible: Tensor) -> Tensor:
        """bool (N,), the eligible points of one canvas that survive non-maximum suppression."""
        index = eligible.nonzero().squeeze(1)
        if self.config.candidate_nms_class_agnostic:
            keep = nms(boxes[index], quality[index], self.config.candidate_nms_iou)
        else:
            keep = batched_nms(boxes[index], quality[index], labels[index], self.config.candidate_nms_iou)
        survivors = torch.zeros_like(eligible)
        survivors[index[keep]] = True
        return survivors

    def _survivors_of_fixed_size(self, boxes: Tensor, quality: Tensor, labels: Tensor, eligible: Tensor) -> Tensor:
        """The same for I canvases in a graph, whose shapes cannot depend on a picture: bool (I, N)."""
        best = best_points(quality * eligible, MOST_RIVALS)
        kinds = None if self.config.candidate_nms_class_agnostic else labels.gather(1, best)
        iou = cast(float, self.config.candidate_nms_iou)
        placed = boxes.gather(1, best[..., None].expand(-1, -1, 4))
        kept = survivors(placed, eligible.gather(1, best), iou, kinds)
        return torch.zeros_like(eligible).scatter(1, best, kept)


def _means(logits: Tensor) -> Tensor:
    """Means (…) of the distributions over 0, 1 … whose logits (…, num_bins) are given."""
    # A softmax over a short last dimension runs row by row, over the first one in vectors: ten times as fast.
    probabilities = logits.movedim(-1, 0).contiguous().softmax(0)
    bins = torch.arange(len(probabilities), dtype=logits.dtype, device=logits.device)
    return torch.tensordot(bins, probabilities, dims=1)


def places_of(
    config: NanoDetConfig, grids: tuple[tuple[int, int], ...], points: Tensor, images: int
) -> dict[str, Any]:
    """
    Where proposals stand, as fields of `Proposals`: on grids if every point is the centre of its cell, else at points.

    Args:
        config: of the detector.
        grids: (rows, cols) of every grid.
        points: (N, 2) XY in canvas pixels.
        images: I.
    """
    strides = config.trunk.strides
    # A canvas that is no multiple of the coarsest stride ends within a cell.
    sizes = [(rows * s, cols * s) for (rows, cols), s in zip(grids, strides * len(grids), strict=False)]
    whole = all(size == sizes[index - index % len(strides)] for index, size in enumerate(sizes))
    if config.points == "center" and whole:
        return {"grids": grids}
    return {"grids": (), "points": points.float().repeat(images, 1, 1)}


def strides_of_points(config: NanoDetConfig, grids: Sequence[tuple[int, int]], device: torch.device) -> Tensor:
    """Strides (N,) float32 of the points of one scale, in pixels of the canvas that is processed."""
    levels = zip(grids, config.trunk.strides, strict=True)
    return torch.cat([torch.full((rows * cols,), float(s), device=device) for (rows, cols), s in levels])


__all__ = ["NanoDetConfig", "NanoDetDetector", "places_of", "strides_of_points"]
