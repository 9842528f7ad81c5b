"""What the set detectors of transformers found, as tensors with one row per thing.

Boxes come from the library's own post-processing. Masks do not, since that keeps neither probabilities nor masks below
others: here the same arithmetic gives all of them. Knows neither configs nor canvases' pixels.
"""

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

# To which Mask2Former's post-processing resizes the maps before it measures them.
_MASK2FORMER_SIZE = (384, 384)


@dataclass(frozen=True)
class Instances:
    """
    Things with masks on I canvases, K each.

    Attributes:
        scores: (I, K) in [0, 1].
        labels: int64 (I, K).
        logits: (I, K, h, w) over the canvas, of their masks.
        size: (h', w') to which the logits are resized bilinearly; None = (h, w).
        boxes: (I, K, 4) XYXY in canvas pixels, of networks that have them.
    """

    scores: Tensor
    labels: Tensor
    logits: Tensor
    size: tuple[int, int] | None
    boxes: Tensor | None


def detections(image_processor: Any, output: Any, canvas: tuple[int, int], most: int) -> tuple[Tensor, Tensor, Tensor]:
    """
    Boxes by the library's post-processing, none of them left out for its score.

    Args:
        image_processor: of the network, with `post_process_object_detection`.
        output: of the network, for I canvases.
        canvas: (H, W) in pixels.
        most: how many are wanted, where the post-processing can be told.

    Returns:
        Boxes (I, K, 4) XYXY in canvas pixels, scores (I, K), labels int64 (I, K).

    Raises:
        ValueError: the output is not a number.
    """
    post_process = image_processor.post_process_object_detection
    options: dict[str, Any] = {"threshold": -1.0, "target_sizes": [canvas] * len(output.logits)}
    if "top_k" in inspect.signature(post_process).parameters:
        options["top_k"] = most
    found = post_process(_Predictions(_numbers(output.logits), _numbers(output.pred_boxes)), **options)
    boxes, scores, labels = (torch.stack([one[name] for one in found]) for name in ("boxes", "scores", "labels"))
    return boxes, scores, labels


def detr_instances(image_processor: Any, output: Any, canvas: tuple[int, int]) -> Instances:
    """What DETR's segmentation found: every query with its best class."""
    boxes, scores, labels = detections(image_processor, output, canvas, output.logits.shape[1])
    return Instances(scores, labels, _numbers(output.pred_masks), None, boxes)


def rf_detr_instances(image_processor: Any, output: Any, canvas: tuple[int, int]) -> Instances:
    """What RF-DETR's segmentation found: the best pairs of a query and a class, as many as there are queries."""
    scores, labels, query = _best_pairs(_numbers(output.logits).sigmoid())
    center, half = output.pred_boxes.float().split(2, dim=-1)
    height, width = canvas
    boxes = torch.cat((center - half / 2, center + half / 2), dim=-1) * center.new_tensor([width, height] * 2)
    return Instances(
        scores,
        labels,
        _at(_numbers(output.pred_masks), query),
        canvas,
        boxes.gather(1, query[..., None].expand(-1, -1, 4)),
    )


def maskformer_instances(image_processor: Any, output: Any, canvas: tuple[int, int]) -> Instances:
    """What MaskFormer found: the best pairs, times the mean probability inside of the mask."""
    return _former_instances(output, None)


def mask2former_instances(image_processor: Any, output: Any, canvas: tuple[int, int]) -> Instances:
    """What Mask2Former found: as MaskFormer, but measured on larger maps."""
    return _former_instances(output, _MASK2FORMER_SIZE)


# By model type.
SEGMENTERS = {
    "detr": detr_instances,
    "mask2former": mask2former_instances,
    "maskformer": maskformer_instances,
    "rf_detr": rf_detr_instances,
}


@dataclass(frozen=True)
class _Predictions:
    """The part of an output that post-processing reads."""

    logits: Tensor
    pred_boxes: Tensor


def _numbers(tensor: Tensor) -> Tensor:
    tensor = tensor.float()
    if tensor.isnan().any():
        raise ValueError("The detector's network gave values that are no numbers: run it in float32 or bfloat16.")
    return tensor


def _best_pairs(scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of scores (I, Q, C), the Q best pairs: their scores, classes and queries, (I, Q) each."""
    _, queries, classes = scores.shape
    best, index = scores.flatten(1).topk(queries, dim=1)
    return best, index % classes, index // classes


def _at(tensor: Tensor, query: Tensor) -> Tensor:
    return tensor[torch.arange(len(tensor), device=tensor.device)[:, None], query]


def _former_instances(output: Any, size: tuple[int, int] | None) -> Instances:
    logits = _numbers(output.masks_queries_logits)
    scores, labels, query = _best_pairs(_numbers(output.class_queries_logits).softmax(dim=-1)[..., :-1])
    # One image at a time: the larger maps of all queries of a batch would take gigabytes.
    certainty = torch.stack([_certainty(maps, size) for maps in logits])
    return Instances(scores * _at(certainty, query), labels, _at(logits, query), size, None)


def _certainty(logits: Tensor, size: tuple[int, int] | None) -> Tensor:
    """Mean probability (Q,) inside of each mask of logits (Q, h, w); 0 for an empty one."""
    if size is not None:
        logits = F.interpolate(logits[None], size, mode="bilinear", align_corners=False)[0]
    inside = (logits > 0).flatten(1).float()
    return (logits.sigmoid().flatten(1) * inside).sum(dim=1) / (inside.sum(dim=1) + 1e-6)


__all__ = ["SEGMENTERS", "Instances", "detections"]
