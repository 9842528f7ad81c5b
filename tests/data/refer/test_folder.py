"""REFER folders: what is read, and what is refused with which words."""

import json
import pickle

import pytest
from refer_folders import pickled, write_refer_folder

from pbrec_hf.data.refer.folder import in_split, read_refer_folder, read_references, references_path
from pbrec_hf.data.refer.plain_pickle import load_plain_pickle
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


@pytest.mark.parametrize("value", [{"a": 1}, [[1]], [None], 1.5])
def test_an_odd_ann_id_is_an_error(folder, value):
    rewrite(folder, lambda references: references[2].update(ann_id=value))
    with pytest.raises(ValueError, match="reference 2"):
        read_references(folder, "unc")


@pytest.mark.parametrize("sent", [None, 3, "\ud800"])
def test_a_sentence_is_text(folder, sent):
    references = load_plain_pickle(folder / "refs(unc).p")
    references[2]["sentences"][0]["sent"] = sent
    (folder / "refs(unc).p").write_bytes(pickled(references, python=3))
    with pytest.raises(ValueError, match="reference 2"):
        read_references(folder, "unc")


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


def test_a_shared_list_cannot_claim_a_million_sentences(folder):
    def share(references):
        sentences = references[0]["sentences"] * 500
        for reference in references:
            reference["sentences"] = sentences

    rewrite(folder, share)
    with pytest.raises(ValueError, match="more sentences than it has bytes"):
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
