"""Pictures with known objects and expressions true of them: annotated photographs and composed scenes.

`read_photographs` loads a COCO-format set at training resolution. `vary` gives flipped, cropped and recoloured
versions of a scene. `ComposedScenes` pastes cut-outs (instance masks) onto crops of photographs, so that layouts which
real pictures seldom show (four zebras in a row) occur often. Everything is deterministic by seed. Expressions come
from `expressions.generate_expressions`; this module knows nothing of models, grids or tokens.
"""

import json
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pycocotools import mask as coco_mask

from .expressions import Expression, generate_expressions
from .objects import SceneObject, box_of_mask, with_colors

_LEAST_PIXELS = 12
# What a person would still recognise without its surroundings: whole, sharp, with nothing before it.
_SMALLEST_CUTOUT = 40  # pixels of the longer side
_BORDER = 2  # pixels between a cut-out and the edge of its photograph
_HIDDEN = 0.12  # share of a cut-out's box that other things may cover
_LARGEST_SCALE = 1.5  # by which a cut-out is blown up


@dataclass(frozen=True)
class Scene:
    """
    Attributes:
        image: uint8 (H, W, 3) RGB.
        objects: everything annotated in it, masks and boxes in its pixels.
        complete: all objects of the 80 categories are annotated.
        name: where it comes from.
        expressions: each true of exactly one object.
    """

    image: NDArray[np.uint8]
    objects: tuple[SceneObject, ...]
    complete: bool = True
    name: str = ""
    expressions: tuple[Expression, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)"""
        return self.image.shape[:2]


def read_photographs(
    annotations: str | Path, images: str | Path, exclude: Collection[int] = (), longest_edge: int = 512
) -> list[Scene]:
    """
    The annotated photographs of a COCO-format file, scaled down to `longest_edge`, without the image ids in `exclude`.

    Images marked `annotated: false` are left out; `partial_categories: true` makes a scene incomplete.
    Crowds become vague objects.
    """
    content = json.loads(Path(annotations).read_text())
    categories = {category["id"]: category["name"] for category in content["categories"]}
    by_image = defaultdict(list)
    for annotation in content["annotations"]:
        by_image[annotation["image_id"]].append(annotation)
    scenes = []
    for record in content["images"]:
        if record["id"] in exclude or not record.get("annotated", True) or not by_image[record["id"]]:
            continue
        picture = Image.open(Path(images) / record["file_name"]).convert("RGB")
        scale = min(1.0, longest_edge / max(picture.size))
        size = tuple(max(1, round(side * scale)) for side in picture.size)
        pixels = np.asarray(picture.resize(size, Image.Resampling.BICUBIC))
        objects = []
        for annotation in by_image[record["id"]]:
            mask = _mask(annotation["segmentation"], record, size)
            x, y, width, height = (value * scale for value in annotation["bbox"])
            item = SceneObject(
                categories[annotation["category_id"]],
                (x, y, x + width, y + height),
                mask,
                vague=bool(annotation.get("iscrowd")) or mask.sum() < _LEAST_PIXELS,
            )
            objects.append(with_colors(item, pixels))
        complete = not record.get("partial_categories", False)
        scenes.append(Scene(pixels, tuple(objects), complete, name=str(record["id"])))
    return scenes


def _mask(segmentation, record: dict, size: tuple[int, int]) -> NDArray[np.bool_]:
    """bool (H, W) at `size` (width, height)."""
    if isinstance(segmentation, list):
        encoded = coco_mask.merge(coco_mask.frPyObjects(segmentation, record["height"], record["width"]))
    elif isinstance(segmentation["counts"], list):
        encoded = coco_mask.frPyObjects(segmentation, record["height"], record["width"])
    else:
        encoded = segmentation
    full = Image.fromarray(coco_mask.decode(encoded) * 255)
    return np.asarray(full.resize(size, Image.Resampling.BILINEAR)) > 127


def with_expressions(scene: Scene, rng: Generator, count: int = 8) -> Scene:
    """`scene` with up to `count` new expressions."""
    found = generate_expressions(scene.objects, scene.size, rng, count=count, complete=scene.complete)
    return replace(scene, expressions=tuple(found))


def flip(scene: Scene) -> Scene:
    """`scene` mirrored left to right, without its expressions."""
    width = scene.size[1]
    objects = tuple(
        replace(
            item,
            box=(width - item.box[2], item.box[1], width - item.box[0], item.box[3]),
            mask=None if item.mask is None else item.mask[:, ::-1],
        )
        for item in scene.objects
    )
    return replace(scene, image=np.ascontiguousarray(scene.image[:, ::-1]), objects=objects, expressions=())


def crop(scene: Scene, left: int, top: int, right: int, bottom: int) -> Scene:
    """A part of `scene`, without its expressions. Objects that lose more than a third of their mask become vague."""
    objects = []
    for item in scene.objects:
        mask = item.mask[top:bottom, left:right]
        box = box_of_mask(mask)
        if box is None:
            continue
        kept = mask.sum() / max(1, item.mask.sum())
        objects.append(replace(item, box=box, mask=mask, vague=item.vague or kept < 0.67))
    return replace(scene, image=scene.image[top:bottom, left:right], objects=tuple(objects), expressions=())


def recolor(scene: Scene, rng: Generator, strength: float = 0.25) -> Scene:
    """`scene` brighter or darker, with more or less contrast and a slight cast; colours are measured anew."""
    pixels = scene.image.astype(np.float32)
    gain = 1 + rng.uniform(-strength, strength) + rng.uniform(-0.05, 0.05, size=3)
    mean = pixels.mean()
    pixels = (pixels - mean) * (1 + rng.uniform(-strength, strength)) + mean
    image = (pixels * gain.astype(np.float32)).clip(0, 255).astype(np.uint8)
    return replace(
        scene, image=image, objects=tuple(with_colors(item, image) for item in scene.objects), expressions=()
    )


def vary(scene: Scene, rng: Generator) -> Scene:
    """A random version of a photograph: perhaps flipped, cropped to at least half of each side, and recoloured."""
    if rng.random() < 0.5:
        scene = flip(scene)
    if rng.random() < 0.7:
        height, width = scene.size
        new_height, new_width = (int(side * rng.uniform(0.5, 1.0)) for side in (height, width))
        top, left = int(rng.integers(height - new_height + 1)), int(rng.integers(width - new_width + 1))
        cropped = crop(scene, left, top, left + new_width, top + new_height)
        if any(not item.vague for item in cropped.objects):
            scene = cropped
    return recolor(scene, rng)


class ComposedScenes:
    """Composed scenes by number: `sample(seed)` always gives the same scene for the same photographs."""

    def __init__(self, photographs: Sequence[Scene], longest_edge: int = 416):
        """
        Args:
            photographs: sources of cut-outs and backgrounds (`read_photographs`).
            longest_edge: of the composed pictures, pixels.

        Raises:
            ValueError: no photograph holds an object worth cutting out.
        """
        self.photographs, self.longest_edge = list(photographs), longest_edge
        self.cutouts: dict[str, list[tuple[NDArray, NDArray]]] = defaultdict(list)
        for scene in self.photographs:
            for item in scene.objects:
                if _worth_cutting(item, scene):
                    left, top, right, bottom = (round(value) for value in item.box)
                    pixels, mask = scene.image[top:bottom, left:right], item.mask[top:bottom, left:right]
                    self.cutouts[item.category].append((pixels, mask))
        if not self.cutouts:
            raise ValueError(
                f"no photograph holds a whole object of {_SMALLEST_CUTOUT} pixels or more with a mask; give other "
                "photographs"
            )
        self.categories = sorted(self.cutouts)

    def sample(self, seed: int, expressions: int = 8) -> Scene:
        """The scene of number `seed`, with up to `expressions` expressions."""
        rng = np.random.default_rng((seed, 20251))
        scene = self._background(rng)
        for category in self._cast(rng):
            scene = self._paste(scene, category, rng)
        scene = replace(scene, objects=tuple(with_colors(item, scene.image) for item in scene.objects))
        return with_expressions(replace(scene, name=f"composed {seed}"), rng, expressions)

    def preview(self, seed: int) -> Image.Image:
        """The scene of number `seed` as a picture, see `draw`."""
        return draw(self.sample(seed))

    def _background(self, rng: Generator) -> Scene:
        """A part of a photograph, with few objects or with all of its objects vague and blurred away."""
        source = self.photographs[rng.integers(len(self.photographs))]
        height, width = source.size
        share = rng.uniform(0.4, 0.8)
        new_height, new_width = int(height * share), int(width * share)
        top, left = int(rng.integers(height - new_height + 1)), int(rng.integers(width - new_width + 1))
        part = crop(source, left, top, left + new_width, top + new_height)
        scale = self.longest_edge / max(new_height, new_width)
        size = (round(new_width * scale), round(new_height * scale))
        if not source.complete or len(part.objects) > 4 or rng.random() < 0.3:
            blurred = Image.fromarray(part.image).resize((8, 6), Image.Resampling.BOX)
            return Scene(np.asarray(blurred.resize(size, Image.Resampling.BICUBIC)), ())
        image = np.asarray(Image.fromarray(part.image).resize(size, Image.Resampling.BICUBIC))
        objects = []
        for item in part.objects:
            mask = np.asarray(Image.fromarray(item.mask).resize(size))
            box = box_of_mask(mask)
            if box is not None:
                objects.append(replace(item, box=box, mask=mask))
        return Scene(image, tuple(objects))

    def _cast(self, rng: Generator) -> list[str]:
        """Categories to paste: one to three kinds, one to four of each; persons are the likeliest."""
        chosen = []
        for _ in range(rng.integers(1, 4)):
            category = "person" if rng.random() < 0.3 else self.categories[rng.integers(len(self.categories))]
            chosen += [category] * int(rng.choice((1, 2, 3, 4), p=(0.35, 0.3, 0.25, 0.1)))
        return chosen[:7]

    def _paste(self, scene: Scene, category: str, rng: Generator) -> Scene:
        pixels, mask = self.cutouts[category][rng.integers(len(self.cutouts[category]))]
        if rng.random() < 0.5:
            pixels, mask = pixels[:, ::-1], mask[:, ::-1]
        height, width = scene.size
        longest = rng.uniform(0.2, 0.6) * self.longest_edge
        scale = min(longest / max(mask.shape), height / mask.shape[0], width / mask.shape[1], _LARGEST_SCALE)
        size = (max(8, round(mask.shape[1] * scale)), max(8, round(mask.shape[0] * scale)))
        size = (min(size[0], width), min(size[1], height))
        pixels = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))
        soft = np.asarray(Image.fromarray(mask.astype(np.uint8) * 255).resize(size, Image.Resampling.BILINEAR))
        left, top = self._place(scene, size, rng)
        image = scene.image.copy()
        window = image[top : top + size[1], left : left + size[0]]
        weight = soft[..., None].astype(np.float32) / 255
        light = rng.uniform(0.8, 1.2)
        window[:] = (window * (1 - weight) + (pixels * light).clip(0, 255) * weight).astype(np.uint8)
        new_mask = np.zeros(scene.size, dtype=bool)
        new_mask[top : top + size[1], left : left + size[0]] = soft > 127
        box = box_of_mask(new_mask)
        if box is None:
            return scene
        objects = [self._covered(item, new_mask) for item in scene.objects]
        objects = [item for item in objects if item is not None]
        return replace(scene, image=image, objects=(*objects, SceneObject(category, box, new_mask)))

    def _place(self, scene: Scene, size: tuple[int, int], rng: Generator) -> tuple[int, int]:
        """Left and top of a window of `size` (width, height) that hides little: the best of six random places."""
        height, width = scene.size
        best, least = (0, 0), np.inf
        for _ in range(6):
            left, top = int(rng.integers(width - size[0] + 1)), int(rng.integers(height - size[1] + 1))
            hidden = max(
                (
                    item.mask[top : top + size[1], left : left + size[0]].sum() / max(1, item.mask.sum())
                    for item in scene.objects
                ),
                default=0.0,
            )
            if hidden < least:
                best, least = (left, top), hidden
        return best

    def _covered(self, item: SceneObject, cover: NDArray[np.bool_]) -> SceneObject | None:
        """`item` without the pixels under `cover`; vague if more than 40 % of it are lost, None if nothing is left."""
        mask = item.mask & ~cover
        box = box_of_mask(mask)
        if box is None:
            return None
        return replace(item, mask=mask, box=box, vague=item.vague or mask.sum() < 0.6 * item.mask.sum())


def _worth_cutting(item: SceneObject, scene: Scene) -> bool:
    """Whether `item` is whole, sharp and in front, so that it can be recognised anywhere else."""
    if item.vague or max(item.size) < _SMALLEST_CUTOUT or item.mask.sum() < 0.3 * item.area:
        return False
    height, width = scene.size
    left, top, right, bottom = (round(value) for value in item.box)
    if min(left, top, width - right, height - bottom) < _BORDER:
        return False
    others = np.zeros((bottom - top, right - left), dtype=bool)
    for other in scene.objects:
        if other is not item:
            others |= other.mask[top:bottom, left:right]
    others &= ~item.mask[top:bottom, left:right]
    return others.mean() < _HIDDEN


def draw(scene: Scene) -> Image.Image:
    """`scene` with the boxes of its targets and, below, its expressions in the colour of their target."""
    palette = ("#e6194b", "#3cb44b", "#0082c8", "#f58231", "#911eb4", "#008080", "#9a6324", "#808000", "#000075")
    height, width = scene.size
    picture = Image.new("RGB", (max(width, 320), height + 14 * len(scene.expressions) + 4), "white")
    picture.paste(Image.fromarray(scene.image), (0, 0))
    pen = ImageDraw.Draw(picture)
    for row, expression in enumerate(scene.expressions):
        color = palette[expression.target % len(palette)]
        pen.rectangle(scene.objects[expression.target].box, outline=color, width=2)
        pen.text((4, height + 14 * row + 2), expression.text, fill=color)
    return picture


__all__ = [
    "ComposedScenes",
    "Scene",
    "crop",
    "draw",
    "flip",
    "read_photographs",
    "recolor",
    "vary",
    "with_expressions",
]
