"""Composed scenes: cut-outs of annotated photographs pasted onto crops of others.

So layouts that photographs seldom show (four zebras in a row) occur often, and every object is known. A scene depends
on its number and the photographs alone. Knows nothing of files, models, grids and tokens.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

from .objects import SceneObject, box_of_mask, with_colors
from .scene import Scene, crop, draw, with_expressions

# What a person would still recognise without its surroundings: whole, sharp, with nothing in front of it.
_SMALLEST_CUTOUT = 40  # pixels of the longer side
_BORDER = 2  # pixels between a cut-out and the edge of its photograph
_HIDDEN = 0.12  # share of a cut-out's box that other things may cover
POSED = 0.7  # share of the persons whose posture is known, where there are any
_LARGEST_SCALE = 1.5  # by which a cut-out is enlarged


class ComposedScenes:
    """
    Composed scenes by number: `sample(seed)` always gives the same scene for the same photographs.

    Args:
        photographs: sources of cut-outs and backgrounds (`read_photographs`).
        longest_edge: of the composed pictures, pixels.

    Raises:
        ValueError: no photograph holds an object worth cutting out.
    """

    def __init__(self, photographs: Sequence[Scene], longest_edge: int = 416) -> None:
        self.photographs, self.longest_edge = list(photographs), longest_edge
        self.cutouts: dict[str, list[tuple[NDArray[np.uint8], NDArray[np.bool_], str | None]]] = defaultdict(list)
        for scene in self.photographs:
            for item in scene.objects:
                if _worth_cutting(item, scene):
                    left, top, right, bottom = (round(value) for value in item.box)
                    pixels, mask = scene.image[top:bottom, left:right], item.visible[top:bottom, left:right]
                    self.cutouts[item.category].append((pixels, mask, item.posture))
        if not self.cutouts:
            raise ValueError(
                f"No photograph holds a whole object of {_SMALLEST_CUTOUT} pixels or more with a mask: give other "
                "photographs."
            )
        self.posed = {name: [cutout for cutout in of if cutout[2] is not None] for name, of in self.cutouts.items()}
        self.categories = sorted(self.cutouts)

    def sample(self, seed: int, expressions: int = 8, plurals: int = 0, absent: int = 0) -> Scene:
        """The scene of number `seed`, with up to so many expressions for one object, for several and for none."""
        rng = np.random.default_rng((seed, 20251))
        scene = self._background(rng)
        for category in self._cast(rng):
            scene = self._paste(scene, category, rng)
        scene = replace(scene, objects=tuple(with_colors(item, scene.image) for item in scene.objects))
        return with_expressions(replace(scene, name=f"composed {seed}"), rng, expressions, plurals, absent)

    def preview(self, seed: int) -> Image.Image:
        """The scene of number `seed` as a picture, see `draw`."""
        return draw(self.sample(seed))

    def _background(self, rng: Generator) -> Scene:
        """A part of a photograph: with its few objects, or blurred beyond recognition and without any."""
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
            mask = np.asarray(Image.fromarray(item.visible).resize(size))
            box = box_of_mask(mask)
            if box is not None:
                objects.append(replace(item, box=box, mask=mask))
        return Scene(image, tuple(objects))

    def _cast(self, rng: Generator) -> list[str]:
        """Categories to paste: one to three kinds, one to four of each; persons are the likeliest."""
        chosen: list[str] = []
        for _ in range(rng.integers(1, 4)):
            person = rng.random() < 0.3 and "person" in self.cutouts
            category = "person" if person else self.categories[rng.integers(len(self.categories))]
            chosen += [category] * int(rng.choice((1, 2, 3, 4), p=(0.35, 0.3, 0.25, 0.1)))
        return chosen[:7]

    def _paste(self, scene: Scene, category: str, rng: Generator) -> Scene:
        cutouts = self.cutouts[category]
        if self.posed[category] and rng.random() < POSED:
            cutouts = self.posed[category]
        pixels, mask, posture = cutouts[rng.integers(len(cutouts))]
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
        left_over = [_covered(item, new_mask) for item in scene.objects]
        objects = [item for item in left_over if item is not None]
        pasted = SceneObject(category, box, new_mask, posture=posture)
        return replace(scene, image=image, objects=(*objects, pasted))

    def _place(self, scene: Scene, size: tuple[int, int], rng: Generator) -> tuple[int, int]:
        """Left and top of a window of `size` (width, height) that hides little: the best of six random places."""
        height, width = scene.size
        best, least = (0, 0), np.inf
        for _ in range(6):
            left, top = int(rng.integers(width - size[0] + 1)), int(rng.integers(height - size[1] + 1))
            hidden = max(
                (
                    item.visible[top : top + size[1], left : left + size[0]].sum() / max(1, item.visible.sum())
                    for item in scene.objects
                ),
                default=0.0,
            )
            if hidden < least:
                best, least = (left, top), hidden
        return best


def _covered(item: SceneObject, cover: NDArray[np.bool_]) -> SceneObject | None:
    """`item` without the pixels under `cover`; vague if it loses more than 40 % of them, None if none are left."""
    mask = item.visible & ~cover
    box = box_of_mask(mask)
    if box is None:
        return None
    return replace(item, mask=mask, box=box, vague=item.vague or bool(mask.sum() < 0.6 * item.visible.sum()))


def _worth_cutting(item: SceneObject, scene: Scene) -> bool:
    """Whether `item` is whole, sharp and in front, so that it can be recognised anywhere else."""
    if item.vague or max(item.size) < _SMALLEST_CUTOUT or item.visible.sum() < 0.3 * item.area:
        return False
    height, width = scene.size
    left, top, right, bottom = (round(value) for value in item.box)
    if min(left, top, width - right, height - bottom) < _BORDER:
        return False
    others = np.zeros((bottom - top, right - left), dtype=bool)
    for other in scene.objects:
        if other is not item:
            others |= other.visible[top:bottom, left:right]
    others &= ~item.visible[top:bottom, left:right]
    return bool(others.mean() < _HIDDEN)


__all__ = ["POSED", "ComposedScenes"]
