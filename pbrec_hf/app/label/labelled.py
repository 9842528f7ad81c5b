"""Photographs with their records, in the order of the sources: what exports and the summary are made of."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image

from ...images.reading import load_picture
from ...images.sources import ADDRESSES
from .journal import Records
from .photographs import Photograph, Sources

_ORIENTATION = 0x0112


@dataclass(frozen=True)
class Labelled:
    """
    A photograph and its answers.

    Attributes:
        photograph: where it is from.
        file: its name in exports: relative, with / between folders; no two have one without its ending.
        record: see [`Labeller.record`], or `error`.
    """

    photograph: Photograph
    file: str
    record: dict[str, Any]

    @property
    def error(self) -> str | None:
        """Why it could not be read."""
        return self.record.get("error")

    @property
    def width(self) -> int:
        """Pixels, upright."""
        return int(self.record["width"])

    @property
    def height(self) -> int:
        """Pixels, upright."""
        return int(self.record["height"])

    @property
    def entries(self) -> list[dict[str, Any]]:
        """An entry for each expression."""
        return list(self.record.get("expressions", ()))

    @property
    def stem(self) -> str:
        """`file` without its ending."""
        return str(PurePosixPath(self.file).with_suffix(""))

    def answers(self) -> Iterator[tuple[str, list[float], float, dict[str, Any] | None]]:
        """Expression, box, score, and mask or None, of every answer."""
        for entry in self.entries:
            masks = entry.get("masks") or [None] * len(entry["boxes"])
            for box, score, mask in zip(entry["boxes"], entry["scores"], masks, strict=True):
                yield entry["expression"], box, score, mask


def in_order(sources: Sources, records: Records) -> Iterator[Labelled]:
    """
    Every photograph of the sources with its record.

    Raises:
        ValueError: a record is missing; the sources changed meanwhile.
    """
    taken: set[int] = set()
    for photograph in sources:
        record = records.get(photograph.key)
        if record is None:
            raise ValueError(f"{photograph.name} is new, or was changed meanwhile: run the same command again.")
        yield Labelled(photograph, _free(photograph.file, taken), record)


def _free(file: str, taken: set[int]) -> str:
    """The name, or the next free one with a number."""
    path, number = PurePosixPath(file), 1
    stem = str(path.with_suffix(""))
    name = stem
    while hash(name.casefold()) in taken:
        number += 1
        name = f"{stem}-{number}"
    taken.add(hash(name.casefold()))
    return f"{name}{path.suffix}"


def put_picture(labelled: Labelled, path: Path) -> None:
    """
    A link to the photograph at `path`, or a copy where it is no file; upright, as the answers are.

    Raises:
        OSError, ValueError: it cannot be read any more, or not be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    image = labelled.photograph.image
    if isinstance(image, str) and not image.startswith(ADDRESSES) and not _is_turned(image):
        try:
            path.symlink_to(os.path.abspath(image))
        except OSError:  # Windows asks for a privilege, some disks know no links
            shutil.copyfile(image, path)
        return
    if isinstance(image, dict) and not _is_turned(image["bytes"]):
        path.write_bytes(image["bytes"])
        return
    picture = load_picture(image)
    Image.init()
    kind = Image.registered_extensions().get(path.suffix.lower(), "JPEG")
    picture.save(path, format=kind if kind in Image.SAVE else "JPEG", quality=95)


def _is_turned(source: str | bytes) -> bool:
    """Whether the pixels of a file stand on their side or head."""
    from io import BytesIO

    try:
        with Image.open(BytesIO(source) if isinstance(source, bytes) else source) as image:
            return image.getexif().get(_ORIENTATION, 1) != 1
    except Exception:  # what Pillow cannot open is read as any picture, or is told there
        return True


__all__ = ["Labelled", "in_order", "put_picture"]
