"""Rows whose expressions have several referents or none, and predictions for them: generated, without pictures."""

import datasets
import numpy as np

from pbrec_hf.data.referents import referent_columns
from pbrec_hf.data.schema import features, without_decoding
from pbrec_hf.images.segmentation import mask_to_rle

HEIGHT, WIDTH = 40, 60


def boxes_of(rng: np.random.Generator, number: int) -> list[list[float]]:
    """XYXY, whole pixels, which may overlap."""
    corners = rng.integers(0, (WIDTH - 12, HEIGHT - 12), (number, 2))
    return np.concatenate([corners, corners + rng.integers(6, 13, (number, 2))], axis=1).astype(float).tolist()


def filled(box: list[float]) -> np.ndarray:
    """The box as a mask, uint8 (HEIGHT, WIDTH)."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    left, top, right, bottom = map(int, box)
    mask[top:bottom, left:right] = 1
    return mask


def rows_of(
    referents: list[list[list[list[float]]]], generalized: bool = True, masks: bool = True
) -> datasets.Dataset:
    """Image view: for each picture, for each expression, the boxes of its referents, which their masks fill."""
    pictures = []
    for number, groups in enumerate(referents):
        picture = {"image": None, "image_id": str(number), "width": WIDTH, "height": HEIGHT, "expressions": []}
        for index, boxes in enumerate(groups):
            drawn = [mask_to_rle(filled(box)) if masks else None for box in boxes]
            columns = referent_columns(boxes, drawn, HEIGHT, WIDTH)
            picture["expressions"].append({"expression": f"thing {number} {index}", "ann_ids": [], **columns})
        pictures.append(picture)
    shape = features("image", generalized)
    names = shape["expressions"].feature.keys()
    for picture in pictures:
        picture["expressions"] = [{name: s.get(name) for name in names} for s in picture["expressions"]]
    return without_decoding(datasets.Dataset.from_list(pictures, features=shape))


def random_rows(seed: int, pictures: int = 30, most: int = 3, masks: bool = True) -> datasets.Dataset:
    """Three expressions per picture, of up to `most` referents."""
    rng = np.random.default_rng(seed)
    return rows_of(
        [[boxes_of(rng, rng.integers(0, most + 1)) for _ in range(3)] for _ in range(pictures)], masks=masks
    )


def random_predictions(rows: datasets.Dataset, seed: int, most: int = 4) -> list[dict]:
    """Up to `most` answers per expression, the more likely right the better they score; masks fill the boxes."""
    rng = np.random.default_rng(seed)
    predictions = []
    for row, picture in enumerate(rows):
        for index, sentence in enumerate(picture["expressions"]):
            scores = sorted(rng.beta(1, 2, rng.integers(0, most + 1)).astype(np.float32).tolist(), reverse=True)
            left = list(sentence["boxes"] if "boxes" in sentence else [sentence["bbox"]])
            boxes = []
            for score in scores:
                right = left and rng.random() < score + 0.3
                boxes.append(left.pop(rng.integers(len(left))) if right else boxes_of(rng, 1)[0])
            predictions.append(
                {
                    "row": row, "index": index, "image_id": picture["image_id"], "expression": sentence["expression"],
                    "boxes": boxes, "masks": [mask_to_rle(filled(box)) for box in boxes],
                    "scores": scores, "raw_scores": scores, "exists": None, "point_hit": None,
                }
            )  # fmt: skip
    return predictions
