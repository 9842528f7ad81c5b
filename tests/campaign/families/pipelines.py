"""One pipeline under threads, in batches, over streams and in worker processes. Oracle: one picture asked alone."""

import io
import itertools
import multiprocessing
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import datasets
import numpy as np
import PIL.Image
import torch
from numpy.random import Generator
from transformers import pipeline
from transformers.image_utils import SizeDict

from pbrec_hf.hub.bundled import bundled_checkpoint

from ..family import Case, Family, pick
from ..outcome import Outcome, answered, refused, wrong

_TEXTS = ("left dog", "the red car on the right", "girl", "the cat in the middle of the picture")
_SUBJECTS = ("threads", "networks", "batches", "containers", "containers", "stream", "workers", "misspelt")
_CONTAINERS = ("list", "generator", "Dataset", "IterableDataset", "decoded Dataset", "decoded IterableDataset")


class Pipelines(Family):
    """A step is a row: (picture, expression, damaged); the first one may say how rows are handed over."""

    seconds: ClassVar[float] = 120
    memory: ClassVar[int] = 2**31

    def __init__(self, folder: Path):
        super().__init__(folder)
        self.pipe = pipeline("referring-expression", model=str(bundled_checkpoint()))
        self.pipe.processor.image_processor.size = SizeDict(longest_edge=128)  # a small canvas is answered quickly
        self.known: dict[tuple[int, int], Any] = {}

    @staticmethod
    def draw(rng: Generator) -> Case:
        subject = pick(rng, _SUBJECTS)
        rows = [
            ("row", int(rng.integers(4)), int(rng.integers(len(_TEXTS))), bool(rng.random() < 0.25))
            for _ in range(int(rng.integers(2, 6)))
        ]
        how: tuple[Any, ...] = ("how", int(rng.integers(1, 5)))
        if subject == "containers":
            how = (*how, pick(rng, _CONTAINERS))
        elif subject == "workers":
            # Starting by "spawn" imports everything once more, which takes seconds.
            how = (*how, pick(rng, ("forkserver",) * 9 + ("spawn",)))
        elif subject == "misspelt":
            how = (*how, pick(rng, ("txt", "Image", "picture")), pick(rng, ("list", "Dataset", "generator")))
        return Case(subject, (how, *rows))

    def run(self, case: Case) -> Outcome:
        how = next((step[1:] for step in case.steps if step[0] == "how"), (1,))
        rows = [step[1:] for step in case.steps if step[0] == "row"] or [(0, 0, False)]
        outcome: Outcome = getattr(self, f"_{case.subject}")(how, rows)
        return outcome

    def _alone(self, picture: int, text: int) -> Any:
        if (picture, text) not in self.known:
            self.known[picture, text] = self.pipe(_picture(picture), _TEXTS[text])
        return self.known[picture, text]

    def _threads(self, how: tuple[Any, ...], rows: list[Any]) -> Outcome:
        for picture, text, _ in rows:
            self._alone(picture, text)
        asked = [row for row in rows for _ in range(3)]
        found = _in_threads(4, lambda row: self.pipe(_picture(row[0]), _TEXTS[row[1]]), asked)
        return self._compare(found, [(picture, text, False) for picture, text, _ in asked])

    def _networks(self, how: tuple[Any, ...], rows: list[Any]) -> Outcome:
        """The detectors alone, whose calls are short: threads meet far more often."""
        canvases = [torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(n)) for n in range(8)]
        right = [self.pipe.processor.propose(canvas)["box_proposals"] for canvas in canvases]
        asked = list(range(len(canvases))) * 4 * min(2, len(rows))
        found = _in_threads(8, lambda n: self.pipe.processor.propose(canvases[n])["box_proposals"], asked)
        for number, proposals in zip(asked, found, strict=True):
            if not torch.allclose(proposals.boxes, right[number].boxes, atol=1e-3):
                return wrong("a detector gave the proposals of another canvas")
        return answered()

    def _batches(self, how: tuple[Any, ...], rows: list[Any]) -> Outcome:
        asked = [(picture, text, False) for picture, text, _ in rows]
        given = [{"image": _picture(picture), "text": _TEXTS[text]} for picture, text, _ in asked]
        return self._compare(list(self.pipe(given, batch_size=how[0])), asked)

    def _containers(self, how: tuple[Any, ...], rows: list[Any]) -> Outcome:
        batch, container = (*how, "list")[:2]
        given = _contained([{"image": _cell(p, bad), "text": _TEXTS[t]} for p, t, bad in rows], container)
        try:
            found = list(self.pipe(given, batch_size=batch, on_error="skip"))
        except Exception as error:
            return wrong(f"{container}: {type(error).__name__}: {error}")
        return self._compare(found, rows)

    def _workers(self, how: tuple[Any, ...], rows: list[Any]) -> Outcome:
        batch, method = (*how, "forkserver")[:2]
        before = multiprocessing.get_start_method()
        multiprocessing.set_start_method(method, force=True)
        try:
            given = [{"image": _cell(p, bad), "text": _TEXTS[t]} for p, t, bad in rows]
            found = list(self.pipe(given, batch_size=batch, num_workers=1, on_error="skip"))
        except Exception as error:
            return wrong(f"{method}: {type(error).__name__}: {error}")
        finally:
            multiprocessing.set_start_method(before, force=True)
        return self._compare(found, rows)

    def _stream(self, how: tuple[Any, ...], rows: list[Any]) -> Outcome:
        read = 0

        def frames() -> Iterator[PIL.Image.Image]:
            nonlocal read
            for picture, _, _ in itertools.cycle(rows):  # without an end
                read += 1
                if read > 200:
                    raise RuntimeError("the stream was read ahead of the answers")
                yield _picture(picture)

        try:
            answers = iter(self.pipe(frames(), text=_TEXTS[0], batch_size=how[0]))
            first = next(answers)
            if read > 4 * how[0]:
                return wrong(f"{read} frames were read before the first answer, at {how[0]} a batch")
            found = [first, *itertools.islice(answers, len(rows) - 1)]
        except RuntimeError as error:
            return wrong(str(error))
        return self._compare(found, [(picture, 0, False) for picture, _, _ in rows])

    def _misspelt(self, how: tuple[Any, ...], rows: list[Any]) -> Outcome:
        _, key, container = how if len(how) == 3 else (1, "txt", "list")
        names = {"image": "image", "text": "text", ("text" if key == "txt" else "image"): key}
        given = [{names["image"]: _cell(p, False), names["text"]: _TEXTS[t]} for p, t, _ in rows]
        try:
            found = list(self.pipe(_contained(given, container), on_error="skip"))
        except (TypeError, ValueError) as error:
            named = key in str(error) or "image" in str(error) or "text" in str(error)
            return refused(error) if named else wrong(f"{error} does not name the key")
        return wrong(f"rows with the key {key!r} gave {str(found)[:80]}")

    def _compare(self, found: list[Any], rows: list[Any]) -> Outcome:
        if len(found) != len(rows):
            return wrong(f"{len(found)} answers for {len(rows)} rows")
        for number, (answer, (picture, text, bad)) in enumerate(zip(found, rows, strict=True)):
            if bad:
                if not (isinstance(answer, dict) and answer.get("error")):
                    return wrong(f"row {number} is damaged and gave {answer}")
            elif (problem := _difference(answer, self._alone(picture, text))) is not None:
                return wrong(f"row {number}: {problem}")
        return answered()


def _in_threads(threads: int, function: Callable[[Any], Any], values: list[Any]) -> list[Any]:
    """`function` of every value, by threads that take turns as often as Python can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(function, values))
    finally:
        sys.setswitchinterval(before)


def _picture(seed: int) -> PIL.Image.Image:
    return PIL.Image.open(io.BytesIO(_encoded(seed)))


def _encoded(seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    side = (60, 80, 3) if seed % 2 else (90, 50, 3)
    buffer = io.BytesIO()
    PIL.Image.fromarray(rng.integers(0, 256, side, dtype=np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


def _cell(seed: int, damaged: bool) -> dict[str, Any]:
    """A picture as `datasets` stores it; a damaged one is cut."""
    data = _encoded(seed)
    return {"bytes": data[:300] if damaged else data, "path": None}


def _contained(rows: list[dict[str, Any]], container: str) -> Iterable[Any]:
    if container == "list":
        return rows
    if container == "generator":
        return (row for row in rows)
    image = datasets.Image() if container.startswith("decoded") else datasets.Image(decode=False)
    cells = next(key for key, value in rows[0].items() if isinstance(value, dict))
    other = next(key for key in rows[0] if key != cells)
    features = datasets.Features({cells: image, other: datasets.Value("string")})
    table = datasets.Dataset.from_dict({key: [row[key] for row in rows] for key in rows[0]}, features=features)
    return table.to_iterable_dataset() if container.endswith("IterableDataset") else table


def _difference(found: Any, right: Any) -> str | None:
    if not isinstance(found, list) or len(found) != len(right):
        return f"{found} instead of {right}"
    for one, other in zip(found, right, strict=True):
        close = all(abs(one["box"][side] - other["box"][side]) < 1 for side in other["box"])
        if one["label"] != other["label"] or abs(one["score"] - other["score"]) > 1e-3 or not close:
            return f"{one} instead of {other}"
    return None


FAMILY = Pipelines
