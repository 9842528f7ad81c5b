"""Predictions as plain rows: written to JSONL, read back, and joined with the expressions that they answer.

One row per expression. `row` and `index` say which (picture of the split, expression of the picture); `image_id`,
`ref_id`, `sent_id` and `expression` name it. Its n answers, the best-scored first: `boxes` XYXY and `masks` (COCO run
lengths; None where none are proposed) in pixels of the original picture, `scores` (probabilities, if the processor is
calibrated) and `raw_scores`. `exists` is the probability that there is a referent, None without a calibration. What
else is known: `point_hit` (the released rule of model selection), and `box_oracles` and `mask_oracles`, for each
referent the IoU of the best proposal. Knows nothing of models and scores.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import pyarrow.compute

from ..data.referents import Referent, referents_of
from ..hub.writing import replaced_file

Prediction = dict[str, Any]


class Answered(NamedTuple):
    """
    An expression and its answers.

    Attributes:
        prediction: a row of predictions.
        sentence: the row of the expression.
        referents: what the expression means; [] for nothing.
        size: (height, width) of the picture, pixels.
    """

    prediction: Prediction
    sentence: dict[str, Any]
    referents: list[Referent]
    size: tuple[int, int]


def write_predictions(path: str | Path, predictions: Sequence[Prediction]) -> str:
    """Write JSONL, complete or not at all; returns the SHA-256 of the file."""
    text = "".join(json.dumps(prediction, ensure_ascii=False) + "\n" for prediction in predictions).encode()
    with replaced_file(path) as partial:
        partial.write_bytes(text)
    return hashlib.sha256(text).hexdigest()


def read_predictions(path: str | Path) -> list[Prediction]:
    """
    The rows of a predictions file, also of one that was written by 0.1.0.

    Raises:
        ValueError: a line is not a prediction.
    """
    predictions = []
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                predictions.append(_checked(json.loads(line)))
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(
                    f"{path}, line {number} is not a prediction ({error!r}): write the file again."
                ) from error
    return predictions


def is_generalized(rows: datasets.Dataset) -> bool:
    """Whether the expressions of `rows` (image view) may have several referents or none."""
    return "boxes" in rows.features["expressions"].feature


def has_absent(rows: datasets.Dataset) -> bool:
    """Whether any expression of `rows` (image view) has no referent."""
    table = rows.select_columns(["expressions"]).with_format("arrow")[:]
    boxes = pyarrow.compute.struct_field(pyarrow.compute.list_flatten(table["expressions"]), "bbox")
    return bool(boxes.null_count)


def answered(predictions: Sequence[Prediction], rows: datasets.Dataset) -> list[Answered]:
    """
    Every expression with its answers, in the order of `rows`; images are not read.

    Args:
        predictions: one per expression of `rows`, in any order.
        rows: of the image view.

    Raises:
        ValueError: predictions are missing, doubled or of other rows.
    """
    found = {(prediction["row"], prediction["index"]): prediction for prediction in predictions}
    if len(found) != len(predictions):
        raise ValueError(
            f"{len(predictions) - len(found)} expressions have more than one prediction: predict them again."
        )
    joined: list[Answered] = []
    for key, sentence, size in _sentences(rows):
        if key not in found or found[key]["expression"] != sentence["expression"]:
            raise ValueError(
                f"No prediction for {sentence['expression']!r} (row {key[0]}, expression {key[1]}), so they are of "
                "other data or incomplete: score them on their own data, or predict again."
            )
        joined.append(Answered(found[key], sentence, referents_of(sentence), size))
    if len(joined) != len(found):
        raise ValueError(
            f"{len(found)} predictions for {len(joined)} expressions are of other data: score them on their own."
        )
    return joined


def _sentences(rows: datasets.Dataset) -> Iterator[tuple[tuple[int, int], dict[str, Any], tuple[int, int]]]:
    """(row, index), the expression, and (height, width) of its picture."""
    for row, picture in enumerate(rows.remove_columns("image")):
        for index, sentence in enumerate(picture["expressions"]):
            yield (row, index), sentence, (picture["height"], picture["width"])


def _checked(row: Prediction) -> Prediction:
    row = (row if "boxes" in row else _of_one_box(row)) | {"row": int(row["row"]), "index": int(row["index"])}
    lists = ["boxes", "scores", "raw_scores", *(["masks"] if row["masks"] is not None else [])]
    if len(counts := {name: len(row[name]) for name in lists}) and len(set(counts.values())) > 1:
        raise ValueError(f"differing numbers of {counts}")
    return row


def _of_one_box(row: Prediction) -> Prediction:
    """A row as 0.1.0 wrote it: one box, mask and score, None where nothing was found."""
    row = dict(row)
    box, mask, score = row.pop("box"), row.pop("mask"), row.pop("score")
    oracles = {f"{name}s": row.pop(name) for name in ("box_oracle", "mask_oracle") if name in row}
    scores = [] if box is None else [score]
    return row | {
        "boxes": [] if box is None else [box],
        "masks": [mask] if mask else None if box else [],
        "scores": scores,
        "raw_scores": list(scores),
        "exists": None,
        **{name: None if value is None else [value] for name, value in oracles.items()},
    }


__all__ = [
    "Answered",
    "Prediction",
    "answered",
    "has_absent",
    "is_generalized",
    "read_predictions",
    "write_predictions",
]
