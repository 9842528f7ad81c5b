"""Boxes: overlap, clipping and distances equal hand-computed values and torchvision's, for every leading shape."""

import pytest
import torch
from torchvision.ops import box_iou

from pbrec_hf.geometry.boxes import (
    box_areas,
    box_centers,
    box_intersections,
    box_iou_matrix,
    boxes_from_distances,
    covered_shares,
    distances_to_sides,
    intersection_over_union,
)


def random_boxes(*shape, seed=0):
    corners = torch.rand(*shape, 2, 2, generator=torch.Generator().manual_seed(seed)) * 100
    return torch.cat((corners.amin(-2), corners.amax(-2)), dim=-1)


def test_overlaps_are_those_of_torchvision_for_every_leading_shape():
    boxes, others = random_boxes(2, 3, 5), random_boxes(2, 3, 4, seed=1)
    found = box_iou_matrix(boxes, others)
    assert found.shape == (2, 3, 5, 4)
    for i in range(2):
        for j in range(3):
            torch.testing.assert_close(found[i, j], box_iou(boxes[i, j], others[i, j]))
            torch.testing.assert_close(box_iou_matrix(boxes[i, j]), box_iou(boxes[i, j], boxes[i, j]))


def test_overlaps_of_known_boxes():
    boxes = torch.tensor([[0.0, 0, 10, 20], [5, 10, 15, 30], [10, 0, 20, 20], [3, 3, 3, 9], [0, 0, 0.5, 0.5]])
    expected = [200 / 200, 50 / 350, 0, 0, 0.25 / 200]
    torch.testing.assert_close(box_iou_matrix(boxes[:1], boxes)[0], torch.tensor(expected))
    # A union of less than one square pixel is a union; a box without area overlaps nothing, not even itself.
    assert box_iou_matrix(boxes[3:]).tolist() == [[0, 0], [0, 1]]


def test_intersection_over_union_of_known_areas():
    intersection = torch.tensor([[2.0, 1.0], [0.0, 0.0], [0.0, 0.0]])
    found = intersection_over_union(intersection, torch.tensor([4.0, 3.0, 0.0]), torch.tensor([5.0, 0.0]))
    torch.testing.assert_close(found, torch.tensor([[2 / 7, 1 / 3], [0.0, 0.0], [0.0, 0.0]]))


def test_distances_are_negative_outside_and_lead_back_to_the_box():
    points = torch.tensor([[10.0, 20.0], [1.0, 50.0]])
    boxes = torch.tensor([[4.0, 5.0, 12.0, 40.0]]).expand(2, 4)
    distances = distances_to_sides(points, boxes)
    assert distances.tolist() == [[6.0, 15.0, 2.0, 20.0], [-3.0, 45.0, 11.0, -10.0]]
    assert torch.equal(boxes_from_distances(points, distances), boxes)
    assert box_centers(boxes).tolist() == [[8.0, 22.5]] * 2


@pytest.mark.parametrize("images", [1, 3])
def test_each_point_has_a_box_on_every_image(images):
    points = torch.tensor([[10.0, 20.0], [1.0, 50.0]])
    distances = torch.arange(images * 8.0).view(images, 2, 4)
    expected = [
        [
            [x - left, y - top, x + right, y + bottom]
            for (x, y), (left, top, right, bottom) in zip(points.tolist(), image, strict=True)
        ]
        for image in distances.tolist()
    ]
    assert boxes_from_distances(points, distances).tolist() == expected


def test_shares_that_a_box_covers_equal_counting_pixels():
    boxes = torch.tensor([[0.0, 0, 4, 4], [2, 2, 8, 6], [5, 5, 5, 9]])
    found = covered_shares(box_intersections(boxes, boxes), box_areas(boxes))
    # Row i: the share of each box that box i covers; what has no area is not covered.
    torch.testing.assert_close(found, torch.tensor([[1, 4 / 24, 0], [4 / 16, 1, 0], [0, 0, 0]]))
    batch = torch.stack((boxes, boxes.flip(0)))
    assert torch.equal(covered_shares(box_intersections(batch, batch), box_areas(batch))[1], found.flip(0).flip(1))
