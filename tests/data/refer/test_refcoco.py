"""The data sets: every configuration through cache, stream, Parquet and collator; numbers and images checked."""

import copy
import json
import re
import shutil
from pathlib import Path

import datasets
import numpy as np
import pytest
from refer_folders import SCENES, pickled, write_refer_folder
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from pbrec_hf.data import parquet
from pbrec_hf.data.collator import PbrecCollator
from pbrec_hf.data.image_files import ImageFilesError
from pbrec_hf.data.parquet import write_parquet
from pbrec_hf.data.refer import refcoco
from pbrec_hf.data.refer.plain_pickle import load_plain_pickle
from pbrec_hf.data.refer.refcoco import CONFIGS, load_refcoco, published_counts
from pbrec_hf.data.referents import referents_of
from pbrec_hf.data.schema import features, without_decoding
from pbrec_hf.image_processing_pbrec import PbrecImageProcessor
from pbrec_hf.images.segmentation import rasterise

datasets.disable_progress_bars()


@pytest.fixture
def load(tmp_path):
    """`load_refcoco` on a generated folder; `load.refer_dir` and `load.image_dir` are its folders."""

    def load_key(key="refcoco/unc", **options):
        if not (tmp_path / CONFIGS[key]["folder"]).exists():
            write_refer_folder(tmp_path, key)
        arguments = {"refer_dir": tmp_path, "image_dir": load_key.image_dir, "check_counts": False}
        return load_refcoco(key, **(arguments | {"cache_dir": tmp_path / "cache"} | options))

    load_key.refer_dir, load_key.image_dir = tmp_path, tmp_path / "images"
    return load_key


def rows_of(split):
    """Rows as plain values; images as bytes of their files."""
    rows = []
    for row in split.cast_column("image", datasets.Image(decode=False)):
        image = row.pop("image")
        rows.append(row | {"image": image["bytes"] or Path(image["path"]).read_bytes()})
    return rows


def collator(targets):
    vocabulary = {"[PAD]": 0, "[UNK]": 1, "person": 2, "left": 3}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PbrecCollator(
        PbrecImageProcessor(size={"longest_edge": 128}),
        PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]"),
        targets=targets,
    )


@pytest.mark.parametrize("key", CONFIGS)
def test_every_configuration_round_trips(load, tmp_path, key):
    generalized = key == "grefcoco/unc"
    sentences, images = load(key), load(key, view="image")
    assert list(sentences) == list(CONFIGS[key]["splits"])
    for view, splits in (("sentence", sentences), ("image", images)):
        streamed = load(key, view=view, streaming=True)
        files = write_parquet(splits, tmp_path / view)
        read_back = datasets.load_dataset("parquet", data_files=files, cache_dir=str(tmp_path / "read"))
        for split, rows in splits.items():
            assert rows.features == features(view, generalized)
            assert rows_of(rows) == rows_of(streamed[split]) == rows_of(read_back[split])
            assert read_back[split].features == rows.features
    for split, rows in images.items():
        assert sum(len(row["expressions"]) for row in rows) == len(sentences[split])
        assert len(set(rows["image_id"])) == len(rows)
    batch = collator(targets=not generalized)(list(without_decoding(images["train"])))
    assert len(batch["input_ids"]) == len(sentences["train"])
    assert len(batch["pixel_values"]) == len(images["train"])
    if not generalized:
        assert batch["centerness_labels"].sum(dim=1).min() > 0


def test_an_interrupted_parquet_file_never_gets_its_name(load, tmp_path, monkeypatch):
    splits = load()
    embed, calls = parquet.embed_table_storage, []

    def break_off(table):
        calls.append(table)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return embed(table)

    monkeypatch.setattr(parquet, "embed_table_storage", break_off)
    with pytest.raises(KeyboardInterrupt):
        write_parquet(splits, tmp_path / "out", batch_size=5)
    assert list((tmp_path / "out").iterdir()) == []
    write_parquet(splits, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(f"{split}.parquet" for split in splits)


def test_a_picture_that_vanished_is_named_when_parquet_is_written(load, tmp_path):
    splits = load()
    (vanished,) = sorted(load.image_dir.iterdir())[:1]
    vanished.unlink()
    with pytest.raises(ValueError, match=rf"A picture of the split .*{vanished.name}"):
        write_parquet(splits, tmp_path / "out")
    assert not [path for path in (tmp_path / "out").iterdir() if path.suffix != ".parquet"]


def test_a_row_says_what_was_published(load):
    row = load()["train"][0]
    published = json.loads((load.refer_dir / "refcoco" / "instances.json").read_text())
    annotation = next(a for a in published["annotations"] if a["image_id"] == 1)
    x, y, width, height = annotation["bbox"]
    assert row["expression"] == "person numéro 0"
    assert (row["image_id"], row["ann_id"], row["ref_id"], row["sent_id"]) == ("1", annotation["id"], 0, 0)
    assert row["bbox"] == pytest.approx([x, y, x + width, y + height])
    assert row["area"] == pytest.approx(annotation["area"])
    assert row["image"].size == (row["width"], row["height"]) == (640, 284)
    assert row["category"] == "person"


def test_referitgame_masks_equal_the_polygons_they_were_made_of(load):
    polygons, run_lengths = load("refcoco/google")["train"], load("referit/berkeley")["train"]
    for left, right in zip(polygons, run_lengths, strict=True):
        size = (left["height"], left["width"])
        differing = rasterise(left["segmentation"], *size) != rasterise(right["segmentation"], *size)
        assert differing.sum() <= 8  # the rows' polygons are float32, the published ones float64
    assert run_lengths[0]["ann_id"] == 1 * 1000 + 0


def test_references_of_two_test_splits_are_in_both(load):
    splits = load("referit/unc")
    assert splits["testA"]["ref_id"] == splits["testB"]["ref_id"]
    assert set(splits["testC"]["ref_id"]).isdisjoint(splits["testA"]["ref_id"])


def test_several_referents_have_one_hull_and_one_mask(load):
    rows = [row for row in load("grefcoco/unc")["train"] if len(row["boxes"]) == 2]
    assert rows
    for row in rows:
        (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = row["boxes"]
        assert row["bbox"] == [min(ax1, bx1), min(ay1, by1), max(ax2, bx2), max(ay2, by2)]
        assert len(row["ann_ids"]) == 2
        assert row["ann_id"] is None
        assert len(row["segmentation"]["polygons"]) >= 2
        size = (row["height"], row["width"])
        masks = [rasterise(referent.segmentation, *size) for referent in referents_of(row)]
        assert len(masks) == 2 and not (masks[0] == masks[1]).all()
        assert (rasterise(row["segmentation"], *size) == masks[0] | masks[1]).all()


def test_each_referent_has_the_mask_of_its_annotation(load):
    """Box and mask of a referent are of the same object."""
    rows = load("grefcoco/unc")["train"]
    published = json.loads((load.refer_dir / "grefcoco" / "instances.json").read_text())["annotations"]
    polygons = {annotation["id"]: annotation["segmentation"] for annotation in published}
    seen = 0
    for row in rows:
        for ann_id, referent in zip(row["ann_ids"], referents_of(row), strict=True):
            points = np.concatenate([np.reshape(part, (-1, 2)) for part in polygons[ann_id]])
            found = np.concatenate([np.reshape(part, (-1, 2)) for part in referent.segmentation["polygons"]])
            np.testing.assert_allclose(found, points)
            np.testing.assert_allclose(referent.box, [*points.min(axis=0), *points.max(axis=0)], atol=2)
            seen += 1
    assert seen > 20


def test_no_referent_is_an_empty_row_of_boxes(load):
    row = next(row for row in load("grefcoco/unc")["train"] if row["expression"] == "the unicorn")
    assert row["boxes"] == row["ann_ids"] == row["segmentations"] == [] and row["no_target"] is True
    assert row["bbox"] is row["segmentation"] is row["area"] is row["category"] is None


def test_two_processes_write_the_same_rows(load, tmp_path):
    alone, together = load(), load(num_proc=2, cache_dir=tmp_path / "together")
    assert rows_of(alone["train"]) == rows_of(together["train"])


def test_a_stream_resumes_and_is_shared_by_workers(load):
    stream = load(streaming=True)["train"].remove_columns(["image", "segmentation"])
    everything = [row["sent_id"] for row in stream]
    iterator = iter(stream)
    first = [next(iterator)["sent_id"] for _ in range(7)]
    resumed = load(streaming=True)["train"].remove_columns(["image", "segmentation"])
    resumed.load_state_dict(stream.state_dict())
    assert first + [row["sent_id"] for row in resumed] == everything
    assert stream.num_shards >= 2


def test_without_images_only_annotations_are_loaded(load):
    rows = load(image_dir=None)["train"]
    assert set(rows["image"]) == {None}


def test_the_cache_follows_the_files(load):
    before = len(load()["train"])
    path = load.refer_dir / "refcoco" / "instances.json"
    instances = json.loads(path.read_text())
    instances["categories"][0]["name"] = "renamed"
    path.write_text(json.dumps(instances))
    after = load()["train"]
    assert len(after) == before
    assert "renamed" in after["category"]


@pytest.mark.parametrize(("what", "number"), [("refs", 9), ("sentences", 18), ("images", 4)])
def test_numbers_that_are_not_the_published_ones_are_an_error(load, monkeypatch, what, number):
    configs = copy.deepcopy(CONFIGS)
    for counts in configs["refcoco/unc"]["splits"].values():
        counts.update(refs=None, sentences=None, images=None)
    monkeypatch.setattr(refcoco, "CONFIGS", configs)
    configs["refcoco/unc"]["splits"]["train"][what] = number
    assert len(load(check_counts=True)["train"]) == 18
    configs["refcoco/unc"]["splits"]["train"][what] = 4711
    with pytest.raises(ValueError, match=f"train has {number} {what}, published are 4711.*check_counts=False"):
        load(check_counts=True, streaming=True)


def test_a_partial_copy_is_refused_by_default(load):
    with pytest.raises(ValueError, match="9 refs, published are 42404"):
        load(check_counts=True)


def test_published_numbers_are_those_of_the_papers():
    sentences = {
        "refcoco/unc": [120_624, 10_834, 5_657, 5_095],
        "refcoco+/unc": [120_191, 10_758, 5_726, 4_889],
        "refcocog/umd": [80_512, 4_896, 9_602],
        "referit/berkeley": [54_127, 5_842, 60_103],
    }
    refs = {
        "refcoco/unc": [42_404, 3_811, 1_975, 1_810],
        "refcoco+/unc": [42_278, 3_805, 1_975, 1_798],
        "refcocog/umd": [42_226, 2_573, 5_023],
    }
    for key, numbers in sentences.items():
        assert [counts["sentences"] for counts in published_counts(key).values()] == numbers
    for key, numbers in refs.items():
        assert [counts["refs"] for counts in published_counts(key).values()] == numbers


def damage(image_dir):
    """One image of each kind of damage; returns what the error says of each."""
    names = sorted((path.name for path in image_dir.iterdir()), reverse=True)  # no split loses all
    (image_dir / names[0]).unlink()
    (image_dir / names[1]).write_bytes(b"")
    whole = (image_dir / names[2]).read_bytes()
    (image_dir / names[2]).write_bytes(whole[: len(whole) // 2])
    (image_dir / names[3]).write_bytes((SCENES / "images" / names[8]).read_bytes())
    return dict(zip(names, ["missing", "not a picture", "truncated", "its annotations are for"], strict=False))


def test_missing_and_broken_images_are_listed(load):
    load(image_dir=None)
    expected = damage(load.image_dir)
    with pytest.raises(ImageFilesError) as caught:
        load()
    problems = {path.rsplit("/", 1)[-1]: problem for path, problem in caught.value.problems.items()}
    assert problems.keys() == expected.keys()
    for name, words in expected.items():
        assert words in problems[name]
        assert name in str(caught.value)


def test_rows_of_broken_images_are_skipped_if_asked(load):
    complete = load()
    images = json.loads((SCENES / "instances.json").read_text())["images"]
    numbers = {image["file_name"]: str(image["id"]) for image in images}
    broken = {numbers[name] for name in damage(load.image_dir)}
    remaining = load(on_missing_image="skip")
    for split, rows in remaining.items():
        kept = [row for row in rows_of_ids(complete[split]) if row[0] not in broken]
        assert rows_of_ids(rows) == kept


def rows_of_ids(split):
    return list(zip(split["image_id"], split["sent_id"], strict=True))


@pytest.mark.parametrize("segmentation", [{"counts": "x", "size": [99, 99]}, [[1, 2, 3, 4, 5, 6, 7]], [{"foo": 1}]])
def test_a_damaged_mask_is_named_with_its_annotation(load, segmentation):
    load()
    path = load.refer_dir / "refcoco" / "instances.json"
    content = json.loads(path.read_text())
    ids = [entry.update(segmentation=segmentation) or entry["id"] for entry in content["annotations"]]
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"annotation (\d+)(: segmentation=| \(ref_id)") as error:
        load()
    assert int(re.search(r"annotation (\d+)", str(error.value))[1]) in ids


def test_image_names_cannot_leave_the_folder(load):
    load(image_dir=None)
    path = load.refer_dir / "refcoco" / "instances.json"
    instances = json.loads(path.read_text())
    instances["images"][0]["file_name"] = "../refcoco/instances.json"
    path.write_text(json.dumps(instances))
    with pytest.raises(ValueError, match="leads out of"):
        load()


def test_an_unknown_split_is_an_error(load, tmp_path):
    write_refer_folder(tmp_path, "refcoco/unc")
    (tmp_path / "refcoco" / "refs(google).p").write_bytes((tmp_path / "refcoco" / "refs(unc).p").read_bytes())
    with pytest.raises(ValueError, match=r"train.*val.*test.*testA"):
        load("refcoco/google")


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("refcoco2", {}, "refcocog/umd"),
        ("refcoco/umd", {}, "refcocog/umd"),
        ("refcoco", {"split_by": "umd"}, "refcocog/umd"),
        ("refcoco", {"view": "pixels"}, "sentence"),
        ("refcoco", {"on_missing_image": "ignore"}, "skip"),
    ],
)
def test_wrong_arguments_are_named_with_the_legal_ones(tmp_path, name, options, words):
    with pytest.raises(ValueError, match=words):
        load_refcoco(name, refer_dir=tmp_path, **options)


def test_a_missing_folder_says_how_to_get_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="pbrec-hf data refcoco"):
        load_refcoco("refcoco", refer_dir=tmp_path)


def foreign_folder(root, name="robots", key="refcoco/unc", split_by="lab-2"):
    """A folder that no published data set has, whose references are in the splits "seen" and "unseen"."""
    write_refer_folder(root / "source", key)
    (root / "source" / CONFIGS[key]["folder"]).rename(root / name)
    (file,) = (root / name).glob("*refs(*")
    read = load_plain_pickle(file) if file.suffix == ".p" else json.loads(file.read_text())
    for reference in read:
        reference["split"] = "seen" if reference["split"] == "train" else "unseen"
    file.unlink()
    if file.suffix == ".p":
        (root / name / f"refs({split_by}).p").write_bytes(pickled(read))
    else:
        (root / name / f"grefs({split_by}).json").write_text(json.dumps(read))
    return root / name, root / "source" / "images"


@pytest.mark.parametrize("key", ["refcoco/unc", "grefcoco/unc", "referit/berkeley"])
@pytest.mark.parametrize("view", ["sentence", "image"])
def test_a_folder_of_no_published_data_set_is_read_without_counts(tmp_path, caplog, key, view):
    folder, image_dir = foreign_folder(tmp_path, key=key)
    options = {"image_dir": image_dir, "view": view, "cache_dir": tmp_path / "cache"}
    with caplog.at_level("INFO", logger="pbrec_hf"):
        splits = load_refcoco("robots", refer_dir=tmp_path, **options)
    assert "robots/lab-2 is no published data set: its counts are not checked" in caplog.text
    assert list(splits) == ["seen", "unseen"]
    assert splits["seen"].features == features(view, generalized=key.startswith("grefcoco"))
    assert "counts were not checked" in splits["seen"].info.description
    for name, where in (("robots/lab-2", tmp_path), ("anything", folder)):
        again = load_refcoco(name, refer_dir=where, streaming=True, **options)
        assert rows_of(again["unseen"]) == rows_of(splits["unseen"])


def test_a_foreign_folder_with_several_splits_asks_which(tmp_path):
    folder, _ = foreign_folder(tmp_path)
    shutil.copy(folder / "refs(lab-2).p", folder / "refs(lab-3).p")
    with pytest.raises(ValueError, match=r"split by lab-2, lab-3: give one of them as split_by"):
        load_refcoco("robots", refer_dir=tmp_path)
    assert load_refcoco("robots", "lab-3", refer_dir=tmp_path, streaming=True).keys() == {"seen", "unseen"}
    with pytest.raises(ValueError, match=r"'robots/umd' is not a known data set.*instances\.json"):
        load_refcoco("robots", "umd", refer_dir=tmp_path)


def test_a_misspelt_name_does_not_skip_the_counts(tmp_path):
    write_refer_folder(tmp_path, "refcoco/unc")
    with pytest.raises(ValueError, match=r"'refcocoo' is not known, but .*refcoco holds refcoco/unc: give that name"):
        load_refcoco("refcocoo", refer_dir=tmp_path / "refcoco")


@pytest.mark.parametrize("split", ["val seen", "../x", "a-b"])
def test_a_split_whose_name_no_data_set_can_have_is_told(tmp_path, split):
    folder, _ = foreign_folder(tmp_path)
    references = load_plain_pickle(folder / "refs(lab-2).p")
    references[0]["split"] = split
    (folder / "refs(lab-2).p").write_bytes(pickled(references))
    with pytest.raises(ValueError, match=re.escape(f"split={split!r}")):
        load_refcoco("robots", refer_dir=tmp_path, streaming=True)


def test_only_what_was_checked_is_called_checked(load):
    assert "No counts are published" in load("grefcoco/unc", check_counts=True)["train"].info.description
    assert "counts were not checked" in load("refcoco/unc", check_counts=False)["train"].info.description


def test_text_ids_of_images_are_joined(load):
    load()
    folder = load.refer_dir / "refcoco"
    references, instances = (
        load_plain_pickle(folder / "refs(unc).p"),
        json.loads((folder / "instances.json").read_text()),
    )
    for record in references + instances["annotations"]:
        record["image_id"] = f"im-{record['image_id']}"
    for record in instances["images"]:
        record["id"] = f"im-{record['id']}"
    (folder / "refs(unc).p").write_bytes(pickled(references))
    (folder / "instances.json").write_text(json.dumps(instances))
    assert all(name.startswith("im-") for name in load()["train"]["image_id"])


def test_a_cache_with_other_columns_is_written_anew(load, monkeypatch):
    """As after an update of the package that adds a column."""
    assert "segmentations" in load("grefcoco/unc")["train"].features

    def without_masks(view, generalized=False):
        columns = features(view, generalized)
        return datasets.Features({name: kind for name, kind in columns.items() if name != "segmentations"})

    monkeypatch.setattr(refcoco, "features", without_masks)
    assert "segmentations" not in load("grefcoco/unc")["train"].features
    monkeypatch.undo()
    assert "segmentations" in load("grefcoco/unc")["train"].features
