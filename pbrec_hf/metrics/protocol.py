"""What all metrics share: the thresholds of the literature, and that each sentence of a split is answered once."""

from typing import Any

import datasets
import evaluate
import numpy as np
from numpy.typing import NDArray

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)

BOX = datasets.List(datasets.Value("float64"), length=4)
RLE = {"size": datasets.List(datasets.Value("int32"), length=2), "counts": datasets.Value("binary")}


class SentenceMetric(evaluate.Metric):
    """A metric over processes, of which some may have no sentence, as when there are more of them than pictures."""

    def compute(self, *, predictions: Any = None, references: Any = None, **kwargs: Any) -> Any:
        """As of every metric: the result on process 0, None on the others."""
        if self.writer is None and predictions is None and references is None:
            # Process 0 waits for a file of each process, which the first rows open: here, one without rows.
            self.selected_feature_format = self.features
            self._init_writer()
        return super().compute(predictions=predictions, references=references, **kwargs)


def check_count(count: int, expected: int | None) -> None:
    """
    Compare the number of predictions with that of the sentences.

    Args:
        count: of predictions.
        expected: sentences of the split; None = any number but 0.

    Raises:
        ValueError: the numbers differ, or there are no predictions.
    """
    if count == 0:
        raise ValueError("There are no predictions: add some before compute().")
    if expected is not None and count != expected:
        raise ValueError(
            f"{count} predictions, but the split has {expected} sentences, each of which counts once: look for rows "
            "that were dropped, for samples repeated by distributed padding, or for one answer per image."
        )


def shares_above(values: NDArray[np.float64], thresholds: tuple[float, ...], name: str) -> dict[str, float]:
    """{"<name>@0.5": share of `values` (N,) strictly above 0.5, …}."""
    return {f"{name}@{threshold:g}": float((values > threshold).mean()) for threshold in thresholds}


__all__ = ["BOX", "RLE", "THRESHOLDS", "SentenceMetric", "check_count", "shares_above"]
