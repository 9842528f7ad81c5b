"""Metrics over several processes, some without a row. Oracle: the formula over all rows, in plain NumPy."""

import multiprocessing
import shutil
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.random import Generator
from pycocotools import mask as coco_mask

from pbrec_hf.metrics import RecAccuracy, ResIoU

from ..family import Case, Family, pick
from ..outcome import Outcome, answered, wrong

_SIDE = 16
_METRICS = {"boxes": RecAccuracy, "masks": ResIoU}


class Metrics(Family):
    """A step holds how many rows a process has; the subject is the kind of rows."""

    seconds: ClassVar[float] = 60

    @staticmethod
    def draw(rng: Generator) -> Case:
        shares = [(int(rng.integers(0, 5)) if rng.random() < 0.6 else 0,) for _ in range(int(rng.integers(1, 4)))]
        if not sum(share for (share,) in shares):
            shares[0] = (1,)
        return Case(pick(rng, _METRICS), tuple(shares))

    def run(self, case: Case) -> Outcome:
        shares = [share for (share,) in case.steps] or [1]
        if not sum(shares):
            return answered()
        predicted, true = _masks(1, sum(shares)), _masks(2, sum(shares))
        cache = self.folder / "cache"
        shutil.rmtree(cache, ignore_errors=True)
        context = multiprocessing.get_context("fork")  # the worker's process is as the metrics find it in training
        results = context.Queue()
        ends = np.cumsum(shares)
        processes = [
            context.Process(
                target=_measure,
                args=(case.subject, rank, len(shares), cache, predicted[end - share : end], true[end - share : end],
                      results),
            )
            for rank, (share, end) in enumerate(zip(shares, ends, strict=True))
        ]  # fmt: skip
        for process in processes:
            process.start()
        got = dict(results.get(timeout=20) for _ in processes)
        for process in processes:
            process.join()
        if isinstance(got[0], str):
            return wrong(f"process 0 raised {got[0]}")
        if others := [value for rank, value in got.items() if rank and value is not None]:
            return wrong(f"other processes gave {others}")
        expected = _expected(predicted, true)
        for name, value in expected.items():
            if name in got[0] and not np.isclose(got[0][name], value, rtol=0, atol=1e-6):
                return wrong(f"{name} is {got[0][name]} instead of {value}")
        return answered() if "count" in got[0] or len(got[0]) else wrong("no figures")


def _measure(
    kind: str, rank: int, processes: int, cache: Path, predicted: np.ndarray, true: np.ndarray, results: Any
) -> None:
    form = {"boxes": _boxes, "masks": _run_lengths}[kind]
    try:
        metric = _METRICS[kind](
            num_process=processes, process_id=rank, experiment_id="x", cache_dir=str(cache), timeout=4
        )
        for one, other in zip(predicted, true, strict=True):
            metric.add_batch(predictions=form(one[None]), references=form(other[None]))
        results.put((rank, metric.compute()))
    except Exception as error:
        results.put((rank, f"{type(error).__name__}: {error}"))


def _masks(seed: int, count: int) -> np.ndarray:
    """(count, side, side) uint8 with a rectangle each."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((count, _SIDE, _SIDE), np.uint8)
    for mask in masks:
        top, left = rng.integers(0, _SIDE // 2, 2)
        mask[top : top + rng.integers(2, 9), left : left + rng.integers(2, 9)] = 1
    return masks


def _boxes(masks: np.ndarray) -> list[list[float]]:
    found = []
    for mask in masks:
        rows, cols = mask.any(axis=1).nonzero()[0], mask.any(axis=0).nonzero()[0]
        found.append([float(cols[0]), float(rows[0]), float(cols[-1] + 1), float(rows[-1] + 1)])
    return found


def _run_lengths(masks: np.ndarray) -> list[Any]:
    return [coco_mask.encode(np.asfortranarray(mask)) for mask in masks]


def _expected(predicted: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """A rectangle's IoU is that of its pixels: one formula for both metrics."""
    both = (predicted & true).sum(axis=(1, 2))
    either = (predicted | true).sum(axis=(1, 2))
    overlaps = both / either
    figures = {"mean_iou": overlaps.mean(), "overall_iou": both.sum() / either.sum()}
    figures["count"] = len(predicted)
    for threshold in (0.5, 0.6, 0.7, 0.8, 0.9):
        figures[f"accuracy@{threshold}"] = figures[f"precision@{threshold}"] = (overlaps > threshold).mean()
    return figures


FAMILY = Metrics
