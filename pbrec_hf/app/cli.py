"""`pbrec-hf`: ground expressions in a photograph, train, evaluate and publish, from a shell.

Results go to standard output, progress and errors to standard error. Exit status: 0 done, 1 done but with a negative
answer (nothing found, not learned), 2 bad input, told in one line, 3 a fault of the program, with its traceback, 130
interrupted, 141 nobody reads the output any more.
"""

import argparse
import io
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import NoReturn, Protocol

from ..version import __version__
from .commands import Commands

VERBS = (
    "ground", "demo", "serve", "train", "evaluate", "precompute", "convert", "export", "push", "space", "data",
    "scenes", "overfit", "failures", "cards",
)  # fmt: skip


class Command(Protocol):
    """What a module of `commands` offers."""

    HELP: str

    def add(self, commands: Commands) -> None:
        """Add the verb and its arguments to the sub-parsers of `pbrec-hf`."""

    def run(self, options: argparse.Namespace) -> int:
        """Do it; returns the exit status."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of the console script; returns the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # an answer is worth more than a letter of its words
    try:
        options = parse(arguments)
        status: int = options.run(options)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python flushes at its end
        return 141
    except (ImportError, OSError, TypeError, ValueError, FloatingPointError) as error:
        message = " ".join(str(error).split()) or type(error).__name__
        print(f"pbrec-hf: error: {message}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interruption:
        print(": ".join(["pbrec-hf: interrupted", *map(str, interruption.args)]), file=sys.stderr)
        return 130
    except Exception:  # Python's own status would be the 1 of a negative answer
        traceback.print_exc()
        return 3


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
    sys.exit(main([verb, *defaults, *sys.argv[1:]]))


def leave_script_folder() -> None:
    """Take the folder of the running script off the path, where Python puts it first.

    In scripts/, evaluate.py would hide the library `evaluate` from whatever is imported later.
    """
    here = Path(sys.argv[0]).resolve().parent
    sys.path[:] = [path for path in sys.path if Path(path).resolve() != here]


if __name__ == "__main__":
    sys.exit(main())
