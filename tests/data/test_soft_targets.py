"""Soft targets as columns: the collator's own, in either view, stored or streamed."""

import datasets
import pytest
import torch
from checkpoints import tiny_processor
from PIL import Image

from pbrec_hf import PbrecCollator, PbrecConfig, PbrecImageProcessor, with_soft_targets
from pbrec_hf.data.referents import referent_columns
from pbrec_hf.data.schema import EXPRESSION_COLUMNS, GENERALIZED_COLUMNS, features
from pbrec_hf.small.backbone import GroundingBackboneConfig

HEIGHT, WIDTH = 90, 120
CONFIG = PbrecConfig(image_size=128, stride=16)


def sentence(number):
    x, y, right, bottom = 5 + 9 * number, 4 + 7 * number, 40 + 9 * number, 30 + 8 * number
    polygon = [x, y, right, y, right, bottom, x, bottom - 0.0]
    segmentation = {"polygons": [polygon], "counts": None, "size": None}
    row = dict.fromkeys(EXPRESSION_COLUMNS)
    return {**row, "expression": "left dog", "bbox": [x, y, right, bottom], "segmentation": segmentation}


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    path = tmp_path_factory.mktemp("pictures") / "a.png"
    Image.new("RGB", (WIDTH, HEIGHT)).save(path)
    picture = {"image": str(path), "image_id": "a", "height": HEIGHT, "width": WIDTH}
    sentences = [sentence(number) for number in range(3)]
    return {
        "sentence": datasets.Dataset.from_list([{**picture, **said} for said in sentences], features=features()),
        "image": datasets.Dataset.from_list([{**picture, "expressions": sentences}], features=features("image")),
    }


@pytest.fixture(scope="module")
def collated(rows):
    processor = PbrecImageProcessor(size={"longest_edge": 128})
    return PbrecCollator.for_model(CONFIG, processor, tiny_processor().tokenizer)(list(rows["sentence"]))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("view", ["sentence", "image"])
def test_columns_are_what_the_collator_trains_on(rows, collated, view, stream):
    source = rows[view].to_iterable_dataset() if stream else rows[view]
    found = list(with_soft_targets(source, CONFIG))
    entries = found if view == "sentence" else found[0]["expressions"]
    assert len(entries) == 3 and found[0]["image"].size == (WIDTH, HEIGHT)
    for name in ("centerness_labels", "massness_labels"):
        labels = torch.tensor([entry[name] for entry in entries])
        assert labels.shape == (3, 64) and torch.equal(labels, collated[name]) and labels.any(dim=1).all()
    assert [entry["repaired"] for entry in entries] == collated["repaired"].tolist()


def test_splits_keep_their_names(rows):
    splits = with_soft_targets(datasets.DatasetDict(train=rows["sentence"], val=rows["sentence"]), CONFIG)
    assert {name: len(split[0]["centerness_labels"]) for name, split in splits.items()} == {"train": 64, "val": 64}


def test_an_expression_without_a_referent_has_nothing_anywhere(rows):
    absent = {**rows["sentence"][0], "bbox": None, "segmentation": None}
    (row,) = with_soft_targets(datasets.Dataset.from_list([absent], features=features()), CONFIG)
    assert row["centerness_labels"] == row["massness_labels"] == [0.0] * 64 and row["repaired"] == 0


@pytest.mark.parametrize("view", ["sentence", "image"])
def test_several_referents_or_none_in_one_picture(rows, view):
    """Center-ness is the maximum, mass-ness the sum; repairs count for each referent."""
    speck = [51.0, 20.0, 52.0, 21.0]  # holds no point, and its mask no pixel's centre of a cell
    polygon = {"polygons": [[51.0, 20, 52, 20, 52, 21]], "counts": None, "size": None}
    singles = [rows["sentence"][number] for number in range(3)]
    boxes, segmentations = [row["bbox"] for row in singles], [row["segmentation"] for row in singles]
    meant = [([0, 1, 2], []), ([], []), ([1], []), ([0], [speck])]
    sentences = []
    for chosen, more in meant:
        columns = referent_columns(
            [boxes[i] for i in chosen] + more,
            [segmentations[i] for i in chosen] + [polygon] * len(more),
            HEIGHT,
            WIDTH,
        )
        nothing = dict.fromkeys([*EXPRESSION_COLUMNS, *GENERALIZED_COLUMNS])
        sentences.append(nothing | {"expression": "left dogs"} | columns)
    picture = {name: rows["image"].with_format(None)[0][name] for name in ("image", "image_id", "height", "width")}
    listed = [picture | said for said in sentences] if view == "sentence" else [picture | {"expressions": sentences}]
    data = datasets.Dataset.from_list(listed, features=features(view, generalized=True))
    found = list(with_soft_targets(data, CONFIG))
    found = found if view == "sentence" else found[0]["expressions"]

    alone = list(with_soft_targets(rows["sentence"], CONFIG))
    center, mass = (torch.tensor([row[name] for row in alone]) for name in ("centerness_labels", "massness_labels"))
    assert found[0]["centerness_labels"] == center.amax(dim=0).tolist()
    torch.testing.assert_close(torch.tensor(found[0]["massness_labels"]), mass.sum(dim=0).clamp(max=1))
    assert (mass.sum(dim=0) > 1).any()  # the sum is cut
    assert not any(found[1]["centerness_labels"]) and not any(found[1]["massness_labels"])
    assert (found[2]["centerness_labels"], found[2]["massness_labels"]) == (center[1].tolist(), mass[1].tolist())
    assert [row["repaired"] for row in found] == [0, 0, 0, 1]
    added = torch.tensor(found[3]["centerness_labels"]) != center[0]
    assert added.sum() == 1 and torch.tensor(found[3]["centerness_labels"])[added] == 1


@pytest.mark.parametrize("tasks", [["grounding", "segmentation"], ["segmentation"]])
def test_each_head_has_its_own_style(rows, tasks):
    styles = {"grounding": "released_code", "segmentation": "hard"}
    config = PbrecConfig(image_size=128, stride=16, tasks=tasks, soft_targets=styles)
    found = list(with_soft_targets(rows["sentence"], config))
    for task, name in (("grounding", "centerness_labels"), ("segmentation", "massness_labels")):
        if task in tasks:
            alone = PbrecConfig(image_size=128, stride=16, tasks=[task], soft_targets=styles[task])
            assert [row[name] for row in found] == [row[name] for row in with_soft_targets(rows["sentence"], alone)]
        else:
            assert name not in found[0]
    assert {value for row in found for value in row["massness_labels"]} == {0.0, 1.0}


def test_a_missing_mask_is_told_by_its_row(rows):
    bare = {**rows["sentence"][0], "segmentation": None}
    data = datasets.Dataset.from_list([bare], features=features())
    with pytest.raises(ValueError, match=r"'left dog' \(image 'a'\) has no segmentation"):
        with_soft_targets(data, CONFIG)[0]
    (row,) = with_soft_targets(data, PbrecConfig(image_size=128, stride=16, tasks=["grounding"]))
    assert "massness_labels" not in row and max(row["centerness_labels"]) > 0


def test_a_model_that_chooses_its_points_makes_its_targets_itself(rows):
    config = PbrecConfig(backbone_config=GroundingBackboneConfig(places=2))
    with pytest.raises(ValueError, match=r"pass `boxes` .* to its forward"):
        with_soft_targets(rows["sentence"], config)
