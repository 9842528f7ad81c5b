"""A picture whose objects are known, and its variations: mirrored, cropped, recoloured, with expressions, drawn.

Masks and boxes follow the pixels; expressions do not, so a variation comes without them until `with_expressions` makes
new ones. Every draw comes from the generator that is passed in. Knows nothing of files and of models.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from .absent import generate_absent
from .expressions import Expression, generate_expressions
from .objects import SceneObject, box_of_mask, with_colors
from .plurals import generate_plurals

_KEPT = 0.67  # share of its mask that an object must keep in a crop, or it becomes vague
_PALETTE = ("#e6194b", "#3cb44b", "#0082c8", "#f58231", "#911eb4", "#008080", "#9a6324", "#808000", "#000075")


@dataclass(frozen=True)
class Scene:
    """
    Attributes:
        image: uint8 (H, W, 3) RGB.
        objects: everything annotated in it, masks and boxes in its pixels.
        complete: all objects of the 80 categories are annotated.
        name: where it is from.
        expressions: what is said about it, of one object, several or none.
    """

    image: NDArray[np.uint8]
    objects: tuple[SceneObject, ...]
    complete: bool = True
    name: str = ""
    expressions: tuple[Expression, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """(height, width), pixels."""
        height, width, _ = self.image.shape
        return height, width


def with_expressions(scene: Scene, rng: Generator, count: int = 8, plurals: int = 0, absent: int = 0) -> Scene:
    """`scene` with up to `count` new expressions for one object, and up to so many for several and for none."""
    found = generate_expressions(scene.objects, scene.size, rng, count=count, complete=scene.complete)
    if plurals:
        found += generate_plurals(scene.objects, scene.size, rng, count=plurals, complete=scene.complete)
    if absent:
        found += generate_absent(scene.objects, scene.size, rng, count=absent, complete=scene.complete)
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
    """A part of `scene`, without its expressions; objects that lose more than a third of their mask become vague."""
    objects = []
    for item in scene.objects:
        mask = item.visible[top:bottom, left:right]
        box = box_of_mask(mask)
        if box is None:
            continue
        kept = mask.sum() / max(1, item.visible.sum())
        objects.append(replace(item, box=box, mask=mask, vague=item.vague or bool(kept < _KEPT)))
    return replace(scene, image=scene.image[top:bottom, left:right], objects=tuple(objects), expressions=())


def recolor(scene: Scene, rng: Generator, strength: float = 0.25) -> Scene:
    """`scene` brighter or darker, with more or less contrast and a slight cast; colours are measured anew."""
    pixels = scene.image.astype(np.float32)
    gain = 1 + rng.uniform(-strength, strength) + rng.uniform(-0.05, 0.05, size=3)
    mean = pixels.mean()
    pixels = (pixels - mean) * (1 + rng.uniform(-strength, strength)) + mean
    image = (pixels * gain.astype(np.float32)).clip(0, 255).astype(np.uint8)
    objects = tuple(with_colors(item, image) for item in scene.objects)
    return replace(scene, image=image, objects=objects, expressions=())


def vary(scene: Scene, rng: Generator) -> Scene:
    """A random version of a photograph: perhaps mirrored, cropped to at least half of each side, and recoloured."""
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


def draw(scene: Scene) -> Image.Image:
    """`scene` with the boxes of its targets and, below, its expressions in the colour of their first target."""
    height, width = scene.size
    picture = Image.new("RGB", (max(width, 320), height + 14 * len(scene.expressions) + 4), "white")
    picture.paste(Image.fromarray(scene.image), (0, 0))
    pen = ImageDraw.Draw(picture)
    for row, expression in enumerate(scene.expressions):
        colors = [_PALETTE[target % len(_PALETTE)] for target in expression.targets]
        for target, color in zip(expression.targets, colors, strict=True):
            pen.rectangle(scene.objects[target].box, outline=color, width=2)
        several = f" ({len(expression.targets)})" if len(expression.targets) != 1 else ""
        pen.text((4, height + 14 * row + 2), expression.text + several, fill=colors[0] if colors else "#808080")
    return picture


__all__ = ["Scene", "crop", "draw", "flip", "recolor", "vary", "with_expressions"]
