"""Evaluation sets on the Hub become rows of the image view: over real HTTP, with the real client libraries."""

from concurrent.futures import ThreadPoolExecutor

import datasets
import numpy as np
import pytest
from hub_tables import (
    HEIGHT,
    PICTURES,
    REFERENTS,
    REFERENTS_CARD,
    WIDTH,
    colour,
    mask_of,
    parquet,
    picture,
    picture_rows,
    publish,
    referent_row,
    referent_rows,
    rows_read,
    sample,
)
from huggingface_hub import constants

from pbrec_hf import load_hub_set
from pbrec_hf.data.hub_sets import loading, names
from pbrec_hf.data.hub_sets.names import HubSet
from pbrec_hf.data.hub_sets.schemas import column_names, recognised
from pbrec_hf.data.hub_sets.stream import splits_of
from pbrec_hf.data.schema import features
from pbrec_hf.images.segmentation import rasterise


@pytest.fixture
def load(hub, tmp_path):
    """Loads with a cache of the test."""
    return lambda name, split="val", **options: load_hub_set(name, split, cache_dir=tmp_path / "cache", **options)


def referents(rows):
    """What the rows say of each referent, by its annotation's number."""
    found = {}
    for row in rows:
        for sentence in row["expressions"]:
            entry = found.setdefault(sentence["ann_id"], {"image_id": row["image_id"], "sentences": [], **sentence})
            entry["sentences"].append(sentence["expression"])
    return found


def test_a_row_per_referent_becomes_a_row_per_picture(load, hub):
    commit = publish(hub, "me/set", {"val": parquet(referent_rows(), REFERENTS)}, REFERENTS_CARD)
    rows = load("hub:me/set")
    assert rows.features == features("image")
    assert rows["image_id"] == ["581857", "98304", "7"]
    assert [len(row["expressions"]) for row in rows] == [5, 2, 1]
    assert [row["image"].getpixel((0, 0)) for row in rows] == [colour(n) for n in (581857, 98304, 7)]
    assert {(row["width"], row["height"]) for row in rows} == {(WIDTH, HEIGHT)}
    found = referents(rows)
    for row in referent_rows():
        x, y, width, height = row["bbox"]
        entry = found[int(row["question_id"])]
        assert entry["bbox"] == [x, y, x + width, y + height]
        assert entry["sentences"] == [text.strip() for text in row["answer"]]
        assert entry["segmentation"]["polygons"] == [row["segmentation"]]
        assert entry["area"] == rasterise([row["segmentation"]], HEIGHT, WIDTH).sum()
        assert int(entry["image_id"]) == int(row["file_name"].split("_")[2])
    sentences = [sentence for row in rows for sentence in row["expressions"]]
    assert {sentence["sent_id"] for sentence in sentences} == set(range(8))
    assert {sentence["ref_id"] for sentence in sentences} == set(range(5))
    assert rows.info.description.startswith(f"me/set@{commit} val: 5 rows, 5 referents, 8 expressions.")
    assert rows.info.homepage == f"{hub.url}/datasets/me/set/tree/{commit}"


@pytest.mark.parametrize("kind", ["string", "binary"])
def test_a_row_per_picture_keeps_its_masks(load, hub, kind):
    columns = PICTURES.copy()
    columns["samples"] = datasets.List(
        columns["samples"].feature
        | {"mask": {"counts": datasets.Value(kind), "size": datasets.List(datasets.Value("int32"))}}
    )
    published = picture_rows()
    if kind == "binary":
        for row in published:
            for entry in row["samples"]:
                entry["mask"] = entry["mask"] | {"counts": entry["mask"]["counts"].encode()}
    publish(hub, "me/pictures", {"validation": parquet(published, columns)}, columns._to_yaml_list())
    rows = load("me/pictures", "validation")
    assert rows["image_id"] == ["21", "22"]  # the picture without a referent says nothing
    found = referents(rows)
    for row in published:
        for entry in row["samples"]:
            x, y, width, height = entry["bbox"]
            one = found[entry["id"]]
            assert one["bbox"] == [x, y, x + width, y + height] and one["category"] == "dog"
            assert one["sentences"] == entry["sentences"]
            assert np.array_equal(rasterise(one["segmentation"], HEIGHT, WIDTH).numpy(), mask_of(entry["bbox"]))
            assert one["area"] == mask_of(entry["bbox"]).sum()
    assert "3 rows, 3 referents, 6 expressions" in rows.info.description


def test_only_what_is_read_is_downloaded(load, hub):
    rows = [referent_row(n, n, [1, 1, 9, 9], [f"thing {n}"]) for n in range(40)]
    shards = [parquet(rows[:20], REFERENTS), parquet(rows[20:], REFERENTS)]
    publish(hub, "me/set", {"train": parquet(rows, REFERENTS), "val": shards}, REFERENTS_CARD)
    part = load("me/set", first=4)
    assert part["image_id"] == ["0", "1", "2", "3"]
    assert rows_read(hub, "val-00000") == 1 and rows_read(hub, "val-00001") == 0
    assert part.info.description.startswith("the first 4 rows of me/set@") and "val: 4 rows" in part.info.description
    assert len(load("me/set")) == 40
    assert rows_read(hub, "val-00001") == 1 and rows_read(hub, "train") == 0


def test_a_commit_is_streamed_once_and_then_needs_no_network(load, hub, monkeypatch):
    commit = publish(hub, "me/set", {"val": parquet(referent_rows(), REFERENTS)})
    first = load(f"me/set@{commit}")
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)  # the key of the cache
    hub.log.clear()
    hub.fail("/", "error", times=100)
    assert list(load(f"me/set@{commit}")) == list(first) and not hub.log


def test_a_branch_follows_its_newest_commit_and_revisions_stay(load, hub):
    old = publish(hub, "me/set", {"val": parquet(referent_rows(), REFERENTS)})
    assert len(load("me/set")) == 3
    publish(hub, "me/set", {"val": parquet(referent_rows()[:1], REFERENTS)})
    assert len(load("me/set")) == len(load("me/set@main")) == 1
    assert len(load(f"me/set@{old}")) == 3


def test_without_a_network_there_is_a_clear_error(load, hub, monkeypatch, tmp_path):
    commit = publish(hub, "me/set", {"val": parquet(referent_rows(), REFERENTS)})
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    for name in ("me/set", f"me/set@{commit}"):
        with pytest.raises(ConnectionError, match=r"The Hub cannot be reached to fetch me/set .*: check the network"):
            load(name)
    monkeypatch.undo()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ConnectionError, match="The Hub cannot be reached to fetch me/set"):
        load("me/set")


def test_a_connection_that_breaks_off_leaves_nothing_half_done(load, hub, monkeypatch, tmp_path):
    def breaking(self):
        yield from ({**row, "image": dict(row["image"])} for row in referent_rows()[:2])
        raise ConnectionError("Server Disconnected")

    publish(hub, "me/set", {"val": parquet(referent_rows(), REFERENTS)})
    with monkeypatch.context() as patch:
        patch.setattr(datasets.IterableDataset, "__iter__", breaking)
        with pytest.raises(ConnectionError, match=r"broke off while me/set val was read \(Server Disconnected\)"):
            load("me/set")
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.suffix != ".lock" and path.is_file()]
    assert len(load("me/set")) == 3


def test_a_fault_of_the_hub_is_outlasted(load, hub):
    publish(hub, "me/set", {"val": parquet(referent_rows(), REFERENTS)})
    hub.fail("/data/val-", "error", times=1)
    assert len(load("me/set")) == 3


@pytest.mark.parametrize(
    ("name", "split", "told"),
    [
        ("me/none", "val", "me/none is no data set on the Hub, or it is not open to you"),
        ("me/set@v2", "val", "me/set has no revision 'v2': give a branch, a tag, or all 40 digits"),
        ("me/set", "test", "me/set cannot be read: .*test.*val"),
    ],
)
def test_what_is_not_there_is_told(load, hub, name, split, told):
    publish(hub, "me/set", {"val": parquet(referent_rows(), REFERENTS)})
    with pytest.raises((FileNotFoundError, ValueError), match=told):
        load(name, split)


def test_a_gated_set_asks_for_a_login(load, hub, monkeypatch):
    publish(hub, "me/set", {"val": parquet(referent_rows(), REFERENTS)})
    hub.repos["dataset", "me/set"].private = True
    monkeypatch.setenv("HF_TOKEN", "hf_of_a_stranger")
    with pytest.raises(FileNotFoundError, match=r"or it is not open to you: .*hf auth login"):
        load("me/set")


def test_other_columns_are_told_with_those_that_are_needed(load, hub):
    columns = datasets.Features(
        {"image": datasets.Image(), "answer": datasets.Value("string"), "bbox": datasets.List(datasets.Value("int64"))}
    )
    publish(hub, "me/set", {"val": parquet([{"image": picture(1), "answer": "dog", "bbox": [1, 2, 3, 4]}], columns)})
    with pytest.raises(ValueError, match="me/set is no evaluation set of a known form") as caught:
        load("me/set")
    told = str(caught.value)
    assert "its columns are image, answer, bbox[]; needed are image, question_id, answer[], " in told
    assert "samples[].mask.counts" in told


def test_damaged_files_are_told(load, hub):
    content = parquet(referent_rows(), REFERENTS)
    publish(hub, "me/set", {"val": content[:40] + bytes(200) + content[240:]})
    with pytest.raises(ValueError, match=r"me/set val(, row 1:| cannot be read:)"):
        load("me/set")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"bbox": [1, 2, 3]}, r"me/set val, row 6: bbox=\[1.0, 2.0, 3.0\]: give a list of 4 finite numbers"),
        ({"bbox": [1, 2, 0, 5]}, "row 6: bbox=.*: is empty; give x, y, width, height"),
        ({"bbox": [1, 2, float("nan"), 5]}, "row 6: bbox="),
        ({"segmentation": [1, 2, 3, 4, 5, 6, 7]}, "row 6: segmentation=.*7 coordinates"),
        ({"image": {"bytes": b"junk", "path": None}}, "row 6: .*is not a picture that Pillow can read"),
        ({"image": None}, "row 6: image: there is no picture in the row"),
        ({"answer": [None]}, "row 6: None is no expression"),
    ],
)
def test_a_wrong_row_is_told_with_its_number(load, hub, wrong, told):
    rows = [*referent_rows(), referent_row(8, 16, [1, 1, 9, 9], ["thing"]) | wrong]
    publish(hub, "me/set", {"val": parquet(rows, REFERENTS)})
    with pytest.raises(ValueError, match=told):
        load("me/set")


def test_a_mask_of_another_picture_is_told(load, hub):
    rows = picture_rows()
    rows[0]["image"] = picture(1, size=(32, 32))
    publish(hub, "me/pictures", {"validation": parquet(rows, PICTURES)})
    with pytest.raises(ValueError, match=r"validation, row 1: RLE size \[48, 64\] is not the picture's"):
        load("me/pictures", "validation")


def test_corners_in_place_of_sizes_are_told(load, hub):
    rows = [referent_row(n, n, [20 + n, 20, 20, 20], ["thing"]) for n in range(5)]
    for row in rows:  # the outlines stay where they are
        x, y, width, height = row["bbox"]
        row["bbox"] = [x, y, x + width, y + height]
    publish(hub, "me/set", {"val": parquet(rows, REFERENTS)})
    with pytest.raises(ValueError, match=r"All 5 boxes fit their masks as corners.* save the rows as a table"):
        load("me/set")
    publish(hub, "me/set", {"val": parquet([row | {"segmentation": []} for row in rows], REFERENTS)})
    with pytest.raises(
        ValueError, match=r"me/set val: 5 of 5 boxes leave their picture\. All 5 boxes fit .* as corners"
    ):
        load("me/set")


def test_what_is_odd_is_noted(load, hub):
    rows = [referent_row(n, n, [1, 1, 40, 40], ["thing"]) for n in range(200)]
    rows[0] |= {"answer": ["thing", " "], "segmentation": [1, 1, 12, 1, 12, 41, 1, 41]}
    rows[1] |= {"segmentation": []}
    rows[2] |= {"bbox": [1, 1, 64, 40], "segmentation": [1, 1, 65, 1, 65, 41, 1, 41]}
    publish(hub, "me/set", {"val": parquet(rows, REFERENTS, 100)})
    found = load("me/set")
    assert sum(len(row["expressions"]) for row in found) == 200
    for note in (
        "200 rows, 200 referents, 201 expressions.",
        "1 expressions without a visible character are left out.",
        "1 boxes leave their picture and count as they are.",
        "1 referents have no mask, so masks are not scored.",
        "1 outlines do not fill their boxes",
        "Its counts are not known, so none were checked.",
    ):
        assert note in found.info.description


def test_run_lengths_of_a_crowd_are_read(load, hub):
    mask = mask_of([4, 4, 20, 20])
    runs, value, last = [], 0, 0
    for position, pixel in enumerate(mask.T.ravel()):
        if pixel != value:
            runs.append(position - last)
            value, last = pixel, position
    runs.append(mask.size - last)
    rows = [*referent_rows(), referent_row(8, 16, [4, 4, 20, 20], ["crowd"], iscrowd=1, segmentation=runs)]
    publish(hub, "me/set", {"val": parquet(rows, REFERENTS)})
    entry = referents(load("me/set"))[16]
    assert np.array_equal(rasterise(entry["segmentation"], HEIGHT, WIDTH).numpy(), mask)


def test_a_picture_without_expressions_comes_with_its_first_one(load, hub):
    rows = [referent_row(8, 1, [1, 1, 9, 9], []), *referent_rows(), referent_row(8, 2, [1, 1, 9, 9], ["thing"])]
    publish(hub, "me/set", {"val": parquet(rows, REFERENTS)})
    assert load("me/set")["image_id"] == ["581857", "98304", "7", "8"]
    publish(hub, "me/empty", {"val": parquet(rows[:1], REFERENTS)})
    with pytest.raises(ValueError, match="me/empty val has no expressions"):
        load("me/empty")


def test_pictures_are_never_all_in_memory(load, hub, monkeypatch):
    """Each batch that is written is one of the file's."""
    monkeypatch.setattr(loading, "_BATCH_BYTES", 1)
    publish(hub, "me/set", {"val": parquet(referent_rows(), REFERENTS)})
    assert load("me/set").data.table.column("image").num_chunks == 3


# Known sets.


@pytest.fixture
def known(hub, monkeypatch):
    """A known set of the loopback Hub, and its commit."""
    commit = publish(hub, "me/known", {"val": parquet(referent_rows(), REFERENTS)})
    splits = {"val": {"rows": 5, "expressions": 8, "note": "Mind this."}}
    monkeypatch.setitem(names.KNOWN, "me/known", {"revision": commit, "splits": splits})
    publish(hub, "me/known", {"val": parquet(referent_rows()[:2], REFERENTS)})
    return commit


@pytest.mark.parametrize("name", ["hub:me/known", "me/Known", "me/known@{commit}"])
def test_a_known_set_is_pinned_and_counted(load, known, name):
    rows = load(name.format(commit=known))
    assert len(rows) == 3 and f"me/known@{known} val: 5 rows" in rows.info.description
    assert rows.info.description.endswith("Mind this.")


def test_other_counts_are_told_unless_a_part_is_wanted(load, known, monkeypatch):
    monkeypatch.setitem(names.KNOWN["me/known"]["splits"], "val", {"rows": 5, "expressions": 9})
    with pytest.raises(ValueError, match=r"me/known val has 8 expressions, known are 9: .*--no_check_counts"):
        load("me/known")
    rows = load("me/known", check_counts=False)
    assert len(rows) == 3 and "Its counts were not checked." in rows.info.description
    assert len(load("me/known", first=2)) == 2
    monkeypatch.setitem(names.KNOWN["me/known"]["splits"], "val", {"rows": 6})
    with pytest.raises(ValueError, match="val has 5 rows, known are 6"):
        load("me/known")


def test_another_revision_is_not_counted(load, known):
    rows = load("me/known@main")
    assert len(rows) == 2 and "Its counts are not known" in rows.info.description


def test_unknown_splits_of_known_sets_are_told_without_the_hub(load, known, hub):
    hub.log.clear()
    with pytest.raises(ValueError, match="me/known has no split 'test': give one of val"):
        load("me/known", "test")
    assert splits_of(HubSet.named("me/known")) == ["val"] and not hub.log


def test_splits_of_other_sets_are_asked_for(hub):
    content = parquet(referent_rows(), REFERENTS)
    publish(hub, "me/set", {"train": content, "testA": content})
    assert splits_of(HubSet.named("hub:me/set")) == ["train", "testA"]


def test_the_sets_that_are_known():
    for repo_id, entry in names.KNOWN.items():
        hub_set = HubSet.named(f"hub:{repo_id}")
        assert hub_set.commit == entry["revision"] and hub_set.splits == entry["splits"]
        for counts in entry["splits"].values():
            assert counts["rows"] > 0 and set(counts) <= {"rows", "referents", "expressions", "note"}
    refcoco = names.KNOWN["lmms-lab/RefCOCO"]["splits"]
    assert {split: entry["rows"] for split, entry in refcoco.items()} == {
        "val": 8811,
        "test": 5000,
        "testA": 1975,
        "testB": 1810,
    }
    cleaned = names.KNOWN["moondream/refcoco-m"]["splits"]["validation"]
    assert (cleaned["rows"], cleaned["referents"], cleaned["expressions"]) == (1190, 2080, 5598)


@pytest.mark.parametrize("name", ["hub:", "refcoco", "hub:a/b/c", "hub:a b/c", "me/set@"])
def test_what_is_no_name_is_told(name):
    with pytest.raises(ValueError, match="is no data set on the Hub: give hub:owner/name"):
        HubSet.named(name)


def test_a_part_has_rows(load):
    with pytest.raises(ValueError, match="first=0: give a number of rows of at least 1"):
        load("me/set", first=0)


def test_columns_have_names():
    assert column_names(PICTURES)[:3] == ["image", "image_id", "file_name"]
    assert "samples[].mask.size[]" in column_names(PICTURES)
    assert recognised(PICTURES).name == "a row per picture" and recognised(REFERENTS).name == "a row per referent"


def test_a_sample_without_a_mask_has_none(load, hub):
    rows = picture_rows()
    rows[1]["samples"] = [sample(22, 3, [10, 10, 16, 12], ["puppy"], mask=None)]
    publish(hub, "me/pictures", {"validation": parquet(rows, PICTURES)})
    found = load("me/pictures", "validation")
    assert referents(found)[3]["segmentation"] is None and "1 referents have no mask" in found.info.description


def test_of_several_loaders_one_streams_and_the_others_wait(load, hub):
    publish(hub, "me/set", {"val": parquet(referent_rows(), REFERENTS)}, REFERENTS_CARD)
    with ThreadPoolExecutor(3) as pool:
        loaded = list(pool.map(load, ["me/set"] * 3))
    assert [rows["image_id"] for rows in loaded] == [["581857", "98304", "7"]] * 3
    assert rows_read(hub, "val") == 1
