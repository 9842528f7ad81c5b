"""The order of an epoch: which expressions share a pass, which pictures a batch, which process gets which part.

Every expression is seen once per epoch. Groups of up to N expressions of a picture are shuffled and cut into global
batches, and each batch into one part per process and accumulation step. The order depends on seed and epoch alone: any
number of processes trains on the same batches, and a run goes on in the middle of an epoch by starting there. Knows
nothing of pixels and tokens.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import datasets
import pyarrow.compute
import torch
from torch.utils.data import DataLoader, Dataset

from ..data.collator import PbrecCollator


@dataclass(frozen=True)
class Group:
    """
    Expressions of one picture that share a canvas.

    Attributes:
        row: index of the picture's row.
        expressions: indices into its expressions.
        counts: False for a stand-in, where a batch is too small for a part per process: it must weigh nothing.
    """

    row: int
    expressions: tuple[int, ...]
    counts: bool = True


class EpochPlan:
    """
    Which groups come when, epoch by epoch.

    Args:
        counts: number of expressions of each row.
        expressions_per_image: largest group.
        batch_size: groups per global batch.
        parts: pieces of a batch that this process works through one after the other.
        process: (index, number) of this process.
        seed: of the order.
    """

    def __init__(
        self,
        counts: Sequence[int],
        expressions_per_image: int,
        batch_size: int,
        parts: int = 1,
        process: tuple[int, int] = (0, 1),
        seed: int = 0,
    ) -> None:
        self.counts, self.expressions_per_image = list(counts), expressions_per_image
        self.batch_size, self.parts, self.process, self.seed = batch_size, parts, process, seed

    @property
    def num_groups(self) -> int:
        """Groups per epoch."""
        return sum(math.ceil(count / self.expressions_per_image) for count in self.counts)

    def __len__(self) -> int:
        """Global batches per epoch; the last one may be smaller."""
        return math.ceil(self.num_groups / self.batch_size)

    def groups(self, epoch: int) -> list[Group]:
        """All groups of an epoch, in its order."""
        generator = torch.Generator().manual_seed(self.seed * 100_003 + epoch)
        groups = []
        for row, count in enumerate(self.counts):
            order = torch.randperm(count, generator=generator).tolist()
            for first in range(0, count, self.expressions_per_image):
                groups.append(Group(row, tuple(sorted(order[first : first + self.expressions_per_image]))))
        return [groups[index] for index in torch.randperm(len(groups), generator=generator).tolist()]

    def parts_of(self, epoch: int, start: int = 0) -> Iterator[list[Group]]:
        """This process's parts from global batch `start` on, `parts` of them for each batch, none empty."""
        index, number = self.process
        groups = self.groups(epoch)
        for first in range(start * self.batch_size, len(groups), self.batch_size):
            batch = groups[first : first + self.batch_size]
            pieces = self.parts * number
            for part in range(self.parts):
                piece = part * number + index
                mine = batch[piece * len(batch) // pieces : (piece + 1) * len(batch) // pieces]
                yield mine or [Group(batch[0].row, batch[0].expressions, counts=False)]


class _Pictures(Dataset[tuple[dict[str, Any], bool]]):
    """By `Group`: the row of the image view with the expressions of the group, and whether it counts."""

    def __init__(self, rows: datasets.Dataset) -> None:
        self.rows = rows

    def __getitem__(self, group: Group) -> tuple[dict[str, Any], bool]:
        row: dict[str, Any] = self.rows[group.row]
        return row | {"expressions": [row["expressions"][index] for index in group.expressions]}, group.counts


class _Collate:
    """The collator's batch and `count`, the number of its expressions that count."""

    def __init__(self, collator: PbrecCollator) -> None:
        self.collator = collator

    def __call__(self, items: list[tuple[dict[str, Any], bool]]) -> dict[str, Any]:
        batch = self.collator([row for row, _ in items])
        batch["count"] = len(batch["input_ids"]) if all(counts for _, counts in items) else 0
        return batch


def training_loader(
    rows: datasets.Dataset, plan: EpochPlan, collator: PbrecCollator, epoch: int, start: int = 0, **options: Any
) -> "DataLoader[dict[str, Any]]":
    """
    A loader of one epoch's parts.

    Args:
        rows: of the image view, images not decoded.
        plan: made of the counts of `rows`.
        collator: makes the batches; its epoch is set.
        epoch: number of the epoch.
        start: global batch to start from.
        options: of `DataLoader`, such as num_workers.
    """
    collator.set_epoch(epoch)
    pictures: Any = _Pictures(rows)  # DataLoader's type is of what a dataset holds, not of what the collator makes
    return DataLoader(
        pictures,
        batch_sampler=list(plan.parts_of(epoch, start)),
        collate_fn=_Collate(collator),
        # A generator of its own: the iterator would otherwise draw from the one that dropout uses, and a resumed run,
        # which makes one iterator more, would differ from an unbroken one.
        generator=torch.Generator(),
        **options,
    )


def expression_counts(rows: datasets.Dataset) -> list[int]:
    """Number of expressions of each row of the image view, without making Python objects of the rows."""
    table = rows.select_columns(["expressions"]).with_format("arrow")[:]
    counts: list[int] = pyarrow.compute.list_value_length(table["expressions"]).to_pylist()
    return counts


def rows_digest(rows: datasets.Dataset) -> str:
    """A digest of rows of the image view: image ids, expressions, boxes and areas of masks; no picture is read."""
    table = rows.select_columns(["image_id", "expressions"]).with_format("arrow")[:]
    sentences = pyarrow.compute.list_flatten(table["expressions"])
    digest = hashlib.sha256(json.dumps(table["image_id"].to_pylist()).encode())
    several = ("boxes",) if "boxes" in rows.features["expressions"].feature else ()
    for name in ("expression", "bbox", "area", *several):
        digest.update(json.dumps(pyarrow.compute.struct_field(sentences, name).to_pylist()).encode())
    return digest.hexdigest()[:16]


__all__ = ["EpochPlan", "Group", "expression_counts", "rows_digest", "training_loader"]
