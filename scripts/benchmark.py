"""Every figure of speed, each as a ratio within one run, with its target beside it.

    python scripts/benchmark.py                    # all tables
    python scripts/benchmark.py small              # the bundled checkpoint alone
    python scripts/benchmark.py full-size --json   # for machines
    python scripts/benchmarks/growth.py            # a plot of how cost grows

Peers are built from the installed transformers with random weights of the real size; nothing is downloaded.
"""

import argparse
import importlib
import sys
from pathlib import Path

import torch

# Last, since evaluate.py in this folder would hide the library `evaluate`.
sys.path.append(sys.path.pop(0) if __name__ == "__main__" else str(Path(__file__).parent))

from benchmarks.timing import report

TABLES = ("full-size", "evaluation", "memory", "options", "startup", "small", "masks", "loader", "train-step")
_MODULES = {"masks": "lazy_masks"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", choices=TABLES, default=TABLES, metavar="TABLE", help=", ".join(TABLES))
    parser.add_argument("--threads", type=int, default=2, help="of torch, pinned (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="timed calls per figure (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    figures = []
    for table in options.tables:
        module = _MODULES.get(table, table.replace("-", "_"))
        figures += importlib.import_module(f"benchmarks.{module}").measure(options.repeats)
    report(figures, options.json)


if __name__ == "__main__":
    main()
