"""What commands say on standard error: library messages silenced, progress shown, or a training's log."""

import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.status import Status


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


def spinner(task: str) -> "Status":
    """A context that shows `task` while it lasts."""
    from rich.console import Console

    return Console(stderr=True).status(task)
