"""HEIC pictures, as phones write them: Pillow reads them with a plugin, where one is installed."""

import importlib
from typing import IO

_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
PLUGIN = "pillow_heif"


def is_heif(file: str | IO[bytes]) -> bool:
    """Whether a file begins as HEIC or HEIF files do; an open file is left at its beginning."""
    if isinstance(file, str):
        with open(file, "rb") as opened:
            return is_heif(opened)
    file.seek(0)
    start = file.read(12)
    file.seek(0)
    return start[4:8] == b"ftyp" and start[8:12] in _BRANDS


def can_read_heif() -> bool:
    """Let Pillow read HEIC from now on; False where the plugin is not installed."""
    try:
        plugin = importlib.import_module(PLUGIN)
    except ImportError:
        return False
    plugin.register_heif_opener()
    return True


__all__ = ["PLUGIN", "can_read_heif", "is_heif"]
