"""The command line of all tables: which to measure, and how to print the figures."""

import argparse
from importlib import import_module

import torch

from .timing import report

TABLES = ("full-size", "evaluation", "memory", "options", "startup", "small", "masks", "loader", "train-step")
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
    figures = []
    for table in options.tables:
        module = import_module(f".{_MODULES.get(table, table.replace('-', '_'))}", __package__)
        figures += module.measure(options.repeats)
    report(figures, options.json)
