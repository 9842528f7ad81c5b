"""FiftyOne's own format for detections (`fiftyone.types.FiftyOneImageDetectionDataset`): `fiftyone/`.

    fo.Dataset.from_dir("out/fiftyone", fo.types.FiftyOneImageDetectionDataset)

Boxes are [x, y, width, height] as shares of the photograph. The format has no masks: `to_fiftyone` of
`pbrec_hf.app.label.to_fiftyone` makes a data set with them.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Any

from ....hub.writing import replaced_folder
from ..labelled import Labelled, put_picture
from . import Add, Options


@contextmanager
def detection_dataset(options: Options) -> Iterator[Add]:
    """See the module; the photographs are links below `data/`, without folders, as FiftyOne looks for them."""
    classes: dict[str, None] = {}
    with replaced_folder(options.out / "fiftyone") as folder:
        (folder / "data").mkdir()
        with open(folder / "labels.json", "w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
            file.write('{"labels": {')
            separator = "\n"

            def add(labelled: Labelled) -> None:
                nonlocal separator
                name = labelled.stem
                put_picture(labelled, folder / "data" / (name + PurePosixPath(labelled.file).suffix))
                for entry in labelled.entries:
                    classes.setdefault(entry["expression"])
                found = [
                    {"label": expression, "bounding_box": relative_box(box, labelled), "confidence": score}
                    for expression, box, score, _ in labelled.answers()
                ]
                file.write(f"{separator}{json.dumps(name)}: {json.dumps(found, ensure_ascii=False)}")
                separator = ",\n"

            yield add
            file.write(f'\n}},\n"classes": {json.dumps(list(classes), ensure_ascii=False)}}}\n')


def relative_box(box: list[float], labelled: Labelled | Any) -> list[float]:
    """[x, y, width, height] as shares of the photograph of XYXY in pixels."""
    left, top, right, bottom = box
    shares = (left / labelled.width, top / labelled.height)
    sides = ((right - left) / labelled.width, (bottom - top) / labelled.height)
    return [round(value, 6) for value in (*shares, *sides)]


__all__ = ["detection_dataset", "relative_box"]
