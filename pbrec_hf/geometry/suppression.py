"""Non-maximum suppression with shapes that do not depend on what is found, for graphs of exporters and compilers.

The same greedy rule as `torchvision.ops.nms`: the best box first, each suppresses those that overlap it by more. Boxes
without area overlap nothing.
"""

import torch
from torch import Tensor

from .boxes import box_areas, box_intersections, intersection_over_union

MOST_RIVALS = 512
"""Points that take part in a suppression of fixed size, the best ones; more are found in no photograph but a crowd."""
# Each round settles the next link of a chain of boxes that suppress one another in turn.
_ROUNDS = 16


def best_points(quality: Tensor, most: int) -> Tensor:
    """Indices int64 (I, M) of the best of N points with these qualities (I, N), descending; M = min(most, N)."""
    return quality.topk(min(most, quality.shape[1]), dim=1).indices


def survivors(boxes: Tensor, eligible: Tensor, iou: float, labels: Tensor | None = None) -> Tensor:
    """
    The boxes that no better survivor overlaps by more than `iou`.

    Args:
        boxes: (I, M, 4) XYXY, the best first.
        eligible: bool (I, M); others neither survive nor suppress.
        iou: legal overlap.
        labels: int64 (I, M), boxes of other labels suppress nothing; None = all boxes are rivals.

    Returns:
        bool (I, M).
    """
    areas = box_areas(boxes)
    overlap = intersection_over_union(box_intersections(boxes, boxes), areas, areas)
    order = torch.arange(boxes.shape[1], device=boxes.device)
    rivals = (overlap > iou) & (order[:, None] < order)  # of a better box (row) and a worse one (column)
    if labels is not None:
        rivals = rivals & (labels[:, :, None] == labels[:, None])
    suppresses, able = rivals.float(), eligible[:, None].float()
    kept = able
    for _ in range(_ROUNDS):
        kept = (able - torch.bmm(kept, suppresses) > 0).float()
    return kept[:, 0] > 0


__all__ = ["MOST_RIVALS", "best_points", "survivors"]
