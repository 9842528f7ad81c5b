"""Predictions as plain rows: written to JSONL, read back, scored. A file scores exactly as the run that wrote it.

One row per expression: `row` and `index` say which (picture of the split, expression of the picture); `box` XYXY and
`mask` (COCO run lengths) are in pixels of the original picture, None where nothing was found. Knows nothing of models.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np

from ..hub.writing import replaced_file
from ..images.segmentation import Rle, mask_to_rle, rasterise
from ..metrics import GeneralizedRec, GeneralizedRes, RecAccuracy, ResIoU

Prediction = dict[str, Any]
Scores = dict[str, float]
_Pair = tuple[Prediction, dict[str, Any]]  # with the row of its expression
_Size = tuple[int, int]  # (height, width) of a picture

_AT = tuple(f"@{threshold}" for threshold in (0.5, 0.6, 0.7, 0.8, 0.9))
_SINGLE = (
    *(f"accuracy{at}" for at in _AT), "box_mean_iou",
    "overall_iou", "mask_mean_iou", *(f"precision{at}" for at in _AT), "point_hit",
)  # fmt: skip
_GENERALIZED = ("f1_precision", "giou", "ciou", "n_acc", "t_acc", "point_hit")


def write_predictions(path: str | Path, predictions: Sequence[Prediction]) -> str:
    """Write JSONL, complete or not at all; returns the SHA-256 of the file."""
    text = "".join(json.dumps(prediction, ensure_ascii=False) + "\n" for prediction in predictions).encode()
    with replaced_file(path) as partial:
        partial.write_bytes(text)
    return hashlib.sha256(text).hexdigest()


def read_predictions(path: str | Path) -> list[Prediction]:
    """
    The rows of a predictions file.

    Raises:
        ValueError: a line is not a prediction.
    """
    predictions = []
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                prediction = json.loads(line)
                predictions.append(prediction | {"row": int(prediction["row"]), "index": int(prediction["index"])})
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(
                    f"{path}, line {number} is not a prediction ({error!r}): write the file again."
                ) from error
    return predictions


def possible_scores(rows: datasets.Dataset) -> tuple[str, ...]:
    """The scores in [0, 1], except oracles, that predictions for `rows` (image view) may get."""
    return _GENERALIZED if "boxes" in rows.features["expressions"].feature else _SINGLE


def score(predictions: Sequence[Prediction], rows: datasets.Dataset) -> Scores:
    """
    All scores that predictions and rows allow.

    Args:
        predictions: one per expression of `rows`, in any order.
        rows: of the image view.

    Returns:
        With boxes: accuracy@0.5 … @0.9, box_mean_iou and, if known, box_oracle@0.5 (share of expressions for which
        some proposal has an IoU above 0.5). With masks: overall_iou, mask_mean_iou, precision@0.5 … @0.9 and
        mask_oracle (mean IoU of the best proposals). With several referents: f1_precision, giou, ciou, n_acc, t_acc.
        If known, point_hit, the released rule of model selection. Always `count`, the number of expressions.

    Raises:
        ValueError: predictions are missing, doubled or of other rows.
    """
    found = {(prediction["row"], prediction["index"]): prediction for prediction in predictions}
    if len(found) != len(predictions):
        raise ValueError(
            f"{len(predictions) - len(found)} expressions have more than one prediction: predict them again."
        )
    pairs: list[_Pair] = []
    sizes: list[_Size] = []
    for key, sentence, size in _sentences(rows):
        if key not in found or found[key]["expression"] != sentence["expression"]:
            raise ValueError(
                f"No prediction for {sentence['expression']!r} (row {key[0]}, expression {key[1]}), so they are of "
                "other data or incomplete: score them on their own data, or predict again."
            )
        pairs.append((found[key], sentence))
        sizes.append(size)
    if len(pairs) != len(found):
        raise ValueError(
            f"{len(found)} predictions for {len(pairs)} expressions are of other data: score them on their own."
        )
    several = "boxes" in pairs[0][1]
    scores = (_generalized if several else _single)(pairs, sizes)
    for name, least in (("point_hit", None), ("box_oracle@0.5", 0.5), ("mask_oracle", None)):
        values = [prediction.get(name.split("@")[0]) for prediction, _ in pairs]
        known = [value if least is None else value > least for value in values if value is not None]
        if known:
            scores[name] = float(np.mean(known))
    return scores | {"count": len(pairs)}


def _single(pairs: list[_Pair], sizes: list[_Size]) -> Scores:
    boxes = [prediction["box"] or [np.nan] * 4 for prediction, _ in pairs]
    scores = _of(RecAccuracy, boxes, [sentence["bbox"] for _, sentence in pairs], "box_")
    if _has_masks(pairs):
        scores |= _of(ResIoU, *_masks(pairs, sizes), "mask_")
    return scores


def _generalized(pairs: list[_Pair], sizes: list[_Size]) -> Scores:
    boxes = [[prediction["box"]] if prediction["box"] else [] for prediction, _ in pairs]
    scores = _of(GeneralizedRec, boxes, [sentence["boxes"] for _, sentence in pairs])
    if _has_masks(pairs):
        scores |= _of(GeneralizedRes, *_masks(pairs, sizes))
    return scores


def _of(metric: type, predictions: list[Any], references: list[Any], prefix: str = "") -> Scores:
    scores = metric(keep_in_memory=True).compute(
        predictions=predictions, references=references, expected=len(references)
    )
    return {prefix + name if name == "mean_iou" else name: value for name, value in scores.items() if name != "count"}


def _has_masks(pairs: list[_Pair]) -> bool:
    """Whether masks were predicted and the data have the true ones."""
    return any(prediction["mask"] for prediction, _ in pairs) and all(
        sentence["segmentation"] or not sentence["bbox"] for _, sentence in pairs
    )


def _masks(pairs: list[_Pair], sizes: list[_Size]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Predicted and true masks in the form of the metrics; empty ones where there is none."""
    predicted, references = [], []
    for (prediction, sentence), size in zip(pairs, sizes, strict=True):
        struct = sentence["segmentation"]
        predicted.append(_encoded(prediction["mask"], size))
        references.append(_encoded(mask_to_rle(rasterise(struct, *size)) if struct else None, size))
    return predicted, references


def _encoded(mask: Rle | None, size: _Size) -> dict[str, Any]:
    mask = mask or mask_to_rle(np.zeros(size, dtype=np.uint8))
    return {"size": list(mask["size"]), "counts": mask["counts"].encode()}


def _sentences(rows: datasets.Dataset) -> Iterator[tuple[tuple[int, int], dict[str, Any], _Size]]:
    """(row, index), the expression, and (height, width) of its picture; images are not read."""
    for row, picture in enumerate(rows.remove_columns("image")):
        for index, sentence in enumerate(picture["expressions"]):
            yield (row, index), sentence, (picture["height"], picture["width"])
