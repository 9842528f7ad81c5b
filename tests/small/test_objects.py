"""Description channels of detected objects: colours, order, neighbours, and the assignment of points."""

import pytest
import torch

from pbrec_hf.geometry.points import grid_points
from pbrec_hf.small.colors import COLOR_NAMES, color_indices, color_maps
from pbrec_hf.small.objects import SHAPE, describe_objects, object_channel_names, part_colors, place_objects

CANVAS = (320, 320)
CLASSES = ["dog", "cat"]
NAMES = object_channel_names(CLASSES)


def describe(boxes, classes, colors=None):
    boxes, classes = torch.tensor(boxes, dtype=torch.float32), torch.tensor(classes)
    colors = torch.zeros(len(COLOR_NAMES), 80, 80) if colors is None else colors
    parts = part_colors(boxes, colors, CANVAS)
    described = describe_objects(boxes, classes, torch.ones(len(boxes)), parts, CANVAS)
    return lambda row, name: described[row, NAMES.index(name)].item()


@pytest.mark.parametrize(
    ("rgb", "name"),
    [
        ((0, 0, 0), "black"), ((255, 255, 255), "white"), ((128, 128, 128), "gray"), ((220, 20, 20), "red"),
        ((250, 140, 10), "orange"), ((110, 70, 35), "brown"), ((245, 225, 40), "yellow"), ((30, 140, 40), "green"),
        ((30, 60, 200), "blue"), ((130, 40, 160), "purple"), ((250, 150, 190), "pink"),
    ],
)  # fmt: skip
def test_pure_colors_have_their_names(rgb, name):
    assert COLOR_NAMES[color_indices(torch.tensor(rgb) / 255)] == name


def test_color_maps_are_one_hot():
    maps = color_maps(torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)))
    assert maps.shape == (2, 11, 8, 8)
    assert torch.equal(maps.sum(1), torch.ones(2, 8, 8))


def test_order_counts_only_objects_of_the_same_class():
    dogs = [[0, 100, 40, 140], [100, 100, 140, 140], [200, 100, 240, 140]]
    value = describe([*dogs, [250, 100, 310, 160]], [[0.9, 0.0]] * 3 + [[0.0, 0.9]])
    assert value(0, "like:left:0") == pytest.approx(1, abs=0.05)
    assert value(1, "like:left:1") == pytest.approx(1, abs=0.05)
    assert value(2, "like:right:0") == pytest.approx(1, abs=0.05)
    assert value(2, "all:right:1") == pytest.approx(1, abs=0.05)
    assert value(1, "like:middle") == pytest.approx(1, abs=0.05)
    assert value(0, "like:count:3") == pytest.approx(1, abs=0.05)
    assert value(3, "like:count:1") == pytest.approx(1, abs=0.05)


def test_neighbours_are_named_by_side():
    value = describe([[10, 100, 60, 150], [80, 100, 130, 150]], [[0.9, 0.0], [0.0, 0.8]])
    assert value(0, "left of:cat") > 0.3 and value(0, "right of:cat") == 0
    assert value(1, "right of:dog") > 0.3 and value(1, "left of:dog") == 0
    assert value(0, "overlaps:cat") == 0


def test_colors_of_the_upper_and_lower_parts():
    colors = torch.zeros(len(COLOR_NAMES), 80, 80)
    colors[COLOR_NAMES.index("red"), :40] = 1
    colors[COLOR_NAMES.index("blue"), 40:] = 1
    value = describe([[100, 60, 160, 260]], [[0.9, 0.0]], colors)
    assert value(0, "upper:red") == pytest.approx(1, abs=0.02)
    assert value(0, "lower:blue") == pytest.approx(1, abs=0.02)


def test_points_belong_to_the_object_whose_centre_is_nearest():
    points = grid_points(20, 20, 16)
    boxes = torch.tensor([[0.0, 0, 160, 320], [40.0, 220, 120, 300]])
    index, shape = place_objects(boxes, torch.ones(2), points, 16, CANVAS)
    grid = index.view(20, 20)
    assert grid[16, 5] == 1 and grid[2, 5] == 0 and grid[10, 15] == -1
    assert (shape[:, SHAPE.index("found")].view(20, 20) == (grid >= 0)).all()


def test_a_small_object_between_larger_ones_gets_the_nearest_point():
    points = grid_points(10, 10, 32)
    boxes = torch.tensor([[0.0, 0, 160, 320], [50.0, 150, 62, 162], [53.0, 153, 65, 165]])
    index, shape = place_objects(boxes, torch.tensor([1.0, 0.01, 0.01]), points, 32, CANVAS)
    grid = index.view(10, 10)
    assert (grid == 0).sum() > 30
    for item in (1, 2):  # two objects at one place get different points
        ((row, col),) = (grid == item).nonzero().tolist()
        assert abs(row - 4.4) <= 1.1 and abs(col - 1.3) <= 1.1
        assert shape[row * 10 + col, SHAPE.index("central")] == 1
    far = torch.tensor([[0.0, 0, 320, 320], [-200.0, -200, -190, -190]])
    assert 1 not in place_objects(far, torch.ones(2), points, 32, CANVAS)[0]


def test_a_picture_without_objects_has_empty_descriptions():
    points = grid_points(20, 20, 16)
    index, shape = place_objects(torch.zeros(0, 4), torch.zeros(0), points, 16, CANVAS)
    assert (index == -1).all() and not shape.any()
    colors = part_colors(torch.zeros(0, 4), torch.zeros(len(COLOR_NAMES), 80, 80), CANVAS)
    empty = describe_objects(torch.zeros(0, 4), torch.zeros(0, 2), torch.zeros(0), colors, CANVAS)
    assert empty.shape == (0, len(NAMES) - len(SHAPE))
