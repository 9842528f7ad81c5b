"""How a program ends: one line for bad input, a traceback for a fault of its own, the way on after an interruption.

Exit status: 0 done, 1 done but with a negative answer, 2 bad input, told in one line, 3 a fault of the program, with
its traceback, 130 interrupted, 141 nobody reads the output any more.
"""

import io
import os
import shlex
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import NoReturn

BAD_INPUT = (ImportError, OSError, TypeError, ValueError, FloatingPointError)


def ended(name: str, work: Callable[[], int | None], way_on: Callable[[], str | None]) -> int:
    """
    Do the work of a program, and say on standard error how it ended if it did not go well.

    Args:
        name: of the program, as messages begin.
        work: returns the exit status; None is 0.
        way_on: says how to go on after an interruption, if there is a way.

    Returns:
        The exit status.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # an answer is worth more than a letter of its words
    try:
        status = work()
        sys.stdout.flush()
        return status or 0
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python flushes at its end
        return 141
    except BAD_INPUT as error:
        message = " ".join(str(error).split()) or type(error).__name__
        print(f"{name}: error: {message}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        if os.environ.get("RANK", "0") == "0":  # of several processes, one is enough
            print(": ".join(filter(None, (f"{name}: interrupted", way_on()))), file=sys.stderr)
        return 130
    except Exception:  # Python's own status would be the 1 of a negative answer
        traceback.print_exc()
        return 3


def again(purpose: str, command: Sequence[str]) -> str:
    """How to go on by the same command; one that a launcher started in several processes is not repeated."""
    launched = os.environ.get("WORLD_SIZE", "1") != "1"
    return f"run the same command again {purpose}" + ("" if launched else f": {shlex.join(command)}")


def run_program(module: str, purpose: str | None = None) -> NoReturn:
    """
    What a file in scripts/ does that is no verb of `pbrec-hf`: call the `main` of a module, then exit.

    Args:
        module: in this package, such as "training.detection.run".
        purpose: what the same command does after an interruption, such as "to resume from the last epoch".
    """
    leave_script_folder()
    command = script_command()

    def work() -> int | None:
        status: int | None = import_module(f"{__package__.partition('.')[0]}.{module}").main()
        return status

    sys.exit(ended(Path(sys.argv[0]).name, work, lambda: again(purpose, command) if purpose else None))


def script_command() -> list[str]:
    """The command line that started this script."""
    return ["python", *sys.argv]


def leave_script_folder() -> None:
    """Take the folder of the running script off the path, where Python puts it first.

    In scripts/, evaluate.py would hide the library `evaluate` from whatever is imported later.
    """
    here = Path(sys.argv[0]).resolve().parent
    sys.path[:] = [path for path in sys.path if Path(path).resolve() != here]


__all__ = ["again", "ended", "leave_script_folder", "run_program", "script_command"]
