"""Own data: every form is read, every mistake is told with line, field, value and remedy."""

import pytest
from datasets import DatasetDict
from own_tables import TRIANGLE, good_rows, write_csv, write_jsonl, write_parquet
from PIL import Image

from pbrec_hf.data.own_data import OwnDataError, load_own_data
from pbrec_hf.data.row_checks import ERRORS_SHOWN
from pbrec_hf.data.schema import features


@pytest.mark.parametrize("writer", [write_jsonl, write_csv, write_parquet])
def test_every_table_gives_the_shared_columns(folder, writer):
    suffix = writer.__name__.removeprefix("write_")
    data = load_own_data(writer(folder / f"rows.{suffix}", good_rows()))
    assert data.features == features() and len(data) == 3
    rows = list(data.remove_columns("image"))
    assert rows[0]["expression"] == "the triangle" and rows[0]["bbox"] == [10, 10, 40, 30]
    assert (rows[0]["width"], rows[0]["height"], rows[0]["image_id"]) == (64, 48, "a.jpg")
    assert rows[1]["category"] == "line" and rows[1]["ann_id"] == 7 and rows[1]["segmentation"] is None
    assert [row["sent_id"] for row in rows] == [0, 1, 2]
    assert data[0]["image"].size == (64, 48)
    if suffix != "parquet":
        assert rows[0]["segmentation"]["polygons"] == TRIANGLE and 250 < rows[0]["area"] < 350
        assert rows[2]["area"] == 4 * 14


def test_image_view_and_splits(folder):
    table = write_jsonl(folder / "rows.jsonl", good_rows())
    data = load_own_data({"train": table, "test": table}, folder, view="image")
    assert isinstance(data, DatasetDict) and data["train"].features == features("image")
    assert [len(row["expressions"]) for row in data["train"].remove_columns("image")] == [2, 1]


def test_boxes_of_width_and_height(folder):
    rows = [good_rows()[0] | {"bbox": [10, 10, 30, 20]}]
    data = load_own_data(write_jsonl(folder / "rows.jsonl", rows), bbox_format="xywh")
    assert data[0]["bbox"] == [10, 10, 40, 30]


@pytest.mark.parametrize("bbox_format", ["xyxy", "xywh"])
def test_shares_of_the_picture_are_not_taken_for_pixels(folder, bbox_format):
    rows = [
        row | {"bbox": [0.125 * place, 0.25, 0.5, 0.75], "segmentation": None} for place, row in enumerate(good_rows())
    ]
    with pytest.raises(ValueError, match=r"rows\.jsonl lie between 0 and 1.*multiply x by its width"):
        load_own_data(write_jsonl(folder / "rows.jsonl", rows), bbox_format=bbox_format)
    rows[1]["bbox"] = [0, 0, 1, 2]  # one box of pixels, and the others are small ones
    assert len(load_own_data(write_jsonl(folder / "rows.jsonl", rows))) == len(rows)


def test_rounded_coordinates_are_set_on_the_edge(folder):
    rows = [good_rows()[1] | {"bbox": [-0.4, 0, 64.4, 48.2]}]
    assert load_own_data(write_jsonl(folder / "rows.jsonl", rows))[0]["bbox"] == [0, 0, 64, 48]


@pytest.mark.parametrize(
    ("change", "field", "remedy"),
    [
        ({"bbox": [10, 10, 70, 30]}, "bbox", "leaves the picture of 64x48"),
        ({"bbox": [10, 10, 10, 30]}, "bbox", "bbox_format='xywh'"),
        ({"bbox": [-3, 0, -0.2, 9]}, "bbox", "leaves"),
        ({"bbox": [64.1, 0, 64.4, 9]}, "bbox", "no area inside"),
        ({"bbox": [1, 2, 3]}, "bbox", "list of 4 finite numbers"),
        ({"bbox": [1, 2, float("nan"), 4]}, "bbox", "finite"),
        ({"bbox": "1 2 3 4"}, "bbox", "list of 4"),
        ({"bbox": [True, 2, 30, 40]}, "bbox", "list of 4"),
        ({"bbox": [1, 2, 10**400, 40]}, "bbox", "list of 4"),
        ({"bbox": None}, "bbox", "give four numbers"),
        ({"expression": "  "}, "expression", "not blank"),
        ({"expression": 3}, "expression", "text"),
        ({"expression": "\u200b\u00a0"}, "expression", "not blank"),
        ({"expression": "dog \ud83d"}, "expression", "surrogate"),
        ({"category": "dog\0"}, "category", "NUL"),
        ({"image": "c.jpg"}, "image", "no such file"),
        ({"image": "../a.jpg"}, "image", "leads out"),
        ({"image": None}, "image", "name of an image file"),
        ({"image": "broken.jpg"}, "image", "broken.jpg"),
        ({"segmentation": [[1, 2, 3, 4]]}, "segmentation", "at least 6"),
        ({"segmentation": [[1, 2, 3, float("nan"), 5, 6]]}, "segmentation", "leaves"),
        ({"segmentation": [[1, 2, 3e9, 4, 5, 6]]}, "segmentation", "leaves"),
        ({"segmentation": [[12, 12, 12, 12, 12, 12]]}, "segmentation", "no pixel"),
        ({"segmentation": [[45, 35, 60, 35, 60, 45]]}, "segmentation", "outside the row's bbox"),
        ({"segmentation": {"counts": "garbage~~", "size": [48, 64]}}, "segmentation", ""),
        ({"segmentation": {"counts": [9], "size": [9, 1]}}, "segmentation", "height, width"),
        ({"image": "half.jpg"}, "image", "half.jpg"),
        ({"image": "half.png"}, "image", "half.png"),
        ({"ann_id": "seven"}, "ann_id", "integer"),
        ({"ann_id": 2**63}, "ann_id", "64 bits"),
        ({"category_id": -(2**31) - 1}, "category_id", "32 bits"),
        ({"area": "big"}, "area", "number"),
        ({"area": True}, "area", "number"),
        ({"area": -5}, "area", "number"),
        ({"area": float("nan")}, "area", "number"),
        ({"area": float("inf")}, "area", "number"),
        ({"area": 1e308}, "area", "number"),  # beyond the numbers of the column
        ({"width": 640}, "width", "another version"),
    ],
)
def test_every_mistake_names_line_field_value_and_remedy(folder, change, field, remedy):
    (folder / "broken.jpg").write_bytes(b"\xff\xd8 no more")
    noise = Image.effect_noise((64, 48), 90)
    for name in ("half.jpg", "half.png"):
        noise.save(folder / name)
        (folder / name).write_bytes((folder / name).read_bytes()[:-400])
    rows = [good_rows()[0], good_rows()[0] | change]
    with pytest.raises(OwnDataError) as error:
        load_own_data(write_jsonl(folder / "rows.jsonl", rows), folder)
    (problem,) = error.value.problems
    assert (problem.line, problem.field) == (2, field)
    assert remedy in problem.remedy and problem.remedy
    assert f"line 2, {field}: " in str(error.value)


def test_all_mistakes_are_told_at_once_and_the_rest_counted(folder):
    rows = [good_rows()[0] | {"bbox": [0, 0, 99, 99], "expression": ""} for _ in range(ERRORS_SHOWN)]
    table = write_jsonl(folder / "rows.jsonl", rows)
    table.write_text(table.read_text() + "{not json\n[1]\n")
    with pytest.raises(OwnDataError, match=f"{2 * ERRORS_SHOWN + 2} problems.*rows.jsonl") as error:
        load_own_data(table)
    assert f"and {ERRORS_SHOWN + 2} more" in str(error.value)
    assert [problem.line for problem in error.value.problems[-2:]] == [ERRORS_SHOWN + 1, ERRORS_SHOWN + 2]


def test_a_picture_with_more_behind_its_end_is_whole(folder):
    """As phones write them: a film behind the JPEG."""
    with open(folder / "a.jpg", "ab") as file:
        file.write(bytes(9000))
    assert len(load_own_data(write_jsonl(folder / "rows.jsonl", good_rows()))) == 3


def test_other_column_names_are_told_once(folder):
    rows = [{"img": "a.jpg", "text": "dog", "bbox": [1, 2, 3, 4]}] * 3
    with pytest.raises(
        ValueError,
        match=r"image, expression: needed are .*found were \['bbox', 'img', 'text'\]; rename",
    ):
        load_own_data(write_jsonl(folder / "rows.jsonl", rows))


def test_what_hides_behind_an_empty_column_is_told(folder):
    rows = [{"image": "a.jpg", "expression": "dog", "bbox": box} for box in ([1, 2, 3], None)]
    with pytest.raises(OwnDataError, match=r"line 1, bbox: .*list of 4"):
        load_own_data(write_jsonl(folder / "rows.jsonl", [rows[0] | {"expression": ""}, rows[1]]))
    with pytest.raises(ValueError, match="in instances"):
        load_own_data(write_jsonl(folder / "rows.jsonl", [{"ann_id": 5, "expression": "dog"}]))


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ({"image": "a.jpg", "expressions": []}, "expressions"),
        ({"image": {"bytes": "text", "path": None}, "expression": "dog", "bbox": [1, 2, 3, 4]}, "image"),
    ],
)
def test_odd_rows_are_told_not_dropped(folder, row, field):
    with pytest.raises(OwnDataError) as error:
        load_own_data(write_jsonl(folder / "rows.jsonl", [good_rows()[0], row]))
    assert [(problem.line, problem.field) for problem in error.value.problems] == [(2, field)]


def test_written_parquet_of_either_view_is_read_back(folder):
    from pbrec_hf.data.parquet import write_parquet as write_with_images

    for view in ("sentence", "image"):
        data = load_own_data(write_jsonl(folder / "rows.jsonl", good_rows()), view=view)
        paths = write_with_images(DatasetDict({view: data}), folder / "out")
        again = load_own_data(paths[view], view=view)
        assert list(again.remove_columns("image")) == list(data.remove_columns("image"))
        assert again[0]["image"].size == (64, 48)


@pytest.mark.parametrize("column", ["image", "url", "coco_url"])
def test_addresses_of_pictures_are_told(folder, column):
    rows = [{column: "https://example.org/a.jpg", "expression": "dog", "bbox": [1, 2, 3, 4]}]
    told = "is an address: download" if column == "image" else f"addresses are in '{column}', and give the names"
    with pytest.raises(ValueError, match=told):
        load_own_data(write_jsonl(folder / "rows.jsonl", rows))


@pytest.mark.parametrize(
    ("change", "field", "remedy"),
    [
        ({"image_id": [1]}, "image_id", "number or a text"),
        ({"image_id": True}, "image_id", "number or a text"),
        ({"category": {"id": 1}}, "category", "number or a text"),
        ({"image": "a\0.jpg"}, "image", "name of an image file"),
        ({"image": "\ud83d.jpg"}, "image", "name of an image file"),
        ({"image": "C:\\pictures\\a.jpg"}, "image", "leads out"),
        ({"image": "sub\\..\\..\\a.jpg"}, "image", "leads out"),
        ({"image": "a" * 1000}, "image", "too long"),
        ({"width": "wide"}, "width", "whole number"),
        ({"width": True}, "width", "whole number"),
        ({"segmentation": 7}, "segmentation", "no segmentation"),
        ({"segmentation": {"size": [10**9, 10**9], "counts": [10**18]}}, "segmentation", "not the picture's"),
        ({"segmentation": [[10, 10, 40, 10, 40, 30] * 9999]}, "segmentation", "pixels long"),
    ],
)
def test_values_of_another_kind_are_told(folder, change, field, remedy):
    table = write_jsonl(folder / "rows.jsonl", [good_rows()[0], good_rows()[0] | change])
    with pytest.raises(OwnDataError) as error:
        load_own_data(table, folder)
    assert [(problem.line, problem.field) for problem in error.value.problems] == [(2, field)]
    assert remedy in error.value.problems[0].remedy
    str(error.value).encode()


def test_whole_floats_and_digits_are_numbers(folder):
    row = good_rows()[1] | {"ann_id": 7.0, "ref_id": "12", "width": 64.0, "image_id": 3.0, "category": 5}
    (found,) = load_own_data(write_jsonl(folder / "rows.jsonl", [row])).remove_columns("image")
    assert (found["ann_id"], found["ref_id"], found["image_id"], found["category"]) == (7, 12, "3", "5")


def test_names_that_windows_wrote_are_found(folder):
    (folder / "train").mkdir()
    (folder / "a.jpg").rename(folder / "train" / "a.jpg")
    rows = [good_rows()[0] | {"image": "train\\a.jpg"}]
    assert load_own_data(write_jsonl(folder / "rows.jsonl", rows))[0]["image"].size == (64, 48)


def test_files_and_arguments(folder):
    table = write_jsonl(folder / "rows.jsonl", [])
    with pytest.raises(ValueError, match="no rows"):
        load_own_data(table)
    with pytest.raises(ValueError, match="bbox_format"):
        load_own_data(table, bbox_format="cxcywh")
    with pytest.raises(ValueError, match="view"):
        load_own_data(table, view="picture")
    with pytest.raises(ValueError, match=r"no file .*missing\.jsonl"):
        load_own_data(folder / "missing.jsonl")
    with pytest.raises(ValueError, match=r"rows\.txt ends in none of \.jsonl, \.json, \.csv, \.tsv, \.parquet"):
        load_own_data(folder / "rows.txt")
