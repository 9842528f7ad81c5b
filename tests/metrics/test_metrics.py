"""The metrics against plain-Python references, and over two processes against one."""

import math
import multiprocessing

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from pbrec_hf.metrics import GeneralizedRec, GeneralizedRes, RecAccuracy, ResIoU
from pbrec_hf.metrics.overlap import matched_boxes, united_mask

HEIGHT, WIDTH = 12, 16


def random_boxes(rng: np.random.Generator, number: int) -> list[list[float]]:
    corners = rng.integers(0, 10, (number, 2))
    return np.concatenate([corners, corners + rng.integers(1, 8, (number, 2))], axis=1).astype(float).tolist()


def random_masks(rng: np.random.Generator, number: int, empty: float = 0.0) -> list[np.ndarray]:
    masks = []
    for box in random_boxes(rng, number):
        left, top, right, bottom = (int(side) for side in box)
        masks.append(np.zeros((HEIGHT, WIDTH), dtype=np.uint8))
        if rng.random() >= empty:
            masks[-1][top:bottom, left:right] = 1
    return masks


def rles(masks: list[np.ndarray]) -> list[dict]:
    return [coco_mask.encode(np.asfortranarray(mask)) for mask in masks]


def plain_iou(a: list[float], b: list[float]) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    area = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height
    return width * height / area


def test_rec_accuracy_equals_counting_by_hand():
    rng = np.random.default_rng(0)
    predictions, references = random_boxes(rng, 300), random_boxes(rng, 300)
    predictions[:100] = references[:100]
    overlaps = [plain_iou(p, r) for p, r in zip(predictions, references, strict=True)]
    result = RecAccuracy().compute(predictions=predictions, references=references, expected=300)
    assert result["count"] == 300
    assert result["mean_iou"] == pytest.approx(sum(overlaps) / 300)
    for threshold in (0.5, 0.6, 0.7, 0.8, 0.9):
        assert result[f"accuracy@{threshold}"] == sum(o > threshold for o in overlaps) / 300


def test_an_iou_of_exactly_one_half_is_a_miss():
    result = RecAccuracy().compute(predictions=[[0, 0, 5, 10]], references=[[0, 0, 10, 10]])
    assert result["mean_iou"] == 0.5
    assert result["accuracy@0.5"] == 0.0


@pytest.mark.parametrize("no_box", [[math.nan] * 4, [0.0, 0.0, 0.0, 0.0], [8.0, 8.0, 2.0, 2.0]])
def test_what_is_not_a_box_counts_as_a_miss(no_box):
    result = RecAccuracy().compute(predictions=[no_box, [0, 0, 4, 4]], references=[[0, 0, 9, 9], [0, 0, 4, 4]])
    assert result["mean_iou"] == 0.5
    assert result["count"] == 2


def test_a_reference_that_is_no_box_is_an_error():
    with pytest.raises(ValueError, match="Reference 1"):
        RecAccuracy().compute(predictions=[[0, 0, 1, 1]] * 2, references=[[0, 0, 1, 1], [3, 3, 3, 5]])


@pytest.mark.parametrize("metric", [RecAccuracy, GeneralizedRec])
def test_a_wrong_number_of_predictions_names_both_numbers(metric):
    boxes = [[[0, 0, 1, 1]]] * 3 if metric is GeneralizedRec else [[0, 0, 1, 1]] * 3
    with pytest.raises(ValueError, match="3 predictions, but the split has 5657"):
        metric().compute(predictions=boxes, references=boxes, expected=5657)


@pytest.mark.parametrize("metric", [RecAccuracy, ResIoU, GeneralizedRec, GeneralizedRes])
def test_no_predictions_are_an_error(metric):
    with pytest.raises(ValueError, match="no predictions"):
        metric().compute(predictions=[], references=[])


def test_overall_iou_and_mean_iou_equal_counting_pixels():
    rng = np.random.default_rng(1)
    predictions, references = random_masks(rng, 200, empty=0.1), random_masks(rng, 200)
    predictions[:60] = references[:60]
    intersections = [int((p & r).sum()) for p, r in zip(predictions, references, strict=True)]
    unions = [int((p | r).sum()) for p, r in zip(predictions, references, strict=True)]
    overlaps = [i / u for i, u in zip(intersections, unions, strict=True)]
    result = ResIoU().compute(predictions=rles(predictions), references=rles(references), expected=200)
    assert result["overall_iou"] == sum(intersections) / sum(unions)
    assert result["mean_iou"] == pytest.approx(sum(overlaps) / 200)
    assert result["overall_iou"] != pytest.approx(result["mean_iou"], abs=1e-3)
    for threshold in (0.5, 0.6, 0.7, 0.8, 0.9):
        assert result[f"precision@{threshold}"] == sum(o > threshold for o in overlaps) / 200


def test_masks_of_different_size_are_an_error():
    small = rles([np.ones((3, 3), dtype=np.uint8)])
    with pytest.raises(ValueError, match="Mask 0"):
        ResIoU().compute(predictions=small, references=rles(random_masks(np.random.default_rng(0), 1)))


@pytest.mark.parametrize("metric", [ResIoU, GeneralizedRes])
@pytest.mark.parametrize("counts", [b"garbage!!", b"oo", b"0", b"\xff", b"8" * 9, b"PPPPPPPPPPPPPPPPPPPPP", "ä"])
def test_damaged_run_lengths_are_an_error(metric, counts):
    """pycocotools itself crashes on some of them and occupies a processor for ever with others."""
    whole = rles([np.ones((3, 2), dtype=np.uint8)])
    with pytest.raises(ValueError, match=r"Mask 0: the run lengths .* do not fill 3x2 pixels"):
        metric().compute(predictions=[{"size": [3, 2], "counts": counts}], references=whole)


def test_no_run_lengths_are_an_empty_mask():
    nothing, whole = {"size": [3, 2], "counts": b""}, rles([np.ones((3, 2), dtype=np.uint8)])[0]
    assert ResIoU().compute(predictions=[nothing], references=[whole])["mean_iou"] == 0
    result = GeneralizedRes().compute(predictions=[nothing, nothing], references=[whole, nothing])
    assert (result["giou"], result["n_acc"], result["t_acc"]) == (0.5, 1.0, 0.0)


@pytest.mark.parametrize("seed", range(5))
def test_every_encoded_mask_passes_the_check(seed):
    rng = np.random.default_rng(seed)
    masks = [(rng.random(rng.integers(1, 300, 2)) < rng.random()).astype(np.uint8) for _ in range(20)]
    masks += [np.zeros((500, 700), np.uint8), np.ones((1, 1), np.uint8)]
    assert ResIoU().compute(predictions=rles(masks), references=rles(masks))["count"] == len(masks)


@pytest.mark.parametrize("no_box", [[math.nan] * 4, [3, 3, 1, 5]])
def test_a_generalized_reference_that_is_no_box_is_an_error(no_box):
    with pytest.raises(ValueError, match="is not an XYXY box"):
        GeneralizedRec().compute(predictions=[[[0, 0, 1, 1]]], references=[[no_box]])
    empty = [3, 3, 5, 3]  # COCO has some
    assert GeneralizedRec().compute(predictions=[[empty]], references=[[empty]])["f1_precision"] == 0


def test_run_lengths_may_be_text():
    masks = rles(random_masks(np.random.default_rng(2), 5))
    as_text = [{"size": rle["size"], "counts": rle["counts"].decode()} for rle in masks]
    assert ResIoU().compute(predictions=as_text, references=masks)["mean_iou"] == 1.0


def plain_f1_is_one(predicted: list, referents: list) -> bool:
    """Greedy from the largest IoU on, written as a sorted list of pairs."""
    pairs = sorted(
        ((plain_iou(p, r), i, j) for i, p in enumerate(predicted) for j, r in enumerate(referents)), reverse=True
    )
    used_i, used_j = set(), set()
    for overlap, i, j in pairs:
        if overlap >= 0.5 and i not in used_i and j not in used_j:
            used_i.add(i)
            used_j.add(j)
    true = len(used_i)
    wrong = len(predicted) - true + len(referents) - true
    return wrong == 0


def test_generalized_comprehension_equals_counting_by_hand():
    rng = np.random.default_rng(3)
    references = [random_boxes(rng, number) for number in rng.integers(0, 4, 200)]
    predictions = [
        boxes[::-1] if rng.random() < 0.5 else random_boxes(rng, rng.integers(0, 3)) for boxes in references
    ]
    result = GeneralizedRec().compute(predictions=predictions, references=references, expected=200)
    pairs = list(zip(predictions, references, strict=True))
    without, with_target = [p for p, r in pairs if not r], [p for p, r in pairs if r]
    assert result["f1_precision"] == sum(plain_f1_is_one(p, r) for p, r in pairs) / 200
    assert 0.4 < result["f1_precision"] < 0.9
    for name, which in (("f1_one", lambda r: len(r) == 1), ("f1_several", lambda r: len(r) > 1)):
        told = [plain_f1_is_one(p, r) for p, r in pairs if which(r)]
        assert result[name] == sum(told) / len(told)
    assert result["n_acc"] == sum(not p for p in without) / len(without)
    assert result["t_acc"] == sum(bool(p) for p in with_target) / len(with_target)


def test_of_two_boxes_of_an_object_one_stays_without():
    assert matched_boxes([[0, 0, 9, 10], [0, 0, 10, 10]], [[0, 0, 10, 10]]).tolist() == [False, True]
    assert matched_boxes([[0, 0, 5, 10]], [[0, 0, 10, 10]]).tolist() == [True]  # an IoU of exactly 0.5
    assert matched_boxes([[0, 0, 5, 10]], [[0, 0, 10, 10]], 0.6).tolist() == [False]
    assert matched_boxes([], [[0, 0, 1, 1]]).tolist() == [] and matched_boxes([[0, 0, 1, 1]], []).tolist() == [False]


def test_matching_equals_going_through_the_pairs():
    rng = np.random.default_rng(6)
    for _ in range(200):
        referents = random_boxes(rng, rng.integers(0, 4))
        predicted = random_boxes(rng, rng.integers(0, 4)) + referents[: rng.integers(0, 4)]
        used_i, used_j = set(), set()
        pairs = [(plain_iou(p, r), i, j) for i, p in enumerate(predicted) for j, r in enumerate(referents)]
        for overlap, i, j in sorted(pairs, key=lambda pair: (-pair[0], pair[1], pair[2])):
            if overlap >= 0.4 and i not in used_i and j not in used_j:
                used_i.add(i)
                used_j.add(j)
        assert matched_boxes(predicted, referents, 0.4).tolist() == [i in used_i for i in range(len(predicted))]


def test_united_masks_equal_the_union_of_pixels():
    masks = random_masks(np.random.default_rng(7), 3)
    united = united_mask(rles(masks), HEIGHT, WIDTH)
    assert (coco_mask.decode(united) == (masks[0] | masks[1] | masks[2])).all()
    assert coco_mask.area(united_mask([], HEIGHT, WIDTH)) == 0
    with pytest.raises(ValueError, match=r"Mask 0 has the size \(12, 16\), its picture \(5, 5\)"):
        united_mask(rles(masks), 5, 5)


def test_generalized_segmentation_equals_counting_pixels():
    rng = np.random.default_rng(4)
    references, predictions = random_masks(rng, 300, empty=0.3), random_masks(rng, 300, empty=0.3)
    predictions[:80] = references[:80]
    total_intersection = total_union = 0
    overlaps, no_target, target = [], [], []
    for predicted, referent in zip(predictions, references, strict=True):
        intersection, union = int((predicted & referent).sum()), int((predicted | referent).sum())
        total_intersection, total_union = total_intersection + intersection, total_union + union
        if referent.any():
            overlaps.append(intersection / union)
            target.append(predicted.any())
        else:
            overlaps.append(0.0 if predicted.any() else 1.0)
            no_target.append(not predicted.any())
    result = GeneralizedRes().compute(predictions=rles(predictions), references=rles(references))
    assert result["giou"] == pytest.approx(sum(overlaps) / 300)
    assert result["ciou"] == total_intersection / total_union
    assert result["n_acc"] == sum(no_target) / len(no_target)
    assert result["t_acc"] == sum(target) / len(target)


def test_without_sentences_of_a_kind_its_accuracy_is_none():
    result = GeneralizedRec().compute(predictions=[[]], references=[[]])
    exact = {"f1_precision": 1.0, "f1_one": None, "f1_several": None}
    assert result == exact | {"count": 1, "n_acc": 1.0, "t_acc": None}


def samples() -> dict[type, tuple[list, list]]:
    rng = np.random.default_rng(5)
    boxes = random_boxes(rng, 11)
    sets = [random_boxes(rng, number) for number in (0, 1, 2, 3, 0, 1, 2, 0, 1, 1, 2)]
    masks = rles(random_masks(rng, 11))
    return {
        RecAccuracy: (boxes, boxes[:5] + random_boxes(rng, 6)),
        ResIoU: (masks, masks[:5] + rles(random_masks(rng, 6))),
        GeneralizedRec: (sets, sets[:5] + sets[:6]),
        GeneralizedRes: (masks, masks[:5] + rles(random_masks(rng, 6, empty=0.5))),
    }


def compute_in_process(process: int, cache_dir: str, results: multiprocessing.Queue) -> None:
    mine = slice(0, 8) if process == 0 else slice(8, 11)
    for metric_class, (predictions, references) in samples().items():
        metric = metric_class(num_process=2, process_id=process, experiment_id="uneven", cache_dir=cache_dir)
        metric.add_batch(predictions=predictions[mine], references=references[mine])
        results.put((process, metric_class.__name__, metric.compute(expected=11)))


def test_two_processes_with_an_uneven_split_equal_one(tmp_path):
    context = multiprocessing.get_context("fork")  # spawning would import torch and transformers anew
    results = context.Queue()
    processes = [context.Process(target=compute_in_process, args=(i, str(tmp_path), results)) for i in range(2)]
    for process in processes:
        process.start()
    found = {(process, name): result for process, name, result in (results.get(timeout=120) for _ in range(8))}
    for process in processes:
        process.join()
    for metric_class, (predictions, references) in samples().items():
        single = metric_class().compute(predictions=predictions, references=references)
        assert found[0, metric_class.__name__] == pytest.approx(single)
        assert found[1, metric_class.__name__] is None


def _score_a_share(rank, rows, cache, results):
    metric = RecAccuracy(num_process=2, process_id=rank, experiment_id="shares", cache_dir=cache, timeout=20)
    for _ in range(rows):
        metric.add_batch(predictions=[[0, 0, 1, 1]], references=[[0, 0, 1, 1]])
    results.put((rank, metric.compute()))


@pytest.mark.parametrize("rows", [(2, 1), (3, 0), (0, 3)])
def test_a_process_without_a_sentence_counts_nothing(tmp_path, rows):
    """As with more processes than pictures."""
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    shares = [
        context.Process(target=_score_a_share, args=(rank, count, str(tmp_path), results), daemon=True)
        for rank, count in enumerate(rows)
    ]
    for share in shares:
        share.start()
    found = dict(results.get(timeout=60) for _ in shares)
    for share in shares:
        share.join(timeout=60)
    assert found[1] is None
    assert found[0]["count"] == 3 and found[0]["accuracy@0.5"] == 1


@pytest.mark.parametrize("metric", [RecAccuracy, ResIoU, GeneralizedRec, GeneralizedRes])
def test_no_sentence_at_all_is_an_error(metric):
    with pytest.raises(ValueError, match="There are no predictions"):
        metric().compute()
