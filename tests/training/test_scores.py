"""Scores of predictions against plain Python, for one referent and for several or none."""

import numpy as np
import pytest
from generalized_rows import HEIGHT, WIDTH, filled, random_predictions, random_rows, rows_of

from pbrec_hf.images.segmentation import mask_to_rle
from pbrec_hf.metrics.overlap import matched_boxes
from pbrec_hf.metrics.reliability import expected_calibration_error, reliability_bins
from pbrec_hf.training.scores import measure, possible_scores, score


@pytest.fixture(scope="module")
def several():
    rows = random_rows(0)
    return random_predictions(rows, 1), rows


def sentences(rows):
    return [sentence for picture in rows for sentence in picture["expressions"]]


def plain_iou(a, b):
    width, height = (max(0.0, min(a[i + 2], b[i + 2]) - max(a[i], b[i])) for i in (0, 1))
    area = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)) - width * height
    return width * height / area


def union(boxes):
    return np.any([filled(box) for box in boxes], axis=0) if boxes else np.zeros((HEIGHT, WIDTH), bool)


def test_sets_of_boxes_and_masks_equal_counting_by_hand(several):
    predictions, rows = several
    found = score(predictions, rows)
    pairs = [(entry["boxes"], sentence["boxes"]) for entry, sentence in zip(predictions, sentences(rows), strict=True)]
    perfect, overlaps, shared, total = 0, [], 0, 0
    for boxes, referents in pairs:
        # With as many boxes as referents, F1 = 1 needs a one-to-one assignment; the greedy one, as in the GREC paper.
        order = sorted(
            ((plain_iou(p, r), i, j) for i, p in enumerate(boxes) for j, r in enumerate(referents)), reverse=True
        )
        used: tuple[set, set] = (set(), set())
        for overlap, i, j in order:
            if overlap >= 0.5 and i not in used[0] and j not in used[1]:
                used[0].add(i)
                used[1].add(j)
        perfect += len(used[0]) == len(boxes) == len(referents)
        one, other = union(boxes), union(referents)
        both, either = int((one & other).sum()), int((one | other).sum())
        shared, total = shared + both, total + either
        overlaps.append(both / either if either else 1.0)
    absent, present = [b for b, r in pairs if not r], [b for b, r in pairs if r]
    assert found["f1_precision"] == pytest.approx(perfect / len(pairs)) and 0.1 < found["f1_precision"] < 0.9
    assert found["giou"] == pytest.approx(np.mean(overlaps)) and found["ciou"] == pytest.approx(shared / total)
    assert found["n_acc"] == pytest.approx(np.mean([not boxes for boxes in absent]))
    assert found["t_acc"] == pytest.approx(np.mean([bool(boxes) for boxes in present]))
    assert found["count"] == 90


def test_the_reliability_is_of_all_answers_to_several_referents(several):
    predictions, rows = several
    found = measure(predictions, rows)
    scores, right = [], []
    for entry, sentence in zip(predictions, sentences(rows), strict=True):
        scores += entry["scores"]
        right += matched_boxes(entry["boxes"], sentence["boxes"]).tolist()
    assert found.bins == reliability_bins(scores, right)
    assert found.scores["ece"] == expected_calibration_error(found.bins) > 0.05
    assert found.scores["answers"] == len(scores) == sum(entry.count for entry in found.bins)
    pairs = [
        (a > b) + (a == b) / 2
        for a, x in zip(scores, right, strict=True)
        for b, y in zip(scores, right, strict=True)
        if x and not y
    ]
    assert found.scores["auroc"] == pytest.approx(np.mean(pairs))


def test_presence_is_told_by_its_probability_or_else_by_the_best_score(several):
    predictions, rows = several
    present = [bool(sentence["boxes"]) for sentence in sentences(rows)]
    sure = [entry | {"exists": 0.9 if there else 0.1} for entry, there in zip(predictions, present, strict=True)]
    assert score(sure, rows)["present_auroc"] == 1
    best = [max(entry["scores"], default=0) for entry in predictions]
    pairs = [
        (a > b) + (a == b) / 2
        for a, x in zip(best, present, strict=True)
        for b, y in zip(best, present, strict=True)
        if x and not y
    ]
    assert score(predictions, rows)["present_auroc"] == pytest.approx(np.mean(pairs))


def test_of_one_referent_the_best_scored_box_is_the_answer():
    boxes = [[[0.0, 0.0, 10.0, 10.0]], [[20.0, 4.0, 32.0, 16.0]], [[5.0, 5.0, 11.0, 15.0]]]
    rows = rows_of([boxes[:2], boxes[2:]], generalized=False)
    wrong = [40.0, 20.0, 50.0, 30.0]
    found = []
    for (row, index), answers in zip(
        [(0, 0), (0, 1), (1, 0)], [[boxes[0][0], wrong], [wrong, boxes[1][0]], []], strict=True
    ):
        scores = [0.9, 0.2][: len(answers)]
        masks = [mask_to_rle(filled(box)) for box in answers]
        found.append(
            {"row": row, "index": index, "expression": f"thing {row} {index}", "boxes": answers, "masks": masks,
             "scores": scores, "raw_scores": scores, "exists": None}
        )  # fmt: skip
    scores = score(found, rows)
    assert scores["accuracy@0.5"] == pytest.approx(1 / 3) and scores["overall_iou"] == pytest.approx(100 / 404)
    assert scores["answers"] == 2 and scores["auroc"] == 0.5 and scores["count"] == 3
    assert "present_auroc" not in scores and "f1_precision" not in scores


def test_oracles_are_of_every_referent(several):
    predictions, rows = several
    rng = np.random.default_rng(2)
    known = [
        entry | {name: rng.random(len(sentence["boxes"])).tolist() for name in ("box_oracles", "mask_oracles")}
        for entry, sentence in zip(predictions, sentences(rows), strict=True)
    ]
    found = score(known, rows)
    lists = {name: [entry[name] for entry in known if entry[name]] for name in ("box_oracles", "mask_oracles")}
    met = [[value > 0.5 for value in values] for values in lists["box_oracles"]]
    assert found["box_oracle@0.5"] == pytest.approx(np.mean([all(values) for values in met]))
    assert found["box_oracle_share@0.5"] == pytest.approx(np.mean([np.mean(values) for values in met]))
    assert found["mask_oracle"] == pytest.approx(np.mean([np.mean(values) for values in lists["mask_oracles"]]))
    assert found["box_oracle@0.5"] < found["box_oracle_share@0.5"]


def test_an_oracle_of_the_hull_says_nothing_of_several_referents(several):
    predictions, rows = several
    old = [entry | {"box_oracles": [1.0]} for entry in predictions]
    single = [sentence for sentence in sentences(rows) if len(sentence["boxes"]) == 1]
    assert 0 < len(single) < len(predictions) and score(old, rows)["box_oracle@0.5"] == 1
    without = rows_of([[[]], [[[0.0, 0.0, 9.0, 9.0], [10.0, 0.0, 19.0, 9.0]]]])
    found = score([p | {"box_oracles": [1.0]} for p in random_predictions(without, 0)], without)
    assert "box_oracle@0.5" not in found


def test_existence_is_read_off_the_boxes_even_if_a_mask_is_empty():
    rows = rows_of([[[[0.0, 0.0, 10.0, 10.0]]]])
    empty = {"size": [HEIGHT, WIDTH], "counts": ""}
    entry = {"row": 0, "index": 0, "expression": "thing 0 0", "boxes": [[0.0, 0.0, 10.0, 10.0]], "masks": [empty],
             "scores": [0.5], "raw_scores": [0.5], "exists": None}  # fmt: skip
    found = score([entry], rows)
    assert (found["t_acc"], found["giou"], found["f1_precision"]) == (1, 0, 1) and "n_acc" not in found


def test_scores_above_one_of_old_files_have_no_calibration_error(several):
    predictions, rows = several
    found = measure([entry | {"scores": [3 * s for s in entry["scores"]]} for entry in predictions], rows)
    assert "ece" not in found.scores and not found.bins and found.scores["auroc"] > 0.5


def test_which_scores_are_possible_depends_on_the_rows(several):
    rows = several[1]
    assert {"f1_precision", "n_acc", "present_auroc"} <= set(possible_scores(rows))
    box = [[0.0, 0.0, 10.0, 10.0]]
    assert "n_acc" not in possible_scores(rows_of([[box]])) and "accuracy@0.5" in possible_scores(
        rows_of([[box]], False)
    )
    predictions, _ = several
    assert set(score(predictions, rows)) >= set(possible_scores(rows)) - {"point_hit"}
