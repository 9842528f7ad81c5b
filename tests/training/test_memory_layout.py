"""Channels last, but not where a CPU's gradient of a small strided convolution writes out of bounds."""

import pytest
import torch
from torch import nn

from pbrec_hf.training.memory_layout import use_channels_last


def _layout(model):
    weights = [p for p in model.parameters() if p.dim() == 4 and p.shape[1] > 1 and p.shape[2] > 1]
    return {p.is_contiguous(memory_format=torch.channels_last) for p in weights}


@pytest.mark.parametrize(
    "channels, kernel, stride, changed",
    [(16, 1, 2, True), (15, 1, 2, False), (3, 1, (1, 2), False), (8, 1, 1, True), (8, 3, 2, True)],
)
def test_only_small_strided_pointwise_convolutions_keep_their_layout(channels, kernel, stride, changed):
    convolution = nn.Conv2d(channels, 16, kernel, stride=stride)
    model = nn.Sequential(nn.Conv2d(3, channels, 3), nn.ReLU(), convolution)
    assert use_channels_last(model) is changed
    assert _layout(model) == {changed}


def test_a_group_counts_its_own_channels():
    assert not use_channels_last(nn.Conv2d(32, 32, 1, stride=2, groups=4))


def test_weights_that_will_be_sharded_keep_their_layout():
    """FSDP2 says «does not support non-contiguous parameters» of the other one."""
    model = nn.Conv2d(32, 32, 3)
    assert not use_channels_last(model, sharded=True)
    assert model.weight.is_contiguous()
