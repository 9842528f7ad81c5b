"""COCO instances: `coco.json`, one category for each expression, boxes and run lengths.

`file_name` is relative to the folder that was labelled. An annotation has its `score`, too. Written as it comes:
annotations lie in a temporary file until the end.
"""

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import IO

from ....hub.writing import replaced_file
from ....images.segmentation import segmentation_area
from ....version import __version__
from ..labelled import Labelled
from . import Add, Options


@contextmanager
def coco(options: Options) -> Iterator[Add]:
    """See the module; a mask's annotation has the mask's area, any other the box's."""
    categories: dict[str, int] = {}
    images, annotations = count(1), count(1)
    with (
        replaced_file(options.out / "coco.json") as path,
        open(path, "w+", encoding="utf-8", errors="backslashreplace", newline="\n") as file,
        tempfile.TemporaryFile("w+", encoding="utf-8", dir=options.out) as later,
    ):
        file.write(f'{{"info": {json.dumps({"description": f"pbrec_hf {__version__}"})},\n"images": [')

        def add(labelled: Labelled) -> None:
            number = next(images)
            size = {"width": labelled.width, "height": labelled.height}
            _write(file, number, {"id": number, "file_name": labelled.file, **size})
            for expression in (entry["expression"] for entry in labelled.entries):
                categories.setdefault(expression, len(categories) + 1)
            for expression, box, score, mask in labelled.answers():
                left, top, right, bottom = box
                sides = round(right - left, 2), round(bottom - top, 2)
                area = (
                    sides[0] * sides[1] if mask is None else segmentation_area(mask, labelled.height, labelled.width)
                )
                annotation = {
                    "id": next(annotations),
                    "image_id": number,
                    "category_id": categories[expression],
                    "bbox": [left, top, *sides],
                    "area": round(area, 2),
                    "segmentation": [] if mask is None else mask,
                    "iscrowd": 0,
                    "score": score,
                }
                _write(later, annotation["id"], annotation)

        yield add
        file.write('],\n"annotations": [')
        later.seek(0)
        shutil.copyfileobj(later, file)
        named = [{"id": number, "name": name, "supercategory": "expression"} for name, number in categories.items()]
        file.write(f'],\n"categories": {json.dumps(named, ensure_ascii=False)}}}\n')


def _write(file: IO[str], number: object, value: dict[str, object]) -> None:
    separator = "\n" if number == 1 else ",\n"
    file.write(separator + json.dumps(value, ensure_ascii=False))


__all__ = ["coco"]
