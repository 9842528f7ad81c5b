"""The columns that every data source of the package shares, and the two views of them.

*Sentence view*: one row per expression. *Image view*: one row per image; its column `expressions` lists the sentence
rows of that image without the image's own columns. Absent values are None: a row without a mask has
`segmentation=None`, a row without a referent ("no target") has `bbox=None` and `segmentation=None`. `referents_of` of
`data/referents.py` reads what a row refers to, whichever columns it has.

A segmentation is a struct of three fields: `SegmentationStruct` of `images/segmentation.py`, which also reads other
forms. All coordinates are pixels of the upright picture.
"""

from datasets import Dataset, Features, Image, IterableDataset, List, Value

IMAGE_COLUMNS = {
    "image": Image(),
    "image_id": Value("string"),
    "width": Value("int32"),
    "height": Value("int32"),
}

SEGMENTATION = {
    "polygons": List(List(Value("float64"))),
    "counts": Value("string"),
    "size": List(Value("int32")),
}

EXPRESSION_COLUMNS = {
    "expression": Value("string"),
    "ref_id": Value("int64"),
    "sent_id": Value("int64"),
    "ann_id": Value("int64"),
    "bbox": List(Value("float32"), length=4),  # XYXY; of several referents: the tight box around all
    "segmentation": SEGMENTATION,  # of several referents: the union
    "area": Value("float32"),  # of the mask, pixels
    "category": Value("string"),
    "category_id": Value("int32"),
}

GENERALIZED_COLUMNS = {  # expressions with several referents or none (gRefCOCO)
    "ann_ids": List(Value("int64")),
    "boxes": List(List(Value("float32"), length=4)),  # XYXY, one per referent; [] = no target
    "segmentations": List(SEGMENTATION),  # one per box, None where there is no mask
    "no_target": Value("bool"),  # whether there is no referent
}


def features(view: str = "sentence", generalized: bool = False) -> Features:
    """
    `datasets.Features` of a view.

    Args:
        view: "sentence" (one row per expression) or "image" (one row per image, column `expressions`).
        generalized: add the columns of referents, for data whose expressions have several or none.

    Raises:
        ValueError: unknown view.
    """
    per_expression = EXPRESSION_COLUMNS | (GENERALIZED_COLUMNS if generalized else {})
    if view == "sentence":
        return Features(IMAGE_COLUMNS | per_expression)
    if view == "image":
        return Features({**IMAGE_COLUMNS, "expressions": List(per_expression)})
    raise ValueError(f"view={view!r} is unknown: give sentence or image.")


def without_decoding(dataset: Dataset | IterableDataset) -> Dataset | IterableDataset:
    """The same data with the image column as {"path", "bytes"}, which the collator decodes faster."""
    return dataset.cast_column("image", Image(decode=False))


__all__ = [
    "EXPRESSION_COLUMNS",
    "GENERALIZED_COLUMNS",
    "IMAGE_COLUMNS",
    "SEGMENTATION",
    "features",
    "without_decoding",
]
