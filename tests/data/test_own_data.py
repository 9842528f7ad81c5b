"""Own data: every form is read, every mistake is told with line, field, value and remedy."""

import csv
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import DatasetDict
from PIL import Image

from pbrec_hf.data.own_data import OwnDataError, load_own_data
from pbrec_hf.data.row_checks import ERRORS_SHOWN
from pbrec_hf.data.schema import features
from pbrec_hf.images.segmentation import mask_to_segmentation

TRIANGLE = [[10, 10, 40, 10, 10, 30]]


@pytest.fixture
def folder(tmp_path):
    for name in ("a.jpg", "b.jpg"):
        Image.new("RGB", (64, 48), "green").save(tmp_path / name)
    return tmp_path


def good_rows():
    mask = np.zeros((48, 64), np.uint8)
    mask[5:9, 6:20] = 1
    rle = mask_to_segmentation(mask)
    return [
        {"image": "a.jpg", "expression": " the triangle ", "bbox": [10, 10, 40, 30], "segmentation": TRIANGLE},
        {"image": "b.jpg", "expression": "stripe", "bbox": [6, 5, 20, 9], "category": "line", "ann_id": 7},
        {
            "image": "a.jpg",
            "expression": "bar",
            "bbox": [6, 5, 20, 9],
            "segmentation": {"counts": rle["counts"], "size": rle["size"]},
        },
    ]


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_csv(path, rows):
    names = ("image", "expression", "bbox", "segmentation", "category", "ann_id")
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        for row in rows:
            cells = {name: json.dumps(row[name]) for name in ("bbox", "segmentation") if name in row}
            writer.writerow(row | cells)
    return path


def write_parquet(path, rows):
    names = ("image", "expression", "bbox", "category", "ann_id")
    pq.write_table(pa.Table.from_pylist([{name: row.get(name) for name in names} for row in rows]), path)
    return path


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


def test_csv_mistakes(folder):
    table = folder / "rows.csv"
    table.write_text('image,expression,bbox\na.jpg,dog,"[1,2,3"\na.jpg,dog\na.jpg,dog,"[1,2,30,40]"\n')
    with pytest.raises(OwnDataError) as error:
        load_own_data(table)
    assert [(problem.line, problem.field) for problem in error.value.problems] == [(2, "row"), (3, "row")]


def test_a_picture_with_more_behind_its_end_is_whole(folder):
    """As phones write them: a film behind the JPEG."""
    with open(folder / "a.jpg", "ab") as file:
        file.write(bytes(9000))
    assert len(load_own_data(write_jsonl(folder / "rows.jsonl", good_rows()))) == 3


def test_broken_quotes_are_told_with_their_line(folder):
    table = folder / "rows.csv"
    table.write_text('image,expression,bbox\na.jpg,dog,"[1,2,30,40]"\na.jpg,"dog" x,"[1,2,30,40]"\n')
    with pytest.raises(OwnDataError, match=r"line 3, row: .*quotes"):
        load_own_data(table)


def test_other_column_names_are_told_once(folder):
    rows = [{"img": "a.jpg", "text": "dog", "bbox": [1, 2, 3, 4]}] * 3
    with pytest.raises(ValueError, match=r"column image, expression: needed are .*found were bbox, img, text"):
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


@pytest.mark.parametrize(
    ("text", "told"), [(b'[\n{"image": 1},\n{"image": 2}\n]', "JSON array"), (b'{"image": "\xe9.jpg"}', "UTF-8")]
)
def test_files_of_another_kind_are_told_once(folder, text, told):
    (folder / "rows.jsonl").write_bytes(text)
    with pytest.raises(ValueError, match=told) as error:
        load_own_data(folder / "rows.jsonl")
    assert "rows.jsonl" in str(error.value) and not isinstance(error.value, UnicodeDecodeError)


def test_written_parquet_of_either_view_is_read_back(folder):
    from pbrec_hf.data.parquet import write_parquet as write_with_images

    for view in ("sentence", "image"):
        data = load_own_data(write_jsonl(folder / "rows.jsonl", good_rows()), view=view)
        paths = write_with_images(DatasetDict({view: data}), folder / "out")
        again = load_own_data(paths[view], view=view)
        assert list(again.remove_columns("image")) == list(data.remove_columns("image"))
        assert again[0]["image"].size == (64, 48)


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
    with pytest.raises(ValueError, match=r"\.jsonl, \.csv, \.parquet"):
        load_own_data(folder / "rows.txt")


def instances():
    return {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 64, "height": 48}, {"id": 2, "file_name": "b.jpg"}],
        "categories": [{"id": 18, "name": "dog"}],
        "annotations": [
            {"id": 5, "image_id": 1, "category_id": 18, "bbox": [10, 10, 30, 20], "segmentation": TRIANGLE},
        ],
    }


def test_coco_instances_with_expressions(folder):
    (folder / "instances.json").write_text(json.dumps(instances()))
    rows = [
        {"ann_id": 5, "expression": "the triangle"},
        {"annotation_id": 5, "expression": "again"},
        {"image_id": 2, "bbox": [1, 2, 3, 4], "expression": "anything"},
    ]
    data = load_own_data(write_jsonl(folder / "rows.jsonl", rows), folder, instances=folder / "instances.json")
    first, second, third = data.remove_columns("image")
    assert first["bbox"] == second["bbox"] == [10, 10, 40, 30]
    assert (first["category"], first["category_id"], first["ann_id"], first["image_id"]) == ("dog", 18, 5, "1")
    assert first["segmentation"]["polygons"] == TRIANGLE
    assert (third["bbox"], third["image_id"], third["segmentation"]) == ([1, 2, 3, 4], "2", None)


def test_coco_mistakes(folder):
    (folder / "instances.json").write_text(json.dumps(instances()))
    rows = [
        {"ann_id": 6, "expression": "unknown"},
        {"image_id": 3, "bbox": [1, 2, 3, 4], "expression": "unknown"},
        {"expression": "nothing"},
    ]
    table = write_jsonl(folder / "rows.jsonl", rows)
    with pytest.raises(OwnDataError) as error:
        load_own_data(table, folder, instances=folder / "instances.json")
    assert [problem.line for problem in error.value.problems] == [1, 2, 3]
    (folder / "instances.json").write_text('{"images": []}')
    with pytest.raises(ValueError, match="no COCO instances file"):
        load_own_data(table, folder, instances=folder / "instances.json")


def test_ids_of_text_are_found(folder):
    """As several annotation tools write them; a CSV's cell of digits is a number."""
    content = instances()
    content["images"][0]["id"] = content["annotations"][0]["image_id"] = "0017"
    content["annotations"][0]["id"] = "5"
    (folder / "instances.json").write_text(json.dumps(content))
    rows = [
        {"ann_id": "5", "expression": "text"},
        {"ann_id": 5, "expression": "number"},
        {"image_id": "0017", "bbox": [10, 10, 40, 30], "expression": "image"},
    ]
    data = load_own_data(write_jsonl(folder / "rows.jsonl", rows), folder, instances=folder / "instances.json")
    assert data["bbox"][:] == [[10, 10, 40, 30]] * 3 and data["ann_id"][:] == [5, 5, None]


@pytest.mark.parametrize("ann_id", [5.0, "5", "5.0"])
def test_a_number_is_found_however_it_is_written(folder, ann_id):
    (folder / "instances.json").write_text(json.dumps(instances()))
    table = write_jsonl(folder / "rows.jsonl", [{"ann_id": ann_id, "expression": "the triangle"}])
    data = load_own_data(table, folder, instances=folder / "instances.json")
    assert data["ann_id"][:] == [5] and data["bbox"][:] == [[10, 10, 40, 30]]


@pytest.mark.parametrize("ann_id", [True, [5], {"id": 5}, 5.5, "five", 10**30])
def test_what_is_no_id_is_told(folder, ann_id):
    content = instances()
    content["annotations"][0]["id"] = 1
    (folder / "instances.json").write_text(json.dumps(content))
    table = write_jsonl(folder / "rows.jsonl", [{"ann_id": ann_id, "expression": "the triangle"}])
    with pytest.raises(OwnDataError, match=r"line 1, ann_id: .*there is no annotation of id"):
        load_own_data(table, folder, instances=folder / "instances.json")


def test_annotations_of_one_id_are_an_error_of_the_rows_that_name_it(folder):
    content = instances()
    content["annotations"] += [
        content["annotations"][0] | {"bbox": [1, 1, 5, 5]},
        {"id": 6} | content["annotations"][0],
    ]
    content["annotations"][2]["id"] = 6
    (folder / "instances.json").write_text(json.dumps(content))
    rows = [{"ann_id": 6, "expression": "the triangle"}, {"ann_id": 5, "expression": "which one"}]
    with pytest.raises(OwnDataError, match=r"line 2, ann_id: 5: annotation 5 .*several differing records") as error:
        load_own_data(write_jsonl(folder / "rows.jsonl", rows), folder, instances=folder / "instances.json")
    assert len(error.value.problems) == 1


@pytest.mark.parametrize(
    ("kind", "field", "told"),
    [
        ("annotations", "image_id", "no 'image_id'"),
        ("images", "file_name", "no 'file_name'"),
        ("annotations", "bbox", ""),
    ],
)
def test_a_faulty_record_is_an_error_of_the_rows_that_need_it(folder, kind, field, told):
    content = instances()
    del content[kind][0][field]
    (folder / "instances.json").write_text(json.dumps(content))
    rows = [{"image_id": 2, "bbox": [1, 2, 3, 4], "expression": "fine"}, {"ann_id": 5, "expression": "the triangle"}]
    table = write_jsonl(folder / "rows.jsonl", rows)
    if not told:  # the box of the mask
        data = load_own_data(table, folder, instances=folder / "instances.json")
        assert data[1]["bbox"] == [10, 10, 40, 30]
        return
    with pytest.raises(OwnDataError, match=rf"line 2, ann_id: 5: .*{told}; add it") as error:
        load_own_data(table, folder, instances=folder / "instances.json")
    assert len(error.value.problems) == 1


def test_a_missing_instances_file_is_named(folder):
    table = write_jsonl(folder / "rows.jsonl", [{"ann_id": 5, "expression": "dog"}])
    with pytest.raises(FileNotFoundError, match=r"no file .*absent\.json"):
        load_own_data(table, folder, instances=folder / "absent.json")
