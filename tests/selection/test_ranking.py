"""The value of every proposal equals its formula: σ(logit) × level weight × quality to its power."""

import math

import pytest
import torch
from torch.nn.functional import interpolate

from pbrec_hf.geometry.proposals import Proposals
from pbrec_hf.selection.ranking import rank_proposals, rank_scores, weigh_quality
from pbrec_hf.selection.settings import SelectionSettings

WHOLE = torch.tensor([[64, 64, 64, 64, 0, 0]])
TWO = WHOLE.expand(2, -1)
INDEX = torch.tensor([1, 0, 1])


def offered(images=2, **fields):
    quality = torch.rand(images, 8, generator=torch.Generator().manual_seed(0))
    return Proposals(grids=((2, 2), (4, 1)), canvas=(64, 64), **{"quality": quality, **fields})


def logits():
    return torch.randn(3, 4, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("power", [0, 0.4, 1, 3])
def test_the_quality_counts_to_its_power(power):
    found = rank_proposals(logits(), (2, 2), offered(), INDEX, TWO, SelectionSettings(quality_power=power))
    quality = offered().quality
    for expression, image in enumerate(INDEX.tolist()):
        for point in range(4):
            p = 1 / (1 + math.exp(-logits()[expression, point].item()))
            expected = p * quality[image, point].item() ** power
            assert found[expression, point].item() == pytest.approx(expected, rel=1e-6)
    assert torch.equal(weigh_quality(offered(), SelectionSettings(quality_power=2)), quality.square())


def test_a_quality_beyond_its_limits_by_rounding_counts_as_the_limit():
    quality = torch.tensor([[1.0005, -0.0005, 0.25, 1.0]])
    rounded = Proposals(grids=((2, 2),), canvas=(64, 64), quality=quality)
    assert weigh_quality(rounded, SelectionSettings(quality_power=0.5)).tolist() == [[1, 0, 0.5, 1]]


def test_without_quality_the_probability_counts_alone():
    alone = torch.cat(
        (logits().sigmoid(), interpolate(logits().sigmoid().view(3, 1, 2, 2), (4, 1), mode="bilinear").flatten(1)), 1
    )
    by_score = rank_proposals(logits(), (2, 2), offered(), INDEX, TWO, SelectionSettings(ranking="score"))
    torch.testing.assert_close(by_score, alone)
    no_quality = offered(quality=None, boxes=torch.zeros(2, 8, 4))
    torch.testing.assert_close(rank_proposals(logits(), (2, 2), no_quality, INDEX, TWO, SelectionSettings()), alone)
    assert weigh_quality(no_quality, SelectionSettings()) is None
    assert weigh_quality(offered(), SelectionSettings(ranking="score")) is None


def test_each_grid_has_its_weight():
    settings = SelectionSettings(ranking="score", level_weights=[0.5, 0.0])
    found = rank_proposals(logits(), (2, 2), offered(), INDEX, TWO, settings)
    torch.testing.assert_close(found[:, :4], logits().sigmoid() / 2)
    assert not found[:, 4:].any()
    for weights in ([1.0], [1.0, 1.0, 1.0]):
        with pytest.raises(ValueError, match=f"level_weights has {len(weights)} entries for a detector with 2 grids"):
            rank_proposals(logits(), (2, 2), offered(), INDEX, TWO, SelectionSettings(level_weights=weights))


def test_logits_may_be_resampled_before_the_sigmoid():
    settings = SelectionSettings(ranking="score", interpolate="logits")
    found = rank_proposals(logits(), (2, 2), offered(), INDEX, TWO, settings)
    resampled = interpolate(logits().view(3, 1, 2, 2), (4, 1), mode="bilinear").flatten(1).sigmoid()
    torch.testing.assert_close(found, torch.cat((logits().sigmoid(), resampled), 1))


def test_only_candidates_are_ranked_in_pictures_that_have_any():
    candidates = torch.zeros(2, 8, dtype=torch.bool)
    candidates[1, [2, 5]] = True
    some = offered(candidates=candidates)
    listed = rank_proposals(logits(), (2, 2), some, INDEX, TWO, SelectionSettings(candidates_only=True)).isfinite()
    assert listed[0].nonzero().flatten().tolist() == [2, 5] and torch.equal(listed[2], listed[0])
    assert listed[1].all()
    assert rank_proposals(logits(), (2, 2), some, INDEX, TWO, SelectionSettings()).isfinite().all()
    unknown = rank_proposals(logits(), (2, 2), offered(), INDEX, TWO, SelectionSettings(candidates_only=True))
    assert unknown.isfinite().all()
    # A candidate in the padding is none: the picture fills the upper half of its canvas.
    half = torch.tensor([[32, 64, 32, 64, 0, 0]]).expand(2, -1)
    candidates[1] = torch.tensor([False, False, True, True, False, False, False, True])
    listed = rank_proposals(logits(), (2, 2), some, INDEX, half, SelectionSettings(candidates_only=True)).isfinite()
    assert [row.nonzero().flatten().tolist() for row in listed] == [[0, 1, 4, 5]] * 3


def test_what_is_not_valid_or_no_number_ranks_last():
    probabilities = torch.tensor([[0.5, 0.25, float("nan"), 1.0]])
    quality = torch.tensor([[0.5, float("nan"), 1.0, 0.5]])
    valid = torch.tensor([[True, True, True, False]])
    inf = math.inf
    assert rank_scores(probabilities, quality, valid).tolist() == [[0.25, -inf, -inf, -inf]]
    assert rank_scores(probabilities, quality, None).tolist() == [[0.25, -inf, -inf, 0.5]]
    assert rank_scores(probabilities, None, None).tolist() == [[0.5, 0.25, -inf, 1.0]]
