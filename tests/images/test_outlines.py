"""Outlines hold the pixels of their masks, exactly before they are thinned."""

import numpy as np
import pytest
from scipy import ndimage

from pbrec_hf.images.outlines import joined_outline, outlines, thinned
from pbrec_hf.images.segmentation import rasterise_polygons


def blob(seed, height=40, width=60):
    noise = np.random.default_rng(seed).normal(size=(height, width))
    return ndimage.gaussian_filter(noise, 3) > 0.05


def inside(polygon, height, width):
    """Even-odd rule at the centres of pixels, by plain counting."""
    y, x = np.mgrid[:height, :width] + 0.5
    crossed = np.zeros((height, width), dtype=int)
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if y0 != y1:
            crosses = (np.minimum(y0, y1) <= y) & (y < np.maximum(y0, y1))
            crossed += crosses & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return crossed % 2 == 1


@pytest.mark.parametrize("seed", range(6))
def test_exact_outlines_hold_the_pixels_of_their_parts(seed):
    mask = blob(seed)
    labels, count = ndimage.label(mask)
    found = outlines(mask, tolerance=0)
    assert len(found) == count > 1
    sizes = [int(inside(points, *mask.shape).sum()) for points in found]
    assert sizes == sorted(sizes, reverse=True)
    whole = np.zeros_like(mask)
    for points in found:
        whole |= inside(points, *mask.shape)
    expected = np.zeros_like(mask)
    for number in range(1, count + 1):
        expected |= ndimage.binary_fill_holes(labels == number)
    assert np.array_equal(whole, expected)


def test_a_rectangle_is_its_four_corners_clockwise():
    mask = np.zeros((8, 9), dtype=bool)
    mask[2:5, 3:7] = True
    (points,) = outlines(mask)
    assert points.tolist() == [[3, 2], [7, 2], [7, 5], [3, 5]]
    mask[6, 0] = True
    assert [len(part) for part in outlines(mask)] == [4, 4]
    assert outlines(np.zeros((3, 3), dtype=bool)) == [] and joined_outline(np.zeros((3, 3), dtype=bool)) is None
    assert outlines(np.ones((1, 1), dtype=bool))[0].tolist() == [[0, 0], [1, 0], [1, 1], [0, 1]]


def test_pixels_that_touch_at_a_corner_are_parts_of_their_own():
    assert sorted(points[0].tolist() for points in outlines(np.eye(3, dtype=bool))) == [[0, 0], [1, 1], [2, 2]]


def test_thinned_outlines_stay_near(seed=1):
    for points in outlines(blob(seed), tolerance=0):
        few = thinned(points, 1.0)
        assert len(few) <= len(points) and {tuple(point) for point in few} <= {tuple(point) for point in points}
        start, end = few, np.roll(few, -1, axis=0)
        along = (end - start)[None]
        share = ((points[:, None] - start) * along).sum(-1) / np.maximum((along**2).sum(-1), 1e-9)
        nearest = start + share.clip(0, 1)[..., None] * along
        assert np.hypot(*(points[:, None] - nearest).transpose(2, 0, 1)).min(axis=1).max() <= 1.0


@pytest.mark.parametrize("seed", range(3))
def test_a_joined_outline_is_the_mask_as_rasterised(seed):
    mask = ndimage.zoom(blob(seed), 4, order=0)
    flat = joined_outline(mask, tolerance=0, least=0)
    filled = np.zeros_like(mask)
    for points in outlines(mask, tolerance=0):
        filled |= inside(points, *mask.shape)
    drawn = rasterise_polygons([flat], *mask.shape).bool().numpy()
    assert (drawn & filled).sum() / (drawn | filled).sum() > 0.93  # bridges are drawn a pixel wide
