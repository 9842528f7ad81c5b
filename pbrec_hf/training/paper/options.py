"""Options that the commands of the paper's tables share, and what they stand for."""

import argparse
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import datasets
from accelerate import Accelerator

from ...data.refer.refcoco import config_key, published_counts
from ..build import load_rows
from ..origin import Origin
from ..run import require_joined
from .answers import Answering, Asking
from .report import PaperTable, paper_number
from .sources import about_data, chosen_note, require_unseen

PAPER_SETS = ("refcoco/unc", "refcoco+/unc", "refcocog/umd")


def add_data(parser: argparse.ArgumentParser) -> None:
    """Where the data sets are, and where the table goes."""
    parser.add_argument("--refer_dir", type=Path, required=True, help="folder of the REFER annotations")
    parser.add_argument("--image_dir", type=Path, help="folder of the images")
    parser.add_argument("--no_check_counts", action="store_true", help="accept a partial copy of a data set")
    parser.add_argument("--out", type=Path, required=True, help="folder of the table, and of what is needed to go on")
    parser.add_argument("--batch_size", type=int, help="pictures per process and pass (default: 8; 1 on a CPU)")
    parser.add_argument("--mixed_precision", default="no", choices=("no", "bf16", "fp16"))
    parser.add_argument("--cpu", action="store_true", help="even if there is a GPU")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")


def add_checkpoints(parser: argparse.ArgumentParser) -> None:
    """How checkpoints are asked, and what is known of their training."""
    for kind in ("box", "mask"):
        parser.add_argument(f"--{kind}_detector", help="folder or Hub id, instead of the checkpoints' own")
    parser.add_argument("--proposals", help="cache written by `pbrec-hf precompute`")
    parser.add_argument("--num_workers", type=int, default=4, help="loader processes per process")
    parser.add_argument(
        "--trained_on",
        nargs="+",
        metavar="SET",
        help="data sets that checkpoints were trained on which do not say so themselves, such as refcoco/unc; or none",
    )


def add_split(parser: argparse.ArgumentParser) -> None:
    """The one split that Tables 4 and 5 are of."""
    parser.add_argument("--dataset", default="refcoco+/unc", help="default: %(default)s")
    parser.add_argument("--split", default="val", help="default: %(default)s")


def paper_of_split(table: str, row: str, column: str, key: str, split: str) -> float | None:
    """The paper's number in a cell of Table 4 or 5, if it is of this split."""
    return paper_number(table, row, column) if f"{key} {split}" == "refcoco+/unc val" else None


class Bench:
    """
    What a table is measured with: processes, data sets, checkpoints.

    Args:
        options: of `add_data`, and of `add_checkpoints` where checkpoints are asked.
        name: of the table's files, such as "table2".
    """

    def __init__(self, options: argparse.Namespace, name: str):
        for path in filter(None, (options.refer_dir, options.image_dir)):
            if not path.is_dir():
                raise FileNotFoundError(f"{path}: there is no such folder; correct the path.")
        if options.batch_size is not None and options.batch_size < 1:
            raise ValueError(f"--batch_size {options.batch_size}: give a number of at least 1.")
        self.options, self.name = options, name
        self._rows: dict[str, datasets.Dataset] = {}

    @cached_property
    def accelerator(self) -> Accelerator:
        """Of the processes that a launcher started."""
        accelerator = Accelerator(cpu=self.options.cpu, mixed_precision=self.options.mixed_precision)
        require_joined(accelerator)
        return accelerator

    @property
    def refer_dir(self) -> Path:
        """Folder of the REFER layout."""
        folder: Path = self.options.refer_dir
        return folder

    @property
    def settings(self) -> dict[str, Any]:
        """What JSON and Markdown say of how questions were asked."""
        return {"precision": self.options.mixed_precision, "device": self.accelerator.device.type}

    def rows(self, key: str, split: str) -> datasets.Dataset:
        """Rows of the image view of one split, images not decoded."""
        name = f"{key} {split}"
        if name not in self._rows:
            self._rows[name] = load_rows(
                dataset=key,
                split=split,
                refer_dir=str(self.refer_dir),
                image_dir=None if self.options.image_dir is None else str(self.options.image_dir),
                check_counts=not self.options.no_check_counts,
            )
        return self._rows[name]

    def about(self, columns: Sequence[str]) -> dict[str, dict[str, Any]]:
        """By column ("refcoco/unc val"), what it is of."""
        return {column: about_data(self.rows(*column.rsplit(" ", 1))) for column in columns}

    def answering(self, source: str) -> Answering:
        """A checkpoint, loaded."""
        options = self.options
        asking = Asking(
            options.box_detector,
            options.mask_detector,
            options.proposals,
            options.batch_size,
            options.num_workers,
            not options.quiet,
        )
        return Answering(source, self.accelerator, options.out / "predictions", asking)

    def origin(self, checkpoint: Answering) -> Origin:
        """
        What a checkpoint was trained on, as it says itself or --trained_on.

        Raises:
            ValueError: neither says anything.
        """
        if (known := checkpoint.origin) is not None:
            return known
        if not self.options.trained_on:
            raise ValueError(
                f"{checkpoint.source} does not say what it was trained on, so it may have seen what is measured on: "
                "give --trained_on with the data sets, such as refcoco/unc, or none."
            )
        named = [] if self.options.trained_on == ["none"] else [config_key(name) for name in self.options.trained_on]
        return Origin([f"{name} train" for name in named])

    def require_unseen(self, row: str, origin: Origin, measured: Mapping[str, Sequence[str]]) -> None:
        """
        Check that no picture that is measured on was trained on.

        Raises:
            ValueError: one was; see `sources.require_unseen`.
        """
        require_unseen(row, trained_sets(origin), measured, self.refer_dir)

    def note(self, origin: Origin, key: str, split: str) -> str:
        """See `sources.chosen_note`."""
        return chosen_note(origin, key, split, self.refer_dir)

    def finish(self, table: PaperTable) -> None:
        """Write the table and print it, in the first process."""
        if self.accelerator.is_main_process:
            table.write(self.options.out)
            print(table.markdown())


def trained_sets(origin: Origin) -> list[str]:
    """The published data sets among those that a checkpoint was trained on."""
    names = []
    for entry in origin.trained_on:
        name, _, split = entry.rpartition(" ")
        try:
            key = config_key(name)
        except ValueError:
            continue  # a file of one's own, whose ids mean other pictures
        if split == "train":
            names.append(key)
        else:
            raise ValueError(f"A checkpoint trained on {entry} is not measured in the paper's tables: train on train.")
    return names


def evaluation_splits(key: str) -> list[str]:
    """The splits of a published data set that are measured on."""
    return [split for split in published_counts(key) if split != "train"]


__all__ = [
    "PAPER_SETS",
    "Bench",
    "add_checkpoints",
    "add_data",
    "add_split",
    "evaluation_splits",
    "paper_of_split",
    "trained_sets",
]
