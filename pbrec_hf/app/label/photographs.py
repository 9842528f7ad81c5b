"""Which photographs are labelled, and what each is asked: folders, patterns, files, tables, data sets, addresses.

Yields one photograph after the other, always in the same order, and opens no picture: a folder is read as it is
walked, a table a few rows at a time. Knows nothing of answers.
"""

import base64
import glob
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from ...images.sources import ADDRESSES, local_path
from ...inference.rows import TEXT_KEYS
from ..questions import PICTURE_ENDINGS, STDIN, lines_of

TABLES = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
HUB = "hub:"
_KEY_BYTES = 12


@dataclass(frozen=True)
class Photograph:
    """
    A photograph and its questions.

    Attributes:
        name: absolute path, address, or the place in its table; the name that exports and messages give it.
        file: name for files made of it, relative, with / between folders and an ending.
        image: what `load_picture` takes.
        expressions: what to find.
        version: size and time of the file, which tell a changed one; "" where there is none.
    """

    name: str
    file: str
    image: Any
    expressions: tuple[str, ...]
    version: str = ""

    @property
    def key(self) -> str:
        """16 characters that stand for name, version and questions."""
        text = "\0".join((self.name, self.version, *self.expressions))
        digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_KEY_BYTES).digest()
        return base64.urlsafe_b64encode(digest).decode()


@dataclass(frozen=True)
class Sources:
    """
    What a command line names; iterating starts from the beginning each time.

    Args:
        words: folders (with everything below), patterns such as `photos/*.jpg`, picture files, addresses, tables with
            a column `image` (and perhaps one of expressions), folders of `Dataset.save_to_disk`, `hub:owner/name`.
        expressions: asked of every photograph, after those of its row.
        picture_file: a text file of further words, one a line.
        split: of data sets; None = all of a saved one.
        leave_out: a folder whose pictures are none of them: where the answers go, which may lie among the photographs.

    Raises:
        OSError: something is not there.
        ValueError: nothing to label or to ask, a table without pictures, or a picture without expressions.
    """

    words: Sequence[str]
    expressions: Sequence[str] = ()
    picture_file: str | None = None
    split: str | None = None
    leave_out: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        if STDIN in (*self.words, self.picture_file):
            raise ValueError("Photographs are read twice, which standard input cannot be: give a file of their names.")
        if not self.words and not self.picture_file:
            raise ValueError("No photographs: give folders, files, patterns, tables or addresses.")
        if not all(expression.strip() for expression in self.expressions):
            raise ValueError("An expression is empty: give words, such as 'left dog'.")

    def __iter__(self) -> Iterator[Photograph]:
        listed = lines_of(self.picture_file, "pictures") if self.picture_file else []
        for word in (*self.words, *listed):
            yield from self._of_word(word)

    @property
    def countable(self) -> bool:
        """Whether counting is cheap: nothing has to be fetched for it."""
        return not any(word.startswith(HUB) for word in self.words)

    @property
    def _left_out(self) -> str:
        return "" if self.leave_out is None else os.path.abspath(self.leave_out)

    def _of_word(self, word: str) -> Iterator[Photograph]:
        if word.startswith(HUB):
            yield from self._of_rows(_hub_rows(word, self.split), word)
        elif word.startswith(ADDRESSES):
            yield self._photograph(word, _file_of_address(word), word)
        else:
            yield from self._of_path(local_path(word), word)

    def _of_path(self, path: str, word: str) -> Iterator[Photograph]:
        if os.path.isdir(path):
            saved = [name for name in ("dataset_info.json", "dataset_dict.json") if Path(path, name).is_file()]
            if saved:
                yield from self._of_rows(_saved_rows(path, self.split), os.path.abspath(path))
                return
            found = False
            for file in _walk(path, self._left_out):
                found = True
                yield self._of_file(file, Path(os.path.relpath(file, path)).as_posix())
            if not found:
                raise ValueError(f"{word} holds no pictures ({', '.join(PICTURE_ENDINGS)}): give another folder.")
        elif os.path.isfile(path) and path.lower().endswith(TABLES):
            yield from self._of_rows(_table_rows(path), os.path.abspath(path), Path(path).absolute().parent)
        elif os.path.isfile(path):
            yield self._of_file(path, os.path.basename(path))
        elif glob.has_magic(path):
            names = sorted(glob.iglob(path, recursive=True))
            if not names:
                raise FileNotFoundError(f"Nothing fits the pattern {word}: correct it.")
            root = path
            while glob.has_magic(root):
                root = os.path.dirname(root)
            for name in names:
                inside = bool(self._left_out) and os.path.abspath(name).startswith(os.path.join(self._left_out, ""))
                if os.path.isfile(name) and name.lower().endswith(PICTURE_ENDINGS) and not inside:
                    yield self._of_file(name, Path(os.path.relpath(name, root or ".")).as_posix())
        else:
            raise FileNotFoundError(f"There is no {word}: give a folder, a picture, a pattern, a table or an address.")

    def _of_file(self, path: str, file: str) -> Photograph:
        return self._photograph(os.path.abspath(path), file, os.path.abspath(path), version=_version(path))

    def _of_rows(self, rows: Iterator[Any], name: str, folder: Path | None = None) -> Iterator[Photograph]:
        """Photographs of rows with `image`, whose relative names are of files in `folder`."""
        version = _version(name)
        stem = Path(name.removeprefix(HUB)).stem
        for number, row in enumerate(rows, 1):
            if not isinstance(row, Mapping) or "image" not in row:
                keys = ", ".join(map(repr, row)) if isinstance(row, Mapping) else type(row).__name__
                raise ValueError(f"{name}, row {number}: no column `image`; there are {keys}. Rename the columns.")
            image, texts = row["image"], _texts(row)
            path = image.get("path") if isinstance(image, Mapping) else image
            if isinstance(image, Mapping) and image.get("bytes") is not None:
                ending = Path(path or "").suffix.lower()
                file = f"{stem}-{number:06d}{ending if ending in PICTURE_ENDINGS else '.jpg'}"
                yield self._photograph(f"{name}#{number}", file, dict(image), texts, version)
            elif not isinstance(path, (str, os.PathLike)):
                yield self._photograph(f"{name}#{number}", f"{stem}-{number:06d}.jpg", path, texts, version)
            elif str(path).startswith(ADDRESSES):
                yield self._photograph(str(path), _file_of_address(str(path)), str(path), texts)
            else:
                found = os.path.join(folder or "", local_path(str(path)))
                file = os.path.basename(found) if os.path.isabs(str(path)) else Path(path).as_posix()
                absolute = os.path.abspath(found)
                yield self._photograph(absolute, _inside(file), absolute, texts, _version(absolute))

    def _photograph(
        self, name: str, file: str, image: Any, texts: Sequence[str] = (), version: str = ""
    ) -> Photograph:
        asked = tuple(dict.fromkeys(text.strip() for text in (*texts, *self.expressions)))
        if not asked or not all(asked):
            raise ValueError(
                f"No expression for {name}: give --expressions, or fill one of the columns {', '.join(TEXT_KEYS)}."
            )
        return Photograph(name, file, image, asked, version)


def expressions_of(values: Sequence[str]) -> list[str]:
    """
    What `--expressions` means: each value is a text file with one on each line, or an expression.

    Raises:
        OSError, ValueError: a file cannot be read, or is empty.
    """
    asked: list[str] = []
    for value in values:
        path = local_path(value)
        is_file = os.path.isfile(path) or (value.lower().endswith(".txt") and " " not in value)
        asked += lines_of(path, "expressions") if is_file else [value]
    return asked


def _walk(folder: str, left_out: str) -> Iterator[str]:
    """The pictures below a folder, sorted, a folder's own before those of its sub-folders; but for one folder's."""
    folders = []
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                folders += [entry.path] if os.path.abspath(entry.path) != left_out else []
            elif entry.name.lower().endswith(PICTURE_ENDINGS):
                yield entry.path
    for path in folders:
        yield from _walk(path, left_out)


def _version(path: str) -> str:
    try:
        found = os.stat(path)
    except OSError:
        return ""
    return f"{found.st_size} {found.st_mtime_ns}"


def _file_of_address(address: str) -> str:
    name = os.path.basename(unquote(urlsplit(address).path)).replace("\\", "_") or "photograph"
    return name if name.lower().endswith(PICTURE_ENDINGS) else f"{name}.jpg"


def _inside(file: str) -> str:
    """A relative name that cannot lead out of the folder it is put into."""
    return "/".join(part for part in file.split("/") if part not in ("", ".", "..")) or "photograph.jpg"


def _texts(row: Mapping[str, Any]) -> list[str]:
    """The expressions of a row: a text, a list of them, or the sentence rows of the image view."""
    value = next((row[key] for key in TEXT_KEYS if row.get(key) is not None), None)
    if value is None:
        return []
    values = [value] if isinstance(value, str) else list(value)
    return [entry["expression"] if isinstance(entry, Mapping) else str(entry) for entry in values]


def _table_rows(path: str) -> Iterator[Any]:
    from ...data.tables import read_table

    def report(line: int, text: str, remedy: str) -> None:
        raise ValueError(f"{path}, line {line}: {remedy}.")

    return (row for _, row in read_table(path, report, ("image", *TEXT_KEYS)))


def _saved_rows(folder: str, split: str | None) -> Iterator[Any]:
    import datasets

    saved = datasets.load_from_disk(folder)
    if isinstance(saved, datasets.DatasetDict):
        if split is not None and split not in saved:
            raise ValueError(f"--split {split}: {folder} has {', '.join(map(str, saved))}.")
        parts = [saved[split]] if split else list(saved.values())
    else:
        parts = [saved]
    for part in parts:
        for name, feature in part.features.items():
            if isinstance(feature, datasets.Image):
                part = part.cast_column(name, datasets.Image(decode=False))
        yield from part


def _hub_rows(word: str, split: str | None) -> Iterator[Any]:
    from ...data.hub_sets.names import HubSet
    from ...data.hub_sets.stream import open_split, reading, splits_of

    hub_set = HubSet.named(word)
    names = splits_of(hub_set)
    if split is None and len(names) > 1:
        raise ValueError(f"{word} has the splits {', '.join(names)}: name one as --split.")
    with reading(word):
        yield from open_split(hub_set, split or names[0])


__all__ = ["HUB", "TABLES", "Photograph", "Sources", "expressions_of"]
