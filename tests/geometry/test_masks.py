"""Masks: overlap, tight boxes, rasterised boxes and coverage equal counting pixel by pixel."""

import pytest
import torch

from pbrec_hf.geometry.masks import bounding_boxes, box_coverage, mask_centroids, mask_iou_matrix, rasterized_box


def test_overlaps_equal_counting_pixels():
    generator = torch.Generator().manual_seed(0)
    masks, others = (
        torch.rand(2, 3, 4, 6, generator=generator) > 0.4,
        torch.rand(2, 2, 4, 6, generator=generator) > 0.6,
    )
    masks[1, 2] = False
    found, itself = mask_iou_matrix(masks, others), mask_iou_matrix(masks)
    assert found.shape == (2, 3, 2) and found.dtype == torch.float32
    torch.testing.assert_close(mask_iou_matrix(masks[0], others[0]), found[0])
    for image in range(2):
        for row, one in enumerate(masks[image]):
            for col, other in enumerate(others[image]):
                expected = (one & other).sum() / (one | other).sum()
                assert found[image, row, col].item() == pytest.approx(expected.item())
            for col, other in enumerate(masks[image]):
                union = (one | other).sum().clamp(min=1)
                assert itself[image, row, col].item() == pytest.approx(((one & other).sum() / union).item())


def test_a_tight_box_goes_around_the_outer_edges_of_the_pixels():
    masks = torch.zeros(2, 6, 9, dtype=torch.bool)
    masks[0, 2:4, 3:8] = True
    masks[1, 0, 0] = masks[1, 5, 8] = True
    expected = [[3.0, 2.0, 8.0, 4.0], [0.0, 0.0, 9.0, 6.0]]
    assert bounding_boxes(masks).tolist() == expected
    several = torch.stack((masks, torch.zeros_like(masks)))
    assert bounding_boxes(several).tolist() == [expected, [[0.0] * 4] * 2]  # empty masks have no box
    assert bounding_boxes(masks[0].float()).tolist() == expected[0] and bounding_boxes(masks[:0]).shape == (0, 4)


@pytest.mark.parametrize(
    ("box", "rows", "cols"),
    [
        ([2.0, 1.0, 5.0, 3.0], (1, 3), (2, 5)),
        ([2.9, 1.9, 5.1, 3.1], (1, 4), (2, 6)),
        ([-3.0, -2.0, 1.5, 0.5], (0, 1), (0, 2)),
        ([6.5, 3.5, 99.0, 99.0], (3, 6), (6, 8)),
    ],
)
def test_a_rasterised_box_is_every_pixel_that_it_touches(box, rows, cols):
    expected = torch.zeros(6, 8, dtype=torch.bool)
    expected[slice(*rows), slice(*cols)] = True
    assert torch.equal(rasterized_box(torch.tensor(box), 6, 8), expected)


def test_coverage_is_the_share_of_each_cell_inside_the_box():
    boxes = torch.tensor([[10.0, 5.0, 50.0, 45.0], [0.0, 0.0, 80.0, 60.0], [-20.0, 58.0, 4.0, 99.0]])
    # Cells of 20 × 10 pixels on a canvas of 60 × 80 (height × width).
    found = box_coverage(boxes, (60, 80), (3, 8))
    assert found.shape == (3, 3, 8)
    rows = [[15 / 20, 1, 5 / 20], [1, 1, 1], [0, 0, 0]]
    cols = [[0, 1, 1, 1, 1, 0, 0, 0], [1] * 8, [0] * 8]
    rows[2], cols[2] = [0, 0, 2 / 20], [4 / 10, 0, 0, 0, 0, 0, 0, 0]
    for box in range(3):
        expected = torch.outer(
            torch.tensor(rows[box], dtype=torch.float32), torch.tensor(cols[box], dtype=torch.float32)
        )
        torch.testing.assert_close(found[box], expected)


def test_centroids_are_in_canvas_pixels():
    masks = torch.zeros(1, 3, 4, 8, dtype=torch.bool)
    masks[0, 0, 1, 2:5] = True
    masks[0, 1, 0, 0] = masks[0, 1, 3, 7] = masks[0, 1, 3, 6] = True
    points = mask_centroids(masks, (40, 160))
    # A cell is 10 pixels high and 20 wide; an empty mask is in the middle.
    assert torch.allclose(points, torch.tensor([[[70.0, 15.0], [20 * (0.5 + 7.5 + 6.5) / 3, 25.0], [80.0, 20.0]]]))
