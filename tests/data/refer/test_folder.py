"""REFER folders: what is read, and what is refused with which words."""

import json
import pickle

import pytest
from refer_folders import pickled, write_refer_folder

from pbrec_hf.data.refer.folder import in_split, read_refer_folder, read_references, references_path
from pbrec_hf.data.refer.refcoco import CONFIGS


@pytest.fixture
def folder(tmp_path):
    write_refer_folder(tmp_path, "refcoco/unc")
    return tmp_path / "refcoco"


def rewrite(folder, change):
    """Applies `change` to the list of references and writes it back."""
    path = folder / "refs(unc).p"
    references = pickle.loads(path.read_bytes(), encoding="latin-1")
    change(references)
    path.write_bytes(pickled(references))


@pytest.mark.parametrize(("protocol", "python"), [(0, 2), (1, 2), (2, 2), (2, 3), (4, 3)])
def test_every_writer_gives_the_same_references(tmp_path, folder, protocol, python):
    write_refer_folder(tmp_path / "other", "refcoco/unc", protocol, python)
    found = read_references(tmp_path / "other" / "refcoco", "unc")
    assert found == read_references(folder, "unc")
    assert found[0].sentences[0].text == "person numéro 0"


def test_boxes_are_corners_and_every_part_of_a_mask_is_kept(folder):
    read = read_refer_folder(folder, "unc")
    published = {a["id"]: a for a in json.loads((folder / "instances.json").read_text())["annotations"]}
    assert max(len(a.segmentation) for a in read.annotations.values()) > 1
    for ann_id, annotation in read.annotations.items():
        x, y, width, height = published[ann_id]["bbox"]
        assert annotation.bbox == pytest.approx((x, y, x + width, y + height))
        assert [list(part) for part in annotation.segmentation] == published[ann_id]["segmentation"]


def test_only_annotations_that_are_referred_to_are_kept(folder):
    rewrite(folder, lambda references: references.__delitem__(slice(3, None)))
    read = read_refer_folder(folder, "unc")
    assert len(read.annotations) == 3
    assert {r.ann_ids[0] for r in read.references} == set(read.annotations)


def test_parts_without_area_are_dropped(folder):
    path = folder / "instances.json"
    instances = json.loads(path.read_text())
    kept = instances["annotations"][0]["segmentation"]
    instances["annotations"][0]["segmentation"] = [[1.0, 2.0, 3.0, 4.0], *kept]
    path.write_text(json.dumps(instances))
    annotation = read_refer_folder(folder, "unc").annotations[instances["annotations"][0]["id"]]
    assert [list(part) for part in annotation.segmentation] == kept


def test_grefcoco_has_several_referents_or_none(tmp_path):
    write_refer_folder(tmp_path, "grefcoco/unc")
    references = read_references(tmp_path / "grefcoco", "unc")
    assert {len(reference.ann_ids) for reference in references} == {0, 1, 2}


def test_referitgame_names_objects_with_text_and_masks_with_run_lengths(tmp_path):
    write_refer_folder(tmp_path, "referit/berkeley")
    annotations = read_refer_folder(tmp_path / "refclef", "berkeley").annotations
    assert all(isinstance(ann_id, str) for ann_id in annotations)
    assert all({"size", "counts"} <= annotation.segmentation[0].keys() for annotation in annotations.values())


@pytest.mark.parametrize(
    ("reference", "split", "belongs"),
    [
        ("train", "train", True),
        ("train", "val", False),
        ("test", "test", True),
        ("testA", "testA", True),
        ("testA", "testB", False),
        ("testAB", "testA", True),
        ("testAB", "testB", True),
        ("testAB", "testC", False),
        ("testA", "test", False),
    ],
)
def test_splits(reference, split, belongs):
    assert in_split(reference, split) is belongs


def test_a_missing_file_is_named_with_what_is_there(folder):
    with pytest.raises(FileNotFoundError, match=r"refs\(umd\)\.p.*refs\(unc\)\.p"):
        references_path(folder, "umd")
    (folder / "instances.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"instances\.json"):
        read_refer_folder(folder, "unc")


@pytest.mark.parametrize("field", ["ref_id", "ann_id", "image_id", "split", "sentences"])
def test_a_missing_field_is_named_with_the_reference(folder, field):
    rewrite(folder, lambda references: references[7].pop(field))
    with pytest.raises(ValueError, match=f"reference 7 .*{field}"):
        read_references(folder, "unc")


NO_NUMBERS = [float("inf"), float("nan"), 1.5, True, 10**30, b"7", [], {"a": 1}]


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("ref_id", [*NO_NUMBERS, "seven"]),
        ("image_id", [*NO_NUMBERS, "", "\ud800"]),
        ("ann_id", [*(value for value in NO_NUMBERS if value != []), [[1]], [None], [True], "\0"]),
        ("split", [3, b"train", "", "\ud800", ["train"]]),
        ("sentences", [7, "text", {"sent": "dog"}, [3], [["sent"]]]),
        ("sent_id", [*NO_NUMBERS, "x"]),
        ("sent", [3, True, b"dog", "\ud800", "dog\0", ["dog"]]),
    ],
)
def test_a_value_of_another_kind_is_told_with_file_reference_and_field(folder, field, values):
    path = folder / "refs(unc).p"
    original = path.read_bytes()
    for value in values:
        references = pickle.loads(original, encoding="latin-1")
        (references[2]["sentences"][1] if field in ("sent", "sent_id") else references[2])[field] = value
        path.write_bytes(pickle.dumps(references))
        with pytest.raises(ValueError, match=r"refs\(unc\)\.p, reference 2 is not a REFER record") as error:
            read_references(folder, "unc")
        assert f"{field}=" in str(error.value) or "is no dictionary" in str(error.value), value
        str(error.value).encode()


def test_whole_floats_and_digits_are_numbers_and_ids_may_be_text(folder):
    rewrite(folder, lambda references: references[2].update(ref_id="2", image_id="0017", ann_id=[12.0, "8756_2"]))
    reference = read_references(folder, "unc")[2]
    assert (reference.ref_id, reference.image_id, reference.ann_ids) == (2, "0017", (12, "8756_2"))
    assert isinstance(reference.ann_ids[0], int)


def test_an_object_that_is_named_twice_is_one(folder):
    """Else its mask would count twice."""
    rewrite(folder, lambda references: references[2].update(ann_id=[12, 7, 12]))
    assert read_references(folder, "unc")[2].ann_ids == (12, 7)


def nested_lists():
    """A list of 10**13 elements in 300 bytes."""
    value = [0] * 10
    for _ in range(12):
        value = [value] * 10
    return value


def nested_dictionaries():
    value = {"a": 0}
    for _ in range(60):
        value = dict.fromkeys("abcd", value)
    return value


@pytest.mark.parametrize("field", ["ref_id", "image_id", "ann_id", "split", "sentences"])
@pytest.mark.parametrize("make", [nested_lists, nested_dictionaries, lambda: {(1,) * 5: nested_lists()}])
def test_a_message_does_not_spell_out_what_a_small_pickle_unfolds_to(folder, field, make):
    references = pickle.loads((folder / "refs(unc).p").read_bytes(), encoding="latin-1")
    references[2][field] = make()
    (folder / "refs(unc).p").write_bytes(pickle.dumps(references))
    with pytest.raises(ValueError, match=rf"reference 2 is not a REFER record: .*{field}=") as error:
        read_references(folder, "unc")
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize("shared", ["sentences", "ann_id", "sent"])
def test_what_references_share_cannot_claim_more_than_the_file_has(folder, shared):
    def share(references):
        if shared == "sentences":
            value = references[0]["sentences"] * 500
        else:
            value = list(range(5000)) if shared == "ann_id" else "dog " * 5000
        references *= 20
        for reference in references:
            target = reference["sentences"][0] if shared == "sent" else reference
            target[shared] = value

    rewrite(folder, share)
    with pytest.raises(ValueError, match=r"refs\(unc\)\.p claims far more text than it has bytes"):
        read_references(folder, "unc")


def test_masks_that_many_sentences_share_cannot_claim_more_than_the_files_have(folder):
    wanted = read_references(folder, "unc")[2].ann_ids[0]
    content = json.loads((folder / "instances.json").read_text())
    entry = next(entry for entry in content["annotations"] if entry["id"] == wanted)
    entry["segmentation"] = [[10, 10, 40, 10, 40, 30] * 5000]
    (folder / "instances.json").write_text(json.dumps(content))
    assert read_refer_folder(folder, "unc")
    rewrite(folder, lambda references: references[2].update(sentences=references[2]["sentences"] * 500))
    with pytest.raises(ValueError, match="out of proportion"):
        read_refer_folder(folder, "unc")


def test_an_annotation_of_another_image_is_refused(folder):
    images = [reference.image_id for reference in read_references(folder, "unc")]
    other = next(image_id for image_id in images if image_id != images[2])
    rewrite(folder, lambda references: references[2].update(image_id=other))
    with pytest.raises(ValueError, match=rf"annotation \d+ is of image {images[2]}, but reference 2 .* image {other}"):
        read_refer_folder(folder, "unc")


def test_annotations_of_one_id_are_refused_if_they_differ(folder):
    wanted = read_references(folder, "unc")[2].ann_ids[0]
    content = json.loads((folder / "instances.json").read_text())
    again = dict(next(entry for entry in content["annotations"] if entry["id"] == wanted))
    content["annotations"].append(again)
    (folder / "instances.json").write_text(json.dumps(content))
    assert wanted in read_refer_folder(folder, "unc").annotations
    again["bbox"] = [1, 2, 3, 4]
    (folder / "instances.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf"instances\.json, annotation {wanted}: several differing records"):
        read_refer_folder(folder, "unc")


@pytest.mark.parametrize("bbox", [[float("nan")] * 4, [1, 2, -3, 4], [1, 2, 3]])
def test_an_impossible_box_is_an_error(folder, bbox):
    wanted = read_references(folder, "unc")[2].ann_ids[0]
    content = json.loads((folder / "instances.json").read_text())
    next(entry for entry in content["annotations"] if entry["id"] == wanted)["bbox"] = bbox
    (folder / "instances.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="annotation"):
        read_refer_folder(folder, "unc")


def test_a_reference_to_nothing_is_an_error(folder):
    rewrite(folder, lambda references: references[2].update(ann_id=424242))
    with pytest.raises(ValueError, match=r"annotation ids.*424242"):
        read_refer_folder(folder, "unc")


def test_not_a_list_is_an_error(folder):
    (folder / "refs(unc).p").write_bytes(pickled({"refs": []}))
    with pytest.raises(ValueError, match="dict, not a list"):
        read_references(folder, "unc")


@pytest.mark.parametrize(
    "content", ["", "{", "[1, 2]", '{"images": []}', "[" * 100_000, '{"images": 3, "categories": 3}']
)
def test_damaged_instances_are_an_error(folder, content):
    (folder / "instances.json").write_text(content)
    with pytest.raises(ValueError, match=r"instances\.json"):
        read_refer_folder(folder, "unc")


def test_every_config_has_a_folder_and_splits():
    for key, entry in CONFIGS.items():
        assert "/" in key
        assert "train" in entry["splits"]
        assert entry["images"] in ("coco", "saiapr")
