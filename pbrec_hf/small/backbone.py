"""Feature map with named channels, so that words can be aligned with NanoDet's detections.

One map of stride 16 or 32 concatenates the neck's features, NanoDet's class probabilities, the colour names of the
pixels, and the description of the object at each point (`objects.py`); `channel_names` names every channel. Expects
letterboxed, ImageNet-normalised canvases whose sides are multiples of 32. Gradients reach the neck's features only.
Knows nothing of expressions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import box_iou, nms
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.backbone_utils import BackboneConfigMixin, BackboneMixin
from transformers.configuration_utils import SubConfigSpec
from transformers.modeling_outputs import BackboneOutput
from transformers.utils.generic import can_return_tuple

from ..geometry.boxes import boxes_from_distances
from ..geometry.letterbox import canvas_of
from ..geometry.points import grid_points
from .colors import COLOR_NAMES
from .maps import COLOR_CELL, classes_on, picture_colors
from .nanodet import NanoDetConfig, NanoDetDetector
from .nanodet_outputs import NanoDetOutput
from .objects import SHAPE, describe_objects, object_channel_names, part_colors, place_objects, visible
from .postures import POSTURES, PostureHead
from .slots import find_in_slots, place_in_slots

Described = list[tuple[Tensor, Tensor]] | tuple[Tensor, Tensor]
_MAP_STRIDES = (16, 32)
_PERSON = "person"  # the class whose objects have postures


@strict
class GroundingBackboneConfig(BackboneConfigMixin, PreTrainedConfig):
    """
    The detector inside, the map, and the selection of objects from detections.

    Args:
        detector_config: of NanoDet.
        stride: of the map in canvas pixels, 16 or 32.
        places: each cell is sampled on a places × places sub-grid, and the sample nearest to the centre of an object
            represents the cell, so that small objects between cell centres are kept; 1 = the cell centre.
        min_central: points with a centrality to their object of at most this, in [0, 1], are encoded and scored, but
            masked out of attention; None = all points are attended to.
        min_score: detections with a lower class probability are not objects.
        sure_score: class probability at which an object gets full weight.
        same_object_iou: an object takes the highest class probabilities of all detections that overlap it by more.
        nms_iou: a detection of any class that overlaps a better one by more shows the same object.
        max_objects: largest number of objects per picture, best first.
        postures: whether persons have channels that say if they sit or stand.
    """

    model_type = "pbrec_grounding_nanodet"
    sub_configs_defaults = {"detector_config": SubConfigSpec(config_class=NanoDetConfig)}

    detector_config: dict[str, Any] | PreTrainedConfig | None = None
    stride: int = 32
    places: int = 1
    min_central: float | int | None = None
    min_score: float | int = 0.1
    sure_score: float | int = 0.4
    same_object_iou: float | int = 0.6
    nms_iou: float | int = 0.6
    max_objects: int = 50
    postures: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        kwargs.pop("stage_names", None)
        self.stage_names = [f"stride{self.stride}"]
        self.set_output_features_output_indices(
            out_features=kwargs.pop("out_features", None), out_indices=kwargs.pop("out_indices", None)
        )
        super().__post_init__(**kwargs)

    @property
    def detector(self) -> NanoDetConfig:
        """`detector_config` as the config object that it is after construction."""
        return cast(NanoDetConfig, self.detector_config)

    def validate_architecture(self) -> None:
        """
        Check the fields; transformers calls it after construction.

        Raises:
            ValueError: a field is out of range, or the fields contradict each other.
        """
        if self.stride not in _MAP_STRIDES:
            raise ValueError(f"stride={self.stride} is not supported: give one of {_MAP_STRIDES}.")
        legal = sorted(self.stride // stride for stride in _MAP_STRIDES if stride <= self.stride)
        if self.places not in legal:
            raise ValueError(f"places={self.places} does not fit stride={self.stride}: give one of {legal}.")
        for name in ("min_score", "sure_score", "same_object_iou", "nms_iou"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)} is out of range: give a number in [0, 1].")
        if self.min_central is not None and not 0 <= self.min_central <= 1:
            raise ValueError(f"min_central={self.min_central} is out of range: give None or a number in [0, 1].")
        if self.sure_score <= self.min_score:
            raise ValueError(f"sure_score={self.sure_score} is too low: give more than min_score={self.min_score}.")
        if not 1 <= self.max_objects <= 1000:
            raise ValueError(f"max_objects={self.max_objects} is out of range: give a number from 1 to 1000.")
        if self.postures and _PERSON not in self.class_names:
            raise ValueError(
                f"postures=True needs a class {_PERSON!r}: give a detector of persons, or postures=False."
            )

    @property
    def free_points(self) -> bool:
        """Whether points may differ from the centres of their cells."""
        return self.places > 1

    @property
    def class_names(self) -> list[str]:
        """The class names of the detector, by index."""
        return self.detector.class_names

    @property
    def channel_names(self) -> list[str]:
        """A name for every channel of the map."""
        classes = self.class_names
        names = [f"neck:{index}" for index in range(self.detector.trunk.neck_channels)]
        names += [f"class:{name}" for name in classes] + [f"pixels:{name}" for name in COLOR_NAMES]
        return names + object_channel_names(classes, POSTURES if self.postures else ())


@dataclass
class GroundingBackboneOutput(BackboneOutput):
    """
    A backbone's output with the positions of its points.

    Attributes:
        points: (I, P, 2) XY in canvas pixels, the point that represents each cell of the map, row-major.
        attended: bool (I, P), the points to attend to; None = all.
    """

    points: Tensor = None  # type: ignore[assignment]  # always filled; ModelOutput requires the default
    attended: Tensor | None = None


class GroundingBackbone(BackboneMixin, PreTrainedModel):
    """(I, 3, H, W) canvases -> `feature_maps` with one map (I, channels, H/stride, W/stride)."""

    config: GroundingBackboneConfig
    main_input_name = "pixel_values"
    input_modalities = ["image"]
    base_model_prefix = "grounding"
    has_attentions = False

    def __init__(self, config: GroundingBackboneConfig):
        super().__init__(config)
        self.detector = NanoDetDetector(config.detector)
        trunk = config.detector.trunk
        self.posture_head = PostureHead(trunk.neck_channels, len(trunk.strides)) if config.postures else None
        self.num_features = [len(config.channel_names)]
        self.post_init()
        self.freeze_parts()

    def freeze_parts(self) -> None:
        """Freeze the heads, which run without gradients: DDP would wait for gradients that never come."""
        self.detector.heads.requires_grad_(False)
        if self.posture_head is not None:
            self.posture_head.requires_grad_(False)

    @can_return_tuple
    def forward(
        self,
        pixel_values: Tensor,
        output_hidden_states: bool | None = None,
        detected: NanoDetOutput | None = None,
        **kwargs: Any,
    ) -> GroundingBackboneOutput:
        """
        Args:
            pixel_values: (I, 3, H, W) RGB, ImageNet-normalised; H and W multiples of 32.
            output_hidden_states: whether to return the map as the only hidden state as well; None = as in the config.
            detected: the output of `detector` for these canvases, if it has been computed already.

        Raises:
            ValueError: a side is not a multiple of 32.
        """
        neck, at_points, objects, points = self.describe(pixel_values, detected)
        described = assemble(at_points, objects, (neck.shape[-2], neck.shape[-1]))
        feature_map = torch.cat((neck, described.to(neck.dtype)), dim=1)
        attended = None if self.config.min_central is None else centrality(at_points) > self.config.min_central
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        return GroundingBackboneOutput(
            feature_maps=(feature_map,),
            hidden_states=(feature_map,) if output_hidden_states else None,
            points=points,
            attended=attended,
        )

    def describe(
        self, pixel_values: Tensor, detected: NanoDetOutput | None = None
    ) -> tuple[Tensor, Tensor, Described, Tensor]:
        """
        The parts of the map, before the description of each object is copied to its points: compact enough to store.

        Args:
            pixel_values, detected: as for `forward`.

        Returns:
            neck: (I, C, rows, cols).
            at_points: (I, classes + 11 + 9, P), channels of the points: classes, colours, and shape.
            objects: per picture the descriptions of its objects (n, F), and the object of each point (P,), -1 = none;
                in a graph, whose shapes cannot depend on a picture, both of all pictures together, (I, max_objects, F)
                and (I, P).
            points: (I, P, 2) XY in canvas pixels.
        """
        outputs: NanoDetOutput = self.detector(pixel_values) if detected is None else detected
        stride = self.config.stride // self.config.places
        with torch.no_grad():
            canvas = canvas_of(pixel_values)
            grid = (canvas[0] // stride, canvas[1] // stride)
            corners = self.config.detector.points == "corner"
            classes = visible(classes_on(outputs.scores, outputs.grids, grid, corners))
            colors = picture_colors(pixel_values)
            pixels = F.avg_pool2d(colors, stride // COLOR_CELL)
            points = grid_points(*grid, stride, device=pixel_values.device)
            objects: Described
            if torch.compiler.is_compiling():
                shape, objects = self._describe_in_slots(outputs, colors, points, canvas)
            else:
                shape, objects = self._describe_each(outputs, colors, points, canvas)
            at_points = torch.cat((classes.flatten(2), pixels.flatten(2), shape.transpose(1, 2)), dim=1)
        neck = outputs.feature_maps[self.config.detector.trunk.strides.index(stride)]
        if neck.shape[-2:] != grid:
            neck = F.interpolate(neck, grid, mode="bilinear", align_corners=False)
        if self.config.places == 1:
            return neck, at_points, objects, points.expand(neck.shape[0], -1, -1)
        chosen = most_central(at_points, grid, self.config.places)
        cells = [side // self.config.places for side in grid]
        neck = neck.flatten(2).gather(2, chosen[:, None].expand(-1, neck.shape[1], -1)).unflatten(2, cells)
        at_points = at_points.gather(2, chosen[:, None].expand(-1, at_points.shape[1], -1))
        if isinstance(objects, tuple):
            objects = (objects[0], objects[1].gather(1, chosen))
        else:
            objects = [(described, index[at]) for (described, index), at in zip(objects, chosen, strict=True)]
        return neck, at_points, objects, points[chosen]

    def _describe_each(
        self, outputs: NanoDetOutput, colors: Tensor, points: Tensor, canvas: tuple[int, int]
    ) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """Shape channels (I, P, 9), and the descriptions and points of as many objects as each picture has."""
        stride = self.config.stride // self.config.places
        shapes, objects = [], []
        found = self.find(outputs.scores, outputs.points, outputs.distances, canvas)
        for number, (boxes, probabilities, score) in enumerate(found):
            weight = self.weigh(score)
            index, shape = place_objects(boxes, weight, points, stride, canvas)
            shapes.append(shape)
            parts = part_colors(boxes, colors[number], canvas)
            postures = self.postures(boxes, probabilities, [level[number] for level in outputs.feature_maps], canvas)
            objects.append((describe_objects(boxes, probabilities, weight, parts, canvas, postures), index))
        return torch.stack(shapes), objects

    def _describe_in_slots(
        self, outputs: NanoDetOutput, colors: Tensor, points: Tensor, canvas: tuple[int, int]
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """The same in `max_objects` slots: descriptions (I, S, F) and the object (I, P) of each point, -1 = none."""
        config = self.config
        placed = boxes_from_distances(outputs.points, outputs.distances.float(), canvas)
        settings = (config.max_objects, config.min_score, config.nms_iou, config.same_object_iou)
        boxes, probabilities, score = find_in_slots(outputs.scores, placed, *settings)
        weight = self.weigh(score)
        index, shape = place_in_slots(boxes, weight, points, config.stride // config.places, canvas)
        inside = boxes.clamp(min=0)
        parts = part_colors(inside, colors, canvas)
        postures = self.postures(inside, probabilities, outputs.feature_maps, canvas)
        return shape, (describe_objects(boxes, probabilities, weight, parts, canvas, postures), index)

    @torch.no_grad()
    def find(
        self, scores: Tensor, points: Tensor, distances: Tensor, canvas: tuple[int, int]
    ) -> list[tuple[Tensor, Tensor, Tensor]]:
        """
        Select objects from the detector's predictions.

        Args:
            scores: (I, N, C) class probabilities.
            points: (N, 2) XY in canvas pixels.
            distances: (I, N, 4) to left, top, right, bottom, in canvas pixels.
            canvas: (H, W) in pixels.

        Returns:
            Per picture boxes (n, 4) XYXY in canvas pixels, class probabilities (n, C) and scores (n,), best first.
        """
        boxes = boxes_from_distances(points, distances.float(), canvas)
        return [self._find(*image) for image in zip(scores, boxes, strict=True)]

    @torch.no_grad()
    def postures(
        self, boxes: Tensor, probabilities: Tensor, maps: Sequence[Tensor], canvas: tuple[int, int]
    ) -> Tensor | None:
        """
        How surely each object is a sitting person, and a standing one; None if the config has no postures.

        Args:
            boxes: (…, n, 4) XYXY in canvas pixels.
            probabilities: (…, n, C) of the classes.
            maps: (…, channels, h, w) of the neck, one for each stride.
            canvas: (H, W) in pixels.

        Returns:
            (…, n, 2) in the order of `POSTURES`.
        """
        if self.posture_head is None:
            return None
        person = visible(probabilities[..., self.config.class_names.index(_PERSON), None])
        shares: Tensor = self.posture_head(boxes, maps, canvas)
        return shares * person

    def weigh(self, score: Tensor) -> Tensor:
        """Confidence in [0, 1] that objects with these scores exist: linear from min_score / 2 to sure_score."""
        low = self.config.min_score / 2
        return ((score - low) / (self.config.sure_score - low)).clamp(0, 1)

    def _find(self, scores: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`find` for one picture, from scores (N, C) and boxes (N, 4)."""
        quality = scores.amax(-1)
        index = (quality >= self.config.min_score).nonzero().squeeze(1)
        kept = index[nms(boxes[index], quality[index], self.config.nms_iou)[: self.config.max_objects]]
        if not len(kept):
            return boxes[kept], scores[kept], quality[kept]
        # Each class takes the highest probability of all detections that show the same object.
        likely = (quality >= self.config.min_score / 2).nonzero().squeeze(1)
        same = box_iou(boxes[kept], boxes[likely]) > self.config.same_object_iou
        probabilities = torch.maximum(scores[kept], (scores[likely][None] * same[..., None]).amax(1))
        return boxes[kept], probabilities, quality[kept]


def assemble(at_points: Tensor, objects: Described, grid: tuple[int, int]) -> Tensor:
    """
    Copy the description of each object to its points.

    Args:
        at_points, objects: of `GroundingBackbone.describe`.
        grid: (rows, cols) of the points.

    Returns:
        (I, channels, rows, cols), the map without the neck's channels.
    """
    if isinstance(objects, tuple):
        described, index = objects
        found = described.gather(1, index.clamp(min=0)[..., None].expand(-1, -1, described.shape[2]))
        copied = (found * (index >= 0)[..., None]).transpose(1, 2)
    else:
        padded = [torch.cat((described, described.new_zeros(1, described.shape[1]))) for described, _ in objects]
        copied = torch.stack([all_[index].T for all_, (_, index) in zip(padded, objects, strict=True)])
    first, shape = at_points.split((at_points.shape[1] - len(SHAPE), len(SHAPE)), dim=1)
    return torch.cat((first, copied, shape), dim=1).unflatten(2, tuple(grid))


def centrality(at_points: Tensor) -> Tensor:
    """Closeness of each point to the centre of its object, (I, P) in [0, 1], from `at_points` (I, channels, P)."""
    return at_points[:, SHAPE.index("central") - len(SHAPE)]


def most_central(at_points: Tensor, grid: tuple[int, int], places: int) -> Tensor:
    """
    The point of each cell that is nearest to the centre of an object.

    Args:
        at_points: (I, channels, P) on `grid`.
        grid: (rows, cols) of the points.
        places: points per side of a cell.

    Returns:
        int64 (I, cells), indices into P, row-major.
    """
    rows, cols = grid
    blocks = torch.arange(rows * cols, device=at_points.device).view(rows // places, places, cols // places, places)
    blocks = blocks.transpose(1, 2).reshape(-1, places**2)
    classes = at_points[:, : -len(SHAPE) - len(COLOR_NAMES)]
    # Ties, as where there is no object, go to the highest class probabilities: unlike the order, these are symmetric
    # under mirroring.
    rank = centrality(at_points) + 1e-3 * classes.mean(1)
    best = rank[:, blocks].argmax(-1)
    return blocks.expand(best.shape[0], -1, -1).gather(2, best[..., None]).squeeze(2)


__all__ = [
    "GroundingBackbone",
    "GroundingBackboneConfig",
    "GroundingBackboneOutput",
    "assemble",
    "centrality",
    "most_central",
    "picture_colors",
]
