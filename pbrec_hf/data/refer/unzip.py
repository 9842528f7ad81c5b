"""Unpacks zip files from strangers: nothing is written outside the folder, no links, no bombs, all or nothing.

Knows nothing of what the files are.
"""

import errno
import lzma
import os
import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath, PureWindowsPath

from .fetch import require_space

# Photographs hardly shrink, JSON shrinks ten times; a bomb unpacks to a thousand times its size.
MAX_RATIO = 100
# What zipfile raises, with RuntimeError for encrypted entries and NotImplementedError for unknown methods, and what
# `_check_entry` does.
_DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError, ValueError)


def unzip(archive: str | Path, folder: str | Path) -> None:
    """
    Make `folder` out of the archive.

    If the archive wraps everything in a folder of the same name, the wrapping is removed. The content is unpacked
    beside `folder` and moved when complete, so an existing `folder` is a complete one.

    Raises:
        ValueError: not a zip file, damaged, or with an entry that is a link, leads out of the folder, or unpacks to
            more than `MAX_RATIO` times the archive; nothing is left behind.
        OSError: `folder` exists, or the disk is too small (`errno.ENOSPC`).
    """
    archive, folder = Path(archive), Path(folder)
    if folder.exists():
        raise FileExistsError(f"{folder} exists: remove it to unpack {archive.name} again.")
    unfinished = folder.with_name(folder.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)  # left by a call that was killed
    unfinished.mkdir(parents=True)
    try:
        with zipfile.ZipFile(archive) as file:
            for entry in file.infolist():
                _check_entry(entry)
            total = sum(entry.file_size for entry in file.infolist())
            if total > MAX_RATIO * archive.stat().st_size:
                raise ValueError(f"it unpacks to {total} bytes, more than {MAX_RATIO} times its size.")
            require_space(unfinished, total, f"unpacking {archive.name}")
            file.extractall(unfinished)
        inner = unfinished / folder.name
        os.replace(inner if inner.is_dir() else unfinished, folder)
    except (*_DAMAGED, OSError) as error:
        if getattr(error, "errno", None) not in (None, errno.EINVAL):
            raise  # of the disk; what bz2 raises has no number, and an impossible place in the archive is damage
        raise ValueError(f"{archive} was not unpacked: {error}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def leads_out(name: str) -> bool:
    """Whether a path, of any operating system, may lead out of the folder that it is relative to."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return bool(PureWindowsPath(name).drive) or name.startswith(("/", "\\")) or ".." in parts or "\0" in name


def _check_entry(entry: zipfile.ZipInfo) -> None:
    name = entry.orig_filename
    if leads_out(name):
        raise ValueError(f"its entry {name!r} leads out of the folder.")
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise ValueError(f"its entry {name!r} is a link or a device.")


__all__ = ["MAX_RATIO", "leads_out", "unzip"]
