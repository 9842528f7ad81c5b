"""What commands say on standard error: library messages silenced, progress shown, or a training's log."""

import logging
import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.status import Status


_LINE_SECONDS = 30.0


def silence_libraries() -> None:
    """Neither warnings nor bars of transformers, where a person waits for one answer."""
    from transformers.utils import logging as library

    library.set_verbosity_error()
    library.disable_progress_bar()


def show_log(level: str = "WARNING", form: str = "%(asctime)s %(message)s") -> None:
    """Show messages from `level` on; of several processes, only the first one's and errors."""
    first = os.environ.get("RANK", "0") == "0"
    logging.basicConfig(format=form, level=level if first else "ERROR")
    # Each loader of data tells it anew.
    warnings.filterwarnings("once", message="This DataLoader will create", category=UserWarning)
    for library in ("accelerate", "httpx", "datasets"):
        logging.getLogger(library).setLevel("WARNING")


@contextmanager
def progress(task: str, total: int) -> Iterator[Callable[[], None]]:
    """A context that shows how much of `task` is done; yields what to call after each of `total` steps."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True)) as bars:
        bar = bars.add_task(task, total=total)
        yield lambda: bars.advance(bar)


@contextmanager
def countdown(task: str, total: int | None) -> Iterator[Callable[[], None]]:
    """
    A context that shows how much of a long `task` is done, how many per second, and how long the rest will take.

    Yields what to call after each of `total` steps (None = not known). On a terminal it is a bar; in a log, a line
    every half a minute. Of several processes only the first one shows its own part.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    if os.environ.get("RANK", "0") != "0":
        yield lambda: None
        return
    console, start, count = Console(stderr=True), time.monotonic(), 0
    told = start
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal) as bars:
        bar = bars.add_task(task, total=total, rate="")

        def step() -> None:
            nonlocal count, told
            count += 1
            now = time.monotonic()
            rate = count / max(now - start, 1e-6)
            bars.update(bar, advance=1, rate=f"{rate:.1f}/s")
            if not console.is_terminal and now - told >= _LINE_SECONDS:
                told = now
                of, left = ("", "") if total is None else (f" of {total}", f", {(total - count) / rate:.0f} s left")
                console.print(f"{task}: {count}{of}, {rate:.1f}/s{left}", highlight=False)

        yield step


def spinner(task: str) -> "Status":
    """A context that shows `task` while it lasts."""
    from rich.console import Console

    return Console(stderr=True).status(task)
