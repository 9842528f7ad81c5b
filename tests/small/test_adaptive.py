"""Adaptive pooling is torch's, whether the sizes divide each other or not."""

import pytest
import torch
from torch.nn import functional as F

from pbrec_hf.small.adaptive import _shares, adaptive_max, adaptive_mean, nearest

SIZES = [((56, 56), (32, 32)), ((64, 64), (32, 32)), ((28, 14), (7, 5)), ((9, 8), (9, 3)), ((128, 128), (7, 56))]


@pytest.mark.parametrize(("given", "wanted"), SIZES)
def test_it_is_torchs(given, wanted):
    values = torch.randn(2, 3, *given)
    highest = adaptive_max(values.movedim(1, -1), wanted).movedim(-1, 1)
    assert torch.equal(highest, F.adaptive_max_pool2d(values, wanted))
    torch.testing.assert_close(
        adaptive_mean(values, wanted), F.adaptive_avg_pool2d(values, wanted), atol=1e-6, rtol=1e-6
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("given", "wanted"), [(56, 32), (512, 56), (7, 10), (5, 5), (3, 1), (1, 3)])
def test_each_place_of_a_window_counts_alike(given, wanted, dtype):
    rows = torch.zeros(wanted, given, dtype=torch.float64)
    for row in range(wanted):
        start, end = row * given // wanted, -(-(row + 1) * given // wanted)
        for place in range(start, end):
            rows[row, place] = 1 / (end - start)
    shares = _shares(given, wanted, torch.zeros(0, dtype=dtype))
    assert shares.dtype == dtype and torch.equal(shares, rows.to(dtype))


@pytest.mark.parametrize(("given", "wanted"), [((28, 28), (32, 32)), ((7, 7), (32, 32)), ((14, 3), (15, 32))])
def test_the_nearest_are_torchs(given, wanted):
    values = torch.randn(2, 3, *given)
    found = nearest(values.movedim(1, -1), wanted).movedim(-1, 1)
    assert torch.equal(found, F.interpolate(values, wanted, mode="nearest"))
