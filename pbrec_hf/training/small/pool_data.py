"""Reads the pool that `pool.py` and `layouts.py` wrote and draws batches from it: scenes, several expressions each.

A batch holds a subset of each scene's points: those at the middle of an object and random others. The fusion encoder
takes any number of points, and a step costs a quarter.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from numpy.random import Generator
from safetensors import safe_open
from torch import Tensor

from ...small.backbone import centrality
from ...small.objects import SHAPE
from .pool import MIN_CENTRAL, Sayings
from .words import Words

# Square roots of class probabilities (see `objects.visible`): surely there, surely not there.
SURE, UNSEEN = 0.63, 0.28
# What people say of persons and things although nothing annotates it: to be ignored.
FILLERS = (
    "standing", "standing", "sitting", "walking", "looking at camera", "facing us", "in the picture", "you can see",
    "smiling", "with hat", "with glasses", "in photo", "half cut off", "partially visible", "that we can see",
    "by itself", "looking down", "in the image", "facing away", "eating", "playing", "looking at the camera",
    "laying down", "in striped shirt", "with his arm out", "talking", "parked", "wooden", "in the air",
    "facing left", "facing right", "doing a trick", "with long hair", "wearing a hat", "whose head is down",
    "just the edge", "in the photo", "blurry", "in pic", "getting ready to play", "near the wall", "by the window",
    "on the grass", "in the water", "on the street", "looking away", "running", "jumping", "wearing glasses",
    "open", "empty", "with stripes", "partially hidden",
)  # fmt: skip


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

    def to(self, device: torch.device) -> "Batch":
        """The same on a device."""
        return Batch(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})


class Chunk:
    """
    One file of the pool in memory.

    Args:
        path: the file.
        classes: number of the detector's classes.
        neck: channels of its neck, which are empty in scenes without a picture.
    """

    def __init__(self, path: Path, classes: int, neck: int):
        self.neck = neck
        with safe_open(path, "pt") as file:
            self.tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            stored = json.loads(file.metadata()["expressions"])
        self.expressions: list[Sayings] = [
            [(text, tuple(means), kind) for text, means, kind in said] for said in stored
        ]
        self.described_start = _starts(self.tensors["described_count"])
        self.objects_start = _starts(self.tensors["objects_count"])
        # The highest probability of each class anywhere in the scene.
        self.seen = self.tensors["at_points"][:, :classes].amax(2).float()

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

    def class_of(self, scene: int, means: Sequence[int], classes: int) -> int | None:
        """The class the detector sees at the middle of the one object that is meant, if it is sure of it."""
        if len(means) != 1:
            return None
        point = int(self.targets(scene, means)[0].argmax())
        found = int(self.tensors["index"][scene, point])
        if found < 0:
            return None
        score, label = self.tensors["described"][self.described_start[scene] + found, :classes].float().max(0)
        return int(label) if score > SURE else None


def _starts(counts: Tensor) -> list[int]:
    return [0, *counts.cumsum(0).tolist()]


class Pool:
    """
    All chunks of some kinds; `batches` draws without end.

    Args:
        files: chunks of the pool.
        words: reads their expressions.
        neck: channels of the detector's neck.
        classes: number of its classes.
        fillers: share of the generated expressions that get words that say nothing.
        single: leave out the expressions that mean several objects, or none, and scenes without any other.

    Raises:
        ValueError: there are no files.
    """

    def __init__(
        self,
        files: Sequence[Path],
        words: Words,
        neck: int,
        classes: int = 80,
        fillers: float = 0.0,
        single: bool = False,
    ):
        if not files:
            raise ValueError("The pool has no files of these kinds: run scripts/small/pool.py first.")
        self.chunks = [Chunk(path, classes, neck) for path in files]
        self.words, self.classes = words, classes
        if single:
            for chunk in self.chunks:
                chunk.expressions = [[one for one in said if len(one[1]) == 1] for said in chunk.expressions]
        self.scenes = [
            (c, s) for c, chunk in enumerate(self.chunks) for s in range(len(chunk)) if chunk.expressions[s]
        ]
        rng = np.random.default_rng(len(files))
        for chunk in self.chunks:
            for said in chunk.expressions:
                for number, (text, means, kind) in enumerate(said):
                    if kind != "human" and rng.random() < fillers:
                        said[number] = (_with_filler(text, FILLERS[rng.integers(len(FILLERS))], rng), means, kind)
            words.read([text for said in chunk.expressions for text, _, _ in said])

    def batches(
        self, seed: int, images: int, expressions: int, points: int | None, negatives: float
    ) -> Iterator[Batch]:
        """
        Draw batches without end.

        Args:
            seed: of every draw.
            images: scenes per batch.
            expressions: per scene.
            points: points kept per scene; None = all.
            negatives: share of expressions that name something the scene does not hold.

        Raises:
            ValueError: a batch would need more scenes than there are.
        """
        if images > len(self.scenes):
            raise ValueError(f"A batch of {images} scenes needs more than the pool's {len(self.scenes)}: make more.")
        rng = np.random.default_rng(seed)
        while True:
            order = rng.permutation(len(self.scenes))
            for start in range(0, len(order) - images + 1, images):
                chosen = [self.scenes[number] for number in order[start : start + images]]
                yield self._batch(chosen, rng, expressions, points, negatives)

    def _batch(
        self,
        chosen: Sequence[tuple[int, int]],
        rng: Generator,
        expressions: int,
        points: int | None,
        negatives: float,
    ) -> Batch:
        features, kept, present, attended, stand, masks, center, mass = _lists(8)
        index: list[int] = []
        texts: list[str] = []
        for image, (c, scene) in enumerate(chosen):
            chunk = self.chunks[c]
            mask, central = chunk.tensors["mask"][scene], chunk.central(scene)
            every = torch.arange(mask.numel())
            subset = every if points is None else _subset(central, mask, points, rng)
            features.append(chunk.features(scene, subset))
            kept.append(subset)
            present.append(mask[subset])
            attended.append(mask[subset] & (central[subset] > MIN_CENTRAL))
            stand.append(chunk.tensors["points"][scene].float())
            masks.append(mask)
            available = chunk.expressions[scene]
            picks = rng.permutation(len(available))[:expressions]
            for pick in picks:
                text, means, _ = available[pick]
                if rng.random() < negatives and (other := self._absent(chunk, scene, rng)) is not None:
                    text, means = other, ()
                center_target, mass_target = chunk.targets(scene, means)
                index.append(image)
                texts.append(text)
                center.append(center_target[subset])
                mass.append(mass_target[subset])
        words, attention_mask = self.words.batch(texts)
        return Batch(
            torch.stack(features), torch.stack(kept), torch.stack(present), torch.stack(attended),
            torch.stack(stand), torch.stack(masks), torch.tensor(index), words, attention_mask, torch.stack(center),
            torch.stack(mass),
        )  # fmt: skip

    def _absent(self, chunk: Chunk, scene: int, rng: Generator) -> str | None:
        """An expression of another scene for something that the detector does not see in this one."""
        for _ in range(4):
            c, other = self.scenes[rng.integers(len(self.scenes))]
            donor = self.chunks[c]
            text, means, _ = donor.expressions[other][rng.integers(len(donor.expressions[other]))]
            label = donor.class_of(other, means, self.classes)
            if label is not None and chunk.seen[scene, label] < UNSEEN:
                return text
        return None


def _lists(number: int) -> list[list[Tensor]]:
    return [[] for _ in range(number)]


def _with_filler(text: str, filler: str, rng: Generator) -> str:
    """`text` with `filler` at its end, or before its first preposition."""
    match = re.search(r" (?=(on|in|with|to|at|wearing|next|behind|near) )", text)
    if match is not None and rng.random() < 0.6:
        return f"{text[: match.start()]} {filler} {text[match.end() :]}"
    return f"{text} {filler}"


def _subset(central: Tensor, mask: Tensor, points: int, rng: Generator) -> Tensor:
    """`points` random points of the picture, nearly always those near the middle of a detected object first."""
    order = torch.from_numpy(rng.random(len(mask))).float() + (central > MIN_CENTRAL) * 0.7 + mask * 4.0
    return order.topk(min(points, len(mask))).indices.sort().values
