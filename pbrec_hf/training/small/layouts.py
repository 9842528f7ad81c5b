"""Layouts: scenes without pictures, dealt from objects and from what the detector makes of them, as pool files.

    python scripts/small/layouts.py --data DATA --detector DIR --out POOL --chunks 24

A few hundred photographs hold too few arrangements to learn what "second from left" asks for. So the detector runs
once on every annotated object of the training photographs, and of scenes composed of them (a `View`: its colours, its
probabilities and boxes, or that it is missed), and layouts are dealt from these: real or random boxes, each with a
view of its category. In half of the layouts the categories other than "person" change places, so that the model learns
a rare noun as well as a frequent one. Only the neck's channels stay empty.
"""

import argparse
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from ...comprehension.targets import massness_targets
from ...data.scenes.objects import SceneObject
from ...data.scenes.reading import HumanExpressions
from ...data.scenes.scene import Scene, with_expressions
from ...geometry.centerness import centerness_at
from ...geometry.points import feature_mask, grid_points
from ...small.backbone import GroundingBackbone, most_central
from ...small.colors import COLOR_NAMES
from ...small.objects import PARTS, describe_objects, place_objects, visible
from ...small.postures import POSTURES
from .pool import (
    ABSENT,
    CANVAS,
    PLACES,
    PLURALS,
    STRIDE,
    Sayings,
    human_expressions,
    letterbox_of,
    load_backbone,
    save_chunk,
    sayings,
    split_photographs,
    with_human,
    with_known_postures,
)
from .views import GRID, Detection, View, Views, look, scenes_to_view, side_of

SCENES_PER_CHUNK = 1000
FINE = STRIDE // PLACES
Placed = tuple[str, NDArray[np.float64], bool]  # category, box XYXY on the canvas, whether it is vague
logger = logging.getLogger(__name__)


class Layouts:
    """
    Layouts by number.

    Args:
        photographs: whose boxes are dealt, and whose sizes.
        views: of objects, as the detector sees them.
        backbone: describes the objects.
        human: expressions that people wrote about other pictures.
    """

    def __init__(
        self, photographs: Sequence[Scene], views: Views, backbone: GroundingBackbone, human: HumanExpressions
    ):
        self.photographs, self.views, self.backbone, self.human = list(photographs), views, backbone, human
        self.classes = backbone.config.class_names
        self.categories = sorted(views.of)
        self._postures = len(POSTURES) if backbone.config.postures else 0  # channels

    def sample(self, seed: int, expressions: int) -> tuple[dict[str, Tensor], Sayings]:
        """What training reads of layout number `seed`, with up to `expressions` generated and as many human ones."""
        rng = np.random.default_rng((seed, 505))
        source = self.photographs[rng.integers(len(self.photographs))]
        placed = self._place(source, rng)
        views = [self.views.pick(category, side_of(box), rng) for category, box, _ in placed]
        order = self._exchange(rng) if rng.random() < 0.5 else np.arange(len(self.classes))
        names = [self.classes[order[self.classes.index(category)]] for category, _, _ in placed]
        objects = tuple(
            SceneObject(name, _corners(box), None, view.item.colors, vague, view.item.posture)
            for name, view, (_, box, vague) in zip(names, views, placed, strict=True)
        )
        # Words speak of the picture, whose corner lies inside the canvas.
        place = letterbox_of(source.size)
        corner = np.array([place.left, place.top] * 2)
        shown = tuple(replace(item, box=_corners(np.array(item.box) - corner)) for item in objects)
        scene = Scene(np.empty((place.resized_height, place.resized_width, 0), np.uint8), shown, source.complete)
        scene = with_expressions(scene, rng, expressions, PLURALS, ABSENT)
        scene = with_human(scene, self.human, rng, expressions)
        said = [saying for saying in sayings(scene) if all(views[index].found is not None for index in saying[1])]
        inside = torch.zeros(1, CANVAS, CANVAS, dtype=torch.bool)
        inside[0][place.window] = True
        return self._tensors(objects, views, order, feature_mask(inside, GRID, GRID)[0], rng), said

    def _place(self, source: Scene, rng: Generator) -> list[Placed]:
        return self._as_annotated(source, rng) if rng.random() < 0.5 else self._at_random(source.size, rng)

    def _as_annotated(self, source: Scene, rng: Generator) -> list[Placed]:
        """Everything in a photograph, or in its mirror image, where it is annotated."""
        mirror = rng.random() < 0.5
        placed = []
        truth = torch.tensor([item.box for item in source.objects], dtype=torch.float64).reshape(-1, 4)
        boxes = letterbox_of(source.size).boxes_to_canvas(truth).numpy()
        for item, box in zip(source.objects, boxes, strict=True):
            if mirror:
                box = np.array([CANVAS - box[2], box[1], CANVAS - box[0], box[3]])
            if item.category in self.categories:
                placed.append((item.category, box, item.vague))
        return placed

    def _at_random(self, size: tuple[int, int], rng: Generator) -> list[Placed]:
        """One to four kinds, one to five of each, where they hide little of each other."""
        placed: list[Placed] = []
        for _ in range(rng.integers(1, 5)):
            category = "person" if rng.random() < 0.25 else self.categories[rng.integers(len(self.categories))]
            common = np.exp(rng.uniform(np.log(24), np.log(300)))
            for _ in range(rng.choice((1, 2, 3, 4, 5), p=(0.3, 0.3, 0.2, 0.12, 0.08))):
                self._add(placed, category, common, size, rng)
        return placed

    def _add(
        self,
        placed: list[Placed],
        category: str,
        side: float,
        size: tuple[int, int],
        rng: Generator,
        spread: float = 0.25,
        most: float = 0.3,
    ) -> None:
        """
        Another object where it hides little of those that are `placed`, if such a place is found.

        Args:
            side: about the square root of its area, in pixels of the canvas.
            size: (height, width) of the picture.
            spread: of the logarithm of `side`.
            most: share of the smaller one of two objects that they may have in common.
        """
        like = self.views.of[category][rng.integers(len(self.views.of[category]))].item
        stretch = side * np.exp(rng.normal(0, spread)) / side_of(like.box)
        place = letterbox_of(size)
        limits = (place.resized_width, place.resized_height)
        w, h = (min(stretch * extent, limit) for extent, limit in zip(like.size, limits, strict=True))
        for _ in range(8):
            x, y = rng.uniform(0, limits[0] - w) + place.left, rng.uniform(0, limits[1] - h) + place.top
            box = np.array([x, y, x + w, y + h])
            if all(hidden(box, other) < most for _, other, _ in placed):
                placed.append((category, box, False))
                return

    def _exchange(self, rng: Generator) -> NDArray[np.int64]:
        """The new place of each class; "person" stays."""
        order = np.arange(len(self.classes))
        others = np.array([index for index, name in enumerate(self.classes) if name != "person"])
        order[others] = rng.permutation(others)
        return order

    def _detections(
        self, objects: Sequence[SceneObject], views: Sequence[View], order: NDArray[np.int64], rng: Generator
    ) -> Detection:
        """All fields of the objects seen and of some strays, n of them, and boxes on the canvas."""
        found: list[Detection] = []
        if self.views.strays:
            numbers = rng.integers(len(self.views.strays), size=rng.integers(0, 21))
            found += [self.views.strays[number] for number in numbers]
        for item, view in zip(objects, views, strict=True):
            box = torch.tensor(item.box).float()
            side = (box[2:] - box[:2]).repeat(2)
            here = view.fragments if view.found is None else (view.found, *view.fragments)
            found += [each._replace(box=box + each.box * side) for each in here]
        if not found:
            widths = (4, len(self.classes), len(PARTS) * len(COLOR_NAMES), self._postures)
            return Detection(*(torch.zeros(0, width) for width in widths))
        every = Detection(*(torch.stack(part) for part in zip(*found, strict=True)))
        best = every.seen.amax(1).argsort(descending=True)[: self.backbone.config.max_objects]
        boxes, seen, colors, postures = (part[best] for part in every)
        return Detection(boxes.clamp(0, CANVAS), seen[:, np.argsort(order)], colors, postures)

    def _tensors(
        self,
        objects: Sequence[SceneObject],
        views: Sequence[View],
        order: NDArray[np.int64],
        mask: Tensor,
        rng: Generator,
    ) -> dict[str, Tensor]:
        boxes, seen, colors, postures = self._detections(objects, views, order, rng)
        grid = (GRID * PLACES, GRID * PLACES)
        points = grid_points(*grid, FINE)
        weight = self.backbone.weigh(seen.amax(1))
        index, shape = place_objects(boxes, weight, points, FINE, (CANVAS, CANVAS))
        described = describe_objects(boxes, seen, weight, colors, (CANVAS, CANVAS), postures)
        at_points = torch.cat((self._classes_at(points, boxes, seen, rng), self._pixels(index, colors, rng), shape.T))
        truth = torch.tensor([item.box for item in objects]).float().reshape(-1, 4)
        [chosen] = most_central(at_points[None], grid, PLACES)
        points = points[chosen]
        return {
            "at_points": at_points[:, chosen].half(),
            "described": described.half(),
            "index": index[chosen].short(),
            "points": points.half(),
            "mask": mask,
            "boxes": truth,
            "vague": torch.tensor([item.vague for item in objects]),
            "centerness": centerness_at(points, truth, STRIDE).half(),
            "massness": massness_targets(_ellipses(truth), CANVAS, STRIDE)[0].half(),
        }

    def _classes_at(self, points: Tensor, boxes: Tensor, seen: Tensor, rng: Generator) -> Tensor:
        """(80, P): class probabilities of the cell at each point, falling towards the edges of the boxes."""
        at = torch.zeros(len(points), len(self.classes))
        for box, classes in zip(boxes, seen, strict=True):
            center, extent = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]).clamp(min=FINE)
            far = ((points - center) / extent).abs().amax(1) * 2
            fade = torch.from_numpy(rng.uniform(0.5, 1.0, len(points))).float() * (1.3 - far).clamp(0, 1)
            at = torch.maximum(at, fade[:, None] * classes[None])
        return visible(at).T

    def _pixels(self, index: Tensor, colors: Tensor, rng: Generator) -> Tensor:
        """(11, P): shares of the colour names at each point, of its object or else of some picture."""
        pixels = self.views.pixels[rng.integers(len(self.views.pixels))].float()
        on = index >= 0
        whole = colors[:, : len(COLOR_NAMES)]
        return torch.where(on, 0.3 * pixels + 0.7 * whole[index].T, pixels) if len(colors) else pixels


def _corners(box: NDArray[np.float64]) -> tuple[float, float, float, float]:
    left, top, right, bottom = box.tolist()
    return left, top, right, bottom


def hidden(box: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """The area that two boxes share, as a share of the smaller one's."""
    shared = np.clip(np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2]), 0, None).prod()
    return float(shared / max(1.0, min((box[2:] - box[:2]).prod(), (other[2:] - other[:2]).prod())))


def _ellipses(boxes: Tensor) -> Tensor:
    """bool (n, CANVAS, CANVAS): the ellipse inside each box, which fills about as much of it as a mask does."""
    middle = torch.arange(CANVAS) + 0.5
    center, half = (boxes[:, :2] + boxes[:, 2:]) / 2, ((boxes[:, 2:] - boxes[:, :2]) / 2).clamp(min=1)
    x = ((middle[None] - center[:, :1]) / half[:, :1]) ** 2
    y = ((middle[None] - center[:, 1:]) / half[:, 1:]) ** 2
    return y[:, :, None] + x[:, None, :] <= 1


def parse(description: str | None, arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line of a program that writes layouts."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--detector", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--chunks", type=int, default=1)
    parser.add_argument("--expressions", type=int, default=12, help="generated ones per scene, and as many human ones")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args(arguments)


def write_missing(
    args: argparse.Namespace, kind: str, make: Callable[[Sequence[Scene], GroundingBackbone], Layouts]
) -> None:
    """
    Write the chunks of a kind that are missing.

    Args:
        args: of `parse`.
        kind: of the chunks.
        make: the layouts of the training photographs, as the backbone sees them.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(args.threads)
    paths = [args.out / f"{kind}_{chunk:03d}.safetensors" for chunk in range(args.chunks)]
    missing = [path for path in paths if not path.exists()]
    if not missing:
        return
    backbone = load_backbone(args.detector)
    train, _ = split_photographs(args.data)
    if backbone.config.postures:
        train = with_known_postures(train, args.data)
    with torch.inference_mode():
        layouts = make(train, backbone)
        every = [view for of_category in layouts.views.of.values() for view in of_category]
        missed = sum(view.found is None for view in every)
        logger.info("%d views, %d of them missed, %d strays", len(every), missed, len(layouts.views.strays))
        for path in missing:
            first = int(path.stem.split("_")[1]) * SCENES_PER_CHUNK
            save_chunk(path, (layouts.sample(first + number, args.expressions) for number in range(SCENES_PER_CHUNK)))
            logger.info("wrote %s", path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the chunks that are missing."""
    args = parse(__doc__, arguments)
    human = human_expressions(args.data)
    write_missing(
        args, "layouts", lambda train, backbone: Layouts(train, look(scenes_to_view(train), backbone), backbone, human)
    )
