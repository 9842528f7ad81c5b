"""The letterbox: hand-computed places, and the mappings of boxes and masks equal plain loops over pixels."""

import pytest
import torch

from pbrec_hf.geometry.letterbox import Letterbox, canvas_of, centered, letterboxes, points_in_picture

# 50 × 20 pixels (height × width), shown with 40 × 30 pixels from row 3 and column 7 of a canvas of 64 × 48.
PLACE = Letterbox(50, 20, 40, 30, 3, 7)
CANVAS = (64, 48)


@pytest.mark.parametrize(
    ("height", "width", "side", "expected"),
    [
        (100, 200, 64, (32, 64, 16, 0)),
        (200, 100, 64, (64, 32, 0, 16)),
        (64, 64, 64, (64, 64, 0, 0)),
        (32, 16, 64, (64, 32, 0, 16)),  # small pictures are enlarged
        (1, 4000, 64, (1, 64, 31, 0)),  # never thinner than a pixel; (64 - 1) / 2 - 0.1 rounds to 31
        (4000, 1, 64, (64, 1, 0, 31)),
        (63, 64, 64, (63, 64, 0, 0)),  # half a pixel goes to the bottom
        (61, 64, 64, (61, 64, 1, 0)),
    ],
)
def test_the_longer_side_fills_the_canvas_and_the_picture_is_centred(height, width, side, expected):
    place = Letterbox.fit(height, width, side)
    assert place == (height, width, *expected)
    assert centered(expected[:2], side) == expected[2:]
    rows, cols = torch.zeros(side, side)[place.window].shape
    assert (rows, cols) == expected[:2]
    assert place.window[0].start == expected[2] and place.window[1].start == expected[3]


def test_rows_of_a_batch_are_letterboxes():
    rows = torch.tensor([PLACE, Letterbox.fit(1, 2, 64)])
    assert list(letterboxes(rows)) == [PLACE, Letterbox.fit(1, 2, 64)] and Letterbox.of(rows[0]) == PLACE
    assert all(type(value) is int for value in Letterbox.of(rows[0]))


def test_the_canvas_is_the_last_two_sides():
    assert (
        canvas_of(torch.zeros(5, 4, 3, 2)) == canvas_of(torch.zeros(4, 3, 2)) == canvas_of(torch.zeros(3, 2)) == (3, 2)
    )


def test_boxes_are_scaled_and_moved_on_each_axis_by_itself():
    boxes = torch.tensor([[2.0, 5.0, 10.0, 45.0], [0.0, 0.0, 20.0, 50.0]])
    on_canvas = torch.tensor([[10.0, 7.0, 22.0, 39.0], [7.0, 3.0, 37.0, 43.0]])
    torch.testing.assert_close(PLACE.boxes_to_canvas(boxes), on_canvas)
    torch.testing.assert_close(PLACE.boxes_to_original(on_canvas), boxes)


def test_a_flat_side_becomes_one_pixel_inside_the_picture():
    outside = torch.tensor([[0.0, 0.0, 6.0, 63.0], [38.0, 44.0, 47.0, 60.0], [10.0, 7.0, 10.0, 7.0]])
    found = PLACE.boxes_to_original(outside)
    # Left of the picture; right of and below it; a point at (2, 5).
    torch.testing.assert_close(
        found, torch.tensor([[0.0, 0.0, 1.0, 50.0], [19.0, 49.0, 20.0, 50.0], [2.0, 5.0, 3.0, 6.0]])
    )
    # A flat side in the last half pixel is moved inwards; one that is not flat stays.
    thin = torch.tensor([[7 + 19.75 * 1.5, 7.0, 7 + 19.75 * 1.5, 39.0]])
    torch.testing.assert_close(PLACE.boxes_to_original(thin), torch.tensor([[19.0, 5.0, 20.0, 45.0]]))


def bilinear(values, y, x):
    """The value at (y, x), in cells from the first centre, repeated at the edges."""
    rows, cols = len(values), len(values[0])
    y, x = min(max(y, 0.0), rows - 1.0), min(max(x, 0.0), cols - 1.0)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, rows - 1), min(left + 1, cols - 1)
    v, u = y - top, x - left
    upper = values[top][left] * (1 - u) + values[top][right] * u
    lower = values[bottom][left] * (1 - u) + values[bottom][right] * u
    return upper * (1 - v) + lower * v


@pytest.mark.parametrize("size", [(16, 8), (64, 48), (5, 7)])
def test_a_mask_of_the_original_has_the_bilinear_values_at_the_centres_of_its_pixels(size):
    mask = torch.rand(size, generator=torch.Generator().manual_seed(1))
    values = mask.tolist()
    expected = torch.empty(50, 20, dtype=torch.float64)
    for row in range(50):
        for col in range(20):
            y = 3 + (row + 0.5) * 40 / 50
            x = 7 + (col + 0.5) * 30 / 20
            expected[row, col] = bilinear(values, y * size[0] / 64 - 0.5, x * size[1] / 48 - 0.5)
    for threshold in (0.3, 0.5, 0.62):
        found = PLACE.mask_to_original(mask, CANVAS, threshold)
        certain = (expected - threshold).abs() > 1e-5
        assert found.shape == (50, 20) and found.dtype == torch.bool and certain.float().mean() > 0.99
        assert torch.equal(found[certain], (expected > threshold)[certain])
    assert torch.equal(PLACE.mask_to_original(mask, CANVAS), PLACE.mask_to_original(mask, CANVAS, 0.5))


@pytest.mark.parametrize(
    "window", [(slice(3, 9), slice(5, 6)), (slice(0, 2), slice(0, 12)), (slice(15, 16), slice(11, 12))]
)
def test_a_small_mask_is_what_it_is_in_the_whole(window):
    mask = torch.zeros(16, 12)
    mask[window] = torch.rand(mask[window].shape, generator=torch.Generator().manual_seed(3))
    for threshold in (0.0, 0.2, 0.6):
        everywhere = PLACE.mask_to_original(mask.clamp(min=1e-9), CANVAS, threshold or 1e-8)
        assert torch.equal(PLACE.mask_to_original(mask, CANVAS, threshold or 1e-8), everywhere)
    assert PLACE.mask_to_original(mask, CANVAS, -1.0).all()
    assert not PLACE.mask_to_original(torch.zeros(16, 12), CANVAS).any()


def test_a_probability_at_the_threshold_does_not_belong_to_the_mask():
    assert not PLACE.mask_to_original(torch.full((4, 4), 0.5), CANVAS, 0.5).any()
    assert PLACE.mask_to_original(torch.full((4, 4), 0.5), CANVAS, 0.499).all()


@pytest.mark.parametrize("size", [(16, 8), (64, 48), (5, 7)])
def test_cells_sample_the_nearest_pixel_of_a_mask_of_the_original(size):
    mask = torch.rand(50, 20, generator=torch.Generator().manual_seed(2)) > 0.5
    expected = torch.zeros(size, dtype=torch.bool)
    for row in range(size[0]):
        for col in range(size[1]):
            y = ((row + 0.5) * 64 / size[0] - 3) * 50 / 40
            x = ((col + 0.5) * 48 / size[1] - 7) * 20 / 30
            if 0 <= y < 50 and 0 <= x < 20:
                expected[row, col] = mask[int(y), int(x)]
    assert torch.equal(PLACE.mask_to_canvas(mask, CANVAS, size), expected)
    assert torch.equal(
        PLACE.mask_to_canvas(torch.ones_like(mask), CANVAS, (64, 48)).nonzero().amin(0), torch.tensor([3, 7])
    )


def test_a_cell_whose_centre_is_on_the_edge_belongs_to_the_picture_that_begins_there():
    # Cells of 10 pixels with centres at 5, 15, 25, 35; the picture is at 15 … 35 on both axes.
    place = Letterbox(20, 20, 20, 20, 15, 15)
    inside = [False, True, True, False]
    found = place.mask_to_canvas(torch.ones(20, 20, dtype=torch.bool), (40, 40), (4, 4))
    assert found.tolist() == [[row and col for col in inside] for row in inside]
    points = points_in_picture(torch.tensor([place]), (4, 4), (40, 40))
    assert points.view(4, 4).tolist() == found.tolist()


def test_points_on_a_canvas_that_is_not_square():
    found = points_in_picture(torch.tensor([PLACE, Letterbox(9, 9, 1, 30, 8, 7)]), (8, 12), CANVAS).view(2, 8, 12)
    rows = [3 <= row * 8 + 4 < 43 for row in range(8)]
    cols = [7 <= col * 4 + 2 < 37 for col in range(12)]
    assert found[0].tolist() == [[row and col for col in cols] for row in rows]
    # Rows 8 … 9 hold no centre: the row of cells that the picture touches, and it alone, with every column it touches.
    assert found[1].tolist() == [[row == 1 and 1 <= col <= 9 for col in range(12)] for row in range(8)]
