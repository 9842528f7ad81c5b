"""Measured numbers as cards show them: what a checkpoint reaches, and how far its scores can be believed."""

from dataclasses import dataclass

from ..configuration_pbrec import TASKS

METRICS = {
    "accuracy": "Acc@0.5",
    "overall_iou": "overall IoU",
    "mean_iou": "mean IoU",
    "f1_precision": "precision at F1 = 1",
    "giou": "gIoU",
    "ciou": "cIoU",
}
HUB = "hub:"  # before the id of a data set on the Hub
_SHARES = ("ece", "auroc", "present_auroc", "n_acc", "t_acc", "threshold", "exists_threshold")


@dataclass(frozen=True)
class Result:
    """
    One measured number.

    Attributes:
        task: one of `TASKS`.
        dataset, split: ids of what it was measured on; "hub:owner/name" of a data set on the Hub.
        dataset_name: for readers.
        metric: one of `METRICS`.
        value: in per cent.
        count: how many expressions it is of; None = not told, as in the paper.
        chosen: whether anything of the checkpoint was chosen on this set (its epoch, its selection, a threshold …), so
            that the number flatters. It is labelled, and no program is told of it.
        source: where the data come from and why they are not public, if they are not.

    Raises:
        ValueError: a field is not legal.
    """

    task: str
    dataset: str
    dataset_name: str
    split: str
    metric: str
    value: float
    count: int | None = None
    chosen: bool = False
    source: str = ""

    def __post_init__(self) -> None:
        require_choice("task", self.task, TASKS)
        require_choice("metric", self.metric, tuple(METRICS))
        if not isinstance(self.value, int | float) or not 0 <= self.value <= 100:
            raise ValueError(f"value={self.value!r} of {self.dataset} {self.split}: give per cent from 0 to 100.")
        if self.count is not None and (not isinstance(self.count, int) or self.count < 1):
            raise ValueError(f"count={self.count!r} of {self.dataset} {self.split}: give how many cases there were.")
        if not isinstance(self.chosen, bool):
            raise ValueError(f"chosen={self.chosen!r} of {self.dataset} {self.split}: give true or false.")

    @property
    def metric_name(self) -> str:
        """What readers call the metric."""
        return METRICS[self.metric]


@dataclass(frozen=True)
class Reliability:
    """
    How far scores can be believed, measured on one set.

    Attributes:
        dataset_name: for readers.
        split: of the set.
        referents: how the questions were asked, "one" or "any".
        answers: how many answers the calibration error is of.
        ece: expected calibration error, ten bins of equal mass.
        same_set: whether the calibration was fitted on the same set, which flatters.
        auroc: right against wrong answers; None where all are one or the other.
        present_auroc: expressions with a referent against those without; None where all are one or the other.
        n_acc: share of the expressions without a referent for which nothing was answered; None where there are none.
        t_acc: share of the others for which something was.
        threshold: the score from which an answer counts.
        exists_threshold: the probability of a referent from which there are answers at all.

    Raises:
        ValueError: a field is not legal.
    """

    dataset_name: str
    split: str
    referents: str
    answers: int
    ece: float
    same_set: bool
    auroc: float | None = None
    present_auroc: float | None = None
    n_acc: float | None = None
    t_acc: float | None = None
    threshold: float | None = None
    exists_threshold: float | None = None

    def __post_init__(self) -> None:
        require_choice("referents", self.referents, ("one", "any"))
        where = f"of {self.dataset_name} {self.split}"
        if not isinstance(self.answers, int) or self.answers < 1:
            raise ValueError(f"answers={self.answers!r} {where}: give how many there were.")
        for name in _SHARES:
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int | float) or not 0 <= value <= 1):
                raise ValueError(f"{name}={value!r} {where}: give a number from 0 to 1.")


def table_of(results: list[Result]) -> str:
    """Markdown with a row per result, its number of cases and what a reader has to know of it; empty without any."""
    if not results:
        return ""
    names = ["data", "split", "task", "metric", "%"]
    counted, noted = any(r.count for r in results), any(r.chosen or r.source for r in results)
    names += ["cases"] * counted + ["remark"] * noted
    lines = ["| " + " | ".join(names) + " |", "|---" * len(names) + "|"]
    for r in results:
        cells = [r.dataset_name, r.split, r.task, r.metric_name, f"{r.value:.2f}"]
        remark = "; ".join(filter(None, ("chosen on these cases, which flatters" if r.chosen else "", r.source)))
        cells += ["–" if r.count is None else f"{r.count:,}"] * counted + [remark] * noted
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def unchosen(results: list[Result]) -> list[Result]:
    """Those of sets on which nothing was chosen: what programs may be told of."""
    return [result for result in results if not result.chosen]


def reliability_table(entries: list[Reliability]) -> str:
    """Markdown with a row per set, and a remark where a calibration was fitted on the same set; empty without any."""
    if not entries:
        return ""
    names = (
        "data", "split", "referents", "answers", "ECE", "AUROC right", "AUROC present", "N-acc", "T-acc", "threshold",
        "of existence",
    )  # fmt: skip
    lines = ["| " + " | ".join(names) + " |", "|---" * len(names) + "|"]
    for entry in entries:
        known = (entry.dataset_name, entry.split, entry.referents, str(entry.answers))
        shares = ("–" if (value := getattr(entry, name)) is None else f"{value:.3f}" for name in _SHARES)
        lines.append("| " + " | ".join((*known, *shares)) + " |")
    if same := [f"{entry.dataset_name} {entry.split}" for entry in entries if entry.same_set]:
        sets = ", ".join(dict.fromkeys(same))
        lines += ["", f"The calibration was fitted on the same expressions ({sets}), which flatters these figures."]
    return "\n".join(lines)


def require_choice(name: str, value: str, legal: tuple[str, ...]) -> None:
    """
    Check a field with few legal values.

    Raises:
        ValueError: it has another value.
    """
    if value not in legal:
        raise ValueError(f"{name}={value!r} is unknown: choose one of {', '.join(legal)}.")


__all__ = ["HUB", "METRICS", "Reliability", "Result", "reliability_table", "require_choice", "table_of", "unchosen"]
