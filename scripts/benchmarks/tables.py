"""The command line of all tables: which to measure, and how to print the figures."""

import argparse
from importlib import import_module

import torch

from .timing import Figure, as_json, heading, line

TABLES = ("small", "full-size", "train-step", "startup", "evaluation", "memory", "options", "masks", "loader")
_MODULES = {"masks": "lazy_masks"}


def main() -> None:
    """Measure the tables that were asked for."""
    parser = argparse.ArgumentParser(description="Every figure of speed, with its target beside it.")
    parser.add_argument("tables", nargs="*", choices=TABLES, default=TABLES, metavar="TABLE", help=", ".join(TABLES))
    parser.add_argument("--threads", type=int, default=2, help="of torch, pinned (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="timed calls per figure (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    figures: list[Figure] = []
    if not options.json:
        print(heading(), flush=True)
    for table in options.tables:
        found = _measure(table, options.repeats)
        figures += found
        if not options.json:
            print("\n".join(map(line, found)), flush=True)
    if options.json:
        print(as_json(figures))


def _measure(table: str, repeats: int) -> list[Figure]:
    """The rows of a table; one that fails as a whole is a row that says so."""
    module = import_module(f".{_MODULES.get(table, table.replace('-', '_'))}", __package__)
    try:
        return module.measure(repeats)
    except Exception as error:
        text = str(error).strip() or "no message"
        return [Figure(f"table {table}", None, failed=f"{type(error).__name__}: {text.splitlines()[-1][:200]}")]
