"""What the pipeline is given → rows: a picture and its expressions each, read when their turn comes.

A row of the wrong form is a mistake of the caller, which other rows share: it raises. A picture that cannot be read is
one row's misfortune: the row becomes [`Unreadable`], and the pipeline decides. Knows nothing of models.
"""

import copy
import sys
from collections.abc import Iterable, Iterator, Mapping, Sized
from itertools import zip_longest
from types import GeneratorType
from typing import Any

import fsspec
import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset
from transformers.pipelines.pt_utils import KeyDataset

TEXT_KEYS = ("text", "expression", "expressions")
_END = object()
# What reading and decoding a file raise; anything else is a fault of a collection's own code.
MISFORTUNES = (OSError, EOFError, SyntaxError)


class Unreadable:
    """A row whose picture its collection could not read or decode, for the reason `error`."""

    def __init__(self, error: Exception):
        self.error = error


class Rows(Dataset[Any]):
    """
    A collection with a length and indices, and a text for each picture or for all.

    Args:
        pictures: pictures, or rows with `image`.
        text: a string for all, a sequence with an entry for each, or None if the rows have their own.

    Raises:
        ValueError: the numbers differ, or the columns of a table have other names.
    """

    def __init__(self, pictures: Any, text: Any = None):
        self.pictures = _undecoded(pictures)
        self.text = text if text is None or isinstance(text, str) or hasattr(text, "__getitem__") else list(text)
        if self.text is not None and not isinstance(self.text, str) and len(self.text) != len(pictures):
            raise ValueError(
                f"{len(self.text)} texts for {len(pictures)} pictures: give one expression (or list of expressions) "
                "for each picture, or one string for all."
            )
        if (columns := getattr(pictures, "column_names", None)) is not None:
            _require_keys(columns, text is not None)

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> Any:
        try:
            row = self.pictures[index]
        except MISFORTUNES as error:
            return Unreadable(error)
        if self.text is None:
            return row
        return with_text(row, self.text if isinstance(self.text, str) else self.text[index])


def as_rows(inputs: Any, text: Any) -> list[Any] | Dataset[Any] | Iterator[Any]:
    """
    Many pictures with their texts; a list for a list, otherwise what is read as it is answered.

    Args:
        inputs: not one picture (see `is_one`): rows with `image` and text, or pictures if there is `text`.
        text: a string for all pictures, or an entry (an expression or a list of them) for each.

    Raises:
        ValueError: a row has the wrong keys, or there are more pictures than texts or fewer.
    """
    if isinstance(inputs, (np.ndarray, torch.Tensor)):
        inputs = list(inputs)
    if isinstance(inputs, list):
        rows = Rows(inputs, text)
        answered = [rows[number] for number in range(len(rows))]
        for number, row in enumerate(answered):
            require_form(row, number)
        return answered
    if isinstance(inputs, Sized) and hasattr(inputs, "__getitem__"):
        return Rows(inputs, text)
    stream = _undecoded_stream(inputs)
    return _paired(stream, text) if text is not None else stream


def is_one(inputs: Any) -> bool:
    """Whether `inputs` is one picture, or one row, and not a collection of them."""
    if isinstance(inputs, (np.ndarray, torch.Tensor)):
        return inputs.ndim < 4
    if isinstance(inputs, (str, bytes, bytearray, dict, Image.Image)) or hasattr(inputs, "__fspath__"):
        return True
    if hasattr(inputs, "read"):
        return True
    return not hasattr(inputs, "__iter__") and not hasattr(inputs, "__getitem__")


def with_text(image: Any, text: Any) -> Any:
    """
    A row of a picture, or of a row with `image`, and its text.

    Raises:
        ValueError: the row has a text already.
    """
    if isinstance(image, dict) and "image" in image:
        given = [key for key in TEXT_KEYS if image.get(key) is not None]
        if given:
            raise ValueError(f"The picture's dict has {given[0]!r}, and `text` is given, too: give one of the two.")
        image = image["image"]
    return {"image": image, "text": text}


def require_form(row: Any, number: int | None = None) -> None:
    """
    Check the keys of a row.

    Raises:
        ValueError: `row` is no dict of a picture and its text.
    """
    if isinstance(row, Unreadable):
        return
    where = "" if number is None else f"Row {number}: "
    if not isinstance(row, Mapping):
        raise ValueError(
            f"{where}Give a picture and `text`, or a dict with `image` and `text`; {type(row).__name__} is neither."
        )
    _require_keys(row, False, where)


def image_and_text(row: Any) -> tuple[Any, Any]:
    """
    Picture and text of a row.

    Raises:
        OSError, ValueError …: the row is [`Unreadable`], or its text is empty.
    """
    if isinstance(row, Unreadable):
        raise row.error
    text = next((row[key] for key in TEXT_KEYS if row.get(key) is not None), None)
    if text is None:
        raise ValueError(f"No expression for the picture: fill one of {', '.join(map(repr, TEXT_KEYS))}.")
    return row["image"], text


def _require_keys(keys: Iterable[Any], has_text: bool, where: str = "") -> None:
    keys = list(keys)
    text = has_text or any(key in keys for key in TEXT_KEYS)
    if "image" in keys and text:
        return
    missing = "No expression for the picture" if "image" in keys else "No picture"
    wanted = "`image`" if has_text else f"`image` and one of {', '.join(map(repr, TEXT_KEYS))}"
    raise ValueError(
        f"{where}{missing}: the keys are {', '.join(map(repr, keys)) or 'none'}, and {wanted} are read. Rename them."
    )


def _paired(pictures: Iterable[Any], text: Any) -> Iterator[Any]:
    """One picture at a time with its text, since a stream may have no end."""
    all_alike = isinstance(text, str)
    pairs = ((picture, text) for picture in pictures) if all_alike else zip_longest(pictures, text, fillvalue=_END)
    for number, (picture, expression) in enumerate(pairs, 1):
        if picture is _END or expression is _END:
            missing = "picture" if picture is _END else "text"
            raise ValueError(f"There is no {missing} {number}: give a text for each picture, or one string for all.")
        yield picture if isinstance(picture, Unreadable) else with_text(picture, expression)


def _undecoded(rows: Any) -> Any:
    """
    The same collection with its pictures as files: one reader for all, and a damaged file is one row's matter.

    Of other collections than those of `datasets`, and where somebody has set a format, rows stay as they are.
    """
    # Whoever has such a collection has imported the library, which takes seconds.
    datasets = sys.modules.get("datasets")
    if isinstance(rows, KeyDataset):
        rows = copy.copy(rows)
        rows.dataset = _undecoded(rows.dataset)
    elif datasets is not None and isinstance(rows, datasets.arrow_dataset.Column):
        rows = copy.copy(rows)
        rows.source = _undecoded(rows.source)
    elif datasets is not None and isinstance(rows, datasets.Dataset) and rows.format["type"] is None:
        for name, feature in rows.features.items():
            if isinstance(feature, datasets.Image) and feature.decode:
                rows = rows.cast_column(name, datasets.Image(mode=feature.mode, decode=False))
    return rows


def _undecoded_stream(rows: Any) -> Iterator[Any]:
    """As `_undecoded`, for what has no length."""
    datasets = sys.modules.get("datasets")
    if datasets is not None and isinstance(rows, datasets.iterable_dataset.IterableColumn):
        column = rows.column_name
        return (row if isinstance(row, Unreadable) else row[column] for row in _undecoded_stream(rows.source))
    if datasets is not None and isinstance(rows, datasets.IterableDataset) and rows.features is not None:
        names = [name for name, feature in rows.features.items() if isinstance(feature, datasets.Image)]
        return (_fetched(row, names) for row in rows.decode(False))
    return rows if isinstance(rows, GeneratorType) else (row for row in rows)


def _fetched(row: dict[str, Any], names: list[str]) -> Any:
    """A streamed row with the bytes of pictures that lie elsewhere (`hf://…`, or inside of an archive there)."""
    for name in names:
        cell = row.get(name)
        if isinstance(cell, Mapping) and cell.get("bytes") is None and "://" in str(cell.get("path")):
            try:
                with fsspec.open(cell["path"], "rb") as file:
                    row = {**row, name: {"bytes": file.read(), "path": cell["path"]}}
            except MISFORTUNES as error:
                return Unreadable(error)
    return row


__all__ = ["MISFORTUNES", "Rows", "Unreadable", "as_rows", "image_and_text", "is_one", "require_form", "with_text"]
