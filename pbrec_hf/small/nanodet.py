"""NanoDet-m: a light one-stage detector that proposes a box at every point of three grids (strides 8, 16, 32).

One head per stride on the maps of `NanoDetBackbone`: class logits, and for each side of the box a distribution over
`num_bins` distances (generalised focal loss, arXiv 2006.04388) whose mean, times the stride, is the distance of the
side from the point. Points are the cell centres. It expects letterboxed, ImageNet-normalised canvases whose sides are
multiples of 32, of any size. `forward` lets gradients through; `propose` and `detect` do not.

Notable features:
- `scales`: the canvas may be looked at in several sizes. Each proposes on grids of its own, and all proposals compete:
  large objects are seen best on a small canvas, small ones on a large one.
- `mirrored`: a second look at each, at the mirror image; what both say is meant (`mean_of_looks`), so that the mirror
  image of a picture gets the mirrored detections.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import batched_nms, nms
from transformers import PreTrainedConfig
from transformers import initialization as init
from transformers.configuration_utils import SubConfigSpec
from transformers.utils import ModelOutput
from transformers.utils.generic import can_return_tuple

from ..detectors.base import Detector, DetectorConfig, require_multiple
from ..geometry.boxes import boxes_from_distances
from ..geometry.points import grid_points
from ..geometry.proposals import Proposals
from ..layers.initialization import PRIOR_BIAS, normal, starting
from .nanodet_trunk import STAGE_NAMES, STRIDES, ConvAct, NanoDetBackbone, NanoDetTrunkConfig

MAX_SCALES = 8


@strict
class NanoDetConfig(DetectorConfig):
    """Sizes of the detector and the settings of its own non-maximum suppression.

    Args:
        trunk_config: the trunk; all its three maps are used.
        tower_depth: depthwise-separable convolutions in each head.
        num_bins: distances 0 … num_bins-1 (in strides) over which a side is distributed.
        candidate_nms_iou: a proposal that overlaps a better one by more is no candidate; None: no candidates at all.
        candidate_nms_class_agnostic: whether proposals of other classes suppress, too.
        candidate_min_quality: proposals below this quality are no candidates.
        scales: sizes in which to look at a canvas, in its own, rounded so that both sides are multiples of 32. The
            first one's maps are the detector's. While the detector is trained, it looks at the canvas as it is.
        mirrored: whether to answer, unless the detector itself is being trained, with the mean of a look at the
            picture and one at its mirror image. Twice the time.
        id2label: the classes, by default COCO's 80.
    """

    model_type = "pbrec_nanodet"
    sub_configs_defaults = {"trunk_config": SubConfigSpec(config_class=NanoDetTrunkConfig)}

    trunk_config: dict | PreTrainedConfig | None = None
    tower_depth: int = 2
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

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        self.trunk_config.out_features = list(STAGE_NAMES)

    def validate_architecture(self):
        self.check_limits()
        if self.candidate_nms_iou is not None and not 0 <= self.candidate_nms_iou <= 1:
            raise ValueError(f"candidate_nms_iou={self.candidate_nms_iou}: give None or a number from 0 to 1.")
        if not 1 <= len(self.scales) <= MAX_SCALES:
            raise ValueError(f"scales={self.scales} has {len(self.scales)} entries: give 1 to {MAX_SCALES} numbers.")


@dataclass
class NanoDetOutput(ModelOutput):
    """What the heads say at the N points of the three grids of each scale, scale after scale.

    Args:
        class_logits: (I, N, classes).
        scores: float32 (I, N, classes), class probabilities: of the logits, or the mean of two looks.
        distances: (I, N, 4) from the point to left, top, right, bottom, in canvas pixels.
        distance_logits: (I, N, 4, num_bins), the distributions whose means are the distances; None for the mean of two
            looks, and for several scales.
        points: (N, 2) XY in canvas pixels.
        grids: (rows, cols) of every grid.
        feature_maps: the trunk's maps of the first scale, (I, C, rows, cols) of its grids, strides 8, 16, 32.
    """

    class_logits: Tensor | None = None
    scores: Tensor | None = None
    distances: Tensor | None = None
    distance_logits: Tensor | None = None
    points: Tensor | None = None
    grids: tuple[tuple[int, int], ...] | None = None
    feature_maps: tuple[Tensor, ...] | None = None


class NanoDetHead(nn.Module):
    """The head of one stride: depthwise-separable convolutions, then one 1×1 convolution for classes and distances."""

    def __init__(self, channels: int, num_labels: int, num_bins: int, depth: int, negative_slope: float):
        super().__init__()
        self.tower = nn.Sequential()
        for index in range(depth):
            self.tower.add_module(f"depthwise{index}", ConvAct(channels, channels, 3, negative_slope, groups=channels))
            self.tower.add_module(f"pointwise{index}", ConvAct(channels, channels, 1, negative_slope))
        output = nn.Conv2d(channels, num_labels + 4 * num_bins, 1)
        self.output = starting(output, weight=normal(0.01), bias=partial(_rare_classes, num_labels=num_labels))

    def forward(self, features: Tensor) -> Tensor:
        """(I, C, h, w) -> (I, h·w, num_labels + 4 · num_bins)."""
        return self.output(self.tower(features)).flatten(2).transpose(1, 2)


def _rare_classes(bias: Tensor, num_labels: int) -> None:
    """Focal losses start from "nearly everything is background"; the distances start from 0."""
    values = torch.zeros_like(bias)
    PRIOR_BIAS(values[:num_labels])
    init.copy_(bias, values)


class NanoDetDetector(Detector):
    """The detector; see the module's text for what it expects."""

    config: NanoDetConfig
    _no_split_modules = ["ShuffleBlock"]

    def __init__(self, config: NanoDetConfig):
        super().__init__(config)
        trunk = config.trunk_config
        self.trunk = NanoDetBackbone(trunk)
        self.heads = nn.ModuleDict(
            {
                name: NanoDetHead(
                    trunk.neck_channels, config.num_labels, config.num_bins, config.tower_depth, trunk.negative_slope
                )
                for name in STAGE_NAMES
            }
        )
        self.post_init()

    @can_return_tuple
    def forward(self, pixel_values: Tensor, **kwargs) -> NanoDetOutput:
        """
        Args:
            pixel_values: (I, 3, H, W) RGB, ImageNet-normalised; H and W multiples of 32.
        """
        if self._trains():
            return self._look(pixel_values)
        return joined_scales([self._at(pixel_values, scale) for scale in self.config.scales])

    def _trains(self) -> bool:
        return self.training and any(parameter.requires_grad for parameter in self.parameters())

    def _at(self, pixel_values: Tensor, scale: float) -> NanoDetOutput:
        """What is seen on the canvas in another size, in pixels of the canvas itself."""
        canvas = tuple(pixel_values.shape[-2:])
        require_multiple(canvas, STRIDES[-1])
        size = tuple(max(1, round(side * scale / STRIDES[-1])) * STRIDES[-1] for side in canvas)
        if size != canvas:
            # Without smoothing, as NanoDet's training pictures were shrunk.
            pixel_values = F.interpolate(pixel_values, size, mode="bilinear", align_corners=False)
        output = self._look(pixel_values)
        if self.config.mirrored:
            output = mean_of_looks(output, mirrored_look(self._look(pixel_values.flip(-1))))
        if size != canvas:
            factors = output.points.new_tensor([canvas[1] / size[1], canvas[0] / size[0]])
            output.points = output.points * factors
            output.distances = output.distances * factors.repeat(2).to(output.distances.dtype)
        return output

    def _look(self, pixel_values: Tensor) -> NanoDetOutput:
        feature_maps = self.trunk(pixel_values).feature_maps
        grids = tuple((features.shape[-2], features.shape[-1]) for features in feature_maps)
        values = [head(features) for head, features in zip(self.heads.values(), feature_maps, strict=True)]
        strides = torch.cat([value.new_full((value.shape[1],), s) for value, s in zip(values, STRIDES, strict=True)])
        class_logits, distance_logits = torch.cat(values, dim=1).split(
            [self.config.num_labels, 4 * self.config.num_bins], dim=-1
        )
        distance_logits = distance_logits.unflatten(-1, (4, self.config.num_bins))
        bins = torch.arange(self.config.num_bins, dtype=distance_logits.dtype, device=distance_logits.device)
        device = pixel_values.device
        points = torch.cat([grid_points(*grid, s, device=device) for grid, s in zip(grids, STRIDES, strict=True)])
        return NanoDetOutput(
            class_logits=class_logits,
            scores=class_logits.detach().float().sigmoid(),
            distances=(distance_logits.softmax(-1) @ bins) * strides[:, None],
            distance_logits=distance_logits,
            points=points,
            grids=grids,
            feature_maps=feature_maps,
        )

    @torch.no_grad()
    def propose(
        self, pixel_values: Tensor, pixel_mask: Tensor | None = None, output: NanoDetOutput | None = None
    ) -> Proposals:
        """Boxes of all points, their best class and, as quality, its probability.

        Args:
            pixel_values: (I, 3, H, W) RGB, ImageNet-normalised; H and W multiples of 32.
            pixel_mask: (I, H, W), 1 = picture. Points in the padding are no candidates and suppress none.
            output: of this detector for these canvases, if it has run already.
        """
        outputs, boxes = self._output_and_boxes(pixel_values, output)
        quality, labels = outputs.scores.max(-1)
        candidates = None
        if self.config.candidate_nms_iou is not None:
            eligible = quality >= self.config.candidate_min_quality
            if pixel_mask is not None:
                column, row = outputs.points.long().unbind(-1)
                eligible &= pixel_mask[:, row, column].bool()
            candidates = torch.stack(
                [self._survivors(*image) for image in zip(boxes, quality, labels, eligible, strict=True)]
            )
        canvas = tuple(pixel_values.shape[-2:])
        return Proposals(outputs.grids, canvas, quality=quality, boxes=boxes, candidates=candidates, labels=labels)

    @torch.no_grad()
    def detect(
        self, pixel_values: Tensor, min_score: float = 0.05, nms_iou: float = 0.6, max_detections: int = 100
    ) -> list[dict[str, Tensor]]:
        """Ordinary detections, best first: {"scores" (n,), "labels" (n,), "boxes" (n, 4) XYXY canvas px} per image.

        A point may be detected as several classes; suppression is within a class.
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
        boxes = boxes_from_distances(outputs.points, outputs.distances.float(), tuple(pixel_values.shape[-2:]))
        return outputs, boxes

    def _survivors(self, boxes: Tensor, quality: Tensor, labels: Tensor, eligible: Tensor) -> Tensor:
        """(N,) bool: the eligible points of one image that non-maximum suppression leaves."""
        index = eligible.nonzero().squeeze(1)
        if self.config.candidate_nms_class_agnostic:
            keep = nms(boxes[index], quality[index], self.config.candidate_nms_iou)
        else:
            keep = batched_nms(boxes[index], quality[index], labels[index], self.config.candidate_nms_iou)
        survivors = torch.zeros_like(eligible)
        survivors[index[keep]] = True
        return survivors


def mirrored_look(output: NanoDetOutput) -> NanoDetOutput:
    """What the heads say of the mirror image of what they saw: points change places, left and right distances too."""

    def turned(values: Tensor) -> Tensor:
        levels = values.split([rows * cols for rows, cols in output.grids], dim=1)
        levels = [
            level.unflatten(1, grid).flip(2).flatten(1, 2) for level, grid in zip(levels, output.grids, strict=True)
        ]
        return torch.cat(levels, dim=1)

    return NanoDetOutput(
        class_logits=turned(output.class_logits),
        scores=turned(output.scores),
        distances=turned(output.distances)[:, :, [2, 1, 0, 3]],
        points=output.points,
        grids=output.grids,
        feature_maps=tuple(features.flip(-1) for features in output.feature_maps),
    )


def mean_of_looks(one: NanoDetOutput, other: NanoDetOutput) -> NanoDetOutput:
    """
    The mean of two looks at the same points: of class probabilities, of features, and of distances, where each look
    counts as much as it is sure of its best class.
    """
    sure = torch.stack([look.scores.amax(-1, keepdim=True) for look in (one, other)])
    first, second = (sure / sure.sum(0).clamp(min=torch.finfo(sure.dtype).tiny)).to(one.distances.dtype)
    scores = (one.scores + other.scores) / 2
    return NanoDetOutput(
        class_logits=scores.logit(eps=torch.finfo(scores.dtype).eps).to(one.class_logits.dtype),
        scores=scores,
        distances=first * one.distances + second * other.distances,
        points=one.points,
        grids=one.grids,
        feature_maps=tuple((a + b) / 2 for a, b in zip(one.feature_maps, other.feature_maps, strict=True)),
    )


def joined_scales(outputs: Sequence[NanoDetOutput]) -> NanoDetOutput:
    """The proposals of all scales, one after the other; the maps of the first."""
    if len(outputs) == 1:
        return outputs[0]
    return NanoDetOutput(
        class_logits=torch.cat([output.class_logits for output in outputs], dim=1),
        scores=torch.cat([output.scores for output in outputs], dim=1),
        distances=torch.cat([output.distances for output in outputs], dim=1),
        points=torch.cat([output.points for output in outputs]),
        grids=tuple(grid for output in outputs for grid in output.grids),
        feature_maps=outputs[0].feature_maps,
    )


__all__ = ["NanoDetConfig", "NanoDetDetector", "NanoDetOutput", "joined_scales", "mean_of_looks", "mirrored_look"]
