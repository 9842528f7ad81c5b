"""Expects the tests that do not apply to fail, and prints which tests each class passed.

An entry of `inapplicable.py` is an expectation, not a skip: its test runs, and must fail. So an entry that is not
needed any more, or that names no test, is an error.
"""

from collections import Counter, defaultdict
from fnmatch import fnmatchcase

import pytest

from common.inapplicable import INAPPLICABLE


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    found: set[tuple[str, str]] = set()
    for item in items:
        kind, test = names(item.nodeid)
        for entry, reason in INAPPLICABLE.items():
            if entry[0] == kind and fnmatchcase(test, entry[1]):
                found.add(entry)
                item.add_marker(pytest.mark.xfail(reason=reason, strict=True))
    if not config.option.keyword and (unused := INAPPLICABLE.keys() - found):
        listed = ", ".join("::".join(entry) for entry in sorted(unused))
        raise pytest.UsageError(f"No test is meant by these entries of inapplicable.py: {listed}.")


def names(nodeid: str) -> tuple[str, str]:
    """(class, test) of a test's id; parameters are left out."""
    *_, kind, test = nodeid.split("::")
    return kind.removeprefix("Test"), test


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    reasons: dict[tuple[str, str], list[str]] = defaultdict(list)
    for outcome in ("passed", "failed", "error", "xfailed", "skipped"):
        for report in terminalreporter.stats.get(outcome, []):
            kind, test = names(report.nodeid)
            counts[kind][outcome] += 1
            if outcome == "xfailed":
                reasons["does not apply", report.wasxfail].append(f"{kind}::{test}")
            elif outcome == "skipped":
                reasons["skips itself", reason_of(report)].append(f"{kind}::{test}")
    write = terminalreporter.write_line
    for (why, reason), tests in sorted(reasons.items()):
        write(f"{why}: {reason}")
        for test, who in sorted(by_test(tests).items()):
            write(f"    {test} ({', '.join(sorted(who))})")
    write(f"{'class':<34}{'passed':>8}{'failed':>8}{'do not apply':>14}{'skip themselves':>17}")
    for kind, count in sorted(counts.items()):
        failed = count["failed"] + count["error"]
        write(f"{kind:<34}{count['passed']:>8}{failed:>8}{count['xfailed']:>14}{count['skipped']:>17}")


def reason_of(report: pytest.TestReport) -> str:
    text = report.longrepr[-1] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ")


def by_test(tests: list[str]) -> dict[str, set[str]]:
    grouped: dict[str, set[str]] = defaultdict(set)
    for kind, test in (entry.split("::") for entry in tests):
        grouped[test].add(kind)
    return grouped
