"""Who sits and who stands in annotated photographs, by COCO's 17 keypoints of persons.

Keypoints are pixels of the picture. What they leave open stays unknown: lying, walking, hidden legs.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.ops import box_convert, box_iou

from .objects import SceneObject
from .scene import Scene

_SHOULDERS, _HIPS, _KNEES, _ANKLES = (5, 6), (11, 12), (13, 14), (15, 16)
_LEAST_TORSO = 8  # pixels from the shoulders to the hips
_UPRIGHT = 0.6  # of the torso's length, by how much the shoulders are above the hips
_SAME = 0.7  # IoU from which two boxes are of the same person


class Persons(NamedTuple):
    """
    The n persons of a photograph.

    Attributes:
        image: name of its file.
        boxes: float64 (n, 4) XYXY in its pixels.
        postures: of each, see `posture_of`.
    """

    image: str
    boxes: Tensor
    postures: list[str | None]


def posture_of(keypoints: Sequence[Sequence[float]]) -> str | None:
    """
    "sitting", "standing" or None, which is anything else, or unclear.

    Args:
        keypoints: 17 of [x, y, visibility], in COCO's order.

    Raises:
        ValueError: there are not 17.
    """
    points = np.asarray(keypoints, dtype=np.float64)
    if points.shape != (17, 3):
        raise ValueError(f"Keypoints of shape {points.shape} are not COCO's: give 17 of [x, y, visibility].")
    places, seen = points[:, :2], points[:, 2] > 0
    if not (seen[list(_SHOULDERS)].any() and seen[list(_HIPS)].any()):
        return None
    shoulder, hip = (places[[at for at in pair if seen[at]]].mean(0) for pair in (_SHOULDERS, _HIPS))
    torso = float(np.linalg.norm(hip - shoulder))
    if torso < _LEAST_TORSO or hip[1] - shoulder[1] < _UPRIGHT * torso:
        return None
    legs = [leg for leg in zip(_HIPS, _KNEES, _ANKLES, strict=True) if seen[leg[0]] and seen[leg[1]]]
    if not legs:
        return None
    # How far each knee is below the hip, in torsos; and the angles of the knees whose ankle is visible.
    thighs = np.array([(places[knee] - places[hip])[1] / torso for hip, knee, _ in legs])
    bends = [_angle(*places[list(leg)]) for leg in legs if seen[leg[2]]]
    if thighs.max() < 0.45 or (bends and min(bends) < 115 and thighs.mean() < 0.6):
        return "sitting"
    return "standing" if thighs.min() > 0.6 and min(bends, default=180.0) > 140 else None


def _angle(hip: NDArray[np.float64], knee: NDArray[np.float64], ankle: NDArray[np.float64]) -> float:
    """At a knee, in degrees; 180 = a straight leg."""
    thigh, shin = hip - knee, ankle - knee
    lengths = max(float(np.linalg.norm(thigh) * np.linalg.norm(shin)), 1e-6)
    return float(np.degrees(np.arccos(np.clip(thigh @ shin / lengths, -1, 1))))


def read_persons(path: str | PathLike[str]) -> dict[int, Persons]:
    """
    The persons of each photograph, by its number.

    Args:
        path: JSON with a list of persons: `image`, a file named by its number, `bbox` x, y, width, height, and 17
            `keypoints`.

    Raises:
        ValueError: keypoints are not COCO's.
    """
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in json.loads(Path(path).read_text(encoding="utf-8")):
        rows[row["image"]].append(row)
    photographs = {}
    for name, persons in rows.items():
        boxes = torch.tensor([row["bbox"] for row in persons], dtype=torch.float64)
        postures = [posture_of(row["keypoints"]) for row in persons]
        photographs[int(Path(name).stem)] = Persons(name, box_convert(boxes, "xywh", "xyxy"), postures)
    return photographs


def with_postures(scenes: Iterable[Scene], keypoints: str | PathLike[str]) -> list[Scene]:
    """
    Scenes whose persons have the postures that a file tells.

    Args:
        scenes: of `read_photographs`, named by the numbers of their images, at the size of the annotated pictures.
        keypoints: a file for `read_persons`.
    """
    photographs = read_persons(keypoints)
    return [_posed(scene, photographs.get(int(scene.name))) for scene in scenes]


def _posed(scene: Scene, told: Persons | None) -> Scene:
    if told is None or not scene.objects:
        return scene
    boxes = torch.tensor([item.box for item in scene.objects], dtype=torch.float64)
    most, best = box_iou(boxes, told.boxes).max(1)
    objects: list[SceneObject] = []
    for item, overlap, number in zip(scene.objects, most.tolist(), best.tolist(), strict=True):
        same = item.category == "person" and overlap > _SAME
        objects.append(replace(item, posture=told.postures[number]) if same else item)
    return replace(scene, objects=tuple(objects))


__all__ = ["Persons", "posture_of", "read_persons", "with_postures"]
