"""`pbrec-hf`: ground expressions in a photograph, train, evaluate and publish, from a shell.

Results go to standard output, progress and errors to standard error. Exit status: 0 done, 1 done but with a negative
answer (nothing found, not learned), 2 bad input, told in one line; for the others see `ending`.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn, Protocol

from ..version import __version__
from .commands import Commands
from .ending import again, ended, leave_script_folder, script_command

VERBS = (
    "ground", "label", "demo", "serve", "train", "evaluate", "calibrate", "recall", "precompute", "convert", "export",
    "push", "space", "assemble", "data", "scenes", "overfit", "failures", "cards",
)  # fmt: skip


class Command(Protocol):
    """What a module of `commands` offers."""

    HELP: str

    def add(self, commands: Commands) -> None:
        """Add the verb and its arguments to the sub-parsers of `pbrec-hf`."""

    def run(self, options: argparse.Namespace) -> int:
        """Do it; returns the exit status."""


def main(arguments: Sequence[str] | None = None, command: Sequence[str] | None = None) -> int:
    """
    Entry point of the console script; returns the exit status.

    Args:
        arguments: by default those of this process.
        command: what to type for the same again; by default `pbrec-hf` and the arguments.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    options = argparse.Namespace()

    def work() -> int:
        nonlocal options
        options = parse(arguments)
        status: int = options.run(options)
        return status

    def way_on() -> str | None:
        purpose = getattr(options, "again", None)
        return again(purpose, command or ["pbrec-hf", *arguments]) if purpose else None

    return ended("pbrec-hf", work, way_on)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options of a command line, with the function that carries them out as `run`."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    parser = argparse.ArgumentParser(prog="pbrec-hf", description="Find the thing a sentence means in a picture.")
    parser.add_argument("--version", action="version", version=f"pbrec-hf {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    if arguments and arguments[0] in VERBS:
        command(arguments[0]).add(commands)
    else:
        for verb in VERBS:
            commands.add_parser(verb, help=command(verb).HELP)
    options, rest = parser.parse_known_args(arguments)
    if rest and "words" in options and not any(word.startswith("-") for word in rest):
        options.words += rest  # argparse takes only words that stand together
    elif rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return options


def command(verb: str) -> Command:
    """The module of a verb."""
    module: Command = import_module(f"{__package__}.commands.{verb}")
    return module


def run_script(verb: str, *defaults: str) -> NoReturn:
    """
    What a file in scripts/ does: `pbrec-hf VERB` with the arguments of the file, then exit.

    Args:
        defaults: arguments that those of the file override.
    """
    leave_script_folder()
    sys.exit(main([verb, *defaults, *sys.argv[1:]], script_command()))


if __name__ == "__main__":
    sys.exit(main())
