"""What the detector makes of annotated objects: seen once on photographs and composed scenes, and kept as `View`s."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import box_iou

from ...data.scenes.composed import POSED, ComposedScenes
from ...data.scenes.objects import SceneObject
from ...data.scenes.scene import Scene, vary
from ...small.backbone import GroundingBackbone, picture_colors
from ...small.objects import part_colors
from .pool import CANVAS, PLACES, STRIDE, letterbox_of, picture_inputs

VARIATIONS, COMPOSED = 3, 600
GRID = CANVAS // STRIDE
_SAME, _APART = 0.5, 0.2  # IoU from which a detection shows an object, and below which it shows none


class Detection(NamedTuple):
    """
    One detection.

    Attributes:
        box: (4,) XYXY in pixels of the canvas, or relative to an object's box, in its widths and heights.
        seen: (80,) class probabilities.
        colors: (33,) shares of the colour names in the parts of the box.
        postures: (2,) of `GroundingBackbone.postures`; (0,) where the backbone has none.
    """

    box: Tensor
    seen: Tensor
    colors: Tensor
    postures: Tensor


@dataclass(frozen=True)
class View:
    """
    One object as annotated and as detected.

    Attributes:
        item: category and colours, for the words; and its box, whose size says for which boxes the view is suitable.
        found: the detection that shows it best, relative to its box; None = missed.
        fragments: the other detections in its place: parts of it, or it and a neighbour as one.
    """

    item: SceneObject
    found: Detection | None = None
    fragments: tuple[Detection, ...] = ()


class Views:
    """
    What the detector makes of objects and of nothing, and how pictures are coloured.

    Args:
        views: of all objects.
        strays: detections where nothing is annotated.
        pixels: of each picture (11, P), the shares of the colour names at all sampling places.
    """

    def __init__(self, views: Iterable[View], strays: Iterable[Detection], pixels: Iterable[Tensor]):
        self.of: dict[str, list[View]] = defaultdict(list)
        for view in views:
            self.of[view.item.category].append(view)
        self.sides = {name: np.array([side_of(view.item.box) for view in of]) for name, of in self.of.items()}
        self.postures = {name: np.array([view.item.posture for view in of]) for name, of in self.of.items()}
        self.strays, self.pixels = list(strays), list(pixels)

    def pick(self, category: str, side: float, rng: Generator) -> View:
        """A view of an object of `category` about as large as `side`, the square root of its area in canvas pixels."""
        distance = np.abs(np.log(self.sides[category] / side))
        posed = self.postures[category] != None  # noqa: E711 (elementwise)
        if posed.any() and rng.random() < POSED:
            distance[~posed] = np.inf
        return self.of[category][rng.choice(np.argsort(distance)[:12])]


def look(scenes: Iterable[Scene], backbone: GroundingBackbone) -> Views:
    """Run the detector once on each scene and match its detections with what is annotated."""
    views: list[View] = []
    strays: list[Detection] = []
    pixels: list[Tensor] = []
    for scene in scenes:
        pixel_values = picture_inputs(scene)[0][None]
        outputs = backbone.detector(pixel_values)
        scores = outputs.class_logits.sigmoid()
        [(boxes, seen, _)] = backbone.find(scores, outputs.points, outputs.distances, (CANVAS, CANVAS))
        colors = picture_colors(pixel_values)[0]
        pixels.append(F.adaptive_avg_pool2d(colors, GRID * PLACES).flatten(1).half())
        parts = part_colors(boxes, colors, (CANVAS, CANVAS))
        boxes_there = torch.tensor([item.box for item in scene.objects]).reshape(-1, 4)
        truth = letterbox_of(scene.size).boxes_to_canvas(boxes_there)
        if not len(truth):
            continue
        postures = backbone.postures(boxes, seen, [level[0] for level in outputs.feature_maps], (CANVAS, CANVAS))
        if postures is None:
            postures = boxes.new_zeros(len(boxes), 0)
        detections = [Detection(*each) for each in zip(boxes, seen, parts, postures, strict=True)]
        overlap = box_iou(truth, boxes)
        most, place = overlap.amax(0), overlap.argmax(0)
        for row, (item, box) in enumerate(zip(scene.objects, truth, strict=True)):
            if item.vague:
                continue
            side = (box[2:] - box[:2]).repeat(2)
            shown = [each._replace(box=(each.box - box) / side) for each in detections]
            best = int(overlap[row].argmax()) if (overlap[row] > _SAME).any() else None
            rest = ((place == row) & (most >= _APART)).nonzero().flatten().tolist()
            left, top, right, bottom = box.tolist()
            fragments = tuple(shown[index] for index in rest if index != best)
            views.append(
                View(
                    replace(item, mask=None, box=(left, top, right, bottom)),
                    None if best is None else shown[best],
                    fragments,
                )
            )
        if scene.complete:
            strays += [each for each, overlapped in zip(detections, most, strict=True) if overlapped < _APART]
    return Views(views, strays, pixels)


def side_of(box: Sequence[float] | NDArray[np.float64]) -> float:
    """The square root of the area of a box, in pixels."""
    return float(np.sqrt(max((box[2] - box[0]) * (box[3] - box[1]), 1.0)))


def scenes_to_view(train: Sequence[Scene]) -> Iterator[Scene]:
    """The training photographs, variations of them and scenes composed of them."""
    rng = np.random.default_rng(99)
    yield from train
    for _ in range(VARIATIONS):
        yield from (vary(scene, rng) for scene in train)
    composed = ComposedScenes(train)
    yield from (composed.sample(5 * 10**5 + number, 0) for number in range(COMPOSED))
