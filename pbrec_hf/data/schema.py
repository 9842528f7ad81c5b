"""The columns every data source of the package shares, and the views of them.

*Sentence view*: one row per expression. *Image view*: one row per image; its column ``expressions`` lists the sentence
rows of that image without the image's own columns. Absent values are ``None``: a row without a mask has
``segmentation=None``, a row without a referent ("no target") has ``bbox=None`` and ``segmentation=None``.

A segmentation is one struct of three fields, of which either the polygons or the RLE are filled:
``polygons`` list of parts, each flat ``[x0, y0, x1, y1, ...]`` in pixels; ``counts`` COCO's compressed run lengths as
an ASCII string, with ``size`` = ``[height, width]``. All coordinates are pixels of the picture turned upright.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from datasets import Dataset, Features, Image, IterableDataset, List, Value
from pycocotools import mask as coco_mask

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
}


def features(view: str = "sentence", generalized: bool = False) -> Features:
    """`datasets.Features` of a view.

    Args:
        view: ``"sentence"`` (one row per expression) or ``"image"`` (one row per image, column ``expressions``).
        generalized: add ``ann_ids`` and ``boxes``, for data whose expressions have several referents or none.

    Raises:
        ValueError: unknown view.
    """
    per_expression = EXPRESSION_COLUMNS | (GENERALIZED_COLUMNS if generalized else {})
    if view == "sentence":
        return Features(IMAGE_COLUMNS | per_expression)
    if view == "image":
        return Features({**IMAGE_COLUMNS, "expressions": List(per_expression)})
    raise ValueError(f"view must be 'sentence' or 'image', got {view!r}")


def segmentation_struct(
    segmentation: Sequence | Mapping[str, Any] | None, height: int, width: int
) -> dict[str, Any] | None:
    """COCO's ways of writing a mask → the struct of the module docstring.

    Args:
        segmentation: polygons (list of flat lists), one flat polygon, an RLE dict with ``counts`` as list, str or
            bytes, a struct of this schema, or None / an empty list for "no mask".
        height, width: size of the picture, pixels; an RLE of another size is an error.

    Raises:
        ValueError: not a segmentation, a polygon with an odd number of coordinates or less than 3 points, or an RLE
            whose size is not the picture's.
    """
    if segmentation is None or (not isinstance(segmentation, Mapping) and len(segmentation) == 0):
        return None
    if isinstance(segmentation, Mapping):
        if segmentation.get("polygons"):
            return segmentation_struct(segmentation["polygons"], height, width)
        return _rle_struct(segmentation, height, width)
    if isinstance(segmentation, (str, bytes)):
        raise ValueError(
            f"segmentation must be polygons or an RLE dict with 'counts' and 'size', got {segmentation!r}"
        )
    parts = [segmentation] if isinstance(segmentation[0], (int, float)) else segmentation
    for part in parts:
        if len(part) < 6 or len(part) % 2:
            raise ValueError(f"a polygon needs an even number of at least 6 coordinates (x, y, ...), got {len(part)}")
    return {"polygons": [[float(value) for value in part] for part in parts], "counts": None, "size": None}


def _rle_struct(rle: Mapping[str, Any], height: int, width: int) -> dict[str, Any]:
    counts, size = rle.get("counts"), rle.get("size")
    if counts is None or size is None:
        raise ValueError(f"an RLE segmentation needs 'counts' and 'size', got the keys {sorted(rle)}")
    if [int(value) for value in size] != [height, width]:
        raise ValueError(f"RLE size {list(size)} is not the picture's [height, width] = [{height}, {width}]")
    if isinstance(counts, Sequence) and not isinstance(counts, (str, bytes)):
        if sum(counts) != height * width:
            raise ValueError(f"RLE counts sum to {sum(counts)}, not to height x width = {height * width}")
        counts = coco_mask.frPyObjects({"counts": list(counts), "size": [height, width]}, height, width)["counts"]
    if isinstance(counts, bytes):
        counts = counts.decode("ascii")
    return {"polygons": None, "counts": counts, "size": [height, width]}


def without_decoding(dataset: Dataset | IterableDataset) -> Dataset | IterableDataset:
    """The same data with the image column as ``{"path", "bytes"}``, which the collator decodes faster."""
    return dataset.cast_column("image", Image(decode=False))
