"""Boxes of a whole table: forms that all of them contradict are told."""

import pytest
from own_tables import write_jsonl

from pbrec_hf.data.own_data import OwnDataError, load_own_data

BOXES = [[20, 10, 50, 30], [5, 8, 30, 45], [40, 20, 60, 40]]  # corners, in a picture of 64x48
WRITTEN = {
    "xyxy": lambda x1, y1, x2, y2: [x1, y1, x2, y2],
    "xywh": lambda x1, y1, x2, y2: [x1, y1, x2 - x1, y2 - y1],
    "yxyx": lambda x1, y1, x2, y2: [y1, x1, y2, x2],
    "cxcywh": lambda x1, y1, x2, y2: [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1],
}


@pytest.mark.parametrize(
    ("written", "told_as", "remedy"),
    [
        ("xyxy", "xywh", r"All 3 boxes fit their pictures as corners: pass bbox_format='xyxy'\.$"),
        ("xywh", "xyxy", "All 3 boxes fit their pictures as x, y, width, height: pass bbox_format='xywh'"),
        ("yxyx", "xyxy", "fit their pictures as corners with y before x: write x first"),
        ("cxcywh", "xyxy", "centre, width, height: write the corners"),
    ],
)
def test_boxes_that_all_fit_in_another_form_are_told(folder, written, told_as, remedy):
    rows = [{"image": "a.jpg", "expression": "x", "bbox": WRITTEN[written](*box)} for box in BOXES]
    with pytest.raises(OwnDataError, match=remedy) as error:
        load_own_data(write_jsonl(folder / "rows.jsonl", rows), bbox_format=told_as)
    assert "bbox" in {problem.field for problem in error.value.problems}
    rows.append({"image": "a.jpg", "expression": "x", "bbox": [1, 2, 1, 2]})
    with pytest.raises(OwnDataError) as error:
        load_own_data(write_jsonl(folder / "rows.jsonl", rows), bbox_format=told_as)
    assert ("All 4 boxes" in str(error.value)) == (told_as == "xyxy" and written != "yxyx")


@pytest.mark.parametrize("written", ["xywh", "yxyx"])
def test_boxes_that_contradict_all_masks_are_told_even_if_they_fit(folder, written):
    rows = []
    for box in ([5, 4, 30, 25], [2, 6, 35, 40], [8, 3, 40, 22]):
        x1, y1, x2, y2 = box
        rows.append(
            {"image": "a.jpg", "expression": "x", "bbox": box, "segmentation": [[x1, y1, x2, y1, x2, y2, x1, y2]]}
        )
    assert len(load_own_data(write_jsonl(folder / "rows.jsonl", rows))) == 3
    for row in rows:
        row["bbox"] = WRITTEN[written](*row["bbox"])
    with pytest.raises(ValueError, match=r"All 3 boxes fit their masks as .*: (pass|write x first)"):
        load_own_data(write_jsonl(folder / "rows.jsonl", rows))
    rows[0]["bbox"] = [5, 4, 30, 25]  # one that agrees: the others may be loose boxes
    assert len(load_own_data(write_jsonl(folder / "rows.jsonl", rows))) == 3
