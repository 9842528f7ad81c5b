"""Detectors of torchvision, whole: Faster R-CNN, Mask R-CNN, RetinaNet, SSD and FCOS.

What torchvision's network answers for the canvas as its picture, after its own NMS, are the proposals: boxes stand at
their centres; those of Mask R-CNN have masks, and stand at their centroids. `FcosDetector` is FCOS at one level and
without NMS, as in the paper; this is what its Table 1 compares. Knows no expressions.
"""

import inspect
from typing import Any, ClassVar, cast

import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torchvision.models import get_model, get_model_weights
from torchvision.models.detection import FCOS, FasterRCNN, MaskRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.ssd import SSD
from torchvision.ops import FrozenBatchNorm2d, clip_boxes_to_image

from ..geometry.boxes import box_centers
from ..geometry.letterbox import canvas_of
from ..geometry.masks import mask_centroids
from ..geometry.proposals import Proposals
from ..geometry.proposed_masks import BoxMasks
from .base import Detector, DetectorConfig
from .coco_classes import TORCHVISION_COCO_CLASSES
from .fcos import FcosDetector
from .torchvision_weights import published_weights
from .wrapped import as_pictures, best_first, float32_by_default

# Name → its class, whose arguments are the options; the eps of its frozen norms as published, None = norms of its own.
FCOS_P5 = "fcos_p5"
_NETWORKS: dict[str, tuple[Any, float | None]] = {
    "fasterrcnn_mobilenet_v3_large_320_fpn": (FasterRCNN, 1e-5),
    "fasterrcnn_mobilenet_v3_large_fpn": (FasterRCNN, 1e-5),
    "fasterrcnn_resnet50_fpn": (FasterRCNN, 0.0),
    "fasterrcnn_resnet50_fpn_v2": (FasterRCNN, None),
    "fcos_resnet50_fpn": (FCOS, 1e-5),
    "maskrcnn_resnet50_fpn": (MaskRCNN, 0.0),
    "maskrcnn_resnet50_fpn_v2": (MaskRCNN, None),
    "retinanet_resnet50_fpn": (RetinaNet, 0.0),
    "retinanet_resnet50_fpn_v2": (RetinaNet, None),
    "ssd300_vgg16": (SSD, None),
    "ssdlite320_mobilenet_v3_large": (SSD, None),
}
_SCORE, _MOST = "score_thresh", "detections_per_img"


@strict
class TorchvisionDetectorConfig(DetectorConfig):
    """
    A detector of torchvision, and which of its findings are proposed.

    Args:
        name: of the network, one of `names`.
        top_n: findings per canvas, at most.
        min_score: findings that score less are left out before NMS.
        options: other arguments of the network, such as `min_size` (of R-CNNs, RetinaNet and FCOS) or `nms_thresh`.
        frozen_norm_eps: added to the variance of the backbone's frozen norms; by default as published. Networks whose
            norms are not frozen have none.
        mask_stride: canvas pixels per pixel of the masks that are read.
        id2label: the classes, by default the 91 indices of torchvision's COCO models.

    Attributes:
        names: the networks' names in torchvision.
    """

    model_type = "pbrec_torchvision"
    default_classes = TORCHVISION_COCO_CLASSES
    names: ClassVar = tuple(_NETWORKS)

    name: str = "fasterrcnn_resnet50_fpn"
    top_n: int = 100
    min_score: float | int = 0.05
    options: dict[str, Any] | None = None
    frozen_norm_eps: float | int | None = None
    mask_stride: int = 2

    limits: ClassVar = {"top_n": (1, 10_000), "min_score": (0, 1), "mask_stride": (1, 64)}

    def __post_init__(self, **kwargs: Any) -> None:
        self.options = dict(self.options or {})
        super().__post_init__(**kwargs)

    def validate_architecture(self) -> None:
        """
        Check the fields; transformers calls it after construction.

        Raises:
            ValueError: a field is out of range, or not one of this network.
        """
        self.check_limits()
        self.check_choice("name", self.names)
        kind, eps = _NETWORKS[self.name]
        legal = {
            name
            for name, parameter in inspect.signature(kind.__init__).parameters.items()
            if isinstance(parameter.default, (int, float)) and not name.endswith((_SCORE, _MOST))
        }
        # Sizes are None by default where they are fixed.
        legal |= {"min_size", "max_size"} & set(inspect.signature(kind.__init__).parameters)
        if unknown := sorted(set(self.options or {}) - legal):
            raise ValueError(
                f"options has {', '.join(unknown)}: give some of {', '.join(sorted(legal))}; `top_n` and `min_score` "
                "are fields of their own."
            )
        if self.frozen_norm_eps is not None and (eps is None or not 0 <= self.frozen_norm_eps < 1):
            raise ValueError(
                f"frozen_norm_eps={self.frozen_norm_eps}: give a number in [0, 1), and only for "
                f"{', '.join(name for name, (_, eps) in _NETWORKS.items() if eps is not None)}."
            )


class TorchvisionDetector(Detector):
    """
    A detector of torchvision; see the module docstring.

    ```python
    TorchvisionDetector.from_torchvision("maskrcnn_resnet50_fpn", top_n=100, min_score=0.05)
    ```
    """

    config: TorchvisionDetectorConfig

    def __init__(self, config: TorchvisionDetectorConfig):
        super().__init__(config)
        self.network = _network(config)
        self.post_init()

    def forward(self, pixel_values: Tensor, **kwargs: Any) -> list[dict[str, Tensor]]:
        """
        What the network found.

        Args:
            pixel_values: (I, 3, H, W) RGB, ImageNet-normalised, of any size.

        Returns:
            Per canvas `boxes` (n, 4) XYXY in canvas pixels, `scores` (n,), `labels` (n,), and of Mask R-CNN `maps`
            (n, m, m), the probabilities inside of each box.
        """
        pictures = [picture.float() / 255 for picture in as_pictures(pixel_values)]
        # NMS and pooling have no half precision of their own; autocast gives them float32.
        half = self.dtype if self.dtype in (torch.float16, torch.bfloat16) else None
        autocast = torch.autocast(pixel_values.device.type, dtype=half, enabled=half is not None)
        with float32_by_default(), autocast:
            if isinstance(self.network, GeneralizedRCNN):
                return _found_by_rcnn(self.network, pictures)
            return cast(list[dict[str, Tensor]], self.network(pictures))

    @torch.no_grad()
    def propose(self, pixel_values: Tensor, pixel_mask: Tensor | None = None, output: Any = None) -> Proposals:
        """
        What the network found, the best first, each with its score as quality; see [`Detector.propose`].

        What stands in the padding is not valid. Canvases may be of any size.
        """
        found = self(pixel_values) if output is None else output
        canvas, most = canvas_of(pixel_values), self.config.top_n
        boxes, scores, labels = (_filled(found, name, most) for name in ("boxes", "scores", "labels"))
        boxes = clip_boxes_to_image(boxes, canvas)
        maps = _filled(found, "maps", most) if "maps" in found[0] else None
        points = box_centers(boxes)
        if maps is not None:
            points = boxes[..., :2] + mask_centroids(maps > 0.5, (1, 1)) * (boxes[..., 2:] - boxes[..., :2])
        count = torch.tensor([len(one["scores"]) for one in found], device=scores.device)
        there = torch.arange(most, device=scores.device) < count[:, None]
        order, valid = best_first(scores.masked_fill(~there, -1.0), points, pixel_mask, most, 0.0)
        rows = torch.arange(len(order), device=order.device)[:, None]
        boxes = boxes[rows, order]
        masks = None
        if maps is not None:
            height, width = (side // self.config.mask_stride for side in canvas)
            masks = BoxMasks(maps[rows, order], boxes, canvas, (height, width))
        return Proposals(
            (),
            canvas,
            quality=scores[rows, order],
            boxes=boxes,
            masks=masks,
            labels=labels[rows, order],
            points=points[rows, order],
            valid=valid,
        )

    @classmethod
    def from_torchvision(
        cls, name: str, weights: Any = "COCO_V1", progress: bool = False, **fields: Any
    ) -> "TorchvisionDetector":
        """
        The detector with weights that torchvision publishes, and downloads on first use.

        Args:
            name: of the network.
            weights: a member of torchvision's enumeration of its weights, or the member's name.
            progress: whether torchvision shows a progress bar.
            fields: others of [`TorchvisionDetectorConfig`].

        Raises:
            ValueError: torchvision has no such network or weights.
            OSError: the weights are neither in torch's cache nor downloadable.
        """
        if name not in _NETWORKS:
            raise ValueError(f"name={name!r}: give one of {', '.join(map(repr, _NETWORKS))}.")
        member, state_dict = published_weights(get_model_weights(name), weights, progress)
        config = TorchvisionDetectorConfig(name=name, id2label=dict(enumerate(member.meta["categories"])), **fields)
        with torch.device("meta"):  # its weights are there already
            detector = cls(config)
        detector.network.load_state_dict(state_dict, assign=True)
        return detector.eval()


def torchvision_detector(name: str, **fields: Any) -> FcosDetector | TorchvisionDetector:
    """
    A detector with torchvision's weights for COCO.

    Args:
        name: of a network, or "fcos_p5", FCOS at the one level that the paper uses.
        fields: of the config; "fcos_p5" has none.

    Raises:
        ValueError: torchvision has no such network.
        OSError: the weights are neither in torch's cache nor downloadable.
    """
    if name == FCOS_P5:
        return FcosDetector.from_torchvision(**fields)
    if name not in _NETWORKS:
        raise ValueError(f"torchvision:{name} is no detector: give one of {', '.join((FCOS_P5, *_NETWORKS))}.")
    return TorchvisionDetector.from_torchvision(name, **fields)


def _network(config: TorchvisionDetectorConfig) -> nn.Module:
    options = config.options or {}
    network = get_model(
        config.name, weights=None, weights_backbone=None, num_classes=len(config.class_names), **options
    )
    head: Any = getattr(network, "roi_heads", network)
    head.score_thresh, head.detections_per_img = float(config.min_score), config.top_n
    eps = _NETWORKS[config.name][1] if config.frozen_norm_eps is None else config.frozen_norm_eps
    if eps is not None:
        _freeze_norms(network.backbone, eps)
    _make_anchors(network)
    return cast(nn.Module, network)


def _freeze_norms(module: nn.Module, eps: float) -> None:
    """torchvision builds frozen norms only while it fetches weights."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, FrozenBatchNorm2d(child.num_features, eps))
        else:
            _freeze_norms(child, eps)


def _make_anchors(network: nn.Module) -> None:
    """Anchors are tensors but no buffers: of a network that is built to be loaded, they would have no numbers."""
    with torch.device("cpu"):
        for module in network.modules():
            if isinstance(module, AnchorGenerator):
                pairs = zip(module.sizes, module.aspect_ratios, strict=True)
                module.cell_anchors = [module.generate_anchors(size, ratio) for size, ratio in pairs]
            elif isinstance(module, DefaultBoxGenerator):
                module._wh_pairs = module._generate_wh_pairs(len(module.aspect_ratios))


def _found_by_rcnn(network: Any, pictures: list[Tensor]) -> list[dict[str, Tensor]]:
    """The network's own answer, with masks inside of their boxes rather than pasted into pictures."""
    sizes = [canvas_of(picture) for picture in pictures]
    images, _ = network.transform(pictures)
    features = network.backbone(images.tensors)
    regions, _ = network.rpn(images, features)
    found, _ = network.roi_heads(features, regions, images.image_sizes)
    maps = [one.pop("masks")[:, 0] for one in found if "masks" in one]
    found = network.transform.postprocess(found, images.image_sizes, sizes)
    for one, some in zip(found, maps, strict=False):
        one["maps"] = some
    return cast(list[dict[str, Tensor]], found)


def _filled(found: list[dict[str, Tensor]], name: str, count: int) -> Tensor:
    """(I, count, …) of one field, filled with zeros; floating-point numbers as float32."""
    first = found[0][name]
    template = first.new_zeros(count, *first.shape[1:])  # makes the longest row as long as wanted
    rows = pad_sequence([template, *(one[name][:count] for one in found)], batch_first=True)[1:]
    return rows.float() if rows.is_floating_point() else rows


__all__ = ["TorchvisionDetector", "TorchvisionDetectorConfig"]
