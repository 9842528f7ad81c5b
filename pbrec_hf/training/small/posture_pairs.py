"""Somebody who sits and somebody who stands, side by side: pictures that test whether a posture is understood.

Photographs that show both are few, so parts of two photographs are put together. Each part shows one person whose
posture the keypoints tell, and nobody else at about the same size.
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

from ...data.scenes.expressions import Expression
from ...data.scenes.objects import SceneObject
from ...data.scenes.postures import read_persons
from ...data.scenes.scene import Scene
from ...data.scenes.selectors import pick
from ...data.scenes.words import NOUNS, POSTURES
from ...images.reading import load_picture

PART = (288, 384)  # width and height in pixels
_ROOM = 1.35  # by which a part is larger than its person
_LEAST_HEIGHT = 50  # pixels of a person
_OTHERS = 0.08  # share of a part that another person may take
_GRAY = 127


class Shown(NamedTuple):
    """
    A part of a photograph.

    Attributes:
        pixels: uint8 (h, w, 3), at most as large as `PART`.
        box: (4,) XYXY of the person, pixels of the part.
    """

    pixels: NDArray[np.uint8]
    box: NDArray[np.float64]


def shown_persons(data: Path, exclude: Collection[int]) -> dict[str, list[Shown]]:
    """
    The persons of DATA/person_keypoints.json who sit, and who stand.

    Args:
        data: with `images/`.
        exclude: numbers of photographs to leave out.
    """
    shown: dict[str, list[Shown]] = {posture: [] for posture in POSTURES}
    for photograph, persons in sorted(read_persons(data / "person_keypoints.json").items()):
        if photograph in exclude:
            continue
        picture, boxes = load_picture(data / "images" / persons.image), persons.boxes.numpy()
        for number, posture in enumerate(persons.postures):
            if posture is not None and (part := _part(picture, boxes, number)) is not None:
                shown[posture].append(part)
    return shown


def _part(picture: Image.Image, boxes: NDArray[np.float64], number: int) -> Shown | None:
    """What shows the person of that number with some room around it; None if it is small or not alone there."""
    box = boxes[number]
    extent = box[2:] - box[:2]
    if extent[1] < _LEAST_HEIGHT:
        return None
    size = np.minimum(max(extent / PART) * _ROOM * np.array(PART), picture.size)
    corner = np.clip((box[:2] + box[2:] - size) / 2, 0, picture.size - size)
    others = np.delete(boxes, number, axis=0)
    shared = np.minimum(others[:, 2:], corner + size) - np.maximum(others[:, :2], corner)
    if (shared.clip(0).prod(1) > _OTHERS * size.prod()).any():
        return None
    left, top, right, bottom = (round(value) for value in (*corner, *(corner + size)))
    part = picture.crop((left, top, right, bottom))
    scale = min(PART[0] / part.width, PART[1] / part.height)
    pixels = np.asarray(part.resize((round(part.width * scale), round(part.height * scale))))
    return Shown(pixels, (box - np.array([left, top] * 2)) * scale)


def posture_pairs(shown: dict[str, list[Shown]], count: int, rng: Generator) -> list[Scene]:
    """
    Pictures of one of each posture, in random places, with an expression for each.

    Everybody of the first posture comes in turn, with somebody of the other.

    Raises:
        ValueError: nobody has one of the postures.
    """
    if missing := [posture for posture, parts in shown.items() if not parts]:
        raise ValueError(f"Nobody is {' or '.join(missing)}: give keypoints of persons who are.")
    (first, in_turn), (second, others) = shown.items()
    scenes = []
    for number in range(count):
        chosen = [(first, in_turn[number % len(in_turn)]), (second, others[rng.integers(len(others))])]
        if rng.random() < 0.5:
            chosen.reverse()
        scenes.append(_side_by_side(chosen, f"pair {number}", rng))
    return scenes


def _side_by_side(chosen: Sequence[tuple[str, Shown]], name: str, rng: Generator) -> Scene:
    image = np.full((PART[1], len(chosen) * PART[0], 3), _GRAY, dtype=np.uint8)
    objects, said = [], []
    for place, (posture, part) in enumerate(chosen):
        height, width, _ = part.pixels.shape
        left, top = place * PART[0] + (PART[0] - width) // 2, (PART[1] - height) // 2
        image[top : top + height, left : left + width] = part.pixels
        box = part.box + np.array([left, top] * 2)
        objects.append(SceneObject("person", (box[0], box[1], box[2], box[3]), posture=posture))
        text = pick(rng, POSTURES[posture]).replace("{n}", pick(rng, NOUNS["person"]))
        said.append(Expression(text, (place,), f"noun+{posture}"))
    return Scene(image, tuple(objects), complete=False, name=name, expressions=tuple(said))
