"""Answers for large photographs with small things: the whole and its tiles compete, and the vote decides (equation 7).

A checkpoint sees a photograph at the size of its canvas, where a thing of a few pixels is nothing. So tiles are looked
at, too, each as a picture of its own. The boxes of all views are ranked together; a box that a tile's edge cuts off
does not count, since the thing goes on beyond. A tile does not know what lies outside of it: «left» and «largest» are
then meant within the tile, so expressions of place are better asked without.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ..geometry.letterbox import Letterbox
from ..geometry.proposals import Proposals
from ..selection.answers import answers
from ..selection.calibration import limits_of
from ..selection.referents import Referents, add_masks, any_referents, only_referent
from ..selection.vote import choose_boxes
from .grounder import Grounded, Grounder

MOST_TILES = 8  # along the longer side
_OVERLAP = 0.2  # of a tile's side
_EDGE = 0.01  # of a tile's side: a box that comes so near is cut off


@dataclass(frozen=True)
class View:
    """
    A part of a photograph, or all of it; pixels.

    Attributes:
        left, top, right, bottom: of the part.
    """

    left: int
    top: int
    right: int
    bottom: int

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.bottom - self.top, self.right - self.left


def views_of(width: int, height: int, tiles: int, canvas: int) -> list[View]:
    """
    The whole, then its tiles, row by row, which overlap by a fifth.

    Args:
        width, height: of the photograph, pixels.
        tiles: along the longer side; fewer where a tile would be smaller than the canvas.
        canvas: side of the canvas, pixels.

    Raises:
        ValueError: `tiles` is not a number from 1 to 8.
    """
    if not isinstance(tiles, int) or isinstance(tiles, bool) or not 1 <= tiles <= MOST_TILES:
        raise ValueError(f"tiles={tiles!r}: give a number from 1 to {MOST_TILES}.")
    longest = max(width, height)
    count = min(tiles, ceil(longest / canvas))
    views = [View(0, 0, width, height)]
    if count < 2:
        return views
    side = ceil(longest / (count - (count - 1) * _OVERLAP))
    for top, bottom in _spans(height, side):
        views += [View(left, top, right, bottom) for left, right in _spans(width, side)]
    return views


def tiled_answers(
    grounder: Grounder,
    picture: Image.Image,
    expressions: list[str],
    tiles: int = 3,
    top_k: int | None = None,
    threshold: float | str | None = None,
    return_masks: bool = True,
    referents: str = "one",
) -> Iterator[dict[str, Any]]:
    """
    The answers of the whole and its tiles together, one dict per expression.

    Args:
        grounder: of a checkpoint that proposes boxes.
        picture: upright RGB.
        expressions: what to find.
        tiles: see `views_of`.
        top_k, threshold, return_masks, referents: see `PbrecProcessor.post_process_referring_expression`.

    Yields:
        As `each_answer` of `selection/answers.py`, in pixels of the photograph.

    Raises:
        ValueError: the checkpoint proposes no boxes, or an argument is out of range.
    """
    processor = grounder.processor
    limits = limits_of(threshold, referents, processor.calibration)
    canvas = int(processor.image_processor.size.longest_edge)
    views = views_of(picture.width, picture.height, tiles, canvas)
    seen = [
        grounder.on_canvas(picture.crop((v.left, v.top, v.right, v.bottom)), expressions, top_k, 0.0, return_masks)
        for v in views
    ]
    if "boxes" not in seen[0].groups:
        raise ValueError("Tiles are joined by their boxes, and this checkpoint proposes none: ask without tiles.")
    whole = (picture.height, picture.width)
    parts = [_in_photograph(one, view, whole) for one, view in zip(seen, views, strict=True)]
    boxes, ranking = torch.cat([part[0] for part in parts], dim=1), torch.cat([part[1] for part in parts], dim=1)
    qualities = [part[2] for part in parts]
    quality = (
        None if any(part is None for part in qualities) else torch.cat([q for q in qualities if q is not None], 1)
    )
    joined = Proposals.at_boxes(whole, boxes, quality=quality, per_expression=True)
    settings = processor.settings if top_k is None else replace(processor.settings, top_k=top_k)
    rows = torch.arange(len(expressions), device=boxes.device)
    groups = {"boxes": choose_boxes(ranking, joined, rows, settings.top_k)}
    letterbox = torch.tensor([Letterbox(*whole, *whole, 0, 0)])
    inputs = {**seen[0].inputs, "letterbox": letterbox, "box_proposals": joined, "mask_proposals": None}
    if referents == "one":
        found = only_referent(groups, limits, processor.calibration)
    else:
        found = any_referents(groups, inputs, settings, limits, processor.calibration, make_masks=False)
    points = _points_of(found, boxes)
    for number, answer in enumerate(answers(found, inputs, return_masks=False)):
        if return_masks:
            mine = points[found.expression == number][: len(answer["scores"])]
            answer |= _masks(grounder, seen, views, number, mine, boxes.shape[1] // len(views), whole)
        yield answer


def _spans(length: int, side: int) -> list[tuple[int, int]]:
    """Overlapping spans of `side` (the last ones less, if it does not fit) that cover a length evenly."""
    if length <= side:
        return [(0, length)]
    count = ceil((length - side * _OVERLAP) / (side * (1 - _OVERLAP)))
    starts = [round(number * (length - side) / (count - 1)) for number in range(count)]
    return [(start, start + side) for start in starts]


def _in_photograph(one: Grounded, view: View, whole: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor | None]:
    """Boxes (E, N, 4) in pixels of the photograph, their values (E, N), and their qualities (E, N) of a view."""
    proposals, ranking = one.inputs["box_proposals"], one.groups["boxes"].ranking
    assert ranking is not None, "boxes are ranked"
    rows = proposals.rows_of(torch.zeros(len(ranking), dtype=torch.int64, device=ranking.device))
    canvas = proposals.require_boxes()[rows]
    letterbox = Letterbox.of(one.inputs["letterbox"][0].cpu())
    boxes = letterbox.boxes_to_original(canvas.flatten(0, 1)).view_as(canvas)
    height, width = view.size
    ends = boxes.new_tensor([width, height])
    distances = torch.cat((boxes[..., :2], ends - boxes[..., 2:]), dim=-1)
    inner = (view.left > 0, view.top > 0, view.right < whole[1], view.bottom < whole[0])
    cut = ((distances <= _EDGE * max(height, width)) & torch.tensor(inner, device=boxes.device)).any(dim=-1)
    boxes = boxes + boxes.new_tensor([view.left, view.top] * 2)
    quality = None if proposals.quality is None else proposals.quality[rows]
    return boxes, ranking.masked_fill(cut, -torch.inf), quality


def _points_of(found: Referents, boxes: Tensor) -> Tensor:
    """The place (A,) of each answer among the boxes (E, N, 4) of its expression."""
    assert found.boxes is not None
    same = (boxes[found.expression] == found.boxes[:, None]).all(dim=-1)
    return same.int().argmax(dim=1)


def _masks(
    grounder: Grounder,
    seen: list[Grounded],
    views: list[View],
    expression: int,
    points: Tensor,
    count: int,
    whole: tuple[int, int],
) -> dict[str, Any]:
    """`masks` (n, 1, H, W) of the answers at `points` (n,) of an expression, each made in the view of its box."""
    settings = grounder.processor.settings
    masks = torch.zeros(len(points), 1, *whole, dtype=torch.bool)
    source = "box"
    for row, point in enumerate(points.tolist()):
        one, view = seen[point // count], views[point // count]
        proposals = one.inputs["box_proposals"]
        place = torch.tensor([point % count], device=proposals.device)
        at = torch.tensor([expression], device=proposals.device)
        box = proposals.require_boxes()[proposals.rows_of(torch.zeros_like(one.groups["boxes"].winner))[at], place]
        score = torch.zeros(1, device=proposals.device)
        answer = Referents(len(one.groups["boxes"].score), at, score, score, None, boxes=box)
        if one.inputs.get("mask_proposals") is not None:
            alone = torch.zeros(1, dtype=torch.bool, device=proposals.device)
            add_masks(answer, place, alone, one.groups, one.inputs, settings)
        made = answers(answer, one.inputs, settings.mask_threshold, True)[expression]
        source = made["mask_source"]
        if len(made["masks"]):
            masks[row, 0, view.top : view.bottom, view.left : view.right] = made["masks"][0, 0]
    return {"masks": masks, "mask_source": source if len(points) else _source(seen[0])}


def _source(one: Grounded) -> str:
    return "detector" if one.inputs.get("mask_proposals") is not None else "box"


__all__ = ["MOST_TILES", "View", "tiled_answers", "views_of"]
