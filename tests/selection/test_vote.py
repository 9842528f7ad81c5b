"""The vote selects what the released code selects, and is defined for every degenerate input."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from released_checkpoint import GOLDEN
from safetensors.torch import load_file
from torchvision.ops import box_iou

from pbrec_hf.geometry.boxes import box_iou_matrix, boxes_from_distances
from pbrec_hf.geometry.masks import mask_iou_matrix
from pbrec_hf.geometry.points import grid_points, resample_grid
from pbrec_hf.geometry.proposals import Proposals
from pbrec_hf.geometry.proposed_masks import LazyMasks
from pbrec_hf.selection.ranking import rank_scores, top_k_points
from pbrec_hf.selection.vote import choose_boxes, choose_masks, select_by_overlap


def test_all_golden_box_sets_yield_the_released_point_and_box():
    golden = load_file(GOLDEN / "postproc.safetensors")
    distances = golden["ltrb"].flatten(2).transpose(1, 2)
    boxes = boxes_from_distances(grid_points(20, 20, 32), distances, (640, 640))
    values = rank_scores(golden["score_logits"].sigmoid(), golden["conf_logits"].sigmoid(), None)
    best, points = top_k_points(values, 12)
    torch.testing.assert_close(best, golden["topk_value"], atol=1e-7, rtol=1e-5)
    assert torch.equal(points, golden["topk_index"])
    chosen = boxes[torch.arange(50)[:, None], points]
    winner = select_by_overlap(box_iou_matrix(chosen))
    row = torch.arange(50)
    assert torch.equal(points[row, winner], golden["chosen_point"])
    torch.testing.assert_close(chosen[row, winner], golden["chosen_xyxy"], atol=1e-4, rtol=0)


def test_all_golden_mask_sets_yield_the_cell_of_the_paper():
    golden = load_file(GOLDEN / "mask_nms_paper.safetensors")
    probabilities = golden["mass_logits_20x20"].flatten(1).double().sigmoid()
    resampled = resample_grid(probabilities, (20, 20), (24, 24))
    torch.testing.assert_close(resampled, golden["score_24_from_sigmoid"].flatten(1), atol=1e-12, rtol=0)
    _, points = top_k_points(resampled, 12)
    assert torch.equal(points, golden["topk"])
    bits = np.unpackbits(golden["mask_bits_576x1600"].numpy(), axis=-1)
    masks = torch.from_numpy(bits).view(10, 576, 40, 40)[torch.arange(10)[:, None], points]
    winner = select_by_overlap(mask_iou_matrix(masks))
    assert torch.equal(winner, golden["chosen_in_topk"])
    assert torch.equal(points[torch.arange(10), winner], golden["chosen_cell"])


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 8), st.integers(1, 12), st.integers(0, 10_000))
def test_batched_selection_equals_plain_loops(expressions, k, seed):
    generator = torch.Generator().manual_seed(seed)
    corners = torch.randint(0, 6, (expressions, k, 2, 2), generator=generator).float()
    boxes = torch.cat((corners.amin(2), corners.amax(2)), dim=-1)
    iou = box_iou_matrix(boxes)
    for row in range(expressions):
        expected = box_iou(boxes[row], boxes[row]).nan_to_num(0)
        torch.testing.assert_close(iou[row], expected)
        sums = [sum(expected[i, j].item() for j in range(k) if j != i) for i in range(k)]
        winner = select_by_overlap(iou)[row].item()
        assert sums[winner] == pytest.approx(max(sums), abs=1e-5)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 6), st.integers(1, 20), st.integers(1, 25), st.integers(0, 10_000))
def test_ranking_and_vote_equal_brute_force_with_ties_and_gaps(expressions, points, k, seed):
    generator = torch.Generator().manual_seed(seed)
    # Few levels make ties; sixteenths make every sum exact, whatever its order.
    probabilities, quality = (torch.randint(0, 4, (2, expressions, points), generator=generator) / 4).unbind()
    probabilities[torch.rand(expressions, points, generator=generator) < 0.1] = torch.nan
    valid = torch.rand(expressions, points, generator=generator) < 0.7
    overlap = torch.randint(0, 17, (expressions, points, points), generator=generator) / 16
    best, index = top_k_points(rank_scores(probabilities, quality, valid), k)
    row = torch.arange(expressions)[:, None, None]
    winner = select_by_overlap(overlap[row, index[:, :, None], index[:, None, :]], best > -torch.inf)
    for e in range(expressions):
        usable = [n for n in range(points) if valid[e, n] and not probabilities[e, n].isnan()]
        group = sorted(usable, key=lambda n: (-(probabilities[e, n] * quality[e, n]).item(), n))[:k]
        assert index[e, : len(group)].tolist() == group
        assert best[e, : len(group)].tolist() == [(probabilities[e, n] * quality[e, n]).item() for n in group]
        assert best[e, len(group) :].isneginf().all()
        votes = [sum(overlap[e, n, other].item() for other in group if other != n) for n in group]
        assert winner[e].item() == (votes.index(max(votes)) if votes else 0)


def test_ties_go_to_the_lower_index():
    values, index = top_k_points(torch.full((1, 400), 0.5), 12)
    assert index.tolist() == [list(range(12))] and values.unique().item() == 0.5
    assert select_by_overlap(torch.zeros(1, 5, 5)).item() == 0
    assert select_by_overlap(torch.ones(1, 5, 5)).item() == 0


def test_invalid_and_nan_scores_come_last_and_never_vote():
    probabilities = torch.tensor([[0.9, float("nan"), 0.5, 0.8]])
    values = rank_scores(probabilities, None, torch.tensor([[False, True, True, True]]))
    best, index = top_k_points(values, 4)
    assert index[0, :2].tolist() == [3, 2] and best[0, 2:].isinf().all()
    iou = torch.ones(1, 4, 4)
    assert select_by_overlap(iou, best > -torch.inf).item() == 0
    lone = torch.tensor([[False, False, True, False]])
    assert select_by_overlap(iou, lone).item() == 2


@pytest.mark.parametrize(("points", "k", "expected"), [(3, 12, 3), (400, 1, 1), (1, 1, 1)])
def test_the_group_is_never_larger_than_the_grid(points, k, expected):
    values, index = top_k_points(torch.rand(2, points), k)
    assert values.shape == index.shape == (2, expected)
    assert select_by_overlap(torch.rand(2, expected, expected)).shape == (2,)


def test_an_empty_group_is_refused():
    with pytest.raises(ValueError, match="top_k=0"):
        top_k_points(torch.rand(1, 4), 0)
    with pytest.raises(ValueError, match="no proposals to choose from"):
        top_k_points(torch.rand(1, 0), 12)


def test_an_empty_batch_has_no_winners():
    values, index = top_k_points(torch.zeros(0, 400), 12)
    assert values.shape == index.shape == (0, 12)
    assert select_by_overlap(box_iou_matrix(torch.zeros(0, 12, 4)), values > 0).shape == (0,)


def test_masks_vote_as_sets_of_pixels_that_are_more_likely_than_not():
    # The second mask is 0.6 on the left, just likely enough; the third is 0.45 on the right, and so empty.
    left, right = torch.tensor([1.0, 1, 0, 0]), torch.tensor([0.0, 0, 1, 1])
    likely = torch.logit(torch.tensor([0.9, 0.6, 0.45]))
    features = torch.stack((left * likely[0] - right * 9, left * likely[1] - right * 9, right * likely[2] - left * 9))
    proposed = LazyMasks(features.view(1, 3, 2, 2), torch.eye(3), torch.zeros(3))
    offered = Proposals(((1, 3),), (8, 8), masks=proposed)
    values = torch.tensor([[0.7, 0.8, 0.9]])
    group = choose_masks(values, offered, torch.zeros(1, dtype=torch.int64), top_k=3)
    assert group.points.tolist() == [[2, 1, 0]] and group.winner.tolist() == [1]
    assert group.score.item() == pytest.approx(0.8)  # the third agrees with neither
    torch.testing.assert_close(group.masks[0], features.sigmoid().view(3, 2, 2).flip(0))


def test_each_expression_has_the_masks_of_its_picture():
    features = torch.randn(2, 4, 3, 5, generator=torch.Generator().manual_seed(0))
    offered = Proposals(((2, 2),), (8, 8), masks=LazyMasks(features, torch.eye(4), torch.zeros(4)))
    values = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1], [0.0, 1.0, 0.5, -torch.inf]])
    group = choose_masks(values, offered, torch.tensor([1, 0, 1]), top_k=2)
    assert group.points.tolist() == [[3, 2], [0, 1], [1, 2]]
    expected = torch.stack(
        [features[image, points].sigmoid() for image, points in ((1, [3, 2]), (0, [0, 1]), (1, [1, 2]))]
    )
    torch.testing.assert_close(group.masks, expected)


def test_boxes_of_each_picture_vote_and_only_those_that_exist():
    boxes = torch.tensor(
        [[[0.0, 0, 9, 9], [0, 0, 8, 9], [50, 50, 60, 60]], [[0.0, 0, 9, 9], [50, 50, 60, 60], [50, 50, 60, 59]]]
    )
    offered = Proposals(((1, 3),), (64, 64), boxes=boxes)
    values = torch.tensor([[0.9, 0.8, 0.7], [0.9, 0.8, 0.7], [0.9, -torch.inf, -torch.inf]])
    group = choose_boxes(values, offered, torch.tensor([0, 1, 1]), top_k=3)
    assert group.winner.tolist() == [0, 1, 0] and group.score.tolist() == pytest.approx([0.9, 0.8, 0.9])
    assert torch.equal(group.boxes, boxes[torch.tensor([0, 1, 1])])
