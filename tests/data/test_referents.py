"""Rows to referents and back, of either kind of row."""

import datasets
import numpy as np
import pytest

from pbrec_hf.data.referents import Referent, referent_columns, referents_of
from pbrec_hf.data.schema import EXPRESSION_COLUMNS, GENERALIZED_COLUMNS, features
from pbrec_hf.images.segmentation import mask_to_segmentation, rasterise

POLYGON = {"polygons": [[10.0, 10, 40, 10, 40, 30]], "counts": None, "size": None}
SIZE = (48, 64)


def disc(left, top):
    mask = np.zeros(SIZE, np.uint8)
    mask[top : top + 8, left : left + 12] = 1
    return mask_to_segmentation(mask)


def test_a_row_with_one_box_has_one_referent():
    box = [10.0, 10, 40, 30]
    assert referents_of({"bbox": box, "segmentation": POLYGON}) == [Referent(box, POLYGON)]
    assert referents_of({"bbox": box}) == [Referent(box, None)]
    assert referents_of({"bbox": None, "segmentation": None}) == []


def test_a_row_with_boxes_has_as_many_referents():
    boxes, segmentations = [[1.0, 2, 3, 4], [5.0, 6, 7, 8]], [POLYGON, None]
    row = {"bbox": [1.0, 2, 7, 8], "segmentation": None, "boxes": boxes, "segmentations": segmentations}
    assert referents_of(row) == [Referent(boxes[0], POLYGON), Referent(boxes[1], None)]
    assert referents_of({"bbox": None, "boxes": [], "segmentations": []}) == []
    assert referents_of({"boxes": boxes, "segmentations": None, "segmentation": POLYGON}) == [
        Referent(boxes[0], None),
        Referent(boxes[1], None),
    ]
    assert referents_of({"boxes": boxes[:1], "segmentation": POLYGON}) == [Referent(boxes[0], POLYGON)]
    assert referents_of({"boxes": None, "bbox": boxes[0]}) == [Referent(boxes[0], None)]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"expression": "dog"}, "'dog' has neither bbox nor boxes"),
        ({"boxes": [[1, 2, 3, 4]], "segmentations": []}, "1 boxes and 0 segmentations"),
        ({"boxes": [], "bbox": [1, 2, 3, 4]}, r"a bbox, but boxes=\[\]"),
    ],
)
def test_rows_that_contradict_themselves_are_told(row, told):
    with pytest.raises(ValueError, match=told):
        referents_of(row)


def test_columns_have_the_hull_and_the_union():
    masks = [disc(3, 5), disc(40, 20)]
    found = referent_columns([[3, 5, 15, 13], [40, 20, 52, 28]], masks, *SIZE)
    assert found["bbox"] == [3, 5, 52, 28] and found["segmentations"] == masks and found["no_target"] is False
    union = sum(rasterise(mask, *SIZE) for mask in masks)
    assert (rasterise(found["segmentation"], *SIZE) == union).all()


def test_one_referent_has_its_own_box_and_mask_as_hull_and_union():
    found = referent_columns([[10, 10, 40, 30]], [POLYGON], *SIZE)
    assert found["bbox"] == found["boxes"][0] == [10, 10, 40, 30]
    assert found["segmentation"] == found["segmentations"][0] == POLYGON


def test_a_union_that_lacks_a_part_is_none():
    found = referent_columns([[3, 5, 15, 13], [40, 20, 52, 28]], [disc(3, 5), None], *SIZE)
    assert found["segmentation"] is None and found["segmentations"] == [disc(3, 5), None]


def test_no_referent_has_nothing():
    found = referent_columns([], [], *SIZE)
    assert found == {"bbox": None, "segmentation": None, "boxes": [], "segmentations": [], "no_target": True}
    with pytest.raises(ValueError, match="0 boxes and 1 segmentations"):
        referent_columns([], [POLYGON], *SIZE)


@pytest.mark.parametrize("view", ["sentence", "image"])
def test_referents_survive_arrow(view):
    given = [
        ([[3.0, 5, 15, 13], [40.0, 20, 52, 28]], [disc(3, 5), None]),
        ([], []),
        ([[10.0, 10, 40, 30]], [POLYGON]),
    ]
    picture = {"image": None, "image_id": "a", "height": SIZE[0], "width": SIZE[1]}
    nothing = dict.fromkeys([*EXPRESSION_COLUMNS, *GENERALIZED_COLUMNS])
    said = [nothing | {"expression": "dog"} | referent_columns(*entry, *SIZE) for entry in given]
    rows = [picture | row for row in said] if view == "sentence" else [picture | {"expressions": said}]
    data = datasets.Dataset.from_list(rows, features=features(view, generalized=True))
    found = list(data) if view == "sentence" else data[0]["expressions"]
    expected = [[Referent(*pair) for pair in zip(*entry, strict=True)] for entry in given]
    assert [referents_of(row) for row in found] == expected
