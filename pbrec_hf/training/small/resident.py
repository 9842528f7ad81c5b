"""A pool that lies on one device as a whole and draws its batches there, for a GPU: 200 kB a scene.

The draws are those of `pool_data.Pool` in kind, from the device's own generator, a batch in a few indexed reads.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ...small.backbone import centrality
from ...small.objects import SHAPE
from .pool import MIN_CENTRAL
from .pool_data import SURE, UNSEEN, Batch, Chunk, Pool
from .words import Words

DONORS = 4  # expressions that are tried for one that names something absent
_MASK_FIRST, _CENTRAL_FIRST = 4.0, 0.7


class ResidentPool:
    """
    The scenes and expressions of a pool on a device.

    Args:
        pool: whose chunks are copied.
        device: where they go.
    """

    def __init__(self, pool: Pool, device: torch.device):
        chunks, self.device = pool.chunks, device
        self.classes = pool.classes
        self.neck_rows, self.neck = self._necks(chunks, chunks[0].neck)
        self.at_points = self._joined([chunk.tensors["at_points"] for chunk in chunks])
        self.points = self._joined([chunk.tensors["points"] for chunk in chunks])
        self.mask = self._joined([chunk.tensors["mask"] for chunk in chunks])
        self.central = centrality(self.at_points).float()
        self.seen = self.at_points[:, : self.classes].amax(2)
        self.described, self.object_rows = self._objects(chunks)
        # The last row is for points without an object, and expressions without a referent.
        self.centerness, self.massness = (
            self._joined(
                [*(chunk.tensors[name] for chunk in chunks), chunks[0].tensors[name].new_zeros(1, self.width)]
            )
            for name in ("centerness", "massness")
        )
        self._read_expressions(chunks, pool.words)

    @property
    def width(self) -> int:
        """Points of a scene."""
        return int(self.mask.shape[1])

    def __len__(self) -> int:
        return len(self.mask)

    def _joined(self, parts: Sequence[Tensor]) -> Tensor:
        return torch.cat([part.to(self.device) for part in parts])

    def _necks(self, chunks: Sequence[Chunk], channels: int) -> tuple[Tensor, Tensor]:
        """The row of each scene in the necks (n, C, P), whose last row, of zeros, is for scenes without a picture."""
        rows, necks, count = [], [], 0
        for chunk in chunks:
            given = chunk.tensors.get("neck")
            rows.append(torch.full((len(chunk),), -1) if given is None else torch.arange(len(chunk)) + count)
            if given is not None:
                necks.append(given)
                count += len(chunk)
        points = chunks[0].tensors["mask"].shape[1]
        neck = self._joined([*necks, torch.zeros(1, channels, points, dtype=torch.float16)])
        index = torch.cat(rows).to(self.device)
        return index.masked_fill(index < 0, count), neck

    def _objects(self, chunks: Sequence[Chunk]) -> tuple[Tensor, Tensor]:
        """All descriptions (n, F) with a last row of zeros, and the row of each point (N, P)."""
        described = [chunk.tensors["described"] for chunk in chunks]
        total = sum(map(len, described))
        rows, start = [], 0
        for chunk, those in zip(chunks, described, strict=True):
            index = chunk.tensors["index"].long()
            first = torch.tensor(chunk.described_start[:-1])[:, None] + start
            rows.append(torch.where(index < 0, total, index + first))
            start += len(those)
        described.append(described[0].new_zeros(1, described[0].shape[1]))
        return self._joined(described), torch.cat(rows).to(self.device)

    def _read_expressions(self, chunks: Sequence[Chunk], words: Words) -> None:
        numbers = {text: number for number, text in enumerate(words.known)}
        states = list(words.known.values())
        lengths = torch.tensor([len(state) for state in states])
        self.states, self.lengths = torch.cat(states).to(self.device), lengths.to(self.device)
        self.text_start = (lengths.cumsum(0) - lengths).to(self.device)
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
        Draw batches without end; the arguments are those of `Pool.batches`.

        Raises:
            ValueError: a batch would need more scenes than there are.
        """
        if images > len(self.usable):
            raise ValueError(f"A batch of {images} scenes needs more than the pool's {len(self.usable)}: make more.")
        generator = torch.Generator(self.device).manual_seed(seed)
        while True:
            order = self.usable[torch.randperm(len(self.usable), generator=generator, device=self.device)]
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


__all__ = ["ResidentPool"]
