"""Runs a family's cases, makes the wrong ones small, and tries whether a fault that is put back is found."""

import re
import time
from dataclasses import dataclass, field

from .family import Case, Family, generator
from .outcome import WRONG, Outcome
from .worker import Worker, load

_MOST_TRIES = 60  # to make a case smaller


@dataclass
class Finding:
    """
    One kind of wrong outcome.

    Attributes:
        reason: of the smallest case.
        case: the smallest one.
        numbers: of all cases of this kind.
    """

    reason: str
    case: Case
    numbers: list[int]


@dataclass
class Report:
    """What became of a family's cases; `counts` is by kind of outcome."""

    family: str
    seed: int
    tried: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    seconds: float = 0.0


def campaign(name: str, numbers: range, seed: int, undo: str | None = None) -> Report:
    """
    Run cases of a family.

    Args:
        numbers: which ones of the seed's endless list.
        undo: the mend that is taken away meanwhile, or None.
    """
    family, report, start = load(name), Report(name, seed), time.monotonic()
    found: dict[str, Finding] = {}
    with Worker(family, undo) as worker:
        for number in numbers:
            case = family.draw(generator(seed, name, number))
            outcome = worker.run(case)
            report.tried += 1
            report.counts[outcome.kind] = report.counts.get(outcome.kind, 0) + 1
            if outcome.kind == WRONG:
                kind = f"{case.subject}: {_kind(outcome.reason)}"
                found.setdefault(kind, Finding(outcome.reason, case, [])).numbers.append(number)
        for finding in found.values():
            finding.case, finding.reason = smallest(worker, finding.case, finding.reason)
    report.findings, report.seconds = list(found.values()), time.monotonic() - start
    return report


def smallest(worker: Worker, case: Case, reason: str) -> tuple[Case, str]:
    """The case with the fewest steps that is still wrong, and its reason; leaves out one step after the other."""
    tries, number = 0, 0
    while number < len(case.steps) and tries < _MOST_TRIES:
        smaller, tries = case.without(number), tries + 1
        outcome = worker.run(smaller)
        if outcome.kind == WRONG:
            case, reason = smaller, outcome.reason
        else:
            number += 1
    return case, reason


def first_found(name: str, undo: str, most: int, seed: int) -> tuple[int, str] | None:
    """
    The number of the first case that is wrong without the mend `undo` and right with it, and its reason.

    Returns:
        None if no case up to `most` shows the fault.
    """
    family: type[Family] = load(name)
    with Worker(family, undo) as faulty, Worker(family) as mended:
        for number in range(most):
            case = family.draw(generator(seed, name, number))
            outcome: Outcome = faulty.run(case)
            if outcome.kind == WRONG and mended.run(case).kind != WRONG:
                return number, outcome.reason
    return None


def _kind(reason: str) -> str:
    """A reason without what differs from case to case."""
    return re.sub(r"'[^']*'|\"[^\"]*\"|/\S+|[\d.]+", "…", reason)[:60]
