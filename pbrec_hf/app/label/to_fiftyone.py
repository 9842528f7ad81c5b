"""A labelling → a data set of FiftyOne, with masks: to look through answers, sort them by score and correct them.

    from pbrec_hf.app.label.to_fiftyone import to_fiftyone

    to_fiftyone("labels")          # the folder that `pbrec-hf label --out` wrote; opens with fiftyone.launch_app

FiftyOne is no dependency of this package: `pip install fiftyone`.
"""

import json
import math
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from ...images.segmentation import rle_to_mask
from ...images.sources import ADDRESSES


def to_fiftyone(out: str | Path, name: str | None = None, field: str = "answers") -> Any:
    """
    Make a data set of a labelling's `labels.jsonl`.

    Args:
        out: folder of the labelling.
        name: of the data set; None = FiftyOne makes one.
        field: of a sample, that holds the `Detections`.

    Returns:
        A `fiftyone.Dataset` with a sample for each photograph: a detection for each answer, with `label` (the
        expression), `confidence`, `bounding_box` and, where there is one, `mask`; and `not_found`, the expressions
        without an answer.

    Raises:
        FileNotFoundError: the labelling has no `labels.jsonl`.
        ImportError: FiftyOne is not installed.
        ValueError: a photograph is no file, which FiftyOne needs.
    """
    path = Path(out) / "labels.jsonl"
    if not path.is_file():
        raise FileNotFoundError(f"There is no {path}: run `pbrec-hf label` with --format jsonl first.")
    try:
        import fiftyone
    except ImportError as error:
        raise ImportError("FiftyOne is not installed: pip install fiftyone.") from error
    dataset = fiftyone.Dataset(name)
    with open(path, encoding="utf-8") as file:
        dataset.add_samples(_sample(fiftyone, image, list(rows), field) for image, rows in _photographs(file))
    return dataset


def detections_of(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """
    The arguments of `fiftyone.Detection` for each answer of a row.

    Boxes are [x, y, width, height] as shares of the photograph; a mask is bool and has the pixels of its box.
    """
    width, height = row["width"], row["height"]
    masks = row.get("segmentations") or [None] * len(row["boxes"])
    for (left, top, right, bottom), score, mask in zip(row["boxes"], row["scores"], masks, strict=True):
        arguments: dict[str, Any] = {"label": row["expression"], "confidence": score}
        if mask is not None:
            # FiftyOne stretches a mask to its box, so the box must have whole pixels.
            left, top, right, bottom = math.floor(left), math.floor(top), math.ceil(right), math.ceil(bottom)
            arguments["mask"] = rle_to_mask(mask).numpy()[top:bottom, left:right]
        box = [left / width, top / height, (right - left) / width, (bottom - top) / height]
        yield {**arguments, "bounding_box": box}


def _photographs(lines: Iterator[str]) -> Iterator[tuple[str, Iterator[dict[str, Any]]]]:
    return groupby((json.loads(line) for line in lines), key=lambda row: str(row["image"]))


def _sample(fiftyone: Any, image: str, rows: list[dict[str, Any]], field: str) -> Any:
    if image.startswith(ADDRESSES) or not Path(image).is_file():
        raise ValueError(f"{image} is no file, which FiftyOne needs: save the photographs and label their folder.")
    found = [fiftyone.Detection(**arguments) for row in rows for arguments in detections_of(row)]
    sample = fiftyone.Sample(filepath=image)
    sample[field] = fiftyone.Detections(detections=found)
    sample["not_found"] = [row["expression"] for row in rows if not row["boxes"]]
    return sample


__all__ = ["detections_of", "to_fiftyone"]
