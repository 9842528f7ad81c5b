"""What the best of all proposals would reach, had selection chosen it: the upper bound that a frozen detector sets."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import box_iou

from ..data.referents import Referent
from ..geometry.letterbox import Letterbox
from ..geometry.proposals import Proposals
from ..images.segmentation import Segmentation, rasterise

_PROPOSALS = 1000  # masks of an image that are considered: those of the highest quality
_COMPARED = 8  # masks compared at full size: the best ones at the resolution of the masks


def box_oracles(
    proposals: Proposals | None, image: int, letterbox: Tensor, referents: Sequence[Referent]
) -> list[float] | None:
    """
    For each referent of an expression, the IoU of the best of all boxes with its own.

    Args:
        proposals: of a batch; None = no box detector.
        image: the picture's place in the batch.
        letterbox: (6,) of the picture.
        referents: of the expression; [] for none.

    Returns:
        As many numbers as referents; None without a box detector.
    """
    if proposals is None or proposals.boxes is None:
        return None
    boxes = proposals.boxes[image] if proposals.valid is None else proposals.boxes[image][proposals.valid[image]]
    if not len(boxes) or not referents:
        return [0.0] * len(referents)
    boxes = Letterbox.of(letterbox).boxes_to_original(boxes.cpu())
    best: list[float] = box_iou(boxes, torch.tensor([list(one.box) for one in referents])).amax(dim=0).tolist()
    return best


class MaskOracle:
    """
    The masks of the best proposals of one image at their own resolution, computed once for all its expressions.

    Args:
        proposals: of a batch, with masks.
        image: the picture's place in the batch.
        letterbox: (6,) of the picture.
        points: int64 (n,), the proposals that count, the best first; None = all.
    """

    def __init__(self, proposals: Proposals, image: int, letterbox: Tensor, points: Tensor | None = None):
        self.proposals, self.image, self.letterbox = proposals, image, Letterbox.of(letterbox)
        quality = torch.zeros(proposals.num_points) if proposals.quality is None else proposals.quality[image]
        if proposals.valid is not None:  # what only fills the row comes last, and is empty
            quality = quality.masked_fill(~proposals.valid[image], -1)
        best = quality.topk(min(_PROPOSALS, proposals.num_points)).indices
        self.points = best if points is None else points[:_PROPOSALS]
        small = self._at(self.points) > 0.5
        self.size = (small.shape[1], small.shape[2])
        self.small = small.flatten(1).float()

    def best(self, segmentation: Segmentation) -> float:
        """The IoU of the best mask with `segmentation`, in pixels of the picture."""
        place = self.letterbox
        reference = rasterise(segmentation, place.height, place.width).bool()
        small = place.mask_to_canvas(reference, self.proposals.canvas, self.size).flatten().float()
        both = self.small @ small
        likely = (both / (self.small.sum(1) + small.sum() - both).clamp(min=1)).topk(min(_COMPARED, len(both)))
        masks = self._at(self.points[likely.indices])
        full = torch.stack([place.mask_to_original(mask, self.proposals.canvas) for mask in masks])
        union = (full | reference).flatten(1).sum(1).clamp(min=1)
        return ((full & reference).flatten(1).sum(1) / union).max().item()

    def _at(self, points: Tensor) -> Tensor:
        masks = self.proposals.require_masks()
        points = points.to(masks.device)
        return masks.at(torch.full_like(points, self.image), points).cpu()


__all__ = ["MaskOracle", "box_oracles"]
