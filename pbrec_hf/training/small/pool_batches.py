"""Batches of the pool that `pool.py` and `layouts.py` wrote: scenes, several expressions each, drawn on any device.

A batch holds a subset of each scene's points: those at the middle of an object and random others. The fusion encoder
takes any number of points, and a step costs a quarter. The pool lies on its device as a whole, 200 kB a scene, and a
batch is a few indexed reads. Draws follow from the seed and the kind of device: a GPU's are others than the CPU's.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...small.backbone import centrality
from ...small.objects import SHAPE
from .pool import MIN_CENTRAL
from .pool_data import Batch, Chunk, is_rare
from .words import Words

CPU = torch.device("cpu")
# Square roots of class probabilities (see `objects.visible`): surely there, surely not there.
SURE, UNSEEN = 0.63, 0.28
DONORS = 4  # expressions that are tried for one that names something absent
_MASK_FIRST, _CENTRAL_FIRST = 4.0, 0.7


class Pool:
    """
    All scenes of some files and their expressions; `batches` draws without end.

    Args:
        files: chunks of the pool.
        words: reads their expressions.
        neck: channels of the detector's neck.
        classes: number of its classes.
        fillers: share of the generated expressions that get words that say nothing.
        single: leave out the expressions that mean several objects, or none, and scenes without any other.
        rare: of scenes with rare expressions, read fewer others; see `Chunk.keep_rare`.
        device: where the pool lies, and its batches.

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
        rare: bool = False,
        device: torch.device = CPU,
    ):
        if not files:
            raise ValueError("The pool has no files of these kinds: run scripts/small/pool.py first.")
        self.classes, self.device = classes, device
        chunks = [Chunk(path, neck) for path in files]
        rng = np.random.default_rng(len(files))
        for chunk in chunks:
            if single:
                chunk.expressions = [[one for one in said if len(one[1]) == 1] for said in chunk.expressions]
            chunk.say_nothing_more(fillers, rng)
            if rare:
                chunk.keep_rare(rng)
            words.read([text for said in chunk.expressions for text, _, _ in said])
        self.object_rows = self._object_rows(chunks)
        # The last row is for points without an object, and expressions without a referent.
        self.described, self.centerness, self.massness = (
            self._taken(chunks, name, spare=1) for name in ("described", "centerness", "massness")
        )
        self.at_points, self.points, self.mask = (
            self._taken(chunks, name) for name in ("at_points", "points", "mask")
        )
        self.neck_rows, self.neck = self._necks(chunks, neck)
        self.central = centrality(self.at_points).float()
        self.seen = self.at_points[:, :classes].amax(2)  # the highest probability of each class anywhere in a scene
        self._read_expressions(chunks, words)

    @property
    def width(self) -> int:
        """Points of a scene."""
        return int(self.mask.shape[1])

    def __len__(self) -> int:
        """Scenes that have expressions."""
        return len(self.usable)

    def _taken(self, chunks: Sequence[Chunk], name: str, spare: int = 0) -> Tensor:
        """What the chunks hold under a name, and `spare` rows of zeros; no part stays with its chunk."""
        first, rows = chunks[0].tensors[name], sum(len(chunk.tensors[name]) for chunk in chunks)
        whole = first.new_zeros(rows + spare, *first.shape[1:], device=self.device)
        start = 0
        for chunk in chunks:
            part = chunk.tensors.pop(name)
            whole[start : start + len(part)] = part
            start += len(part)
        return whole

    def _necks(self, chunks: Sequence[Chunk], channels: int) -> tuple[Tensor, Tensor]:
        """The row of each scene in the necks (n, C, P), whose last row, of zeros, is for scenes without a picture."""
        pictured = torch.tensor(["neck" in chunk.tensors for chunk in chunks for _ in chunk.expressions])
        rows = (pictured.cumsum(0) - 1).masked_fill(~pictured, int(pictured.sum())).to(self.device)
        if with_neck := [chunk for chunk in chunks if "neck" in chunk.tensors]:
            return rows, self._taken(with_neck, "neck", spare=1)
        return rows, self.at_points.new_zeros(1, channels, self.width)

    def _object_rows(self, chunks: Sequence[Chunk]) -> Tensor:
        """int64 (N, P): the row of each point's object among all descriptions; the one after them if it has none."""
        count = sum(chunk.described_start[-1] for chunk in chunks)
        rows, start = [], 0
        for chunk in chunks:
            index = chunk.tensors.pop("index").long()
            first = start + torch.tensor(chunk.described_start[:-1])[:, None]
            rows.append(torch.where(index < 0, count, index + first))
            start += chunk.described_start[-1]
        return torch.cat(rows).to(self.device)

    def _read_expressions(self, chunks: Sequence[Chunk], words: Words) -> None:
        numbers = {text: number for number, text in enumerate(words.known)}
        states, lengths = words.joined()
        self.states, self.lengths = states.to(self.device), lengths.to(self.device)
        self.text_start = self.lengths.cumsum(0) - self.lengths
        texts, targets, counts, objects = [], [], [], 0
        for chunk in chunks:
            for scene, said in enumerate(chunk.expressions):
                first = objects + chunk.objects_start[scene]
                texts += [numbers[text] for text, _, _ in said]
                targets += [[first + index for index in means] for _, means, _ in said]
                counts.append(len(said))
            objects += chunk.objects_start[-1]
        most = max(1, *map(len, targets))
        padded = [means + [objects] * (most - len(means)) for means in targets]
        self.rare = torch.tensor([is_rare(text) for text in numbers]).to(self.device)
        self.text, self.targets = torch.tensor(texts).to(self.device), torch.tensor(padded).to(self.device)
        self.counts = torch.tensor(counts).to(self.device)
        self.first = self.counts.cumsum(0) - self.counts
        self.usable = self.counts.nonzero().squeeze(1)
        scene_of = torch.arange(len(counts)).to(self.device).repeat_interleave(self.counts)
        one = torch.tensor([len(means) == 1 for means in targets]).to(self.device)
        self.label = torch.cat([self._labels(*part) for part in zip(
            scene_of.split(65536), self.targets[:, 0].split(65536), one.split(65536), strict=True
        )])  # fmt: skip

    def _labels(self, scene: Tensor, target: Tensor, one: Tensor) -> Tensor:
        """The class that the detector is sure to see at the middle of the one object that is meant, or -1."""
        at = self.centerness[target].argmax(1)
        row = self.object_rows[scene, at]
        score, label = self.described[row, : self.classes].max(1)
        return label.masked_fill(~one | (score <= SURE), -1)

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
        if images > len(self):
            raise ValueError(f"A batch of {images} scenes needs more than the pool's {len(self)}: make more.")
        generator = torch.Generator(self.device).manual_seed(seed)
        while True:
            order = self.usable[torch.randperm(len(self), generator=generator, device=self.device)]
            for chosen in order.split(images):
                if len(chosen) == images:
                    yield self._batch(chosen, generator, expressions, points, negatives)

    def _batch(
        self, chosen: Tensor, generator: torch.Generator, expressions: int, points: int | None, negatives: float
    ) -> Batch:
        subset = self._subset(chosen, generator, self.width if points is None else points)
        scene, index = self._picks(chosen, generator, expressions)
        texts, targets = self.text[index], self.targets[index]
        if negatives:
            texts, absent = self._absent(chosen[scene], texts, generator, negatives)
            targets = targets.masked_fill(absent[:, None], len(self.centerness) - 1)
        at = subset[scene]
        center = self.centerness[targets[:, :, None], at[:, None]].float().amax(1)
        mass = self.massness[targets[:, :, None], at[:, None]].float().sum(1).clamp(max=1)
        words, attention_mask = self._words(texts)
        mask = self.mask[chosen]
        present = mask.gather(1, subset)
        return Batch(
            self._features(chosen, subset),
            subset,
            present,
            present & (self.central[chosen].gather(1, subset) > MIN_CENTRAL),
            self.points[chosen].float(),
            mask,
            scene,
            words,
            attention_mask,
            center,
            mass,
            self.rare[texts],
        )

    def _random(self, generator: torch.Generator, *size: int) -> Tensor:
        return torch.rand(size, generator=generator, device=self.device)

    def _subset(self, chosen: Tensor, generator: torch.Generator, points: int) -> Tensor:
        """int64 (I, points): random points of the pictures, nearly always those near the middle of an object first."""
        order = self._random(generator, len(chosen), self.width) + self.mask[chosen] * _MASK_FIRST
        order = order + (self.central[chosen] > MIN_CENTRAL) * _CENTRAL_FIRST
        return order.topk(min(points, self.width)).indices.sort().values

    def _picks(self, chosen: Tensor, generator: torch.Generator, expressions: int) -> tuple[Tensor, Tensor]:
        """Which of the chosen scenes (E,), and which expression (E,): up to `expressions` different ones of each."""
        counts = self.counts[chosen]
        most = int(counts.max())
        key = self._random(generator, len(chosen), most)
        key = key.masked_fill(torch.arange(most, device=self.device) >= counts[:, None], 2.0)
        order = key.argsort(1)[:, :expressions]
        scene, place = (order < counts[:, None]).nonzero().unbind(1)
        return scene, self.first[chosen[scene]] + order[scene, place]

    def _absent(self, scene: Tensor, texts: Tensor, generator: torch.Generator, share: float) -> tuple[Tensor, Tensor]:
        """`texts` (E,), a share of them exchanged for some that name something absent, and bool (E,), which ones."""
        donors = (self._random(generator, len(scene), DONORS) * len(self.label)).long()
        label = self.label[donors]
        fits = (label >= 0) & (self.seen[scene[:, None], label.clamp(min=0)] < UNSEEN)
        first = fits.int().argmax(1, keepdim=True)
        exchanged = fits.any(1) & (self._random(generator, len(scene)) < share)
        return torch.where(exchanged, self.text[donors.gather(1, first).squeeze(1)], texts), exchanged

    def _features(self, chosen: Tensor, subset: Tensor) -> Tensor:
        """The backbone's map (I, C, P'); see `small.backbone.assemble`."""
        rows = self.neck_rows[chosen]
        neck = self.neck[rows].gather(2, subset[:, None].expand(-1, self.neck.shape[1], -1))
        at = self.at_points[chosen].gather(2, subset[:, None].expand(-1, self.at_points.shape[1], -1))
        first, shape = at.split((at.shape[1] - len(SHAPE), len(SHAPE)), dim=1)
        copied = self.described[self.object_rows[chosen].gather(1, subset)].transpose(1, 2)
        return torch.cat((neck, first, copied, shape), dim=1).float()

    def _words(self, texts: Tensor) -> tuple[Tensor, Tensor]:
        """As `Words.batch`, of texts by number."""
        lengths = self.lengths[texts]
        steps = torch.arange(int(lengths.max()), device=self.device)
        mask = steps < lengths[:, None]
        rows = (self.text_start[texts][:, None] + steps).clamp(max=len(self.states) - 1)
        return self.states[rows].float() * mask[..., None], mask.long()


__all__ = ["CPU", "Pool"]
