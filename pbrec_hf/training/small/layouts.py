"""Scenes without pictures: objects and what the detector makes of them, dealt anew; pool files like small_pool.py's.

    python scripts/small_layouts.py --data DATA --detector DIR --out POOL --chunks 24

A few hundred photographs hold too few arrangements to learn what "second from left" asks for. So every annotated
object of the training photographs, and of scenes composed of them, is looked at once through the detector (a `View`:
its colours, the probabilities and the boxes it gets, or that it is missed), and layouts are dealt from these: real or
random boxes, each with a view of its category. In half of the layouts the categories other than "person" change
places, so that a rare noun is read as surely as a frequent one. Only the neck's channels stay empty.
"""

import argparse
import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import box_iou

from ...comprehension.targets import massness_targets
from ...data.scenes.composed import ComposedScenes, Scene, vary, with_expressions
from ...data.scenes.objects import SceneObject
from ...data.scenes.reading import HumanExpressions
from ...geometry.centerness import centerness_at
from ...geometry.points import feature_mask, grid_points
from ...small.backbone import GroundingBackbone, most_central, picture_colors
from ...small.colors import COLOR_NAMES
from ...small.objects import PARTS, describe_objects, part_colors, place_objects, visible
from .pool import (
    CANVAS,
    PLACES,
    STRIDE,
    human_expressions,
    load_backbone,
    picture_inputs,
    placement,
    save_chunk,
    split_photographs,
    with_human,
)

SCENES_PER_CHUNK, VARIATIONS, COMPOSED = 1000, 3, 600
GRID, FINE = CANVAS // STRIDE, STRIDE // PLACES
_SAME, _APART = 0.5, 0.2  # IoU from which a detection shows an object, and below which it shows none
logger = logging.getLogger("small_layouts")


class Detection(NamedTuple):
    """`box` (4,): canvas pixels, or sides minus those of an object in its widths and heights; `seen` (80,) class
    probabilities; `colors` (33,) shares of the colour names in the parts of the box.
    """

    box: Tensor
    seen: Tensor
    colors: Tensor


@dataclass(frozen=True)
class View:
    """
    One object as annotated and as detected.

    Attributes:
        item: category and colours, for the words; its box, whose size says for which boxes the view is fit.
        found: the detection that shows it best, relative to its box; None = missed.
        fragments: the other detections in its place: parts of it, or it and its neighbour as one.
    """

    item: SceneObject
    found: Detection | None = None
    fragments: tuple[Detection, ...] = ()


class Views:
    """What the detector makes of objects, of nothing, and how pictures are coloured."""

    def __init__(self, views: Iterable[View], strays: Iterable[Detection], pixels: Iterable[Tensor]):
        """
        Args:
            views: of all objects.
            strays: detections where nothing is annotated.
            pixels: (11, P), the colours at all places of some pictures.
        """
        self.of: dict[str, list[View]] = defaultdict(list)
        for view in views:
            self.of[view.item.category].append(view)
        self.sides = {name: np.array([_side(view.item.box) for view in of]) for name, of in self.of.items()}
        self.strays, self.pixels = list(strays), list(pixels)

    def pick(self, category: str, side: float, rng: Generator) -> View:
        """A view of an object of `category` about as large as `side`, the root of its area in canvas pixels."""
        distance = np.abs(np.log(self.sides[category] / side))
        return self.of[category][rng.choice(np.argsort(distance)[:12])]


def look(scenes: Iterable[Scene], backbone: GroundingBackbone) -> Views:
    """Show scenes to the detector, once."""
    views, strays, pixels = [], [], []
    for scene in scenes:
        pixel_values = picture_inputs(scene)[0][None]
        outputs = backbone.detector(pixel_values)
        scores = outputs.class_logits.sigmoid()
        [(boxes, seen, _)] = backbone.find(scores, outputs.points, outputs.distances, (CANVAS, CANVAS))
        colors = picture_colors(pixel_values)[0]
        pixels.append(F.adaptive_avg_pool2d(colors, GRID * PLACES).flatten(1).half())
        parts = part_colors(boxes, colors, (CANVAS, CANVAS))
        scale, offset = placement(scene.size)
        truth = torch.tensor([item.box for item in scene.objects]).reshape(-1, 4) * scale + offset
        if not len(truth):
            continue
        detections = [Detection(*each) for each in zip(boxes, seen, parts, strict=True)]
        overlap = box_iou(truth, boxes)
        most, place = overlap.amax(0), overlap.argmax(0)
        for row, (item, box) in enumerate(zip(scene.objects, truth, strict=True)):
            if item.vague:
                continue
            side = (box[2:] - box[:2]).repeat(2)
            shown = [each._replace(box=(each.box - box) / side) for each in detections]
            best = int(overlap[row].argmax()) if (overlap[row] > _SAME).any() else None
            rest = ((place == row) & (most >= _APART)).nonzero().flatten().tolist()
            item = replace(item, mask=None, box=tuple(box.tolist()))
            fragments = tuple(shown[index] for index in rest if index != best)
            views.append(View(item, None if best is None else shown[best], fragments))
        if scene.complete:
            strays += [each for each, overlapped in zip(detections, most, strict=True) if overlapped < _APART]
    return Views(views, strays, pixels)


def _side(box: Sequence[float]) -> float:
    """The root of a box's area, in pixels."""
    return float(np.sqrt(max((box[2] - box[0]) * (box[3] - box[1]), 1.0)))


class Layouts:
    """Dealt layouts by number."""

    def __init__(
        self, photographs: Sequence[Scene], views: Views, backbone: GroundingBackbone, human: HumanExpressions
    ):
        self.photographs, self.views, self.backbone, self.human = list(photographs), views, backbone, human
        self.classes = backbone.config.class_names
        self.categories = sorted(views.of)

    def sample(self, seed: int, expressions: int) -> tuple[dict[str, Tensor], list]:
        """What training reads of one layout, and its expressions as [text, target, kind]."""
        rng = np.random.default_rng((seed, 505))
        source = self.photographs[rng.integers(len(self.photographs))]
        placed = self._as_annotated(source, rng) if rng.random() < 0.5 else self._at_random(source.size, rng)
        views = [self.views.pick(category, _side(box), rng) for category, box, _ in placed]
        order = self._exchange(rng) if rng.random() < 0.5 else np.arange(len(self.classes))
        names = [self.classes[order[self.classes.index(category)]] for category, _, _ in placed]
        objects = tuple(
            SceneObject(name, tuple(box), None, view.item.colors, vague)
            for name, view, (_, box, vague) in zip(names, views, placed, strict=True)
        )
        # Words speak of the picture, whose corner lies inside the canvas.
        scale, offset = placement(source.size)
        height, width = (round(side * scale) for side in source.size)
        shown = tuple(replace(item, box=tuple((np.array(item.box) - offset.numpy()).tolist())) for item in objects)
        scene = Scene(np.empty((height, width, 0), np.uint8), shown, source.complete)
        scene = with_human(with_expressions(scene, rng, expressions), self.human, rng, expressions)
        said = [[e.text, e.target, e.kind] for e in scene.expressions if views[e.target].found is not None]
        left, top = (int(value) for value in offset[:2])
        inside = torch.zeros(1, CANVAS, CANVAS, dtype=torch.bool)
        inside[:, top : top + height, left : left + width] = True
        return self._tensors(objects, views, order, feature_mask(inside, GRID, GRID)[0], rng), said

    def _as_annotated(self, source: Scene, rng: Generator) -> list[tuple[str, np.ndarray, bool]]:
        """Category, box on the canvas and whether it is vague, of everything in a photograph or its mirror image."""
        scale, offset = placement(source.size)
        mirror = rng.random() < 0.5
        placed = []
        for item in source.objects:
            box = np.array(item.box) * scale + offset.numpy()
            if mirror:
                box = np.array([CANVAS - box[2], box[1], CANVAS - box[0], box[3]])
            if item.category in self.categories:
                placed.append((item.category, box, item.vague))
        return placed

    def _at_random(self, size: tuple[int, int], rng: Generator) -> list[tuple[str, np.ndarray, bool]]:
        """One to four kinds, one to five of each, at places where they hide little of each other."""
        scale, offset = placement(size)
        height, width = (side * scale for side in size)
        placed: list[tuple[str, np.ndarray, bool]] = []
        for _ in range(rng.integers(1, 5)):
            category = "person" if rng.random() < 0.25 else self.categories[rng.integers(len(self.categories))]
            common = np.exp(rng.uniform(np.log(24), np.log(300)))
            for _ in range(rng.choice((1, 2, 3, 4, 5), p=(0.3, 0.3, 0.2, 0.12, 0.08))):
                like = self.views.of[category][rng.integers(len(self.views.of[category]))].item
                stretch = common * np.exp(rng.normal(0, 0.25)) / _side(like.box)
                w, h = (min(stretch * extent, limit) for extent, limit in zip(like.size, (width, height), strict=True))
                for _ in range(8):
                    x, y = rng.uniform(0, width - w) + offset[0].item(), rng.uniform(0, height - h) + offset[1].item()
                    box = np.array([x, y, x + w, y + h])
                    if all(_hidden(box, other) < 0.3 for _, other, _ in placed):
                        placed.append((category, box, False))
                        break
        return placed

    def _exchange(self, rng: Generator) -> np.ndarray:
        """New place of each class; "person" stays."""
        order = np.arange(len(self.classes))
        others = np.array([index for index, name in enumerate(self.classes) if name != "person"])
        order[others] = rng.permutation(others)
        return order

    def _detections(self, objects, views, order: np.ndarray, rng: Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes (n, 4), class probabilities (n, 80) and colours (n, 33) of the objects seen and of some strays."""
        numbers = rng.integers(len(self.views.strays), size=rng.integers(0, 21)) if self.views.strays else ()
        found = [self.views.strays[number] for number in numbers]
        for item, view in zip(objects, views, strict=True):
            box = torch.tensor(item.box).float()
            side = (box[2:] - box[:2]).repeat(2)
            here = view.fragments if view.found is None else (view.found, *view.fragments)
            found += [each._replace(box=box + each.box * side) for each in here]
        if not found:
            classes = len(self.classes)
            return torch.zeros(0, 4), torch.zeros(0, classes), torch.zeros(0, len(PARTS) * len(COLOR_NAMES))
        boxes, seen, colors = (torch.stack(part) for part in zip(*found, strict=True))
        best = seen.amax(1).argsort(descending=True)[: self.backbone.config.max_objects]
        return boxes[best].clamp(0, CANVAS), seen[best][:, np.argsort(order)], colors[best]

    def _tensors(self, objects, views, order: np.ndarray, mask: Tensor, rng: Generator) -> dict[str, Tensor]:
        boxes, seen, colors = self._detections(objects, views, order, rng)
        grid = (GRID * PLACES, GRID * PLACES)
        points = grid_points(*grid, FINE)
        weight = self.backbone.weigh(seen.amax(1))
        index, shape = place_objects(boxes, weight, points, FINE, (CANVAS, CANVAS))
        described = describe_objects(boxes, seen, weight, colors, (CANVAS, CANVAS))
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
        """(80, P): what a point's own cell says, less towards the edges of the boxes."""
        at = torch.zeros(len(points), len(self.classes))
        for box, classes in zip(boxes, seen, strict=True):
            center, extent = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]).clamp(min=FINE)
            far = ((points - center) / extent).abs().amax(1) * 2
            fade = torch.from_numpy(rng.uniform(0.5, 1.0, len(points))).float() * (1.3 - far).clamp(0, 1)
            at = torch.maximum(at, fade[:, None] * classes[None])
        return visible(at).T

    def _pixels(self, index: Tensor, colors: Tensor, rng: Generator) -> Tensor:
        """(11, P): the colours of the object that a point belongs to, else of some picture."""
        pixels = self.views.pixels[rng.integers(len(self.views.pixels))].float()
        on = index >= 0
        whole = colors[:, : len(COLOR_NAMES)]
        return torch.where(on, 0.3 * pixels + 0.7 * whole[index].T, pixels) if len(colors) else pixels


def _hidden(box: np.ndarray, other: np.ndarray) -> float:
    """The shared area over the smaller one's."""
    shared = np.clip(np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2]), 0, None).prod()
    return shared / max(1.0, min((box[2:] - box[:2]).prod(), (other[2:] - other[:2]).prod()))


def _ellipses(boxes: Tensor) -> Tensor:
    """bool (n, CANVAS, CANVAS), the ellipse inside each box: about as much of the box as a mask fills."""
    middle = torch.arange(CANVAS) + 0.5
    center, half = (boxes[:, :2] + boxes[:, 2:]) / 2, ((boxes[:, 2:] - boxes[:, :2]) / 2).clamp(min=1)
    x = ((middle[None] - center[:, :1]) / half[:, :1]) ** 2
    y = ((middle[None] - center[:, 1:]) / half[:, 1:]) ** 2
    return y[:, :, None] + x[:, None, :] <= 1


def scenes_to_view(train: list[Scene]) -> Iterator[Scene]:
    """The training photographs, variations of them and composed scenes."""
    rng = np.random.default_rng(99)
    yield from train
    for _ in range(VARIATIONS):
        yield from (vary(scene, rng) for scene in train)
    composed = ComposedScenes(train)
    yield from (composed.sample(5 * 10**5 + number, 0) for number in range(COMPOSED))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--detector", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--chunks", type=int, default=1)
    parser.add_argument("--expressions", type=int, default=12, help="generated ones per scene, and as many human ones")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(args.threads)
    missing = [path for path in (args.out / f"layouts_{chunk:03d}.safetensors" for chunk in range(args.chunks))
               if not path.exists()]  # fmt: skip
    if not missing:
        return
    backbone = load_backbone(args.detector)
    train, _ = split_photographs(args.data)
    with torch.inference_mode():
        views = look(scenes_to_view(train), backbone)
        every = [view for of_category in views.of.values() for view in of_category]
        missed = sum(view.found is None for view in every)
        logger.info("%d views, %d of them missed, %d strays", len(every), missed, len(views.strays))
        layouts = Layouts(train, views, backbone, human_expressions(args.data))
        args.out.mkdir(parents=True, exist_ok=True)
        for path in missing:
            first = int(path.stem.split("_")[1]) * SCENES_PER_CHUNK
            save_chunk(path, (layouts.sample(first + number, args.expressions) for number in range(SCENES_PER_CHUNK)))
            logger.info("wrote %s", path)


if __name__ == "__main__":
    main()
