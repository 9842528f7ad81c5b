"""Any detector of transformers: object detection (DETR, Conditional and Deformable DETR, YOLOS, RT-DETR, D-FINE,
RF-DETR, LW-DETR …) or instance segmentation (MaskFormer, Mask2Former, RF-DETR, DETR).

The network sees the canvas as its library would see a picture, and what its library would answer are the proposals:
boxes stand at their centres, masks at their centroids. Knows no expressions.
"""

import copy
from typing import Any, ClassVar, Self

import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor
from torchvision.ops import clip_boxes_to_image
from transformers import (
    MODEL_FOR_INSTANCE_SEGMENTATION_MAPPING,
    MODEL_FOR_OBJECT_DETECTION_MAPPING,
    MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING,
    AutoConfig,
    AutoImageProcessor,
    AutoModelForInstanceSegmentation,
    AutoModelForObjectDetection,
    AutoModelForUniversalSegmentation,
    PreTrainedConfig,
)
from transformers.configuration_utils import SubConfigSpec

from ..geometry.letterbox import canvas_of
from ..geometry.masks import mask_centroids
from ..geometry.proposals import Proposals
from ..geometry.proposed_masks import DenseMasks
from .base import Detector, DetectorConfig
from .set_predictions import SEGMENTERS, Instances, detections
from .wrapped import WrappedNetwork, as_pictures, best_boxes, best_first, float32_by_default

# What a network is for → the Auto classes of such networks, and what each of them knows.
_AUTO: dict[str, tuple[tuple[Any, Any], ...]] = {
    "detection": ((AutoModelForObjectDetection, MODEL_FOR_OBJECT_DETECTION_MAPPING),),
    "segmentation": (
        (AutoModelForInstanceSegmentation, MODEL_FOR_INSTANCE_SEGMENTATION_MAPPING),
        (AutoModelForUniversalSegmentation, MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING),
    ),
}


@strict
class PretrainedDetectorConfig(DetectorConfig):
    """
    A detector of transformers, and which of its findings are proposed.

    Args:
        network_config: of the network; by default RT-DETR's.
        task: "detection" or "segmentation"; by default that for which the network was saved, else "detection".
        top_n: findings per canvas, at most.
        min_score: findings that score less are not valid.
        id2label: the classes, by default the network's.
    """

    model_type = "pbrec_pretrained"
    sub_configs_defaults = {"network_config": SubConfigSpec(config_class=AutoConfig, model_type="rt_detr")}

    network_config: dict[str, Any] | PreTrainedConfig | None = None
    task: str | None = None
    top_n: int = 100
    min_score: float | int = 0.0

    limits: ClassVar = {"top_n": (1, 10_000), "min_score": (0, 1)}

    def __post_init__(self, **kwargs: Any) -> None:
        unnamed = self.id2label is None and "num_labels" not in kwargs
        super().__post_init__(**kwargs)
        network: Any = self.network_config
        if unnamed:
            self.id2label, self.label2id = dict(network.id2label), dict(network.label2id)
        self.task = self.task or _saved_for(network) or "detection"
        if self.task in _AUTO:
            # Some types of networks have a class for each task: the network's own config says which is meant.
            meant = [_chosen(network, self.task)[1].__name__]
            if network.architectures != meant:
                network = self.network_config = copy.deepcopy(network)
                network.architectures = meant

    def validate_architecture(self) -> None:
        """
        Check the fields; transformers calls it after construction.

        Raises:
            ValueError: a field is out of range, or not every class of the network has a name.
        """
        self.check_limits()
        self.check_choice("task", tuple(_AUTO))
        network: Any = self.network_config
        if len(self._classes) != len(network.id2label):
            raise ValueError(
                f"id2label names {len(self._classes)} classes, but the network has {len(network.id2label)}: name each "
                "of them."
            )


class PretrainedDetector(WrappedNetwork, Detector):
    """
    A detector of transformers; see the module docstring.

    ```python
    PretrainedDetector.wrap("PekingU/rtdetr_v2_r18vd", top_n=100)
    PretrainedDetector.wrap("facebook/mask2former-swin-tiny-coco-instance", min_score=0.05)
    ```
    """

    config: PretrainedDetectorConfig
    reader = AutoImageProcessor

    @classmethod
    def auto_of(cls, network_config: Any) -> Any:
        """
        The Auto class of this network, by the class that was saved.

        Raises:
            ValueError: it neither detects objects nor segments instances, or not in a way that is known here.
        """
        task = _saved_for(network_config)
        if task is None:
            raise ValueError(
                f"The network is {', '.join(network_config.architectures or ['unknown'])} "
                f"({network_config.model_type}): give one that detects objects, or segments instances as "
                f"{', '.join(SEGMENTERS)} do."
            )
        return _chosen(network_config, task)[0]

    @classmethod
    def serves(cls, network_config: Any) -> bool:
        """Whether this class wraps networks that have this config."""
        return _saved_for(network_config) is not None

    @property
    def source(self) -> Self:
        """Itself: one output serves for boxes and for masks."""
        return self

    def forward(self, pixel_values: Tensor, **kwargs: Any) -> Any:
        """
        The output of the network.

        Args:
            pixel_values: (I, 3, H, W) RGB, ImageNet-normalised, of any size.
        """
        pictures = as_pictures(pixel_values)
        with float32_by_default():
            inputs = self.processor(images=pictures, input_data_format="channels_first", return_tensors="pt")
        return self.network(**inputs.to(self.device, self.dtype))

    @torch.no_grad()
    def propose(self, pixel_values: Tensor, pixel_mask: Tensor | None = None, output: Any = None) -> Proposals:
        """
        What the network found, the best first, each with its score as quality; see [`Detector.propose`].

        What stands in the padding is not valid. Canvases may be of any size.

        Raises:
            ValueError: the network's output is not a number.
        """
        outputs = self(pixel_values) if output is None else output
        canvas, config = canvas_of(pixel_values), self.config
        if config.task == "segmentation":
            found = SEGMENTERS[self.network.config.model_type](self.processor, outputs, canvas)
            return self._best_instances(found, canvas, pixel_mask)
        boxes, scores, labels = detections(self.processor, outputs, canvas, config.top_n)
        return best_boxes(canvas, boxes, scores, labels, pixel_mask, config.top_n, config.min_score)

    def _best_instances(self, found: Instances, canvas: tuple[int, int], pixel_mask: Tensor | None) -> Proposals:
        present = found.logits > 0
        points = mask_centroids(present, canvas)
        # As in the library, a mask without a pixel is not there.
        scores = found.scores.masked_fill(~present.flatten(2).any(dim=-1), -1.0)
        order, valid = best_first(scores, points, pixel_mask, self.config.top_n, self.config.min_score)
        rows = torch.arange(len(order), device=order.device)[:, None]
        return Proposals(
            (),
            canvas,
            quality=found.scores[rows, order],
            boxes=None if found.boxes is None else clip_boxes_to_image(found.boxes[rows, order], canvas),
            masks=DenseMasks(found.logits[rows, order], found.size),
            labels=found.labels[rows, order],
            points=points[rows, order],
            valid=valid,
        )


def _saved_for(network_config: Any) -> str | None:
    """The task of the class that a config names; None = neither, or not known here."""
    for task in _AUTO:
        for _, network in _networks(network_config, task):
            if network.__name__ in (network_config.architectures or ()):
                return task
    return None


def _chosen(network_config: Any, task: str) -> tuple[Any, Any]:
    """
    The Auto class of networks with this config, and the class of the network.

    Raises:
        ValueError: transformers has none for the task, or none whose output is known here.
    """
    for pair in _networks(network_config, task):
        return pair
    legal = SEGMENTERS if task == "segmentation" else [cls.model_type for cls in MODEL_FOR_OBJECT_DETECTION_MAPPING]
    raise ValueError(
        f"task={task!r} is not what a network of the type {network_config.model_type!r} does: give one of the type "
        f"{', '.join(sorted(legal))}."
    )


def _networks(network_config: Any, task: str) -> list[tuple[Any, Any]]:
    if task == "segmentation" and network_config.model_type not in SEGMENTERS:
        return []
    return [(auto, known[type(network_config)]) for auto, known in _AUTO[task] if type(network_config) in known]


__all__ = ["PretrainedDetector", "PretrainedDetectorConfig"]
