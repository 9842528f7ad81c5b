"""One file of the pool that `pool.py` and `layouts.py` wrote, in memory, and a batch of scenes as training reads them.

`pool_batches.py` draws batches from many files.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from numpy.random import Generator
from safetensors import safe_open
from torch import Tensor

from ...data.scenes.reading import POSTURES
from ...small.backbone import centrality
from ...small.objects import SHAPE
from .pool import Sayings

# What people say of persons and things although nothing annotates it: to be ignored.
FILLERS = (
    "walking", "looking at camera", "facing us", "in the picture", "you can see",
    "smiling", "with hat", "with glasses", "in photo", "half cut off", "partially visible", "that we can see",
    "by itself", "looking down", "in the image", "facing away", "eating", "playing", "looking at the camera",
    "laying down", "in striped shirt", "with his arm out", "talking", "parked", "wooden", "in the air",
    "facing left", "facing right", "doing a trick", "with long hair", "wearing a hat", "whose head is down",
    "just the edge", "in the photo", "blurry", "in pic", "getting ready to play", "near the wall", "by the window",
    "on the grass", "in the water", "on the street", "looking away", "running", "jumping", "wearing glasses",
    "open", "empty", "with stripes", "partially hidden",
)  # fmt: skip

_READ = 14  # expressions that a step reads of a scene


@dataclass
class Batch:
    """
    I scenes with E expressions, at P' of their P points.

    Attributes:
        features: (I, C, P') of the chosen points.
        points: int64 (I, P'), which points were chosen.
        present: bool (I, P'), whether a chosen point lies in the picture.
        attended: bool (I, P'), whether it is attended to.
        stand: (I, P, 2) XY in pixels of the canvas, where all points are.
        masks: bool (I, P), which of all points lie in the picture.
        index: int64 (E,), the scene of each expression.
        words: (E, L, D), the expressions as the frozen text encoder reads them.
        attention_mask: int64 (E, L).
        centerness, massness: (E, P'), the targets.
        rare: bool (E,), whether an expression `is_rare`.
    """

    features: Tensor
    points: Tensor
    present: Tensor
    attended: Tensor
    stand: Tensor
    masks: Tensor
    index: Tensor
    words: Tensor
    attention_mask: Tensor
    centerness: Tensor
    massness: Tensor
    rare: Tensor

    def to(self, device: torch.device) -> "Batch":
        """The same on a device."""
        return Batch(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})


class Chunk:
    """
    One file of the pool in memory.

    Args:
        path: the file.
        neck: channels of the detector's neck, which are empty in scenes without a picture.
    """

    def __init__(self, path: Path, neck: int):
        self.neck = neck
        with safe_open(path, "pt") as file:
            self.tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            stored = json.loads(file.metadata()["expressions"])
        self.expressions: list[Sayings] = [
            [(text, tuple(means), kind) for text, means, kind in said] for said in stored
        ]
        self.described_start = _starts(self.tensors["described_count"])
        self.objects_start = _starts(self.tensors["objects_count"])

    def __len__(self) -> int:
        return len(self.expressions)

    def features(self, scene: int, points: Tensor) -> Tensor:
        """The backbone's map (C, n) of a scene at n of its points; see `small.backbone.assemble`."""
        start, stop = self.described_start[scene], self.described_start[scene + 1]
        described = self.tensors["described"][start:stop]
        described = torch.cat((described, described.new_zeros(1, described.shape[1])))
        copied = described[self.tensors["index"][scene, points].long()].T
        at_points = self.tensors["at_points"][scene][:, points]
        first, shape = at_points.split((len(at_points) - len(SHAPE), len(SHAPE)))
        given = self.tensors.get("neck")
        neck = first.new_zeros(self.neck, len(points)) if given is None else given[scene][:, points]
        return torch.cat((neck, first, copied, shape)).float()

    def central(self, scene: int) -> Tensor:
        """How central (P,) each point is to its object, in [0, 1]."""
        return centrality(self.tensors["at_points"][scene][None])[0].float()

    def targets(self, scene: int, means: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Center-ness and mass-ness (P,) of some objects: the maximum and the sum over them; 0 for none."""
        if not means:
            return (torch.zeros(self.tensors["mask"].shape[1]),) * 2
        rows = [self.objects_start[scene] + index for index in means]
        center, mass = (self.tensors[name][rows].float() for name in ("centerness", "massness"))
        return center.amax(0), mass.sum(0).clamp(max=1)

    def keep_rare(self, rng: Generator) -> None:
        """Of scenes with rare expressions, keep these and so many others as a step reads of a scene."""
        for scene, said in enumerate(self.expressions):
            rare = [one for one in said if is_rare(one[0])]
            if rare:
                others = [one for one in said if not is_rare(one[0])]
                order = rng.permutation(len(others))[: max(0, _READ - len(rare))]
                self.expressions[scene] = rare + [others[index] for index in order]

    def say_nothing_more(self, share: float, rng: Generator) -> None:
        """Give a share of the generated expressions words that say nothing."""
        for said in self.expressions:
            for number, (text, means, kind) in enumerate(said):
                if kind != "human" and rng.random() < share:
                    said[number] = (_with_filler(text, FILLERS[rng.integers(len(FILLERS))], rng), means, kind)


def is_rare(text: str) -> bool:
    """Whether a text says what few do: a posture."""
    return any(words.search(text) for words in POSTURES.values())


def _starts(counts: Tensor) -> list[int]:
    return [0, *counts.cumsum(0).tolist()]


def _with_filler(text: str, filler: str, rng: Generator) -> str:
    """`text` with `filler` at its end, or before its first preposition."""
    match = re.search(r" (?=(on|in|with|to|at|wearing|next|behind|near) )", text)
    if match is not None and rng.random() < 0.6:
        return f"{text[: match.start()]} {filler} {text[match.end() :]}"
    return f"{text} {filler}"


__all__ = ["Batch", "Chunk", "is_rare"]
