"""The grid of points: positions as in the paper, padding excluded, resampling to other grids."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import interpolate

from pbrec_hf.geometry.letterbox import Letterbox, points_in_picture
from pbrec_hf.geometry.points import (
    feature_mask,
    grid_centers,
    grid_points,
    near_mask,
    resample_grid,
    sample_grid,
)


def test_centres_of_grids_of_any_shape_over_a_canvas():
    found = grid_centers([(2, 4), (1, 1)], (32, 96))
    expected = [[12, 8], [36, 8], [60, 8], [84, 8], [12, 24], [36, 24], [60, 24], [84, 24], [48, 16]]
    assert found.tolist() == expected and found.dtype == torch.float32
    assert torch.equal(grid_centers([(3, 3)], (24, 24)), grid_points(3, 3, 8))


def letterboxes(*sizes, canvas=320):
    return torch.tensor([Letterbox.fit(height, width, canvas) for height, width in sizes])


@pytest.mark.parametrize(("rows", "cols", "stride"), [(20, 20, 32), (20, 20, 16), (3, 5, 8), (1, 1, 640)])
def test_points_are_the_centres_of_the_cells_row_by_row(rows, cols, stride):
    points = grid_points(rows, cols, stride)
    expected = [[(col + 0.5) * stride, (row + 0.5) * stride] for row in range(rows) for col in range(cols)]
    assert points.tolist() == expected and points.dtype == torch.float32
    assert grid_points(rows, cols, stride, dtype=torch.float64).tolist() == expected


def test_resampling_to_the_same_grid_returns_the_values():
    values = torch.rand(2, 3, 400)
    assert resample_grid(values, (20, 20), (20, 20)) is values


@pytest.mark.parametrize("to", [(24, 24), (40, 40), (10, 10), (3, 7)])
def test_resampling_is_bilinear_for_any_leading_shape(to):
    values = torch.rand(2, 3, 400, generator=torch.Generator().manual_seed(0))
    resampled = resample_grid(values, (20, 20), to)
    expected = interpolate(values.view(2, 3, 20, 20), size=to, mode="bilinear", align_corners=False).flatten(2)
    assert resampled.shape == (2, 3, to[0] * to[1])
    torch.testing.assert_close(resampled, expected)
    assert torch.equal(resample_grid(values[0, 0], (20, 20), to), resampled[0, 0])
    assert resampled.min() >= 0 and resampled.max() <= 1


def test_a_linear_ramp_keeps_its_values_at_the_points_of_a_finer_grid():
    ramp = grid_points(20, 20, 32)[:, 0]
    finer = resample_grid(ramp, (20, 20), (40, 40)).view(40, 40)
    torch.testing.assert_close(finer[:, 1:-1], grid_points(40, 40, 16)[:, 0].view(40, 40)[:, 1:-1])


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 4000), st.integers(1, 4000), st.sampled_from([(20, 20), (40, 40), (10, 10), (24, 24)]))
def test_points_in_the_picture_equal_plain_loops(height, width, grid):
    letterbox = letterboxes((height, width))
    _, _, new_height, new_width, top, left = letterbox[0].tolist()
    rows, cols = grid
    step_y, step_x = 320 / rows, 320 / cols
    inside = [
        top <= (row + 0.5) * step_y < top + new_height and left <= (col + 0.5) * step_x < left + new_width
        for row in range(rows)
        for col in range(cols)
    ]
    touched = [
        row * step_y < top + new_height
        and (row + 1) * step_y > top
        and col * step_x < left + new_width
        and (col + 1) * step_x > left
        for row in range(rows)
        for col in range(cols)
    ]
    found = points_in_picture(letterbox, (rows, cols), (320, 320))[0].tolist()
    assert found == (inside if any(inside) else touched) and any(found)


def test_a_picture_too_thin_for_a_point_gets_the_cells_it_touches():
    wide, tall = points_in_picture(letterboxes((1, 4000), (4000, 1)), (20, 20), (320, 320)).view(2, 20, 20)
    assert wide.any(dim=1).tolist() == [row == 9 for row in range(20)] and wide[9].all()
    assert torch.equal(tall, wide.T)


def test_pictures_do_not_influence_each_other():
    letterbox = letterboxes((100, 200), (200, 100), (1, 4000), (50, 50))
    together = points_in_picture(letterbox, (20, 20), (320, 320))
    alone = torch.cat([points_in_picture(row[None], (20, 20), (320, 320)) for row in letterbox])
    assert torch.equal(together, alone)
    assert points_in_picture(letterbox[:0], (20, 20), (320, 320)).shape == (0, 400)


def test_the_feature_mask_is_the_top_left_pixel_of_every_cell():
    pixel_mask = (torch.rand(3, 320, 320, generator=torch.Generator().manual_seed(0)) > 0.5).long()
    assert torch.equal(feature_mask(pixel_mask, 20, 20), pixel_mask[:, ::16, ::16].flatten(1) == 1)
    assert torch.equal(feature_mask(pixel_mask.bool(), 20, 20), feature_mask(pixel_mask, 20, 20))


@pytest.mark.parametrize("to", [(4, 6), (5, 5), (9, 13), (2, 3)])
def test_a_map_read_at_the_centres_of_another_grid_is_the_resampled_map(to):
    values = torch.rand(3, 24, generator=torch.Generator().manual_seed(0))
    rows, cols = to
    places = grid_points(rows, cols, 1.0) * torch.tensor([96 / cols, 64 / rows])
    read = sample_grid(values, (4, 6), places.expand(3, -1, -1), (64, 96))
    torch.testing.assert_close(read, resample_grid(values, (4, 6), to), atol=1e-6, rtol=0)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 4000), st.integers(1, 4000), st.integers(0, 2**31))
def test_places_in_the_picture_read_no_other_cells_than_those_of_the_mask(height, width, seed):
    place = Letterbox.fit(height, width, 320)
    shown = torch.zeros(1, 320, 320, dtype=torch.int64)
    shown[0][place.window] = 1
    read = near_mask(shown, 10, 10)
    values = torch.rand(1, 100, generator=torch.Generator().manual_seed(seed))
    other = values.masked_fill(~read, 1e4)
    for grid in ((40, 40), (20, 20), (10, 10), (5, 5)):
        inside = points_in_picture(torch.tensor([place]), grid, (320, 320))[0]
        assert torch.equal(
            resample_grid(values, (10, 10), grid)[0, inside], resample_grid(other, (10, 10), grid)[0, inside]
        )
    share = torch.rand(1, 50, 2, generator=torch.Generator().manual_seed(seed + 1))
    places = share * torch.tensor([place.resized_width, place.resized_height]) + torch.tensor([place.left, place.top])
    torch.testing.assert_close(*(sample_grid(cells, (10, 10), places, (320, 320)) for cells in (other, values)))


@pytest.mark.parametrize(
    ("size", "rows"),
    [((480, 480), range(16)), ((320, 480), range(2, 14)), ((270, 480), range(3, 13)), ((9, 480), range(16))],
)
def test_the_padding_beyond_a_cell_is_not_read_unless_the_picture_is_thin(size, rows):
    shown = torch.zeros(2, 512, 512)
    shown[0][Letterbox.fit(*size, 512).window] = 1
    shown[1] = shown[0].T
    read = near_mask(shown, 16, 16).view(2, 16, 16)
    expected = torch.zeros(16, 16, dtype=torch.bool)
    expected[list(rows)] = True
    assert torch.equal(read[0], expected) and torch.equal(read[1], expected.T)
