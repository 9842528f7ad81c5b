"""YOLO, as Ultralytics reads it: `images/`, `labels/` with a text file for each photograph, and `data.yaml`.

A class is an expression. `yolo` has a line `class x y width height` for each answer, `yolo-seg` a line of the mask's
outline; all are shares of the photograph. A photograph without answers has an empty file.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import yaml

from ....hub.writing import replaced_folder
from ....images.outlines import joined_outline
from ....images.segmentation import rle_to_mask
from ..labelled import Labelled, put_picture
from . import Add, Options


@contextmanager
def boxes(options: Options) -> Iterator[Add]:
    """`yolo/`."""
    with _folder(options, "yolo", False) as add:
        yield add


@contextmanager
def segments(options: Options) -> Iterator[Add]:
    """`yolo-seg/`; the parts of a mask are joined by bridges without width, an answer without a mask is its box."""
    with _folder(options, "yolo-seg", True) as add:
        yield add


@contextmanager
def _folder(options: Options, name: str, outlines: bool) -> Iterator[Add]:
    classes: dict[str, int] = {}
    with replaced_folder(options.out / name) as folder:
        (folder / "images").mkdir()
        (folder / "labels").mkdir()

        def add(labelled: Labelled) -> None:
            put_picture(labelled, folder / "images" / labelled.file)
            for entry in labelled.entries:
                classes.setdefault(entry["expression"], len(classes))
            lines = []
            for expression, (left, top, right, bottom), _, mask in labelled.answers():
                shares = [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]
                if outlines:
                    shares = [left, top, right, top, right, bottom, left, bottom]
                    if mask is not None:
                        shares = joined_outline(rle_to_mask(mask).numpy()) or shares
                sides = (labelled.width, labelled.height)
                numbers = " ".join(f"{min(max(x / sides[i % 2], 0), 1):.6f}" for i, x in enumerate(shares))
                lines.append(f"{classes[expression]} {numbers}\n")
            path = folder / "labels" / f"{labelled.stem}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(lines), encoding="utf-8")

        yield add
        names = {number: expression for expression, number in classes.items()}
        described = {"path": ".", "train": "images", "val": "images", "names": names}
        text = yaml.safe_dump(described, allow_unicode=True, sort_keys=False)
        (folder / "data.yaml").write_text(text, encoding="utf-8")


__all__ = ["boxes", "segments"]
