"""What the paper says of Tables 4 and 5, as differences between two figures, and whether runs show the same.

A difference is taken between runs of the same seed. It counts as shown if its mean is more than two standard errors
from 0 and every seed agrees on its sign.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

CHOSEN_K, TOP_1 = "12", "1"
BOXES, MASKS = "center+conf", "mass"
Run = Mapping[str, Any]


class Cell(NamedTuple):
    """
    A figure of the tables.

    Attributes:
        variant: the training, such as "center-soft_mass-soft".
        ranking: "center", "center+conf" or "mass".
        k: number of proposals that vote.
    """

    variant: str
    ranking: str
    k: str = CHOSEN_K


class Claim(NamedTuple):
    """
    Something that the paper says.

    Attributes:
        text: what.
        more, less: the figures compared.
        paper: the paper's difference, in points, on RefCOCO+ val.
    """

    text: str
    more: Cell
    less: Cell
    paper: float


class Mean(NamedTuple):
    """
    A mean over seeds.

    Attributes:
        value: the mean.
        error: its standard error; NaN of a single seed.
        seeds: how many.
        agree: whether all are on one side of 0.
    """

    value: float
    error: float
    seeds: int
    agree: bool


BOTH, HARD = "center-soft_mass-soft", "center-hard_mass-hard"
CLAIMS = (
    Claim("soft over hard, grounding alone", Cell("center-soft", BOXES), Cell("center-hard", BOXES), 0.70),
    Claim("soft over hard, segmentation alone", Cell("mass-soft", MASKS), Cell("mass-hard", MASKS), 1.79),
    Claim("soft over hard, both tasks: boxes", Cell(BOTH, BOXES), Cell(HARD, BOXES), 2.68),
    Claim("soft over hard, both tasks: masks", Cell(BOTH, MASKS), Cell(HARD, MASKS), 1.51),
    Claim("soft center-ness beside hard mass-ness over both hard: boxes",
          Cell("center-soft_mass-hard", BOXES), Cell(HARD, BOXES), 0.58),
    Claim("soft mass-ness beside hard center-ness over both hard: masks",
          Cell("center-hard_mass-soft", MASKS), Cell(HARD, MASKS), 0.20),
    Claim("both tasks over grounding alone, soft", Cell(BOTH, BOXES), Cell("center-soft", BOXES), 2.22),
    Claim("both tasks over segmentation alone, soft", Cell(BOTH, MASKS), Cell("mass-soft", MASKS), 0.77),
    Claim("both tasks over grounding alone, hard", Cell(HARD, BOXES), Cell("center-hard", BOXES), 0.24),
    Claim("both tasks over segmentation alone, hard", Cell(HARD, MASKS), Cell("mass-hard", MASKS), 1.05),
    Claim("vote of 12 over top-1: boxes by center-ness alone",
          Cell(BOTH, "center"), Cell(BOTH, "center", TOP_1), 0.96),
    Claim("vote of 12 over top-1: boxes by center-ness × confidence",
          Cell(BOTH, BOXES), Cell(BOTH, BOXES, TOP_1), 1.61),
    Claim("vote of 12 over top-1: masks", Cell(BOTH, MASKS), Cell(BOTH, MASKS, TOP_1), 0.42),
    Claim("vote of 12 over vote of 16: boxes", Cell(BOTH, BOXES), Cell(BOTH, BOXES, "16"), 0.21),
    Claim("vote of 12 over vote of 16: masks", Cell(BOTH, MASKS), Cell(BOTH, MASKS, "16"), 1.53),
    Claim("center-ness × confidence over center-ness alone: boxes", Cell(BOTH, BOXES), Cell(BOTH, "center"), 0.34),
)  # fmt: skip


def figures(runs: Sequence[Run], kind: str, cell: Cell) -> dict[int, float]:
    """The figure of a cell in points, by seed, on pictures of a kind; without the seeds that lack it."""
    of_cell = [run for run in runs if run["variant"] == cell.variant]
    return {run["seed"]: 100 * run["scores"][kind][cell.ranking][cell.k] for run in of_cell}


def mean_of(values: Sequence[float]) -> Mean | None:
    """The mean of the seeds' values; None without any."""
    if not values:
        return None
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    agree = all(value > 0 for value in values) or all(value < 0 for value in values)
    return Mean(statistics.fmean(values), error, len(values), agree)


def difference(runs: Sequence[Run], kind: str, claim: Claim) -> Mean | None:
    """How far the first figure of a claim is above the second, over the seeds that have both."""
    more, less = (figures(runs, kind, cell) for cell in (claim.more, claim.less))
    return mean_of([more[seed] - less[seed] for seed in sorted(more.keys() & less.keys())])


def verdict(found: Mean | None) -> str:
    """ "yes", "the opposite", "not clear", or "-" where there are fewer than two seeds."""
    if found is None or found.seeds < 2:
        return "-"
    if not found.agree or abs(found.value) <= 2 * found.error:
        return "not clear"
    return "yes" if found.value > 0 else "the opposite"


__all__ = ["BOTH", "CLAIMS", "Cell", "Claim", "Mean", "difference", "figures", "mean_of", "verdict"]
