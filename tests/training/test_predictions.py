"""Files of predictions: written, read back, also those of 0.1.0, and joined with their expressions."""

import json

import pytest
from generalized_rows import random_predictions, random_rows

from pbrec_hf.training.predictions import answered, read_predictions, write_predictions


@pytest.fixture(scope="module")
def several():
    rows = random_rows(3, pictures=4)
    return random_predictions(rows, 4), rows


def test_a_file_holds_what_was_written(several, tmp_path):
    predictions, _ = several
    digest = write_predictions(tmp_path / "p.jsonl", predictions)
    assert read_predictions(tmp_path / "p.jsonl") == predictions
    assert write_predictions(tmp_path / "q.jsonl", predictions) == digest


@pytest.mark.parametrize(
    ("old", "lists"),
    [
        ({"box": [1, 2, 3, 4], "mask": {"size": [5, 5], "counts": "x"}, "score": 0.5}, (1, 1, [0.5])),
        ({"box": [1, 2, 3, 4], "mask": None, "score": 0.5}, (1, None, [0.5])),
        ({"box": None, "mask": None, "score": None}, (0, 0, [])),
    ],
)
def test_a_file_of_one_box_per_expression_is_read(old, lists, tmp_path):
    row = {"row": 0, "index": 1, "expression": "dog", "box_oracle": 0.7, "mask_oracle": None, "point_hit": True}
    (tmp_path / "p.jsonl").write_text(json.dumps(row | old) + "\n")
    (found,) = read_predictions(tmp_path / "p.jsonl")
    boxes, masks, scores = lists
    assert len(found["boxes"]) == boxes and found["scores"] == found["raw_scores"] == scores
    assert found["masks"] is None if masks is None else len(found["masks"]) == masks
    assert found["box_oracles"] == [0.7] and found["mask_oracles"] is None and found["point_hit"] is True
    assert found["exists"] is None and not {"box", "mask", "score", "box_oracle"} & found.keys()


@pytest.mark.parametrize("change", [{"scores": [0.5] * 9}, {"boxes": None}, {"row": "first"}, {"masks": [None] * 9}])
def test_a_damaged_line_is_named(several, change, tmp_path):
    predictions, _ = several
    write_predictions(tmp_path / "p.jsonl", [predictions[0], predictions[1] | change])
    with pytest.raises(ValueError, match="line 2 is not a prediction"):
        read_predictions(tmp_path / "p.jsonl")


def test_every_expression_is_joined_with_its_answers(several):
    predictions, rows = several
    joined = answered(predictions[::-1], rows)
    assert [entry.prediction for entry in joined] == predictions
    for entry in joined:
        picture = rows[entry.prediction["row"]]
        assert entry.size == (picture["height"], picture["width"])
        assert entry.sentence == picture["expressions"][entry.prediction["index"]]
        assert [list(one.box) for one in entry.referents] == entry.sentence["boxes"]
