"""Files and folders that appear complete or not at all, and one clear error when they cannot be written.

Everything is written beside its final place under another name and renamed at the end, so that neither a reader nor a
killed process ever leaves or meets half of it. Knows nothing of what is written.
"""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

PARTIAL = ".partial"  # what the name of an unfinished folder ends in


class CannotWriteError(OSError):
    """Something could not be written; the message fits on one line and ends with what to do."""


@contextmanager
def replaced_file(path: str | Path) -> Iterator[Path]:
    """
    The path to write to instead of `path`; the file takes the place of `path` at the end of the block.

    An error inside the block removes it and leaves `path` as it was. Missing parent folders are made. If several
    processes write the same file, the last one wins.

    Raises:
        CannotWriteError: it cannot be written.
    """
    path = Path(path)
    partial = path.with_name(f"{path.name}{PARTIAL}-{os.getpid()}")
    try:
        with one_line_errors(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield partial
            flush(partial)
            os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def replaced_folder(final: str | Path) -> Iterator[Path]:
    """
    An empty folder to write to instead of `final`; it takes the place of `final` at the end of the block.

    An error inside the block removes it and leaves `final` as it was. Missing parent folders are made.

    Raises:
        CannotWriteError: it cannot be written.
    """
    final = Path(final).resolve()  # a link stays, and what it points to is replaced
    partial, old = (final.with_name(final.name + ending) for ending in (PARTIAL, ".old"))
    try:
        with one_line_errors(final.parent):
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            yield partial
            if final.exists():
                shutil.rmtree(old, ignore_errors=True)
                os.replace(final, old)  # a folder cannot be renamed onto one that holds something
            os.replace(partial, final)
            shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def one_line_errors(folder: str | Path) -> Iterator[None]:
    """
    Turn what torch, safetensors and the system raise when writing into `folder` fails into one error with a remedy.

    Raises:
        CannotWriteError: in place of an `OSError`, or of the errors of their own that torch and safetensors raise for
            a full disk. Other errors stay as they are, also those of a network that is read from.
    """
    try:
        yield
    except (CannotWriteError, ConnectionError):
        raise
    except (OSError, RuntimeError, SafetensorError) as error:
        told = _told(error, Path(folder))
        if told is None:
            raise
        raise CannotWriteError(
            f"Cannot write to {folder}: {told}, then run the same command again; what was complete before is still "
            "there."
        ) from error


def _told(error: Exception, folder: Path) -> str | None:
    """The reason and the remedy; None if the error is not about writing."""
    text = _first_reason(error)
    number = error.errno if isinstance(error, OSError) else None
    free = _free(folder)
    if number in (errno.ENOSPC, errno.EDQUOT) or "No space left" in text or "quota exceeded" in text or free < 2**20:
        return f"the disk is full ({free / 2**30:.1f} GiB free). Make room or choose another folder"
    if number == errno.EFBIG or "File too large" in text:
        return "a file would be larger than the limit on files. Raise it (`ulimit -f`), or choose another disk"
    if "inline_container.cc" in text or "iostream error" in text:  # all that torch's writer says of a file cut short
        return "the system took a part of a file only. Raise the limit on files (`ulimit -f`), or choose another disk"
    # What safetensors and torch raise for whatever the system refuses.
    if isinstance(error, OSError) or "I/O error" in text or "PytorchStreamWriter" in text:
        return f"{text}. Choose a folder that can be written to"
    return None


def _first_reason(error: Exception) -> str:
    """One line; of a copied folder, the first file's."""
    if isinstance(error, shutil.Error) and error.args and isinstance(error.args[0], list):
        return str(error.args[0][0][2])
    return (str(error).splitlines() or [type(error).__name__])[0]


def flush(path: str | Path) -> None:
    """Wait until the file is on the disk, and not only in the system's cache."""
    with open(path, "rb+") as file:  # Windows flushes only handles that may write
        os.fsync(file.fileno())


def _free(folder: Path) -> int:
    """Free bytes on the disk of `folder`, which need not exist."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free
