"""Tables 2 and 3: several checkpoints on all splits of their data sets, in one table.

Each row has one checkpoint per data set, as in the paper. Of every set, all its splits are measured, and none whose
pictures the checkpoint was trained on.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import datasets

from ...data.refer.refcoco import config_key
from ..evaluation import Way
from ..predictions import Prediction
from .cases import Measured
from .options import PAPER_SETS, Bench, add_checkpoints, add_data, evaluation_splits
from .report import Figure, PaperTable, paper_number

Measure = Callable[[Sequence[Prediction], datasets.Dataset], Mapping[str, Measured]]
DETECTORS = "Detectors trained on COCO train2017 have seen the pictures of RefCOCO, RefCOCO+ and RefCOCOg, with boxes."


def add_rows(parser: argparse.ArgumentParser) -> None:
    """The checkpoints of each row."""
    parser.add_argument(
        "--row",
        nargs="+",
        action="append",
        required=True,
        metavar=("NAME", "SET=CHECKPOINT"),
        help="a row, such as: PBREC-MT refcoco=runs/a/best refcoco+=runs/b/best refcocog=runs/c/best",
    )
    add_data(parser)
    add_checkpoints(parser)


def rows_of(given: Sequence[Sequence[str]]) -> dict[str, dict[str, str]]:
    """
    Row → data set → checkpoint of what `--row` says.

    Raises:
        ValueError: a name is doubled, there is no checkpoint, or a data set is unknown or doubled.
    """
    rows: dict[str, dict[str, str]] = {}
    for name, *pairs in given:
        if name in rows or not pairs or "=" in name:
            raise ValueError(f"--row {name}: give a name of its own, then SET=CHECKPOINT for each data set.")
        rows[name] = {}
        for pair in pairs:
            said, sign, checkpoint = pair.partition("=")
            key = config_key(said)
            if not sign or not checkpoint or key in rows[name]:
                raise ValueError(f"--row {name} {pair}: give SET=CHECKPOINT, once for each data set.")
            rows[name][key] = checkpoint
    return rows


def fill(
    bench: Bench,
    title: str,
    rows: Mapping[str, Mapping[str, str]],
    way: Way,
    measure: Measure,
    paper_metric: str,
    notes: Sequence[str] = (),
) -> PaperTable:
    """
    The table, measured; in all processes but the first, one without figures.

    Args:
        bench: what it is measured with.
        title: of the Markdown.
        rows: row → data set → checkpoint.
        way: how expressions are answered.
        measure: predictions and rows → values by metric.
        paper_metric: the metric that the paper publishes.
        notes: remarks for readers.

    Raises:
        ValueError: a checkpoint was trained on pictures that are measured on, or does not say what it was trained on.
    """
    table = PaperTable(bench.name, title, [], settings=bench.settings | {"selection": dict(way.selection)})
    columns: list[str] = []
    for row, checkpoints in rows.items():
        for key, source in checkpoints.items():
            checkpoint = bench.answering(source)
            origin = bench.origin(checkpoint)
            splits = evaluation_splits(key)
            bench.require_unseen(f"{row} ({source})", origin, {key: splits})
            table.subjects[f"{row}, {key}"] = checkpoint.about()
            for split in splits:
                column = f"{key} {split}"
                found, digests = checkpoint.answer(bench.rows(key, split), [way])
                if not found:
                    continue
                columns.append(column)
                table.predictions[f"{row}, {column}"] = digests[0]
                note = bench.note(origin, key, split)
                table.figures += figures(
                    bench, row, column, measure(found[0], bench.rows(key, split)), paper_metric, note
                )
    table.figures.sort(key=lambda figure: _place(figure.column))
    table.figures.sort(key=lambda figure: list(rows).index(figure.row))
    table.data = bench.about(sorted(dict.fromkeys(columns), key=_place))
    table.notes = [*notes, DETECTORS]
    return table


def figures(
    bench: Bench, row: str, column: str, measured: Mapping[str, Measured], paper_metric: str, note: str = ""
) -> list[Figure]:
    """The figures of a cell, by metric, with the paper's number beside the one of its metric."""
    return [
        Figure(
            row, column, name, *value, paper_number(bench.name, row, column) if name == paper_metric else None, note
        )
        for name, value in measured.items()
    ]


def _place(column: str) -> tuple[int, str, Any]:
    """Data sets in the paper's order, splits in their own."""
    key, split = column.rsplit(" ", 1)
    order = PAPER_SETS.index(key) if key in PAPER_SETS else len(PAPER_SETS)
    return order, key, evaluation_splits(key).index(split)


__all__ = ["DETECTORS", "add_rows", "figures", "fill", "rows_of"]
