"""The journal of a labelling: a line for each photograph that is done, which a kill can neither double nor lose.

Each process appends to a file of its own. A line is a checksum, the photograph's key and its record. A line that a
kill tore is cut off before anything is appended; one that a power failure damaged does not count, and its photograph
is labelled again. In memory are 32 bytes for each photograph, never the records.
"""

import json
import os
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np

KEY_LENGTH = 16
_SYNC_SECONDS = 1.0
_ENDING = ".jsonl"


class Journal:
    """
    Append records; as a context, closed at its end.

    Args:
        folder: of the journal's files.
        number: of the process.
    """

    def __init__(self, folder: Path, number: int = 0):
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{number:05d}{_ENDING}"
        repair(self.path)
        self._file: IO[bytes] = open(self.path, "ab", buffering=0)  # noqa: SIM115  # closed by `close`
        self._synced = time.monotonic()

    def append(self, key: str, record: dict[str, Any]) -> None:
        """Write a record: after a kill it is there, after a power failure unless it happens within a second."""
        text = f"{key} {json.dumps(record, ensure_ascii=False)}".encode("utf-8", "backslashreplace")
        line = b"%08x %s\n" % (zlib.crc32(text), text)
        while line:  # the system may take a part of it only
            line = line[self._file.write(line) :]
        if time.monotonic() - self._synced >= _SYNC_SECONDS:
            self.sync()

    def sync(self) -> None:
        """Wait until everything is on the disk."""
        os.fsync(self._file.fileno())
        self._synced = time.monotonic()

    def close(self) -> None:
        """Nothing is appended any more."""
        if not self._file.closed:
            self.sync()
            self._file.close()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Records:
    """
    What the files of a journal hold, by key; of a key that is there twice, the last record of the last file.

    Args:
        folder: of the journal's files; one that does not exist holds nothing.
        with_errors: whether photographs that could not be read count.
    """

    def __init__(self, folder: Path, with_errors: bool = True):
        self._paths = sorted(folder.glob(f"*{_ENDING}")) if folder.is_dir() else []
        keys, places = bytearray(), bytearray()
        for number, path in enumerate(self._paths):
            for offset, text in _lines(path):
                if not with_errors and text[KEY_LENGTH + 1 :].startswith(b'{"error"'):
                    continue
                keys += text[:KEY_LENGTH]
                places += np.array([number, offset], dtype=np.int64).tobytes()
        found = np.frombuffer(keys, dtype=f"S{KEY_LENGTH}")
        self._order = np.argsort(found, kind="stable")
        self._keys = found[self._order]
        self._places = np.frombuffer(places, dtype=np.int64).reshape(-1, 2)
        self._files: dict[int, IO[bytes]] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, key: str) -> bool:
        return self._place(key) is not None

    def get(self, key: str) -> dict[str, Any] | None:
        """The record of a key, or None."""
        place = self._place(key)
        if place is None:
            return None
        number, offset = place
        if number not in self._files:
            self._files[number] = open(self._paths[number], "rb")  # noqa: SIM115  # closed by `close`
        self._files[number].seek(offset)
        text = _checked(self._files[number].readline())
        if text is None:
            raise ValueError(f"{self._paths[number]} was changed meanwhile: run the same command again.")
        record: dict[str, Any] = json.loads(text[KEY_LENGTH + 1 :])
        return record

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()
        self._files.clear()

    def _place(self, key: str) -> tuple[int, int] | None:
        wanted = np.bytes_(key)
        after = int(np.searchsorted(self._keys, wanted, side="right"))
        if after == 0 or self._keys[after - 1] != wanted:
            return None
        number, offset = self._places[self._order[after - 1]].tolist()
        return number, offset


def repair(path: Path) -> None:
    """Cut a last line off that has no end."""
    if not path.exists():
        return
    with open(path, "rb+") as file:
        end = file.seek(0, os.SEEK_END)
        start = end
        while start:
            step = min(start, 2**16)
            file.seek(start - step)
            block = file.read(step)
            if (newline := block.rfind(b"\n")) >= 0:
                start += newline + 1 - step
                break
            start -= step
        if start < end:
            file.truncate(start)
            os.fsync(file.fileno())


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Offset and content of every whole line."""
    offset = 0
    with open(path, "rb") as file:
        for line in file:
            text = _checked(line)
            if text is not None:
                yield offset, text
            offset += len(line)


def _checked(line: bytes) -> bytes | None:
    """Key and record of a line; None if it is torn or damaged."""
    text = line[9:-1]
    if line[-1:] != b"\n" or line[8:9] != b" " or len(text) <= KEY_LENGTH:
        return None
    return text if line[:8] == b"%08x" % zlib.crc32(text) else None


__all__ = ["KEY_LENGTH", "Journal", "Records", "repair"]
