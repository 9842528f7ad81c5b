"""A calibration fitted to predictions: what its maps and its threshold are, and what they do to other predictions."""

import copy
from itertools import pairwise

import datasets
import numpy as np
import pytest
import torch
from checkpoints import tiny_box_detector, tiny_model, tiny_processor
from generalized_rows import random_predictions, random_rows, rows_of
from training_data import write_data

from pbrec_hf import PbrecProcessor
from pbrec_hf.data.referents import referent_columns
from pbrec_hf.data.schema import features, without_decoding
from pbrec_hf.metrics.overlap import matched_boxes
from pbrec_hf.selection.calibration import Calibration
from pbrec_hf.training.build import load_rows
from pbrec_hf.training.calibration import calibrated, fit_calibration, fit_exists_threshold, fit_threshold
from pbrec_hf.training.evaluation import EVERYTHING, Way, predict, predict_in_ways
from pbrec_hf.training.predictions import answered
from pbrec_hf.training.score_maps import fit_score_map
from pbrec_hf.training.scores import score


def both_ways(rows, seed):
    """The only answers, and all of them: here the first of several."""
    every = random_predictions(rows, seed)
    lists = ("boxes", "masks", "scores", "raw_scores")
    return [entry | {name: entry[name][:1] for name in lists} for entry in every], every


@pytest.fixture(scope="module")
def held_out():
    rows = random_rows(5, pictures=600, masks=False)
    return (*both_ways(rows, 6), rows)


@pytest.fixture(scope="module")
def fitted(held_out):
    return fit_calibration(*held_out, "made up")


def test_scores_become_true_on_other_predictions(fitted):
    rows = random_rows(7, pictures=400, masks=False)
    before = both_ways(rows, 8)
    after = calibrated(*before, fitted)
    # Of true scores, 100 answers in each of ten bins leave an error of about 0.04 by chance.
    assert score(before[0], rows)["ece"] > 0.1
    assert max(score(found, rows)["ece"] for found in after) < 0.08
    single, several = (score(found, rows) for found in after)
    assert single["f1_precision"] == score(before[0], rows)["f1_precision"]
    assert several["f1_precision"] > score(before[1], rows)["f1_precision"]


def test_the_maps_are_fitted_to_the_answers_and_to_the_expressions(held_out, fitted):
    one, _, rows = held_out
    assert fitted.answers == sum(len(entry["boxes"]) for entry in one)
    present = [bool(s["boxes"]) for picture in rows for s in picture["expressions"]]
    best = [(e["raw_scores"][0], there) for e, there in zip(one, present, strict=True) if e["raw_scores"]]
    assert fitted.exists == fit_score_map(*zip(*best, strict=True))
    assert fitted.fitted_on == f"made up (1800 expressions, {present.count(False)} absent)"
    assert Calibration.of(fitted.to_dict()) == fitted


def rates(predictions, rows, probability, threshold):
    """N-acc (None without absent ones), T-acc and the precision at F1 = 1 of what reaches a threshold."""
    rejected, kept, solved = [], [], []
    for entry in answered(predictions, rows):
        sure = probability(torch.tensor(entry.prediction["raw_scores"])).tolist()
        boxes = [box for box, value in zip(entry.prediction["boxes"], sure, strict=True) if value >= threshold]
        (kept if entry.referents else rejected).append(bool(boxes) == bool(entry.referents))
        referents = [referent.box for referent in entry.referents]
        solved.append(len(boxes) == len(referents) and all(matched_boxes(boxes, referents)))
    return np.mean(rejected) if rejected else None, np.mean(kept), np.mean(solved)


PROBABILITY = fit_score_map([0.0, 0.3, 0.6, 1.0] * 10, [False, False, True, True] * 10)


@pytest.mark.parametrize("seed", range(3))
def test_the_threshold_of_answers_is_the_best_of_all(seed):
    rows = random_rows(seed, pictures=12, masks=False)
    every = random_predictions(rows, seed + 10)
    found = [place % 7 != seed for place in range(len(every))]
    threshold = fit_threshold(answered(every, rows), PROBABILITY, found)
    probability, empty = PROBABILITY, {name: [] for name in ("boxes", "masks", "scores", "raw_scores")}
    every = [entry if there else entry | empty for entry, there in zip(every, found, strict=True)]
    raw = torch.tensor([value for entry in every for value in entry["raw_scores"]])
    levels = sorted({0.0, 1.0, *probability(raw).tolist()})
    tried = [rates(every, rows, probability, (a + b) / 2) for a, b in pairwise(levels)]
    lower = [min(n, t) for n, t, _ in tried]
    n, t, f1 = rates(every, rows, probability, threshold)
    assert min(n, t) >= max(lower) - 0.01
    assert f1 == max(f for low, (_, _, f) in zip(lower, tried, strict=True) if low >= max(lower) - 0.01)


@pytest.mark.parametrize("seed", range(3))
def test_the_threshold_of_existence_is_the_best_of_all(seed):
    rows = random_rows(seed, pictures=12, masks=False)
    one, _ = both_ways(rows, seed + 10)
    threshold = fit_exists_threshold(answered(one, rows), PROBABILITY)
    levels = [level / 200 for level in range(200)]
    tried = [min(rates(one, rows, PROBABILITY, level)[:2]) for level in levels]
    assert min(rates(one, rows, PROBABILITY, threshold)[:2]) >= max(tried)


def test_where_scores_tell_nothing_everything_is_answered():
    rows = rows_of([[[], [[0.0, 0.0, 9.0, 9.0]]]] * 20)
    same = {"boxes": [[0.0, 0.0, 9.0, 9.0]], "masks": None, "scores": [0.3], "raw_scores": [0.3], "exists": None}
    found = [{"row": row, "index": i, "expression": f"thing {row} {i}"} | same for row in range(20) for i in (0, 1)]
    fitted = fit_calibration(found, found, rows, "alike")
    assert fitted.exists(torch.tensor(0.3)).item() == pytest.approx(0.5, abs=1e-5) and fitted.exists_threshold < 0.4
    assert all(entry["boxes"] for entry in calibrated(found, found, fitted)[1])


def test_without_absent_expressions_the_rest_is_calibrated(caplog):
    rng = np.random.default_rng(0)
    corners = rng.integers(0, 20, (200, 2)).tolist()
    rows = rows_of([[[[x, y, x + 10.0, y + 10.0]]] for x, y in corners])
    one, every = both_ways(rows, 1)
    found = fit_calibration(one, every, rows, "all there")
    assert found.exists == found.one and found.exists_threshold == 0 and "none absent" in found.fitted_on
    n, t, f1 = rates(every, rows, found.any, found.threshold)
    assert n is None and t > 0.5
    assert f1 >= max(rates(every, rows, found.any, level / 20)[2] for level in range(20)) - 1e-9


def test_without_any_answer_there_is_nothing_to_fit():
    rows = rows_of([[[[0.0, 0.0, 9.0, 9.0]]]])
    none = [{"row": 0, "index": 0, "expression": "thing 0 0", "boxes": [], "masks": [], "scores": [],
             "raw_scores": [], "exists": None}]  # fmt: skip
    with pytest.raises(ValueError, match="No expression of nothing has an answer"):
        fit_calibration(none, none, rows, "nothing")


def test_what_does_not_reach_the_threshold_falls_away(held_out, fitted):
    one, every, _ = held_out
    singles, sets = calibrated(one, every, fitted)
    for single, before, several, all_of_it in zip(singles, one, sets, every, strict=True):
        assert single["boxes"] == before["boxes"] and single["raw_scores"] == before["raw_scores"]
        assert single["exists"] == several["exists"] is not None
        assert len(several["boxes"]) == len(several["masks"]) == len(several["scores"])
        assert all(value >= fitted.threshold for value in several["scores"])
        assert not several["boxes"] or several["exists"] >= fitted.exists_threshold > 0
        assert several["boxes"] == all_of_it["boxes"][: len(several["boxes"])]
    assert 0 < sum(len(e["boxes"]) for e in sets) < sum(len(e["boxes"]) for e in every)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A checkpoint's processor and the rows of 60 pictures whose referents are among the best proposals, or none."""
    folder = tmp_path_factory.mktemp("tiny")
    plain = load_rows(str(write_data(folder, pictures=60, expressions=3)))
    processor = tiny_processor(box_detector=tiny_box_detector())
    every = predict(tiny_model(), processor, plain, way=Way("any", 0.0), oracles=False)
    rng = np.random.default_rng(0)
    pictures = [dict(picture) for picture in plain]
    for entry in every:
        sentence = pictures[entry["row"]]["expressions"][entry["index"]]
        meant = [box for place, box in enumerate(entry["boxes"]) if rng.random() < 0.6 / (1 + place)]
        sentence |= {"ann_ids": []} | referent_columns(meant, [None] * len(meant), 56, 64)
    shape = features("image", generalized=True)
    return processor, without_decoding(datasets.Dataset.from_list(pictures, features=shape))


def test_the_scores_of_a_calibrated_checkpoint_are_true_on_held_out_rows(tiny, tmp_path):
    processor, rows = tiny
    model, fit_on, held_out = tiny_model(), rows.select(range(40)), rows.select(range(40, 60))
    calibration = fit_calibration(*predict_in_ways(model, processor, fit_on, EVERYTHING), fit_on, "generated rows")
    raw = predict_in_ways(model, processor, held_out, EVERYTHING)
    copy.deepcopy(processor).save_pretrained(tmp_path / "raw")
    true = PbrecProcessor.from_pretrained(tmp_path / "raw")
    true.calibration = calibration
    true.save_pretrained(tmp_path / "true")
    true = PbrecProcessor.from_pretrained(tmp_path / "true")
    assert true.calibration == calibration
    *found, every = predict_in_ways(model, true, held_out, (Way("one"), Way("any"), Way("any", 0.0)))
    expected = calibrated(*raw, calibration)
    for one, other in zip(found, expected, strict=True):
        for entry, known in zip(one, other, strict=True):
            assert entry["boxes"] == known["boxes"]
            for name in ("scores", "raw_scores", "exists"):
                assert entry[name] == pytest.approx(known[name], abs=1e-6)
    before, after = ([score(part, held_out)["ece"] for part in parts] for parts in (raw, (found[0], every)))
    assert after[0] < before[0] / 2 and after[1] < before[1] / 2, (before, after)
    assert score(found[1], held_out)["f1_precision"] > score(raw[1], held_out)["f1_precision"]
