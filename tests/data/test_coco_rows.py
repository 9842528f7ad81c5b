"""Expressions whose objects are in a COCO instances file."""

import json

import pytest
from own_tables import TRIANGLE, write_jsonl

from pbrec_hf.data.own_data import OwnDataError, load_own_data
from pbrec_hf.data.schema import features


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


def several():
    content = instances()
    content["annotations"] += [
        {"id": 6, "image_id": 1, "category_id": 18, "bbox": [6, 5, 14, 4], "segmentation": STRIPE},
        {"id": "x8", "image_id": 1, "category_id": 3, "bbox": [50, 5, 4, 4]},
        {"id": 9, "image_id": 2, "category_id": 3, "bbox": [50, 5, 4, 4]},
    ]
    content["categories"].append({"id": 3, "name": "car"})
    return content


STRIPE = [[6, 5, 20, 5, 20, 9, 6, 9]]


def test_expressions_name_several_objects_or_none(folder):
    (folder / "instances.json").write_text(json.dumps(several()))
    rows = [
        {"ann_ids": [5, 6], "expression": "both dogs"},
        {"ann_ids": ["6", "x8", 6.0], "expression": "the small ones"},
        {"ann_ids": [5], "expression": "the triangle"},
        {"image_id": 1, "no_target": True, "expression": "the unicorn"},
        {"image_id": 2, "ann_ids": [], "no_target": True, "expression": "nobody"},
        {"image_id": 2, "boxes": [[1, 2, 3, 4], [5, 6, 9, 9]], "expression": "anything"},
    ]
    data = load_own_data(write_jsonl(folder / "rows.jsonl", rows), folder, instances=folder / "instances.json")
    assert data.features == features(generalized=True)
    both, small, single, unicorn, nobody, anything = data.remove_columns("image")
    assert both["boxes"] == [[10, 10, 40, 30], [6, 5, 20, 9]] and both["bbox"] == [6, 5, 40, 30]
    assert [one["polygons"] for one in both["segmentations"]] == [TRIANGLE, STRIPE]
    assert (both["category"], both["category_id"], both["ann_id"], both["ann_ids"]) == ("dog", 18, None, [5, 6])
    assert (small["category"], small["category_id"], small["ann_ids"]) == (None, None, [6, None])
    assert small["boxes"] == [[6, 5, 20, 9], [50, 5, 54, 9]] and small["segmentation"] is None
    assert (single["ann_id"], single["ann_ids"], single["boxes"]) == (5, [5], [[10, 10, 40, 30]])
    assert (unicorn["image_id"], unicorn["boxes"], unicorn["no_target"]) == ("1", [], True)
    assert (nobody["image_id"], nobody["boxes"], nobody["no_target"]) == ("2", [], True)
    assert anything["boxes"] == [[1, 2, 3, 4], [5, 6, 9, 9]] and anything["image_id"] == "2"


def test_a_list_of_one_object_is_that_object(folder):
    (folder / "instances.json").write_text(json.dumps(instances()))
    found = []
    for row in ({"ann_ids": [5]}, {"ann_id": 5}):
        table = write_jsonl(folder / "rows.jsonl", [row | {"expression": "it"}])
        found.append(load_own_data(table, folder, instances=folder / "instances.json"))
    assert found[0].features == found[1].features == features()
    assert list(found[0].remove_columns("image")) == list(found[1].remove_columns("image"))


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"ann_ids": [5, 7]}, r"ann_ids: \[5, 7\]: there is no annotation of id 7"),
        ({"ann_ids": [5, 9]}, r"ann_ids: .* they are of the images \[1, 2\]"),
        ({"ann_ids": "5"}, "ann_ids: '5': give a list of ids"),
        ({"ann_ids": [5], "ann_id": 5}, "keep one of the two columns"),
        ({"ann_id": [5, 6]}, r"ann_id: \[5, 6\]: is a list; call this column ann_ids"),
        ({"ann_ids": []}, "give ann_id or ann_ids; or image_id and bbox"),
        ({"image_id": 1}, "give ann_id or ann_ids; or image_id and bbox"),
        ({"image_id": 1, "ann_ids": []}, "give ann_id or ann_ids; or image_id and bbox"),
        ({"image_id": 1, "no_target": False}, "bbox: None: give four numbers"),
        ({"ann_ids": [5, 6], "no_target": True}, "no_target: True: there are boxes in this row"),
        ({"ann_ids": [5, 6], "bbox": [1, 2, 3, 4]}, r"bbox: .* not the box around them"),
    ],
)
def test_objects_that_are_not_certain_are_told(folder, row, told):
    (folder / "instances.json").write_text(json.dumps(several()))
    table = write_jsonl(folder / "rows.jsonl", [{"ann_id": 5, "expression": "it"}, row | {"expression": "they"}])
    with pytest.raises(OwnDataError, match=f"line 2, .*{told}") as error:
        load_own_data(table, folder, instances=folder / "instances.json")
    assert len(error.value.problems) == 1


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
    with pytest.raises(
        OwnDataError, match=r"line 1, ann_id: .*(there is no annotation of id|is a list; call this column ann_ids)"
    ):
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
