"""A backbone whose feature map says in named channels what stands at each point: NanoDet's view, in reach of words.

One map of stride 16 joins the neck's features, NanoDet's class probabilities, the colour names of the pixels, and the
description of the object that the point belongs to (see objects_pbrec.py); `channel_names` names every channel.
Expects letterboxed, ImageNet-normalised canvases with sides that are multiples of 32. Gradients reach the neck's
features only. Knows nothing of expressions.
"""

import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import nms
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.backbone_utils import BackboneConfigMixin, BackboneMixin
from transformers.configuration_utils import SubConfigSpec
from transformers.modeling_outputs import BackboneOutput
from transformers.utils.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from transformers.utils.generic import can_return_tuple

from .backbone_nanodet import STRIDES
from .colors_pbrec import COLOR_NAMES, color_maps
from .detection_nanodet import NanoDetConfig, NanoDetDetector
from .objects_pbrec import SHAPE, describe_objects, object_channel_names, place_objects
from .points_pbrec import grid_points
from .proposals_pbrec import boxes_from_distances

STRIDE = 16


@strict
class GroundingBackboneConfig(BackboneConfigMixin, PreTrainedConfig):
    """Which detections become objects.

    Args:
        detector_config: the NanoDet inside.
        min_score: detections below this class probability are no objects.
        sure_score: detections from this class probability on exist without doubt.
        nms_iou: detections that overlap a better one by more than this, of whatever class, are the same object.
        max_objects: the best ones are kept.
    """

    model_type = "pbrec_grounding_nanodet"
    sub_configs_defaults = {"detector_config": SubConfigSpec(config_class=NanoDetConfig)}

    detector_config: dict | PreTrainedConfig | None = None
    min_score: float | int = 0.15
    sure_score: float | int = 0.4
    nms_iou: float | int = 0.6
    max_objects: int = 50

    def __post_init__(self, **kwargs):
        kwargs.pop("stage_names", None)
        self.stage_names = ["stride16"]
        self.set_output_features_output_indices(
            out_features=kwargs.pop("out_features", None), out_indices=kwargs.pop("out_indices", None)
        )
        super().__post_init__(**kwargs)

    def validate_architecture(self):
        for name in ("min_score", "sure_score", "nms_iou"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)} is out of range; give a number in [0, 1]")
        if self.sure_score <= self.min_score:
            raise ValueError(f"sure_score={self.sure_score} must be above min_score={self.min_score}")
        if not 1 <= self.max_objects <= 1000:
            raise ValueError(f"max_objects={self.max_objects} is out of range; give a number from 1 to 1000")

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


class GroundingBackbone(BackboneMixin, PreTrainedModel):
    """(I, 3, H, W) canvases -> `feature_maps`, one (I, channels, H/16, W/16)."""

    config: GroundingBackboneConfig
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    base_model_prefix = "grounding"
    has_attentions = False

    def __init__(self, config: GroundingBackboneConfig):
        super().__init__(config)
        self.detector = NanoDetDetector(config.detector_config)
        self.num_features = [len(config.channel_names)]
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module):
        self.detector._init_weights(module)

    @can_return_tuple
    def forward(self, pixel_values: Tensor, output_hidden_states: bool | None = None, **kwargs) -> BackboneOutput:
        """
        Args:
            pixel_values: (I, 3, H, W) RGB, ImageNet-normalised; H and W multiples of 32.
        """
        neck, points, objects = self.describe(pixel_values)
        shared = assemble(points, objects, neck.shape[-2:])
        feature_map = torch.cat((neck, shared.to(neck.dtype)), dim=1)
        return BackboneOutput(
            feature_maps=(feature_map,), hidden_states=(feature_map,) if output_hidden_states else None
        )

    def describe(self, pixel_values: Tensor) -> tuple[Tensor, Tensor, list[tuple[Tensor, Tensor]]]:
        """
        The parts of the map before each object's description is copied to its points: small enough to be stored.

        Returns:
            neck (I, C, rows, cols), point channels (I, classes + 11 + 9, P) and for each image the objects'
            descriptions (n, F) and each point's object (P,), -1 = none.
        """
        outputs = self.detector(pixel_values)
        with torch.no_grad():
            canvas = tuple(pixel_values.shape[-2:])
            grids = [(canvas[0] // stride, canvas[1] // stride) for stride in STRIDES]
            scores = outputs.class_logits.float().sigmoid()
            anchors = torch.cat(
                [
                    grid_points(*grid, stride, device=pixel_values.device)
                    for grid, stride in zip(grids, STRIDES, strict=True)
                ]
            )
            boxes = boxes_from_distances(anchors, outputs.distances.float(), canvas)
            classes = _classes_at_stride_16(scores, grids)
            colors = color_maps(F.avg_pool2d(_rgb(pixel_values.float()), 4))
            pixels = F.avg_pool2d(colors, STRIDE // 4)
            points = grid_points(*grids[1], STRIDE, device=pixel_values.device)
            shapes, objects = [], []
            for image_scores, image_boxes, image_colors in zip(scores, boxes, colors, strict=True):
                kept = self._objects(image_scores.amax(-1), image_boxes)
                weight = image_scores[kept].amax(-1) - self.config.min_score
                weight = (weight / (self.config.sure_score - self.config.min_score)).clamp(0, 1)
                index, shape = place_objects(image_boxes[kept], weight, points, smallest=1.25 * STRIDE)
                shapes.append(shape.T)
                described = describe_objects(image_boxes[kept], image_scores[kept], weight, image_colors, canvas)
                objects.append((described, index))
            at_points = torch.cat((classes.flatten(2), pixels.flatten(2), torch.stack(shapes)), dim=1)
        return outputs.feature_maps[STRIDES.index(STRIDE)], at_points, objects

    def _objects(self, quality: Tensor, boxes: Tensor) -> Tensor:
        """Indices of the detections of one image that count as objects, best first."""
        index = (quality >= self.config.min_score).nonzero().squeeze(1)
        kept = nms(boxes[index], quality[index], self.config.nms_iou)[: self.config.max_objects]
        return index[kept]


def assemble(at_points: Tensor, objects: list[tuple[Tensor, Tensor]], grid: tuple[int, int]) -> Tensor:
    """The map (I, channels, rows, cols) without the neck's part, from what `GroundingBackbone.describe` gives."""
    copied = []
    for described, index in objects:
        padded = torch.cat((described, described.new_zeros(1, described.shape[1])))
        copied.append(padded[index].T)
    first, shape = at_points.split((at_points.shape[1] - len(SHAPE), len(SHAPE)), dim=1)
    return torch.cat((first, torch.stack(copied), shape), dim=1).unflatten(2, tuple(grid))


def _classes_at_stride_16(scores: Tensor, grids: list[tuple[int, int]]) -> Tensor:
    """Probabilities (I, N, C) of three levels, the highest at each cell of the middle one: (I, C, rows, cols)."""
    fine, middle, coarse = (
        level.transpose(1, 2).unflatten(2, grid)
        for level, grid in zip(scores.split([rows * cols for rows, cols in grids], dim=1), grids, strict=True)
    )
    coarse = F.interpolate(coarse, grids[1], mode="nearest")
    return torch.maximum(torch.maximum(F.max_pool2d(fine, 2), middle), coarse)


def _rgb(pixel_values: Tensor) -> Tensor:
    """ImageNet normalisation undone: (I, 3, H, W) in [0, 1]."""
    mean = pixel_values.new_tensor(IMAGENET_DEFAULT_MEAN)[:, None, None]
    std = pixel_values.new_tensor(IMAGENET_DEFAULT_STD)[:, None, None]
    return (pixel_values * std + mean).clamp(0, 1)


__all__ = ["GroundingBackbone", "GroundingBackboneConfig", "assemble"]
