"""A backbone whose feature map says in named channels what stands at each point: NanoDet's view, in reach of words.

One map of stride 16 or 32 joins the neck's features, NanoDet's class probabilities, the colour names of the pixels,
and the description of the object that the point belongs to (objects_pbrec.py); `channel_names` names every channel.
Expects letterboxed, ImageNet-normalised canvases with sides that are multiples of 32. Gradients reach the neck's
features only. Knows nothing of expressions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import box_iou, nms
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.backbone_utils import BackboneConfigMixin, BackboneMixin
from transformers.configuration_utils import SubConfigSpec
from transformers.modeling_outputs import BackboneOutput
from transformers.utils.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from transformers.utils.generic import can_return_tuple

from ..geometry.boxes import boxes_from_distances
from ..geometry.points import grid_points
from .colors import COLOR_NAMES, color_maps
from .nanodet import NanoDetConfig, NanoDetDetector, NanoDetOutput
from .nanodet_trunk import STRIDES
from .objects import SHAPE, describe_objects, object_channel_names, part_colors, place_objects, visible

_MAP_STRIDES = (16, 32)
_COLOR_CELL = 4  # colours are named in squares of this many pixels


@strict
class GroundingBackboneConfig(BackboneConfigMixin, PreTrainedConfig):
    """Which detections become objects.

    Args:
        detector_config: the NanoDet inside.
        stride: of the map, 16 or 32 canvas pixels.
        places: each cell is looked at from places × places of its places and told from the one that is most central
            to an object, so that a small object is not lost between the middles of cells; 1 = from its middle.
        min_central: points that are no more central to an object than this, in [0, 1], are told of and scored, but
            not attended to; None = every point is.
        min_score: detections below this class probability are no objects.
        sure_score: detections from this class probability on exist without doubt.
        same_object_iou: what is seen in detections that overlap an object by more than this is seen in the object.
        nms_iou: detections that overlap a better one by more than this, of whatever class, are the same object.
        max_objects: the best ones are kept.
    """

    model_type = "pbrec_grounding_nanodet"
    sub_configs_defaults = {"detector_config": SubConfigSpec(config_class=NanoDetConfig)}

    detector_config: dict | PreTrainedConfig | None = None
    stride: int = 32
    places: int = 1
    min_central: float | int | None = None
    min_score: float | int = 0.1
    sure_score: float | int = 0.4
    same_object_iou: float | int = 0.6
    nms_iou: float | int = 0.6
    max_objects: int = 50

    def __post_init__(self, **kwargs):
        kwargs.pop("stage_names", None)
        self.stage_names = [f"stride{self.stride}"]
        self.set_output_features_output_indices(
            out_features=kwargs.pop("out_features", None), out_indices=kwargs.pop("out_indices", None)
        )
        super().__post_init__(**kwargs)

    def validate_architecture(self):
        if self.stride not in _MAP_STRIDES:
            raise ValueError(f"stride={self.stride} is not supported; give one of {_MAP_STRIDES}")
        legal = sorted(self.stride // stride for stride in _MAP_STRIDES if stride <= self.stride)
        if self.places not in legal:
            raise ValueError(f"places={self.places} does not fit stride={self.stride}; give one of {legal}")
        for name in ("min_score", "sure_score", "same_object_iou", "nms_iou"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)} is out of range; give a number in [0, 1]")
        if self.min_central is not None and not 0 <= self.min_central <= 1:
            raise ValueError(f"min_central={self.min_central} is out of range; give None or a number in [0, 1]")
        if self.sure_score <= self.min_score:
            raise ValueError(f"sure_score={self.sure_score} must be above min_score={self.min_score}")
        if not 1 <= self.max_objects <= 1000:
            raise ValueError(f"max_objects={self.max_objects} is out of range; give a number from 1 to 1000")

    @property
    def free_points(self) -> bool:
        """Whether points stand elsewhere than in the middles of their cells."""
        return self.places > 1

    @property
    def class_names(self) -> list[str]:
        """The detector's classes, in order."""
        return [name for _, name in sorted(self.detector_config.id2label.items())]

    @property
    def channel_names(self) -> list[str]:
        """A name for every channel of the map."""
        classes = self.class_names
        names = [f"neck:{index}" for index in range(self.detector_config.trunk_config.neck_channels)]
        names += [f"class:{name}" for name in classes] + [f"pixels:{name}" for name in COLOR_NAMES]
        return names + object_channel_names(classes)


@dataclass
class GroundingBackboneOutput(BackboneOutput):
    """
    Attributes:
        points: (I, P, 2) XY canvas pixels, where each cell of the map is told from, row-major.
        attended: bool (I, P), the points to attend to; None = all.
    """

    points: Tensor | None = None
    attended: Tensor | None = None


class GroundingBackbone(BackboneMixin, PreTrainedModel):
    """(I, 3, H, W) canvases -> `feature_maps`, one (I, channels, H/stride, W/stride)."""

    config: GroundingBackboneConfig
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    base_model_prefix = "grounding"
    has_attentions = False
    exportable = False  # a graph cannot know how many objects there will be

    def __init__(self, config: GroundingBackboneConfig):
        super().__init__(config)
        self.detector = NanoDetDetector(config.detector_config)
        self.num_features = [len(config.channel_names)]
        self.post_init()
        self.freeze_parts()

    def freeze_parts(self) -> None:
        """The heads are read without gradients: several processes would wait for theirs in vain."""
        self.detector.heads.requires_grad_(False)

    @can_return_tuple
    def forward(
        self,
        pixel_values: Tensor,
        output_hidden_states: bool | None = None,
        detected: NanoDetOutput | None = None,
        **kwargs,
    ) -> GroundingBackboneOutput:
        """
        Args:
            pixel_values: (I, 3, H, W) RGB, ImageNet-normalised; H and W multiples of 32.
            output_hidden_states: also return the map as the only hidden state.
            detected: the output of the detector inside for these canvases, if it has run already.
        """
        neck, at_points, objects, points = self.describe(pixel_values, detected)
        shared = assemble(at_points, objects, neck.shape[-2:])
        feature_map = torch.cat((neck, shared.to(neck.dtype)), dim=1)
        attended = None if self.config.min_central is None else centrality(at_points) > self.config.min_central
        return GroundingBackboneOutput(
            feature_maps=(feature_map,),
            hidden_states=(feature_map,) if output_hidden_states else None,
            points=points,
            attended=attended,
        )

    def describe(
        self, pixel_values: Tensor, detected: NanoDetOutput | None = None
    ) -> tuple[Tensor, Tensor, list[tuple[Tensor, Tensor]], Tensor]:
        """
        The parts of the map before each object's description is copied to its points: small enough to be stored.

        Args:
            pixel_values, detected: as for `forward`.

        Returns:
            neck (I, C, rows, cols), point channels (I, classes + 11 + 9, P), for each image the objects' descriptions
            (n, F) and each point's object (P,), -1 = none, and the points (I, P, 2), XY canvas pixels.
        """
        outputs = self.detector(pixel_values) if detected is None else detected
        stride = self.config.stride // self.config.places
        with torch.no_grad():
            canvas = tuple(pixel_values.shape[-2:])
            grid = (canvas[0] // stride, canvas[1] // stride)
            classes = visible(_classes_on(outputs.scores, outputs.grids, grid))
            colors = picture_colors(pixel_values)
            pixels = F.avg_pool2d(colors, stride // _COLOR_CELL)
            points = grid_points(*grid, stride, device=pixel_values.device)
            shapes, objects = [], []
            for (boxes, seen, score), image_colors in zip(
                self.find(outputs.scores, outputs.points, outputs.distances, canvas), colors, strict=True
            ):
                weight = self.weigh(score)
                index, shape = place_objects(boxes, weight, points, stride, canvas)
                shapes.append(shape.T)
                parts = part_colors(boxes, image_colors, canvas)
                objects.append((describe_objects(boxes, seen, weight, parts, canvas), index))
            at_points = torch.cat((classes.flatten(2), pixels.flatten(2), torch.stack(shapes)), dim=1)
        neck = outputs.feature_maps[STRIDES.index(stride)]
        if neck.shape[-2:] != grid:
            neck = F.interpolate(neck, grid, mode="bilinear", align_corners=False)
        if self.config.places == 1:
            return neck, at_points, objects, points.expand(len(neck), -1, -1)
        chosen = most_central(at_points, grid, self.config.places)
        cells = [side // self.config.places for side in grid]
        neck = neck.flatten(2).gather(2, chosen[:, None].expand(-1, neck.shape[1], -1)).unflatten(2, cells)
        at_points = at_points.gather(2, chosen[:, None].expand(-1, at_points.shape[1], -1))
        objects = [(told, index[at]) for (told, index), at in zip(objects, chosen, strict=True)]
        return neck, at_points, objects, points[chosen]

    @torch.no_grad()
    def find(
        self, scores: Tensor, points: Tensor, distances: Tensor, canvas: tuple[int, int]
    ) -> list[tuple[Tensor, Tensor, Tensor]]:
        """
        For each image its objects, best first: boxes (n, 4), class probabilities (n, C) and scores (n,).

        Args:
            scores: (I, N, C), the detector's class probabilities.
            points: (N, 2) and
            distances: (I, N, 4) of the detector, in canvas pixels.
        """
        boxes = boxes_from_distances(points, distances.float(), canvas)
        return [self._find(*image) for image in zip(scores, boxes, strict=True)]

    def weigh(self, score: Tensor) -> Tensor:
        """How sure it is, in [0, 1], that objects of these scores exist."""
        none = self.config.min_score / 2
        return ((score - none) / (self.config.sure_score - none)).clamp(0, 1)

    def _find(self, scores: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        quality = scores.amax(-1)
        index = (quality >= self.config.min_score).nonzero().squeeze(1)
        kept = index[nms(boxes[index], quality[index], self.config.nms_iou)[: self.config.max_objects]]
        if not len(kept):
            return boxes[kept], scores[kept], quality[kept]
        # An object is seen in the best of all detections that are the same object.
        likely = (quality >= self.config.min_score / 2).nonzero().squeeze(1)
        same = box_iou(boxes[kept], boxes[likely]) > self.config.same_object_iou
        seen = torch.maximum(scores[kept], (scores[likely][None] * same[..., None]).amax(1))
        return boxes[kept], seen, quality[kept]


def assemble(at_points: Tensor, objects: list[tuple[Tensor, Tensor]], grid: tuple[int, int]) -> Tensor:
    """The map (I, channels, rows, cols) without the neck's part, from what `GroundingBackbone.describe` gives."""
    copied = []
    for described, index in objects:
        padded = torch.cat((described, described.new_zeros(1, described.shape[1])))
        copied.append(padded[index].T)
    first, shape = at_points.split((at_points.shape[1] - len(SHAPE), len(SHAPE)), dim=1)
    return torch.cat((first, torch.stack(copied), shape), dim=1).unflatten(2, tuple(grid))


def centrality(at_points: Tensor) -> Tensor:
    """How near each point lies to the middle of its object, (I, P) in [0, 1], from (I, channels, P)."""
    return at_points[:, SHAPE.index("central") - len(SHAPE)]


def most_central(at_points: Tensor, grid: tuple[int, int], places: int) -> Tensor:
    """Of each block of places × places points of `grid` the one most central to an object: (I, blocks), row-major."""
    rows, cols = grid
    blocks = torch.arange(rows * cols, device=at_points.device).view(rows // places, places, cols // places, places)
    blocks = blocks.transpose(1, 2).reshape(-1, places**2)
    classes = at_points[:, : -len(SHAPE) - len(COLOR_NAMES)]
    # Of equals, as where nothing was found, the one where most was guessed: the mirror image has to agree.
    rank = centrality(at_points) + 1e-3 * classes.mean(1)
    best = rank[:, blocks].argmax(-1)
    return blocks.expand(len(best), -1, -1).gather(2, best[..., None]).squeeze(2)


def picture_colors(pixel_values: Tensor) -> Tensor:
    """Shares of the colour names (I, 11, H/4, W/4) of ImageNet-normalised canvases."""
    return color_maps(F.avg_pool2d(_rgb(pixel_values.float()), _COLOR_CELL))


def _classes_on(scores: Tensor, grids: Sequence[tuple[int, int]], grid: tuple[int, int]) -> Tensor:
    """Probabilities (I, N, C) on several grids, the highest at each cell of `grid`: (I, C, rows, cols)."""
    levels = scores.split([rows * cols for rows, cols in grids], dim=1)
    levels = [level.transpose(1, 2).unflatten(2, size) for level, size in zip(levels, grids, strict=True)]
    resized = [
        F.adaptive_max_pool2d(level, grid) if size[0] >= grid[0] else F.interpolate(level, grid, mode="nearest")
        for level, size in zip(levels, grids, strict=True)
    ]
    return torch.stack(resized).amax(0)


def _rgb(pixel_values: Tensor) -> Tensor:
    """ImageNet normalisation undone: (I, 3, H, W) in [0, 1]."""
    mean = pixel_values.new_tensor(IMAGENET_DEFAULT_MEAN)[:, None, None]
    std = pixel_values.new_tensor(IMAGENET_DEFAULT_STD)[:, None, None]
    return (pixel_values * std + mean).clamp(0, 1)


__all__ = [
    "GroundingBackbone",
    "GroundingBackboneConfig",
    "GroundingBackboneOutput",
    "assemble",
    "centrality",
    "most_central",
    "picture_colors",
]
