"""Own data whose expressions mean several objects or none: every form is read, every mistake is told."""

import csv
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import DatasetDict
from own_tables import TRIANGLE, good_rows, write_jsonl

from pbrec_hf.data.own_data import OwnDataError, load_own_data
from pbrec_hf.data.parquet import write_parquet
from pbrec_hf.data.referents import referents_of
from pbrec_hf.data.schema import features
from pbrec_hf.images.segmentation import mask_to_segmentation, rasterise

BOXES = [[10, 10, 40, 30], [6, 5, 20, 9]]


def stripe():
    mask = np.zeros((48, 64), np.uint8)
    mask[5:9, 6:20] = 1
    found = mask_to_segmentation(mask)
    return {"counts": found["counts"], "size": found["size"]}


def plural_rows():
    return [
        {"image": "a.jpg", "expression": "both", "boxes": BOXES, "segmentations": [TRIANGLE, stripe()]},
        {"image": "a.jpg", "expression": "the unicorn", "boxes": [], "no_target": True},
        {"image": "b.jpg", "expression": "nobody", "boxes": None, "no_target": True},
        {"image": "b.jpg", "expression": "nothing", "bbox": None, "no_target": True},
        {"image": "b.jpg", "expression": "stripe", "bbox": BOXES[1], "ann_id": 7, "segmentation": stripe()},
        {"image": "b.jpg", "expression": "the triangle", "boxes": BOXES[:1], "segmentations": [TRIANGLE]},
        {"image": "b.jpg", "expression": "all", "boxes": BOXES, "ann_ids": [5, 7], "no_target": False},
    ]


def write_csv(path, rows):
    names = ("image", "expression", "bbox", "boxes", "segmentation", "segmentations", "ann_id", "ann_ids", "no_target")
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        for row in rows:
            cells = {name: json.dumps(value) for name, value in row.items() if isinstance(value, list | dict)}
            writer.writerow({name: value for name, value in row.items() if value is not None} | cells)
    return path


def write_columns(path, rows):
    """Parquet without masks, whose polygons and run lengths no one column can hold."""
    names = ("image", "expression", "bbox", "boxes", "ann_id", "ann_ids", "no_target")
    pq.write_table(pa.Table.from_pylist([{name: row.get(name) for name in names} for row in rows]), path)
    return path


@pytest.mark.parametrize("view", ["sentence", "image"])
@pytest.mark.parametrize(
    ("writer", "suffix"), [(write_jsonl, "jsonl"), (write_csv, "csv"), (write_columns, "parquet")]
)
def test_every_table_gives_several_or_none(folder, writer, suffix, view):
    data = load_own_data(writer(folder / f"rows.{suffix}", plural_rows()), view=view)
    assert data.features == features(view, generalized=True)
    rows = list(data.remove_columns("image"))
    said = rows if view == "sentence" else [sentence for row in rows for sentence in row["expressions"]]
    meant = {row["expression"]: [list(referent.box) for referent in referents_of(row)] for row in said}
    assert meant == {
        "both": BOXES, "the unicorn": [], "nobody": [], "nothing": [], "stripe": BOXES[1:], "the triangle": BOXES[:1],
        "all": BOXES,
    }  # fmt: skip
    both, unicorn, *_, single, _, everything = said
    assert both["bbox"] == [6, 5, 40, 30] and both["ann_ids"] == [None, None] and both["no_target"] is False
    assert unicorn["bbox"] is unicorn["segmentation"] is unicorn["area"] is None and unicorn["no_target"] is True
    assert unicorn["boxes"] == unicorn["segmentations"] == unicorn["ann_ids"] == []
    assert (single["ann_id"], single["ann_ids"]) == (7, [7]) and (everything["ann_id"], everything["ann_ids"]) == (
        None,
        [5, 7],
    )
    assert everything["segmentation"] is None and everything["area"] == 30 * 20 + 14 * 4
    if suffix != "parquet":
        triangle, bar = (rasterise(referent.segmentation, 48, 64) for referent in referents_of(both))
        assert bar.sum() == 14 * 4 and 250 < triangle.sum() < 350
        union = triangle | bar
        assert (rasterise(both["segmentation"], 48, 64) == union).all() and both["area"] == union.sum()


def test_rows_with_one_box_each_have_the_columns_of_always(folder):
    """Whichever column the box is in."""
    rows = good_rows()
    written = [
        {name: value for name, value in row.items() if name != "bbox"} | {"boxes": [row["bbox"]]} for row in rows
    ]
    found = load_own_data(write_jsonl(folder / "boxes.jsonl", written))
    expected = load_own_data(write_jsonl(folder / "rows.jsonl", rows))
    assert found.features == expected.features == features()
    assert list(found.remove_columns("image")) == list(expected.remove_columns("image"))


def test_splits_have_the_same_columns(folder):
    tables = {
        "train": write_jsonl(folder / "a.jsonl", plural_rows()),
        "val": write_jsonl(folder / "b.jsonl", good_rows()),
    }
    splits = load_own_data(tables)
    assert splits["train"].features == splits["val"].features == features(generalized=True)
    assert [len(row["boxes"]) for row in splits["val"].remove_columns("image")] == [1, 1, 1]


def test_boxes_of_width_and_height(folder):
    rows = [plural_rows()[0] | {"boxes": [[10, 10, 30, 20], [6, 5, 14, 4]]}]
    data = load_own_data(write_jsonl(folder / "rows.jsonl", rows), bbox_format="xywh")
    assert data[0]["boxes"] == BOXES
    with pytest.raises(
        ValueError, match="All 2 boxes fit their pictures as x, y, width, height: pass bbox_format='xywh'"
    ):
        load_own_data(write_jsonl(folder / "rows.jsonl", rows))


def test_shares_of_the_picture_are_not_taken_for_pixels(folder):
    rows = [{"image": "a.jpg", "expression": "dogs", "boxes": [[0.1, 0.1, 0.5, 0.5], [0.5, 0.5, 1, 1]]}]
    with pytest.raises(ValueError, match="lie between 0 and 1"):
        load_own_data(write_jsonl(folder / "rows.jsonl", rows))


@pytest.mark.parametrize("view", ["sentence", "image"])
def test_parquet_of_either_view_is_read_back(folder, view):
    data = load_own_data(write_jsonl(folder / "rows.jsonl", plural_rows()), view=view)
    paths = write_parquet(DatasetDict({view: data}), folder / "out")
    again = load_own_data(paths[view], view=view)
    assert again.features == data.features
    assert list(again.remove_columns("image")) == list(data.remove_columns("image"))


@pytest.mark.parametrize(
    ("change", "field", "remedy"),
    [
        ({"boxes": []}, "boxes", "or no_target: true if the expression refers to nothing"),
        ({"boxes": None}, "bbox", "or no_target: true if the expression refers to nothing"),
        ({"boxes": [], "no_target": False}, "boxes", "is empty"),
        ({"no_target": True}, "no_target", "there are boxes in this row"),
        ({"no_target": "perhaps"}, "no_target", "true or false"),
        ({"no_target": 2}, "no_target", "true or false"),
        ({"no_target": [True]}, "no_target", "true or false"),
        ({"no_target": float("nan")}, "no_target", "true or false"),
        ({"bbox": [1, 2, 3, 4]}, "bbox", "keep one of the two columns"),
        ({"xmin": 1, "ymin": 2, "xmax": 3, "ymax": 4}, "bbox", "keep one of the two columns"),
        ({"boxes": [], "bbox": [1, 2, 3, 4], "no_target": True}, "bbox", "keep one of the two columns"),
        ({"boxes": [10, 10, 40, 30]}, "boxes", "number 1 is 10; give a list of 4 finite numbers"),
        ({"boxes": "10 10 40 30"}, "boxes", "give a list of boxes"),
        ({"boxes": [[10, 10, 40, 30], [1, 2, 3]]}, "boxes", "number 2 is [1, 2, 3]"),
        ({"boxes": [[10, 10, 40, 30], None]}, "boxes", "number 2 is None"),
        ({"boxes": [[10, 10, 40, 30], [6, 5, 99, 9]]}, "boxes", "number 2 leaves the picture of 64x48"),
        ({"boxes": [[10, 10, 10, 30], [6, 5, 20, 9]]}, "boxes", "number 1 is empty"),
        ({"boxes": [[10, 10, 40, 30], [64.1, 0, 64.4, 9]]}, "boxes", "number 2 has no area inside"),
        ({"segmentations": [TRIANGLE]}, "segmentations", "are 1 for 2 boxes"),
        ({"segmentations": TRIANGLE[0]}, "segmentations", "are 6 for 2 boxes"),
        ({"segmentations": "none"}, "segmentations", "a list with the mask of each box"),
        ({"segmentations": [TRIANGLE, 7]}, "segmentations", "number 2 A int is no segmentation"),
        ({"segmentations": [stripe(), stripe()]}, "segmentations", "number 1 is outside the row's bbox"),
        ({"segmentations": None, "segmentation": TRIANGLE}, "segmentation", "is one mask for 2 boxes"),
        ({"segmentation": TRIANGLE}, "segmentation", "is not the union"),
        ({"segmentation": 7}, "segmentation", "is not the union"),
        ({"ann_ids": [5]}, "ann_ids", "one for each of the 2 boxes"),
        ({"ann_ids": [5, "seven"]}, "ann_ids", "one for each of the 2 boxes"),
        ({"ann_ids": 5}, "ann_ids", "one for each of the 2 boxes"),
        ({"ann_id": 5}, "ann_id", "is one id for 2 boxes; give ann_ids"),
        ({"ann_ids": [5, 7], "ann_id": 5}, "ann_id", "keep one of the two columns"),
        (
            {"boxes": BOXES[:1] * 2, "segmentations": [TRIANGLE] * 2},
            "boxes",
            "number 2 and its mask are those of number 1",
        ),
    ],
)
def test_every_mistake_names_line_field_value_and_remedy(folder, change, field, remedy):
    rows = [plural_rows()[1], plural_rows()[0] | change]
    if "boxes" in change and not change["boxes"]:
        del rows[1]["segmentations"]
    with pytest.raises(OwnDataError) as error:
        load_own_data(write_jsonl(folder / "rows.jsonl", rows), folder)
    assert [(problem.line, problem.field) for problem in error.value.problems] == [(2, field)], str(error.value)
    assert remedy in error.value.problems[0].remedy


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"segmentation": TRIANGLE}, "segmentation"),
        ({"segmentations": [TRIANGLE]}, "segmentations"),
        ({"ann_id": 5}, "ann_id"),
        ({"ann_ids": [5]}, "ann_ids"),
        ({"bbox": [1, 2, 3, 4]}, "no_target"),
    ],
)
def test_what_refers_to_nothing_has_nothing(folder, change, field):
    rows = [plural_rows()[3] | change]
    with pytest.raises(OwnDataError) as error:
        load_own_data(write_jsonl(folder / "rows.jsonl", rows), folder)
    assert [problem.field for problem in error.value.problems] == [field]


@pytest.mark.parametrize("typo", ["box", "bboxes", "Boxes"])
def test_a_misspelt_column_of_boxes_never_means_nothing(folder, typo):
    rows = [{"image": "a.jpg", "expression": "dogs", typo: BOXES}] * 3
    with pytest.raises(ValueError, match=rf"No row of .* has a value in the column bbox: .*'{typo}'.*rename"):
        load_own_data(write_jsonl(folder / "rows.jsonl", rows))
    with pytest.raises(OwnDataError, match=r"line 2, bbox: None: give four numbers"):
        load_own_data(write_jsonl(folder / "rows.jsonl", [plural_rows()[0], *rows]))


@pytest.mark.parametrize("value", [True, 1, 1.0, "true", "True", "TRUE", "1", "1 "])
def test_no_target_is_read_as_tables_write_it(folder, value):
    rows = [{"image": "a.jpg", "expression": "the unicorn", "no_target": value}]
    (row,) = load_own_data(write_jsonl(folder / "rows.jsonl", rows)).remove_columns("image")
    assert row["no_target"] is True and row["boxes"] == []


def test_a_mask_may_be_missing(folder):
    rows = [plural_rows()[0] | {"segmentations": [None, stripe()]}]
    (row,) = load_own_data(write_jsonl(folder / "rows.jsonl", rows)).remove_columns("image")
    assert [referent.segmentation is None for referent in referents_of(row)] == [True, False]
    assert row["segmentation"] is None and row["area"] == 30 * 20 + 14 * 4


def test_objects_may_share_a_box_but_not_a_mask(folder):
    """As small ones do, whose coordinates are rounded. The time grows with their number alone."""
    rows = [{"image": "a.jpg", "expression": "birds", "boxes": [BOXES[1]] * 3000}]
    (row,) = load_own_data(write_jsonl(folder / "rows.jsonl", rows)).remove_columns("image")
    assert len(row["boxes"]) == 3000
    rows[0]["segmentations"] = [stripe()] * 3000
    with pytest.raises(OwnDataError) as error:
        load_own_data(write_jsonl(folder / "rows.jsonl", rows))
    assert len(error.value.problems) == 2999
