"""Expressions whose objects are in a COCO instances file."""

import json

import pytest
from own_tables import TRIANGLE, write_jsonl

from pbrec_hf.data.own_data import OwnDataError, load_own_data


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
