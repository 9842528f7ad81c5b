"""The loss equals the cross-entropy written out, in float32 whatever the precision of its arguments."""

import math

import pytest
import torch

from pbrec_hf.comprehension.loss import point_loss


def by_hand(logits, targets):
    """Equation 6, divided by the number of points, as in the released code."""
    terms = []
    for row, wanted in zip(logits.tolist(), targets.tolist(), strict=True):
        for logit, target in zip(row, wanted, strict=True):
            p = 1 / (1 + math.exp(-logit))
            terms.append(-(target * math.log(p) + (1 - target) * math.log(1 - p)))
    return sum(terms) / len(terms)


def test_the_loss_is_the_mean_cross_entropy():
    generator = torch.Generator().manual_seed(0)
    logits, targets = torch.randn(3, 10, generator=generator), torch.rand(3, 10, generator=generator)
    assert point_loss(logits, targets).item() == pytest.approx(by_hand(logits, targets), rel=1e-6)
    assert point_loss(torch.zeros(1, 400), torch.rand(1, 400)).item() == pytest.approx(math.log(2), rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_loses_nothing(dtype):
    generator = torch.Generator().manual_seed(1)
    logits, targets = torch.randn(4, 400, generator=generator).to(dtype), torch.rand(4, 400, generator=generator)
    loss = point_loss(logits, targets)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(by_hand(logits.float(), targets), rel=1e-6)
    halved = point_loss(logits.float(), targets.to(dtype))
    assert halved.dtype == torch.float32
    assert halved.item() == pytest.approx(by_hand(logits.float(), targets.to(dtype).float()), rel=1e-6)
    assert point_loss(logits, targets.double()).dtype == torch.float32


@pytest.mark.parametrize(("points", "targets"), [(100, 400), (400, 100)])
def test_other_shapes_are_refused(points, targets):
    message = rf"Targets of shape \(2, {targets}\) do not match logits of shape \(2, {points}\)"
    with pytest.raises(ValueError, match=message):
        point_loss(torch.zeros(2, points), torch.zeros(2, targets))
