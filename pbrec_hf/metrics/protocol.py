"""What all metrics agree on: the thresholds of the literature, and that every sentence of a split is answered once."""

import datasets
import numpy as np

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)

BOX = datasets.List(datasets.Value("float64"), length=4)
RLE = {"size": datasets.List(datasets.Value("int32"), length=2), "counts": datasets.Value("binary")}


def check_count(count: int, expected: int | None) -> None:
    """Raises ValueError if there are no predictions, or not as many as `expected`."""
    if count == 0:
        raise ValueError("there are no predictions; add some before compute().")
    if expected is not None and count != expected:
        raise ValueError(
            f"{count} predictions, but the split has {expected} sentences. Every sentence counts once: look for rows "
            "that were dropped, for samples repeated by distributed padding, or for one answer per image."
        )


def shares_above(values: np.ndarray, thresholds: tuple[float, ...], name: str) -> dict[str, float]:
    """{"<name>@0.5": share of `values` (N,) strictly above 0.5, ...}."""
    return {f"{name}@{threshold:g}": float((values > threshold).mean()) for threshold in thresholds}
