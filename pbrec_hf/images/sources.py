"""Where a picture comes from: a path, a URL, base64 text, bytes or an open file → something that Pillow can open.

Knows nothing of pixels. A URL is the only thing that asks the network, within the limits of `fetching`.
"""

import base64
import binascii
import os
from collections.abc import Mapping
from io import BytesIO
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

import PIL.Image

from .containers import plain
from .fetching import TIMEOUT, fetch

ADDRESSES = ("http://", "https://")
FILE_ADDRESS = "file://"


def open_source(source: Any, timeout: float | None = TIMEOUT) -> tuple[str | BytesIO, str]:
    """
    What Pillow opens, a path or a file in memory, and a name for messages.

    Args:
        source: path (also `~/…` and `file://…`), http(s) URL, `data:` URI or base64 text, bytes, a file open for
            reading bytes, or an image cell of `datasets` ({"bytes", "path"}).
        timeout: seconds that fetching a URL may take; None = without end.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a folder, a pipe, damaged base64 text, or an address that gives no picture in time.
        TypeError: none of the forms above.
    """
    source = plain(source)
    if isinstance(source, Mapping) and source and source.keys() <= {"bytes", "path"}:
        path = source.get("path")
        if source.get("bytes") is not None:
            return open_source(source["bytes"])[0], name_of(path)
        source = path
    if hasattr(source, "read") and not isinstance(source, PIL.Image.Image):
        name = name_of(source)
        return BytesIO(source.read()), name
    name = name_of(source)
    if isinstance(source, (bytes, bytearray)):
        return BytesIO(source), name
    if not isinstance(source, (str, os.PathLike)):
        raise TypeError(
            f"{type(source).__name__} is no picture: give a path, URL, base64 text, bytes, image, array or tensor."
        )
    return _open_text(os.fspath(source), name, timeout), name


def name_of(source: Any) -> str:
    """How messages name a source."""
    if isinstance(source, (str, os.PathLike)):
        text = os.fspath(source)
        return text if len(text) <= 200 else f"{text[:30]}…"
    return getattr(source, "filename", None) or getattr(source, "name", None) or "The picture"


def local_path(source: str) -> str:
    """
    The path that a person or a program means: `~` becomes the home folder, and a `file://` address its path.

    Anything else, and a file that is really called `~…`, stays as it is.

    Raises:
        ValueError: a `file://` address of another machine, or one without a path.
    """
    if source[: len(FILE_ADDRESS)].lower() == FILE_ADDRESS:
        parts = urlsplit(source)
        if parts.netloc.lower() not in ("", "localhost") or not parts.path.strip("/"):
            raise ValueError(f"{name_of(source)} is no file of this machine: write file:///folder/photo.jpg.")
        # What comes after a bare # or ? belongs to the name: few programs quote them.
        rest = "".join(filter(None, (parts.query and f"?{parts.query}", parts.fragment and f"#{parts.fragment}")))
        return url2pathname(parts.path) + unquote(rest)
    if source.startswith("~") and not os.path.lexists(source):
        return os.path.expanduser(source)
    return source


def require_there(source: str) -> None:
    """
    Check a path without reading the file; addresses and base64 text pass.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a folder, a pipe or a device.
    """
    source = local_path(source)
    if source.startswith((*ADDRESSES, "data:")) or os.path.isfile(source):
        return
    if os.path.exists(source):  # reading a pipe or a device may never end
        kind = "a folder" if os.path.isdir(source) else "a pipe or a device"
        raise ValueError(f"{source} is {kind}: give a picture file.")
    if not _is_base64(source):
        raise FileNotFoundError(f"No picture at {source}: check the path.")


def _open_text(source: str, name: str, timeout: float | None) -> str | BytesIO:
    source = local_path(source)
    require_there(source)
    if source.startswith(ADDRESSES):
        return BytesIO(fetch(source, timeout))
    if source.startswith("data:"):
        return _decode(source.partition(",")[2], name)
    return source if os.path.isfile(source) else _decode(source, name)


def _is_base64(source: str) -> bool:
    """A path is short or has a dot; base64 text is long and has none."""
    return len(source) > 200 and "." not in source


def _decode(text: str, name: str) -> BytesIO:
    try:
        return BytesIO(base64.b64decode("".join(text.split()), validate=True))
    except binascii.Error as error:
        raise ValueError(f"{name} is neither a file nor base64 text ({error}): check it.") from error


__all__ = ["ADDRESSES", "FILE_ADDRESS", "TIMEOUT", "local_path", "name_of", "open_source", "require_there"]
