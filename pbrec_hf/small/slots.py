"""Objects of a picture in a fixed number of slots, so that the backbone has a graph for exporters and compilers.

What `GroundingBackbone` computes for as many objects as there are, for `max_objects` of them: the others are empty.
An empty slot lies far from the canvas, has no class and weighs nothing, so that it describes and owns nothing.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from ..geometry.boxes import box_areas, box_centers, box_intersections, intersection_over_union
from ..geometry.suppression import MOST_RIVALS, best_points, survivors
from .objects import owners_of_points, shape_channels

_NEAREST = 4  # points that an object without a point may claim
_MOST_CLAIMS = 16
"""Objects without a point that may claim one; the worst of more get none."""
_NOWHERE = -1e4  # canvas pixels


def find_in_slots(
    scores: Tensor, boxes: Tensor, slots: int, min_score: float, nms_iou: float, same_object_iou: float
) -> tuple[Tensor, Tensor, Tensor]:
    """
    Select objects from the predictions of a detector; see `GroundingBackbone.find`.

    Args:
        scores: (I, N, C) class probabilities.
        boxes: (I, N, 4) XYXY in canvas pixels.
        slots: S, the largest number of objects.
        min_score, nms_iou, same_object_iou: of the backbone's config.

    Returns:
        Boxes (I, S, 4), class probabilities (I, S, C) and scores (I, S), best first; 0 in empty slots.
    """
    quality = scores.amax(-1)
    best = best_points(quality, MOST_RIVALS)
    quality = quality.gather(1, best)
    boxes = boxes.gather(1, best[..., None].expand(-1, -1, 4))
    scores = scores.gather(1, best[..., None].expand(-1, -1, scores.shape[2]))
    kept = survivors(boxes, quality >= min_score, nms_iou)
    score, at = (quality * kept).topk(min(slots, quality.shape[1]), dim=1)
    filled = score > 0
    found = boxes.gather(1, at[..., None].expand(-1, -1, 4))
    areas = box_areas(found), box_areas(boxes)
    overlap = intersection_over_union(box_intersections(found, boxes), *areas)
    # Each class takes the highest probability of all detections that show the same object.
    same = (overlap > same_object_iou) & (quality >= min_score / 2)[:, None]
    probabilities = scores.gather(1, at[..., None].expand(-1, -1, scores.shape[2]))
    shared = (scores[:, None] * same[..., None]).amax(2)
    probabilities = torch.maximum(probabilities, shared) * filled[..., None]
    return found.masked_fill(~filled[..., None], _NOWHERE), probabilities, score


def place_in_slots(
    boxes: Tensor, weight: Tensor, points: Tensor, stride: int, canvas: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """
    `place_objects` for I pictures of S objects each.

    Args:
        boxes: (I, S, 4) XYXY in canvas pixels, best first.
        weight: (I, S) in [0, 1].
        points, stride, canvas: as there.

    Returns:
        int64 (I, P), the object of each point, -1 = none; and the shape channels (I, P, 9).
    """
    extent, offset, central, index = owners_of_points(boxes, weight, points, stride)
    distance = (points[:, None] - box_centers(boxes)[:, None]).square().sum(-1).sqrt()
    near, nearest = (-distance).topk(min(_NEAREST, len(points)), dim=1)
    reachable, nearest = (near >= -stride).transpose(1, 2), nearest.transpose(1, 2)  # (I, S, 4)
    slots = torch.arange(boxes.shape[1], device=index.device)
    counts = (index[..., None] == slots).sum(1)
    # Only objects without a point claim one, in their order, and none of the others loses its last.
    lonely = ((counts == 0) & reachable.any(-1)).int() * (len(slots) - slots)
    left, items = lonely.topk(min(_MOST_CLAIMS, len(slots)), dim=1)
    nearest, reachable = (
        part.gather(1, items[..., None].expand(-1, -1, part.shape[2])) for part in (nearest, reachable)
    )
    reachable = reachable & (left > 0)[..., None]
    # Owners count from 1; nobody, who is 0, can spare every point.
    owners = index + 1
    spare = F.pad(counts, (1, 0), value=len(points) + 1)
    rounds = (part.unbind(1) for part in (nearest, reachable, items[..., None] + 1))
    for places, near, item in zip(*rounds, strict=True):
        owner = owners.gather(1, places)
        wanted = near & (spare.gather(1, owner) > 1)
        first = wanted & (wanted.cumsum(1) == 1)
        spare = spare.scatter_add(1, owner, -first.to(spare.dtype))
        owners = owners.scatter(1, places, torch.where(first, item, owner))
    claimed, index = owners - 1 != index, owners - 1
    return index, shape_channels(index, claimed, extent, offset, central, weight, canvas)


__all__ = ["find_in_slots", "place_in_slots"]
