"""CVAT for images 1.1: `cvat.xml`, to be uploaded to a task with the same photographs.

A label is an expression; an answer is a box or, where there is one, a mask. A photograph is found by its name, which
is relative to the folder that was labelled, so create the task from that folder.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from ....hub.writing import replaced_file
from ....images.segmentation import rle_to_mask
from ..labelled import Labelled
from . import Add, Options


@contextmanager
def cvat(options: Options) -> Iterator[Add]:
    """See the module; labels stand at the head of the file, so the rest waits in a temporary one."""
    labels: dict[str, None] = {}
    numbers = count()
    with (
        replaced_file(options.out / "cvat.xml") as path,
        tempfile.TemporaryFile("w+", encoding="utf-8", dir=options.out) as later,
    ):

        def add(labelled: Labelled) -> None:
            for entry in labelled.entries:
                labels.setdefault(entry["expression"])
            size = f'width="{labelled.width}" height="{labelled.height}"'
            later.write(f'  <image id="{next(numbers)}" name={quoteattr(labelled.file)} {size}>\n')
            for expression, box, _, mask in labelled.answers():
                shape = None if mask is None else mask_attributes(rle_to_mask(mask).numpy())
                corners = " ".join(f'{name}="{v}"' for name, v in zip(("xtl", "ytl", "xbr", "ybr"), box, strict=True))
                tag, where = ("box", corners) if shape is None else ("mask", shape)
                label = quoteattr(expression)
                later.write(f'    <{tag} label={label} source="auto" occluded="0" {where} z_order="0"></{tag}>\n')
            later.write("  </image>\n")

        yield add
        later.seek(0)
        with open(path, "w", encoding="utf-8", newline="\n") as file:
            file.write('<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n')
            listed = "".join(f"<label><name>{escape(label)}</name><type>any</type></label>" for label in labels)
            head = f"<name>pbrec_hf</name><size>{next(numbers)}</size><mode>annotation</mode><labels>{listed}</labels>"
            file.write(f"  <meta><task>{head}</task></meta>\n")
            shutil.copyfileobj(later, file)
            file.write("</annotations>\n")


def mask_attributes(mask: Any) -> str | None:
    """
    CVAT's form of a mask: the run lengths, row by row and background first, of the rectangle around it.

    Args:
        mask: bool (H, W).

    Returns:
        The attributes `rle`, `left`, `top`, `width` and `height`; None of an empty mask.
    """
    rows, columns = mask.any(axis=1).nonzero()[0], mask.any(axis=0).nonzero()[0]
    if not len(rows):
        return None
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    pixels = np.concatenate(([False], mask[top:bottom, left:right].ravel()))
    changes = np.flatnonzero(pixels[1:] != pixels[:-1])
    runs = np.diff(np.concatenate(([0], changes, [pixels.size - 1])))
    rle = ", ".join(map(str, runs.tolist()))
    return f'rle="{rle}" left="{left}" top="{top}" width="{right - left}" height="{bottom - top}"'


__all__ = ["cvat", "mask_attributes"]
