"""Soft targets equal the equations and the released loader on all golden cases, and always have a positive point."""

import json
import math

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from released_checkpoint import GOLDEN
from safetensors.torch import load_file

from pbrec_hf.comprehension.targets import (
    centerness_at_points,
    centerness_targets,
    massness_targets,
    merge_centerness,
    merge_massness,
)
from pbrec_hf.geometry.centerness import centerness_at
from pbrec_hf.geometry.points import grid_points


@pytest.fixture(scope="module")
def golden():
    masks = np.load(GOLDEN / "targets_masks.npz")
    masks = {name: torch.from_numpy(np.unpackbits(masks[name], axis=-1)) for name in masks}
    return load_file(GOLDEN / "targets.safetensors"), masks, json.loads((GOLDEN / "targets.json").read_text())


def test_centerness_at_the_centres_of_cells_is_the_target():
    boxes = torch.tensor([[3.0, 10, 200, 90], [100, 100, 104, 103], [0, 0, 320, 320]])
    points = grid_points(10, 10, 32)
    assert torch.equal(centerness_at(points, boxes, 32), centerness_targets(boxes, 320, 32)[0])
    moved = points + torch.tensor([-10.0, -9.5])
    at_its_centre = centerness_at(moved, torch.tensor([[96.0, 96, 108, 109]]), 32)
    assert at_its_centre.argmax() == 33 and at_its_centre.max() == 1 and (at_its_centre > 0).sum() == 1


@pytest.mark.parametrize(("style", "key", "few"), [("paper", "paper_center", 6), ("released_code", "code_center", 4)])
def test_centerness_of_all_golden_cases(golden, style, key, few):
    tensors, _, names = golden
    targets, repaired = centerness_targets(tensors["boxes_xyxy"], 640, 32, style)
    check(targets, repaired, tensors[key].flatten(1), names, few)


@pytest.mark.parametrize(
    ("style", "key", "parts"),
    [("paper", "paper_mass_disc", "all_parts"), ("released_code", "code_mass", "first_part")],
)
def test_massness_of_all_golden_cases(golden, style, key, parts):
    tensors, masks, names = golden
    targets, repaired = massness_targets(masks[parts], 640, 32, style)
    check(targets, repaired, tensors[key].flatten(1), names, few=2)


def check(targets, repaired, expected, names, few):
    assert targets.isfinite().all() and (targets.amax(1) > 0).all() and targets.dtype == torch.float32
    unusable = expected.isnan().any(1) | (expected.nan_to_num() == 0).all(1)
    wrong = [n for n, a, b in zip(names, repaired, unusable, strict=True) if a != b]
    assert not wrong
    assert 1 <= repaired.sum() <= few
    torch.testing.assert_close(targets[~repaired], expected[~repaired], atol=1e-6, rtol=0)
    assert (targets[repaired].sum(1) == 1).all() and (targets[repaired].amax(1) == 1).all()


def test_the_repaired_point_is_the_nearest_to_the_centre():
    targets, repaired = centerness_targets(torch.tensor([[20.0, 310.0, 620.0, 330.0]]), 640, 32)
    assert repaired.item() and targets[0].argmax().item() in (9 * 20 + 9, 9 * 20 + 10, 10 * 20 + 9, 10 * 20 + 10)


@pytest.mark.parametrize("style", ["paper", "released_code"])
def test_an_object_smaller_than_a_cell_has_a_target(style):
    box = torch.tensor([[101.0, 101.0, 104.0, 103.0]])
    targets, _ = centerness_targets(box, 320, 16, style)
    assert targets[0].argmax().item() == 6 * 20 + 6
    mask = torch.zeros(1, 320, 320)
    mask[0, 101:103, 101:104] = 1
    targets, repaired = massness_targets(mask, 320, 16, style)
    assert targets.nonzero().tolist() == [[0, 6 * 20 + 6]] and not repaired.item()
    assert targets.max().item() == pytest.approx(6 / 256)


@pytest.mark.parametrize("style", ["paper", "released_code", "hard"])
def test_an_empty_mask_marks_the_given_centre(style):
    empty = torch.zeros(2, 320, 320, dtype=torch.uint8)
    targets, repaired = massness_targets(empty, 320, 16, style, centers=torch.tensor([[8.0, 8.0], [312.0, 8.0]]))
    assert repaired.all() and targets.argmax(1).tolist() == [0, 19] and targets.sum().item() == 2


@pytest.mark.parametrize("style", ["paper", "released_code"])
def test_crowd_runs_and_objects_of_several_parts_have_finite_targets(style):
    crowd = coco_mask.frPyObjects({"size": [320, 320], "counts": [320 * 100, 320 * 40, 320 * 180]}, 320, 320)
    parts = [[10, 10, 60, 10, 60, 60, 10, 60], [250, 250, 300, 250, 300, 300, 250, 300]]
    parts = coco_mask.merge(coco_mask.frPyObjects(parts, 320, 320))
    masks = torch.from_numpy(np.stack([coco_mask.decode(crowd), coco_mask.decode(parts)]))
    targets, repaired = massness_targets(masks, 320, 16, style)
    assert targets.isfinite().all() and (targets.amax(1) > 0).all()
    # The centroid of the two parts is between them, outside the object.
    assert repaired.tolist() == [False, True]


def test_a_batch_equals_its_rows():
    boxes = torch.rand(16, 2, 2, generator=torch.Generator().manual_seed(0)) * 640
    boxes = torch.cat((boxes.amin(1), boxes.amax(1)), dim=1)
    together = centerness_targets(boxes, 640, 32)[0]
    assert torch.equal(together, torch.cat([centerness_targets(box[None], 640, 32)[0] for box in boxes]))


def test_illegal_boxes_masks_and_styles_are_refused():
    with pytest.raises(ValueError, match="style='soft': give one of 'paper', 'released_code', 'hard'"):
        centerness_targets(torch.zeros(1, 4), 640, 32, "soft")
    with pytest.raises(ValueError, match="give 'paper' or 'hard' where points are not the centres"):
        centerness_at_points(torch.zeros(1, 4), torch.zeros(1, 9, 2), 32, "released_code")
    with pytest.raises(ValueError, match=r"Box 0 is .* no box for what is not there"):
        centerness_at_points(torch.full((1, 4), float("nan")), torch.zeros(1, 9, 2), 32)
    with pytest.raises(ValueError, match="Box 1 is"):
        centerness_targets(torch.tensor([[0.0, 0, 1, 1], [0, 0, float("nan"), 1]]), 640, 32)
    with pytest.raises(ValueError, match="Box 0 is"):
        centerness_targets(torch.tensor([[0.0, 0, float("inf"), 1], [0, 0, 1, 1], [0, 0, float("nan"), 1]]), 640, 32)
    with pytest.raises(ValueError, match="stride=33: give a divisor"):
        centerness_targets(torch.zeros(1, 4), 640, 33)
    with pytest.raises(ValueError, match="canvas of 640"):
        massness_targets(torch.zeros(1, 320, 320), 640, 32)


@pytest.mark.parametrize("style", ["paper", "released_code", "hard"])
def test_an_empty_batch_has_empty_targets(style):
    assert centerness_targets(torch.zeros(0, 4), 320, 16, style)[0].shape == (0, 400)
    assert massness_targets(torch.zeros(0, 320, 320), 320, 16, style)[0].shape == (0, 400)


@pytest.mark.parametrize("style", ["paper", "released_code"])
def test_parts_far_apart_mark_the_point_at_their_centroid(style):
    mask = torch.zeros(1, 160, 160, dtype=torch.uint8)
    mask[0, 0:16, 0:144] = mask[0, 128:144, 0:144] = 1
    targets, repaired = massness_targets(mask, 160, 16, style, centers=torch.tensor([[8.0, 152.0]]))
    assert repaired.tolist() == [True] and targets.nonzero().tolist() == [[0, 4 * 10 + 4]]  # (72, 72), and no centre


def test_an_empty_mask_without_a_given_centre_marks_the_middle_of_the_canvas():
    empty = torch.zeros(1, 96, 96, dtype=torch.uint8)
    targets, repaired = massness_targets(empty, 96, 32)  # 3 × 3 points: one is in the middle
    assert repaired.tolist() == [True] and targets.tolist() == [[0, 0, 0, 0, 1, 0, 0, 0, 0]]


def share_within_reach(mask, stride, centroid, reach):
    """Equation 4 in plain loops: the share of the object in every cell that `reach` allows."""
    cells = len(mask) // stride
    return [
        [
            float(mask[row * stride : (row + 1) * stride, col * stride : (col + 1) * stride].sum() / stride**2)
            * reach((col + 0.5) * stride - centroid[0], (row + 0.5) * stride - centroid[1])
            for col in range(cells)
        ]
        for row in range(cells)
    ]


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.float32, torch.int64])
def test_massness_is_the_share_of_the_object_within_two_strides_of_the_centroid(dtype):
    mask = torch.zeros(64, 64)
    mask[3:50, 11:64] = torch.rand(47, 53, generator=torch.Generator().manual_seed(0)).round()
    before = mask.to(dtype).clone()
    given = before.clone()
    targets, repaired = massness_targets(given[None] * (1 if dtype == torch.bool else 7), 64, 8)
    rows, cols = mask.nonzero(as_tuple=True)
    centroid = cols.double().mean().item() + 0.5, rows.double().mean().item() + 0.5
    expected = share_within_reach(mask, 8, centroid, lambda x, y: (x**2 + y**2) ** 0.5 <= 16)
    assert not repaired.item() and torch.equal(given, before)
    torch.testing.assert_close(targets.view(8, 8), torch.tensor(expected))


def test_a_point_exactly_two_strides_from_the_centroid_is_positive():
    mask = torch.zeros(1, 80, 80)
    mask[0, 32:48, 32:48] = 1  # centroid (40, 40); points at 8, 24, 40, 56, 72
    mask[0, 0:16, 32:48] = mask[0, 64:80, 32:48] = mask[0, 32:48, 0:16] = mask[0, 32:48, 64:80] = 1
    mask[0, :2, :2] = mask[0, :2, -2:] = mask[0, -2:, :2] = mask[0, -2:, -2:] = 1
    targets = massness_targets(mask, 80, 16)[0].view(5, 5)
    expected = torch.zeros(5, 5)
    expected[[0, 2, 2, 2, 4], [2, 0, 2, 4, 2]] = 1
    assert torch.equal(targets, expected)


def test_the_released_window_reaches_from_two_strides_before_the_centroid_to_just_before_two_after():
    mask = torch.ones(1, 64, 64)  # centroid 31.5, rounded to 32
    targets = massness_targets(mask, 64, 8, "released_code")[0].view(8, 8)
    expected = torch.zeros(8, 8)
    expected[2:6, 2:6] = 1  # pixels 16 … 47
    assert torch.equal(targets, expected)
    mask[0, :, 40:] = 0  # columns 0 … 39: centroid 19.5, rounded to 20, the even one
    targets = massness_targets(mask, 64, 8, "released_code")[0].view(8, 8)
    column = torch.tensor([4 / 8, 1, 1, 1, 4 / 8, 0, 0, 0])  # pixels 4 … 35
    torch.testing.assert_close(targets, column.expand(8, 8) * torch.tensor([0, 0, 1, 1, 1, 1, 0, 0])[:, None])


def released_centerness(box, size, stride):
    """The released loader in plain Python."""
    center = [(box[i] + box[i + 2]) / 2 / stride for i in (0, 1)]
    half = [(box[i + 2] - box[i]) / 2 / stride for i in (0, 1)]
    low = [math.floor(c - h) for c, h in zip(center, half, strict=True)]
    high = [math.ceil(c + h) for c, h in zip(center, half, strict=True)]
    cells = size // stride
    values = {}
    for row in range(cells):
        for col in range(cells):
            x, y = col + 0.5, row + 0.5
            sides = [(x - low[0], high[0] - x), (y - low[1], high[1] - y)]
            inside = all(min(side) > 0 for side in sides)
            values[row, col] = math.sqrt(math.prod(min(side) / max(side) for side in sides)) if inside else 0.0
    peak = max(values.values())
    near = {
        (row, col): abs(col - int(center[0])) <= 1 and abs(row - int(center[1])) <= 1 and min(map(int, center)) > 0
        for row, col in values
    }
    return [[values[row, col] / peak * near[row, col] for col in range(cells)] for row in range(cells)]


@pytest.mark.parametrize(
    "box", [[20.0, 40.0, 130.0, 155.0], [33.0, 9.0, 62.0, 150.0], [70.5, 70.5, 73.0, 74.0], [16.0, 16.0, 48.0, 64.0]]
)
def test_released_centerness_in_plain_python(box):
    targets, repaired = centerness_targets(torch.tensor([box]), 160, 16, "released_code")
    assert not repaired.item()
    expected = torch.tensor(released_centerness(box, 160, 16))
    torch.testing.assert_close(targets.view(10, 10), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("box", [[0.0, 40.0, 20.0, 80.0], [40.0, 0.0, 80.0, 20.0]])
def test_the_released_code_has_no_positive_point_for_a_centre_in_the_first_row_or_column(box):
    targets, repaired = centerness_targets(torch.tensor([box]), 160, 16, "released_code")
    assert repaired.item() and targets.sum() == 1


@pytest.mark.parametrize("make", [centerness_targets, massness_targets])
def test_the_stride_divides_the_canvas(make):
    given = torch.zeros(1, 4) if make is centerness_targets else torch.zeros(1, 8, 8)
    assert make(given, 8, 1)[0].shape == (1, 64) and make(given, 8, 8)[0].shape == (1, 1)
    for stride in (0, -8, 3, 16):
        with pytest.raises(ValueError, match=f"stride={stride}: give a divisor"):
            make(given, 8, stride)
    with pytest.raises(ValueError, match="style='soft': give one of 'paper', 'released_code', 'hard'"):
        make(given, 8, 8, "soft")


@pytest.mark.parametrize("shape", [(1, 8, 16), (1, 16, 8), (1, 16, 16)])
def test_masks_of_another_size_are_refused(shape):
    with pytest.raises(ValueError, match=rf"The masks have \({shape[1]}, {shape[2]}\) pixels"):
        massness_targets(torch.zeros(shape), 8, 8)


def random_boxes(count, side, seed=0):
    corners = torch.rand(count, 2, 2, generator=torch.Generator().manual_seed(seed)) * side
    return torch.cat((corners.amin(1), corners.amax(1)), dim=1)


def is_central(x, y, box, stride):
    """Whether a point lies inside a box and within 1.5 strides of its centre along both axes."""
    left, top, right, bottom = box
    near = abs(x - (left + right) / 2) <= 1.5 * stride and abs(y - (top + bottom) / 2) <= 1.5 * stride
    return left < x < right and top < y < bottom and near


def test_hard_centerness_is_1_in_the_central_area_inside_the_box():
    boxes = random_boxes(200, 160)
    targets, repaired = centerness_targets(boxes, 160, 16, "hard")
    paper, repaired_paper = centerness_targets(boxes, 160, 16)
    assert torch.equal(repaired, repaired_paper) and 0 < repaired.sum() < 100
    for row, box in enumerate(boxes.double().tolist()):
        expected = [float(is_central(8 + 16 * (k % 10), 8 + 16 * (k // 10), box, 16)) for k in range(100)]
        if repaired[row]:
            assert sum(expected) == 0 and targets[row].sum() == 1 and targets[row].argmax() == paper[row].argmax()
        else:
            assert targets[row].tolist() == expected


def test_hard_massness_is_1_in_the_cells_of_the_object_within_reach():
    mask = torch.zeros(64, 64)
    mask[3:50, 11:60] = torch.rand(47, 49, generator=torch.Generator().manual_seed(0)).round()
    mask[24:32, 16:32] = 0  # whole cells without the object
    targets, repaired = massness_targets(mask[None], 64, 8, "hard")
    rows, cols = mask.nonzero(as_tuple=True)
    centroid = cols.double().mean().item() + 0.5, rows.double().mean().item() + 0.5
    shares = share_within_reach(mask, 8, centroid, lambda x, y: (x**2 + y**2) ** 0.5 <= 16)
    assert not repaired.item() and targets.view(8, 8).tolist() == [[float(s > 0) for s in row] for row in shares]


def test_hard_centerness_of_points_that_a_model_chose():
    boxes = random_boxes(50, 160, seed=1)
    points = torch.rand(50, 100, 2, generator=torch.Generator().manual_seed(2)) * 160
    targets = centerness_at_points(boxes, points, 16, "hard")
    assert torch.equal(centerness_at_points(boxes, points, 16), centerness_at(points, boxes, 16))
    for row, box in enumerate(boxes.double().tolist()):
        expected = [float(is_central(x, y, box, 16)) for x, y in points[row].double().tolist()]
        assert targets[row].tolist() == expected or (sum(expected) == 0 and targets[row].sum() == 1)


@pytest.mark.parametrize("style", ["paper", "released_code", "hard"])
def test_one_referent_alone_keeps_its_targets_to_the_last_bit(style):
    boxes = random_boxes(40, 160)
    masks = (torch.rand(40, 160, 160, generator=torch.Generator().manual_seed(3)) > 0.9).to(torch.uint8)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(4))
    for targets, merge in (
        (centerness_targets(boxes, 160, 16, style)[0], merge_centerness),
        (massness_targets(masks, 160, 16, style)[0], merge_massness),
    ):
        assert torch.equal(merge(targets, torch.arange(40), 40), targets)
        assert torch.equal(merge(targets[order], order, 40), targets)


def test_several_referents_or_none_in_plain_python():
    owners = torch.tensor([3, 0, 3, 1, 3, 0])  # expression 2 has none
    targets = torch.rand(6, 9, generator=torch.Generator().manual_seed(0))
    highest, total = (merge(targets.clone(), owners, 5) for merge in (merge_centerness, merge_massness))
    for expression in range(5):
        for point in range(9):
            own = [targets[row, point].item() for row in range(6) if owners[row] == expression]
            assert highest[expression, point].item() == max(own, default=0.0)
            assert total[expression, point].item() == pytest.approx(min(sum(own), 1.0))
    assert not highest[[2, 4]].any() and not total[[2, 4]].any()


@pytest.mark.parametrize("merge", [merge_centerness, merge_massness])
def test_expressions_without_any_referent_are_0_everywhere(merge):
    assert torch.equal(merge(torch.zeros(0, 9), torch.zeros(0, dtype=torch.int64), 3), torch.zeros(3, 9))
