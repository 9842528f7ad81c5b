"""What commands say on standard error: library messages silenced, progress shown, or a training's log."""

import logging
import os
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
    for library in ("accelerate", "httpx", "datasets"):
        logging.getLogger(library).setLevel("WARNING")


def spinner(task: str) -> "Status":
    """A context that shows `task` while it lasts."""
    from rich.console import Console

    return Console(stderr=True).status(task)
