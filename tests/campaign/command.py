"""The campaign's command line: which families, how many cases; prints the table and the smallest reproductions."""

import argparse
import os
import sys
import time

from .outcome import ANSWERED, REFUSED, WRONG
from .runner import Report, campaign, first_found

FAMILIES = {
    "configs": "configs that are saved and loaded again",
    "weights": "safetensors with damage",
    "checkpoint_json": "config, processor and tokenizer files with damage",
    "pictures": "pictures with damage, bombs, orientations",
    "expressions": "expressions of any characters",
    "own_data": "tables and COCO files with wrong values",
    "pickles": "REFER pickles, crafted and damaged",
    "training": "trainings that are killed, crowded or short of space",
    "web_page": "uploads and requests to the web page",
    "urls": "servers that are slow, endless or lie",
    "pipelines": "threads, order, batches, streams, worker processes",
    "archives": "zip files, lists of mirrors, checkpoints to convert",
    "conventions": "switches of transformers, encodings of the output, rules of Windows",
    "metrics": "metrics over several processes",
}


def main(arguments: list[str] | None = None) -> int:
    """Run the campaign; 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description="Seeded damage to everything that users hand in.")
    parser.add_argument("--family", action="append", choices=FAMILIES, help="repeat for several; default: all")
    parser.add_argument("--cases", type=int, default=300, help="of each family (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of all generators (default: %(default)s)")
    parser.add_argument("--case", type=int, help="run this case alone")
    parser.add_argument("--undo", help="the mend of a known fault that is taken away meanwhile")
    parser.add_argument(
        "--self-check", action="store_true", help="take each mend away in turn: its family must find the fault"
    )
    options = parser.parse_args(arguments)
    families = options.family or list(FAMILIES)
    # Workers that are killed leave semaphores behind, which are then freed, with a warning.
    os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker:UserWarning")
    if options.self_check:
        return _self_check(families, options.cases, options.seed, options.undo)
    numbers = range(options.cases) if options.case is None else range(options.case, options.case + 1)
    reports = []
    print(f"{'family':<16}{'tried':>7}{'refused':>9}{'answered':>10}{'wrong':>7}{'seconds':>9}")
    for name in families:
        reports.append(campaign(name, numbers, options.seed, options.undo))
        print(_row(reports[-1]), flush=True)
    for report in reports:
        _print_findings(report)
    return int(any(report.findings for report in reports))


def _row(report: Report) -> str:
    refused, answered, wrong = (report.counts.get(kind, 0) for kind in (REFUSED, ANSWERED, WRONG))
    return f"{report.family:<16}{report.tried:>7}{refused:>9}{answered:>10}{wrong:>7}{report.seconds:>9.1f}"


def _print_findings(report: Report) -> None:
    for finding in report.findings:
        first, *others = finding.numbers
        print(f"\n{report.family}: {finding.reason}")
        print(f"  smallest: {finding.case!r}")
        print(f"  again: python scripts/faults.py --family {report.family} --seed {report.seed} --case {first}")
        if others:
            print(f"  also cases {', '.join(map(str, others))}")


def _self_check(families: list[str], most: int, seed: int, only: str | None) -> int:
    from .undo import UNDOS

    missed = 0
    print(f"{'undone':<28}{'family':<17}{'found at case':>13}{'seconds':>9}  as")
    for name, undo in UNDOS.items():
        if undo.family not in families or only not in (None, name):
            continue
        start = time.monotonic()
        found = first_found(undo.family, name, most, seed)
        missed += found is None
        number, reason = found or ("never", "")
        seconds = time.monotonic() - start
        print(f"{name:<28}{undo.family:<17}{number:>13}{seconds:>9.1f}  {reason[:90]}", flush=True)
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
