"""Center-ness equals equations 1 and 2 written out in plain Python, at any points, and is never all zero."""

import math

import pytest
import torch

from pbrec_hf.geometry.centerness import centerness, centerness_at, central_centerness, ensure_positive
from pbrec_hf.geometry.points import grid_points

BOXES = [[10.0, 20.0, 70.0, 90.0], [0.0, 0.0, 96.0, 96.0], [40.0, 40.0, 40.0, 60.0], [8.0, 8.0, 24.0, 120.0]]


def equation_1(x, y, box):
    left, top, right, bottom = x - box[0], y - box[1], box[2] - x, box[3] - y
    if min(left, top, right, bottom) <= 0:
        return 0.0
    return math.sqrt(min(left, right) / max(left, right) * min(top, bottom) / max(top, bottom))


def equation_2(x, y, box, stride):
    near = abs(x - (box[0] + box[2]) / 2) <= 1.5 * stride and abs(y - (box[1] + box[3]) / 2) <= 1.5 * stride
    return equation_1(x, y, box) if near else 0.0


@pytest.mark.parametrize("stride", [8, 16])
def test_every_point_has_the_value_of_the_equations(stride):
    points = grid_points(8, 6, stride, dtype=torch.float64)
    boxes = torch.tensor(BOXES, dtype=torch.float64)
    one = [[equation_1(x, y, box) for x, y in points.tolist()] for box in BOXES]
    two = [[equation_2(x, y, box, stride) for x, y in points.tolist()] for box in BOXES]
    assert (torch.tensor(one) > 0).sum() > (torch.tensor(two) > 0).sum() > 0
    torch.testing.assert_close(centerness(points, boxes), torch.tensor(one, dtype=torch.float64))
    torch.testing.assert_close(central_centerness(points, boxes, stride), torch.tensor(two, dtype=torch.float64))


def test_a_point_on_a_side_a_point_outside_on_both_axes_and_a_box_without_area_get_nothing():
    points = torch.tensor([[0.0, 5.0], [-3.0, -3.0], [5.0, 5.0], [20.0, 5.0]])
    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [5.0, 5.0, 5.0, 5.0]])
    assert centerness(points, boxes).tolist() == [[0, 0, 1, 0], [0, 0, 0, 0]]


def test_each_box_may_have_points_of_its_own():
    points = torch.tensor([[[5.0, 5.0], [2.0, 5.0]], [[6.0, 8.0], [9.0, 8.0]]])
    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [4.0, 4.0, 14.0, 12.0]])
    torch.testing.assert_close(centerness(points, boxes), torch.tensor([[1.0, 0.5], [0.5, 1.0]]))
    torch.testing.assert_close(central_centerness(points, boxes, 1.0), torch.tensor([[1.0, 0.0], [0.0, 1.0]]))


def test_a_point_just_at_the_edge_of_the_central_square_counts():
    points = torch.tensor([[32.0, 50.0], [31.9, 50.0], [68.0, 50.0], [68.1, 50.0], [50.0, 68.0], [50.0, 68.1]])
    found = central_centerness(points, torch.tensor([[0.0, 0.0, 100.0, 100.0]]), 12)
    assert (found[0] > 0).tolist() == [True, False, True, False, True, False]


def test_an_object_between_all_points_belongs_to_the_nearest():
    points = grid_points(4, 4, 32)
    boxes = torch.tensor([[70.0, 40.0, 75.0, 44.0], [0.0, 0.0, 128.0, 128.0]])
    found = centerness_at(points, boxes, 32)
    assert found.dtype == torch.float32 and found[0].nonzero().tolist() == [[4 + 2]] and found[0].max() == 1
    expected = [equation_2(x, y, boxes[1].tolist(), 32) for x, y in points.tolist()]
    torch.testing.assert_close(found[1], torch.tensor(expected))


def test_targets_are_computed_in_double_precision():
    # In single precision, the distances from a point this far away are multiples of 1/16.
    points, boxes = torch.tensor([[2.0**20 + 0.5, 4.0]]), torch.tensor([[2.0**20, 0.0, 2.0**20 + 4, 8.0]])
    expected = math.sqrt(0.5 / 3.5)
    assert centerness_at(points, boxes, 32).item() == pytest.approx(expected, rel=1e-7)
    third = torch.tensor([[1 / 3, 1 / 3]])
    exact = equation_1(third[0, 0].item(), third[0, 1].item(), [0, 0, 1, 1])
    assert centerness_at(third, torch.tensor([[0.0, 0.0, 1.0, 1.0]]), 32).item() == torch.tensor(exact).item()


def test_only_rows_without_a_positive_point_are_repaired():
    points = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    targets = torch.tensor([[0.0, 0.2, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    repaired, rows = ensure_positive(targets, points, torch.tensor([[0.0, 9.0], [1.0, 8.0], [6.0, 5.0]]))
    assert rows.tolist() == [False, True, True] and repaired.dtype == torch.float32
    torch.testing.assert_close(repaired, torch.tensor([[0.0, 0.2, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]]))
    own = torch.stack((points, points.flip(0), points))
    repaired, _ = ensure_positive(targets, own, torch.tensor([[0.0, 9.0], [1.0, 8.0], [6.0, 5.0]]))
    assert repaired.argmax(1).tolist() == [1, 0, 1]
