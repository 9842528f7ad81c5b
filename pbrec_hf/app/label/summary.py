"""What a labelling found, in numbers and words, and the answers that a person should look at first.

`summary.json`, `summary.txt` and `contact.jpg`: the surest and the least sure answers, drawn. Holds counts, and a few
answers.
"""

import heapq
import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from ...hub.writing import replaced_file
from ...images.reading import load_picture
from ..drawing import contact_sheet, draw_answers
from .labelled import Labelled

_SHOWN = 8  # answers of each end on the contact sheet
_LISTED = 1000  # broken photographs that are named
_SIDE = 640  # pixels of a drawing's longer side
_BINS = 10


@dataclass
class OfExpression:
    """
    Attributes:
        photographs: that were asked for it.
        without: in how many nothing was found.
        answers: number.
        total: sum of their scores.
        histogram: answers by score, in tenths.
        unread: words of it that were not read.
    """

    photographs: int = 0
    without: int = 0
    answers: int = 0
    total: float = 0.0
    histogram: list[int] = field(default_factory=lambda: [0] * _BINS)
    unread: list[str] = field(default_factory=list)

    def add(self, entry: dict[str, Any]) -> None:
        """Count an entry of a record."""
        self.photographs += 1
        self.without += not entry["scores"]
        self.answers += len(entry["scores"])
        self.total += sum(entry["scores"])
        self.unread = entry.get("unread", self.unread)
        for score in entry["scores"]:
            self.histogram[min(int(score * _BINS), _BINS - 1)] += 1

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        mean = round(self.total / self.answers, 6) if self.answers else None
        return {
            "photographs": self.photographs,
            "without_answer": self.without,
            "answers": self.answers,
            "mean_score": mean,
            "scores_by_tenths": self.histogram,
            **({"unread": self.unread} if self.unread else {}),
        }


class Summary:
    """Counts photographs as they come; `write` tells about them."""

    def __init__(self) -> None:
        self.photographs = 0
        self.broken: list[tuple[str, str]] = []
        self.broken_count = 0
        self.expressions: dict[str, OfExpression] = {}
        self.counts: Counter[int] = Counter()
        self._order = 0
        self._surest: list[tuple[float, int, tuple[Labelled, str, int]]] = []
        self._least: list[tuple[float, int, tuple[Labelled, str, int]]] = []

    def add(self, labelled: Labelled) -> None:
        """Count a photograph."""
        self.photographs += 1
        if labelled.error is not None:
            self.broken_count += 1
            if len(self.broken) < _LISTED:
                self.broken.append((labelled.photograph.name, labelled.error))
            return
        for entry in labelled.entries:
            self.expressions.setdefault(entry["expression"], OfExpression()).add(entry)
            self.counts[len(entry["scores"])] += 1
            for place, score in enumerate(entry["scores"]):
                self._order -= 1  # of equal scores, the first stay
                shown = (labelled, entry["expression"], place)
                _keep(self._surest, (score, self._order, shown))
                _keep(self._least, (-score, self._order, shown))

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "photographs": self.photographs,
            "broken": self.broken_count,
            "answers": sum(one.answers for one in self.expressions.values()),
            "expressions_by_number_of_answers": {str(count): self.counts[count] for count in sorted(self.counts)},
            "expressions": {name: one.to_dict() for name, one in self.expressions.items()},
            "broken_photographs": [{"image": name, "error": error} for name, error in self.broken],
        }

    def in_words(self) -> str:
        """The same as lines of text."""
        good = self.photographs - self.broken_count
        lines = [f"{self.photographs} photographs: {good} labelled, {self.broken_count} broken.", ""]
        width = max((len(name) for name in self.expressions), default=10)
        lines.append(f"{'expression':<{width}}  photographs  nothing found  answers  mean score")
        for name, one in self.expressions.items():
            mean = f"{one.total / one.answers:.2f}" if one.answers else "–"
            lines.append(f"{name:<{width}}  {one.photographs:>11}  {one.without:>13}  {one.answers:>7}  {mean:>10}")
            if one.unread:
                lines.append(f"{'':<{width}}  not read: {', '.join(one.unread)}")
        if self.broken:
            lines += ["", "broken:", *(f"  {name}: {error}" for name, error in self.broken)]
        if self.broken_count > len(self.broken):
            lines.append(f"  and {self.broken_count - len(self.broken)} more")
        return "\n".join([*lines, ""])

    def write(self, out: Path) -> None:
        """
        Write the three files.

        Raises:
            CannotWriteError: they cannot be written.
        """
        with replaced_file(out / "summary.json") as path:
            path.write_text(json.dumps(self.to_dict(), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        with replaced_file(out / "summary.txt") as path:
            path.write_text(self.in_words(), encoding="utf-8")
        if (sheet := self.sheet()) is not None:
            with replaced_file(out / "contact.jpg") as path:
                sheet.save(path, format="JPEG", quality=88)

    def sheet(self) -> Image.Image | None:
        """The surest answers, then the least sure ones; None if there are none, or their photographs are gone."""
        surest = sorted(self._surest, reverse=True, key=lambda one: one[:2])
        least = sorted(self._least, reverse=True, key=lambda one: one[:2])
        taken = {one[1] for one in surest}
        parts = [("surest", one) for one in surest] + [("least sure", one) for one in least if one[1] not in taken]
        drawn = [(f"{part}: {Path(one[2][0].file).name}", _drawn(*one[2])) for part, one in parts]
        pictures = [(title, picture) for title, picture in drawn if picture is not None]
        return contact_sheet(pictures) if pictures else None


def _keep(heap: list[tuple[float, int, Any]], entry: tuple[float, int, Any]) -> None:
    if len(heap) < _SHOWN:
        heapq.heappush(heap, entry)
    elif entry[:2] > heap[0][:2]:
        heapq.heapreplace(heap, entry)


def _drawn(labelled: Labelled, expression: str, place: int) -> Image.Image | None:
    """A photograph, made smaller, with one answer."""
    try:
        picture = load_picture(labelled.photograph.image)
    except (OSError, ValueError):
        return None
    entry = next(entry for entry in labelled.entries if entry["expression"] == expression)
    scale = min(1.0, _SIDE / max(picture.size))
    picture = picture.resize((max(1, round(picture.width * scale)), max(1, round(picture.height * scale))))
    box = [value * scale for value in entry["boxes"][place]]
    answer = {"text_labels": [expression], "scores": [entry["scores"][place]], "boxes": [box]}
    return draw_answers(picture, [answer])


__all__ = ["OfExpression", "Summary"]
