"""What a labelling is written as: one module a format, each a context that takes one photograph after the other.

    with open_formats(["coco", "yolo"], Options(out)) as add:
        for labelled in ...:
            add(labelled)

A file or folder appears under its name when the context ends without an error. Photographs that could not be read are
left out of every format.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..labelled import Labelled

Add = Callable[["Labelled"], None]


@dataclass(frozen=True)
class Options:
    """
    Attributes:
        out: folder to write to.
        image_prefix: Label Studio: what stands before a photograph's name in its address; None = its own server of
            local files.
        shard_rows: Parquet: rows of a file.
    """

    out: Path
    image_prefix: str | None = None
    shard_rows: int = 100_000


# Name on the command line → module of this package, and its context.
FORMATS = {
    "jsonl": ("rows", "json_lines"),
    "parquet": ("rows", "parquet"),
    "coco": ("coco", "coco"),
    "yolo": ("yolo", "boxes"),
    "yolo-seg": ("yolo", "segments"),
    "voc": ("voc", "voc"),
    "label-studio": ("label_studio", "tasks"),
    "cvat": ("cvat", "cvat"),
    "fiftyone": ("fiftyone", "detection_dataset"),
}


def require_formats(names: Sequence[str]) -> None:
    """
    Check the names of formats.

    Raises:
        ValueError: one is not known.
    """
    for name in names:
        if name not in FORMATS:
            raise ValueError(f"--format {name}: give one or more of {', '.join(FORMATS)}.")


@contextmanager
def open_formats(names: Sequence[str], options: Options) -> Iterator[Add]:
    """
    A context that yields what to call with every photograph.

    Raises:
        ValueError: an unknown format.
        CannotWriteError: a file cannot be written.
    """
    require_formats(names)
    with ExitStack() as stack:
        adds = []
        for name in dict.fromkeys(names):
            module, function = FORMATS[name]
            context: AbstractContextManager[Add] = getattr(import_module(f"{__name__}.{module}"), function)(options)
            adds.append(stack.enter_context(context))

        def add(labelled: "Labelled") -> None:
            if labelled.error is None:
                for each in adds:
                    each(labelled)

        yield add


__all__ = ["FORMATS", "Add", "Options", "open_formats", "require_formats"]
