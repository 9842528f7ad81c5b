"""REFER folders that no published data set is in: which file holds the references, and what their splits are called.

Nothing is known of such a folder but what is in it, so no number of it can be compared with a published one. Knows
nothing of pictures and Arrow.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from .folder import Reference, read_references

_REFERENCES = re.compile(r"refs\((.+)\)\.p|grefs\((.+)\)\.json")
_NAME = re.compile(r"[\w.+-]+")
_SPLIT = re.compile(r"\w+(\.\w+)*")  # what `datasets` takes


class ForeignFolder(NamedTuple):
    """
    Attributes:
        path: of the folder.
        split_by: who split it: what is in the brackets of the file's name.
        generalized: some expression has several referents or none.
    """

    path: Path
    split_by: str
    generalized: bool


def find_foreign(name: str, split_by: str | None, refer_dir: str | Path) -> ForeignFolder | None:
    """
    The folder of a data set that is not a published one; None if there is none.

    Args:
        name: of the folder in `refer_dir`, which may also be the folder itself; or with who split it, "name/split_by".
        split_by: who split it, needed where the folder has several files of references.
        refer_dir: the folder around it, or itself.

    Raises:
        ValueError: it has several files of references and nothing says which one is meant, or they are damaged.
    """
    base, _, inside = name.partition("/")
    wanted = split_by or inside or None
    if not _NAME.fullmatch(base) or base in (".", ".."):
        return None
    root = Path(refer_dir).resolve()
    for folder in (root / base, root):
        if not (folder / "instances.json").is_file():
            continue
        matches = [_REFERENCES.fullmatch(path.name) for path in folder.iterdir()]
        there = sorted({match[1] or match[2] for match in matches if match})
        if wanted is None and len(there) > 1:
            raise ValueError(f"{folder} has references split by {', '.join(there)}: give one of them as split_by.")
        if there and (wanted is None or wanted in there):
            chosen = wanted or there[0]
            references = read_references(folder, chosen)
            return ForeignFolder(folder, chosen, any(len(reference.ann_ids) != 1 for reference in references))
    return None


def own_splits(references: Iterable[Reference], folder: str | Path) -> dict[str, list[Reference]]:
    """
    References of each split that they name, in order of appearance; `folder` is for messages.

    Raises:
        ValueError: the name of a split cannot be one in `datasets`.
    """
    splits: dict[str, list[Reference]] = {}
    for reference in references:
        splits.setdefault(reference.split, []).append(reference)
    wrong = [split for split in splits if not _SPLIT.fullmatch(split)]
    if wrong:
        raise ValueError(
            f"{folder} has references of split={wrong[0][:80]!r}: take letters, digits, _ and dots in between."
        )
    return splits


__all__ = ["ForeignFolder", "find_foreign", "own_splits"]
