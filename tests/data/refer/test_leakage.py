"""Training rows whose images are held out elsewhere in the family."""

import datasets
import pytest
from refer_folders import write_refer_folder

from pbrec_hf.data.refer.leakage import (
    held_out_images,
    leaking_rows,
    load_mixture,
    training_images,
    without_leaks,
)
from pbrec_hf.data.refer.refcoco import load_refcoco
from pbrec_hf.training.build import training_rows, validation_rows
from pbrec_hf.training.config import TrainingConfig

datasets.disable_progress_bars()
FAMILY = ["refcoco/unc", "refcocog/umd"]


@pytest.fixture
def refer_dir(tmp_path):
    for key in [*FAMILY, "referit/berkeley"]:
        write_refer_folder(tmp_path, key)
    return tmp_path


def load(refer_dir, key):
    return load_refcoco(key, refer_dir=refer_dir, check_counts=False, cache_dir=refer_dir / "cache")


def test_every_evaluation_split_holds_its_images_out(refer_dir):
    held_out = held_out_images(refer_dir, FAMILY)
    for key in FAMILY:
        for split, rows in load(refer_dir, key).items():
            for image_id in rows["image_id"]:
                assert (f"{key} {split}" in held_out.get(image_id, [])) == (split != "train")


def test_leaks_are_listed_and_dropped(refer_dir):
    held_out = held_out_images(refer_dir, FAMILY)
    train = load(refer_dir, "refcoco/unc")["train"]
    leaks = leaking_rows(train, held_out)
    expected = [index for index, image_id in enumerate(train["image_id"]) if image_id in held_out]
    assert 0 < len(expected) < len(train)
    assert list(leaks) == expected
    assert all(name.startswith("refcocog/umd") for names in leaks.values() for name in names)
    clean = without_leaks(train, held_out)
    assert len(clean) == len(train) - len(leaks)
    assert held_out.keys().isdisjoint(clean["image_id"])
    assert leaking_rows(clean, held_out) == {}


def test_one_data_set_alone_leaks_nothing(refer_dir):
    train = load(refer_dir, "refcoco/unc")["train"]
    assert without_leaks(train, held_out_images(refer_dir, ["refcoco/unc"])) is train


def test_ids_of_different_photographs_are_not_compared(refer_dir):
    with pytest.raises(ValueError, match="different images"):
        held_out_images(refer_dir, ["refcoco/unc", "referit/berkeley"])


def test_a_list_that_would_claim_too_little_is_refused(refer_dir):
    with pytest.raises(FileNotFoundError, match=r"refcoco\+"):
        held_out_images(refer_dir)


def test_a_mixture_holds_no_image_that_any_of_its_parts_holds_out(refer_dir):
    mixture = load_mixture(FAMILY, refer_dir, check_counts=False, cache_dir=refer_dir / "cache")
    held_out = held_out_images(refer_dir, FAMILY)
    assert held_out.keys().isdisjoint(mixture["image_id"])
    clean = [without_leaks(load(refer_dir, key)["train"], held_out) for key in FAMILY]
    assert len(mixture) == sum(map(len, clean)) and all(map(len, clean))


def test_the_images_of_training_are_those_of_its_rows(refer_dir):
    for key in FAMILY:
        assert training_images([key], refer_dir) == set(load(refer_dir, key)["train"]["image_id"])
    mixture = load_mixture(FAMILY, refer_dir, check_counts=False, cache_dir=refer_dir / "cache")
    assert training_images(FAMILY, refer_dir) == set(mixture["image_id"])
    assert training_images([], refer_dir) == set()


def test_expressions_of_different_kinds_are_not_mixed(refer_dir):
    write_refer_folder(refer_dir, "grefcoco/unc")
    with pytest.raises(ValueError, match="grefcoco/unc and refcoco/unc cannot be mixed"):
        load_mixture(["refcoco/unc", "grefcoco/unc"], refer_dir, check_counts=False, cache_dir=refer_dir / "cache")


@pytest.mark.parametrize("names", [FAMILY, ["refcoco", "refcocog/umd"]])
def test_training_on_several_data_sets_mixes_them_without_leaks(refer_dir, names):
    """`split_by` of a published recipe does not hinder names that say their own."""
    config = TrainingConfig(
        init="anything",
        dataset=",".join(names),
        split_by="unc",
        refer_dir=str(refer_dir),
        output_dir="runs",
        check_counts=False,
    )
    rows = training_rows(config)
    assert len(rows) and held_out_images(refer_dir, FAMILY).keys().isdisjoint(rows["image_id"])
    assert len(validation_rows(config))
