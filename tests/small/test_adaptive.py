"""Adaptive pooling is torch's, whether the sizes divide each other or not."""

import pytest
import torch
from torch.nn import functional as F

from pbrec_hf.small.adaptive import adaptive_max, adaptive_mean, nearest

SIZES = [((56, 56), (32, 32)), ((64, 64), (32, 32)), ((28, 14), (7, 5)), ((9, 8), (9, 3)), ((128, 128), (7, 56))]


@pytest.mark.parametrize(("given", "wanted"), SIZES)
def test_it_is_torchs(given, wanted):
    values = torch.randn(2, 3, *given)
    assert torch.equal(adaptive_max(values, wanted), F.adaptive_max_pool2d(values, wanted))
    torch.testing.assert_close(
        adaptive_mean(values, wanted), F.adaptive_avg_pool2d(values, wanted), atol=1e-6, rtol=1e-6
    )


@pytest.mark.parametrize(("given", "wanted"), [((28, 28), (32, 32)), ((7, 7), (32, 32)), ((14, 3), (15, 32))])
def test_the_nearest_are_torchs(given, wanted):
    values = torch.randn(2, 3, *given)
    assert torch.equal(nearest(values, wanted), F.interpolate(values, wanted, mode="nearest"))
