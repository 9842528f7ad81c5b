"""`PaperTable`: figures beside the paper's, as Markdown for people and JSON for programs.

A figure comes with its 95 % interval and the number of its cases; the table with what the figures are of: hashes of
weights, data and predictions. Knows nothing of how figures are measured.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from ...hub.writing import replaced_file
from ...metrics.intervals import Interval

_VERSIONS = ("pbrec_hf", "torch", "transformers", "torchvision")


@dataclass(frozen=True)
class Figure:
    """
    One measured number.

    Attributes:
        row: what was measured, such as a model or a detector.
        column: on what, such as "refcoco/unc testA".
        metric: what it is, such as "accuracy@0.5".
        value: in [0, 1].
        interval: 95 %, in [0, 1]; None of a single case.
        cases: how many it is of.
        paper: what the paper has in this place, in per cent; None = nothing.
        note: what a reader has to know to compare it, such as that the checkpoint was chosen on these cases.
    """

    row: str
    column: str
    metric: str
    value: float
    interval: Interval | None
    cases: int
    paper: float | None = None
    note: str = ""


@dataclass
class PaperTable:
    """
    A table of the paper, measured.

    Attributes:
        name: of its files, such as "table2".
        title: of the Markdown.
        figures: in the order of rows.
        subjects: by row, what was measured: source and hashes, and what training used.
        data: by column, what it was measured on; see `sources.about_data`.
        predictions: SHA-256 of the predictions behind figures, by a name of them.
        settings: how the questions were asked.
        notes: remarks for readers, a sentence each.
    """

    name: str
    title: str
    figures: list[Figure]
    subjects: dict[str, Any] = field(default_factory=dict)
    data: dict[str, dict[str, Any]] = field(default_factory=dict)
    predictions: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def markdown(self) -> str:
        """The table as in the paper, each figure with its interval below it, and what it is of."""
        parts = [f"# {self.title}"]
        for metric in dict.fromkeys(figure.metric for figure in self.figures):
            parts += [f"## {metric} (%)", _as_in_the_paper([one for one in self.figures if one.metric == metric])]
        parts += ["## Every figure", _one_by_one(self.figures)]
        if self.notes:
            parts.append("\n".join(f"- {note}" for note in self.notes))
        parts += ["## What they are of", self._sources()]
        return "\n\n".join(parts) + "\n"

    def _sources(self) -> str:
        lines = ["| what | where | SHA-256 |", "|---|---|---|"]
        for row, subject in self.subjects.items():
            lines += [f"| {row} | {place} | `{digest}` |" for place, digest in _hashed(subject)]
        for column, about in self.data.items():
            counts = f"{about['expressions']:,} expressions in {about['images']:,} images"
            lines.append(f"| {column} | {counts} | `{about['sha256']}` |")
        lines += [f"| predictions | {name} | `{digest}` |" for name, digest in self.predictions.items()]
        said = ", ".join(f"{name}: {value}" for name, value in self.settings.items())
        return "\n".join([*lines, "", f"Settings: {said}." if said else ""]).strip()

    def as_dict(self) -> dict[str, Any]:
        """The same for JSON."""
        return asdict(self) | {"versions": {name: version(name) for name in _VERSIONS}}

    def write(self, folder: str | Path) -> tuple[Path, Path]:
        """
        Write `name`.md and `name`.json; returns their paths.

        Raises:
            OSError: they cannot be written.
        """
        paths = Path(folder) / f"{self.name}.md", Path(folder) / f"{self.name}.json"
        texts = self.markdown(), json.dumps(self.as_dict(), indent=1, ensure_ascii=False) + "\n"
        for path, text in zip(paths, texts, strict=True):
            with replaced_file(path) as partial:
                partial.write_text(text, encoding="utf-8")
        return paths


@cache
def published() -> dict[str, dict[str, dict[str, float]]]:
    """What the paper publishes, in per cent: table → row → column → number."""
    text = (Path(__file__).parent / "published.yaml").read_text(encoding="utf-8")
    tables: dict[str, dict[str, dict[str, float]]] = yaml.safe_load(text)
    return tables


def paper_number(table: str, row: str, column: str) -> float | None:
    """The paper's number in a cell, in per cent; None where it has none."""
    return published()[table].get(row, {}).get(column)


def _as_in_the_paper(figures: list[Figure]) -> str:
    """A row for each row, a column for each column; the paper's number in brackets."""
    columns = list(dict.fromkeys(figure.column for figure in figures))
    known = {(figure.row, figure.column): figure for figure in figures}
    lines = [_line(["ours (paper)", *columns]), "|---" * (len(columns) + 1) + "|"]
    for row in dict.fromkeys(figure.row for figure in figures):
        cells = []
        for column in columns:
            figure = known.get((row, column))
            cells.append("" if figure is None else f"{100 * figure.value:.2f} ({_paper(figure)})")
        lines.append(_line([row, *cells]))
    return "\n".join(lines)


def _one_by_one(figures: Iterable[Figure]) -> str:
    names = ("what", "on", "metric", "ours (%)", "95 % interval", "paper (%)", "difference", "cases", "note")
    lines = [_line(names), "|---" * len(names) + "|"]
    for one in figures:
        interval = "–" if one.interval is None else " to ".join(f"{100 * side:.2f}" for side in one.interval)
        difference = "–" if one.paper is None else f"{100 * one.value - one.paper:+.2f}"
        value = f"{100 * one.value:.2f}"
        lines.append(
            _line(
                [one.row, one.column, one.metric, value, interval, _paper(one), difference, f"{one.cases:,}", one.note]
            )
        )
    return "\n".join(lines)


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _paper(figure: Figure) -> str:
    return "–" if figure.paper is None else f"{figure.paper:.2f}"


def _hashed(subject: Mapping[str, Any], name: str = "") -> Iterable[tuple[str, str]]:
    """(name and source, hash) of everything in a subject that has a hash."""
    if "sha256" in subject:
        yield " ".join(filter(None, (name, str(subject.get("source", ""))))), subject["sha256"]
    for key, value in subject.items():
        if isinstance(value, Mapping):
            yield from _hashed(value, f"{name} {key}".strip())


__all__ = ["Figure", "PaperTable", "paper_number", "published"]
