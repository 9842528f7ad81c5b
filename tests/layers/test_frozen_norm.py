"""The frozen norm of trunks: the values of torchvision's, one dtype throughout, unchanged names of tensors."""

import copy

import pytest
import torch
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from pbrec_hf.layers.frozen_norm import FrozenNorm, freeze_batch_norm


@pytest.fixture
def norms():
    """A BatchNorm with statistics, torchvision's frozen one and ours, with the same tensors."""
    torch.manual_seed(0)
    plain = nn.BatchNorm2d(6, eps=1e-3).eval()
    for tensor in (plain.weight.data, plain.running_var):
        tensor.uniform_(0.3, 2)
    for tensor in (plain.bias.data, plain.running_mean):
        tensor.normal_()
    holder = nn.Sequential(nn.Identity(), copy.deepcopy(plain))
    freeze_batch_norm(holder)
    theirs = FrozenBatchNorm2d(6, eps=1e-3)
    theirs.load_state_dict(holder[1].state_dict())
    return plain, theirs, holder[1]


def test_values_and_gradients_equal_torchvisions(norms):
    plain, theirs, ours = norms
    assert isinstance(ours, FrozenNorm) and ours.eps == plain.eps
    inputs = [torch.randn(2, 6, 5, 4, generator=torch.Generator().manual_seed(1)).requires_grad_() for _ in range(2)]
    outputs = [norm(x) for norm, x in zip((theirs, ours), inputs, strict=True)]
    torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(outputs[1], plain(inputs[0]), rtol=1e-5, atol=1e-5)
    for output in outputs:
        output.square().sum().backward()
    torch.testing.assert_close(inputs[1].grad, inputs[0].grad, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_maps_keep_their_half_precision(norms, dtype):
    _, theirs, ours = norms
    x = torch.randn(2, 6, 5, 4, generator=torch.Generator().manual_seed(1)).to(dtype)
    assert theirs(x).dtype == torch.float32
    assert ours(x).dtype == dtype
    torch.testing.assert_close(ours(x).float(), theirs(x), rtol=2e-2, atol=2e-2)


def test_all_trained_values_of_the_norm_are_kept(norms):
    plain, _, ours = norms
    kept = ours.state_dict()
    assert kept.keys() == plain.state_dict().keys() - {"num_batches_tracked"}
    assert all(kept[name].equal(value) for name, value in plain.state_dict().items() if name in kept)
    assert not list(ours.parameters())
