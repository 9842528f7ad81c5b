"""Whether a person sits or stands, read from the maps of a detector's neck and from the shape of its box.

A linear classifier of the means of the maps in the upper, middle and lower third of a box. Knows nothing of keypoints
and expressions.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .objects import region_means

POSTURES = ("sitting", "standing")
# The thirds of a box, as `region_means` takes them.
_THIRDS = ((0.0, 0.0, 1 / 3), (0.0, 1 / 3, 2 / 3), (0.0, 2 / 3, 1.0))


class PostureHead(nn.Module):
    """
    Probabilities of `POSTURES`.

    Args:
        channels: of each map of the neck.
        levels: how many maps it has.
    """

    def __init__(self, channels: int, levels: int):
        super().__init__()
        # A mean of projected cells is the projection of their mean, and three planes take less than 128.
        self.thirds = nn.ModuleList(nn.Conv2d(channels, len(_THIRDS), 1, bias=False) for _ in range(levels))
        self.shape = nn.Linear(3, 1)

    def forward(self, boxes: Tensor, maps: Sequence[Tensor], canvas: tuple[int, int]) -> Tensor:
        """
        Args:
            boxes: (…, n, 4) XYXY in canvas pixels, inside the canvas.
            maps: (…, C, h, w) over the canvas, one for each level.
            canvas: (H, W) in pixels.

        Returns:
            float32 (…, n, 2), the probabilities of `POSTURES`, whose sum is 1.
        """
        weight, boxes = self.shape.weight, boxes.float()  # halves would round pixels
        logits = self.shape(box_shapes(boxes, canvas).to(weight))[..., 0].float()
        for project, level in zip(self.thirds, maps, strict=True):
            means = region_means(boxes, project(level.to(weight)).float(), _THIRDS, canvas)
            logits = logits + means.diagonal(dim1=-2, dim2=-1).sum(-1)
        return torch.stack((logits, -logits), dim=-1).sigmoid()


def box_shapes(boxes: Tensor, canvas: tuple[int, int]) -> Tensor:
    """Width and height of boxes (…, 4) as shares of the canvas (H, W), and how upright they are: (…, 3) in [0, 1]."""
    extent = (boxes[..., 2:] - boxes[..., :2]).clamp(min=1)
    width, height = extent.unbind(-1)
    return torch.stack((width / canvas[1], height / canvas[0], height / (width + height)), dim=-1)


def third_means(boxes: Tensor, maps: Sequence[Tensor], canvas: tuple[int, int]) -> Tensor:
    """What the weights of a `PostureHead` are for: (…, n, levels · 3 · C), the means in the thirds of each box."""
    return torch.cat([region_means(boxes, level, _THIRDS, canvas).flatten(-2) for level in maps], dim=-1)


__all__ = ["POSTURES", "PostureHead", "box_shapes", "third_means"]
