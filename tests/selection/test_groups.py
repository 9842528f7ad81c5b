"""The score of an answer is the best value among the proposals that overlap it by at least a half."""

import math

import pytest
import torch

from pbrec_hf.selection.groups import Group, best_agreeing


@pytest.mark.parametrize(
    ("overlap", "score"), [(0.0, 0.2), (0.3, 0.2), (0.499, 0.2), (0.5, 0.9), (0.6, 0.9), (1.0, 0.9)]
)
def test_a_half_is_enough(overlap, score):
    values, iou = torch.tensor([[0.9, 0.2, 0.1]]), torch.tensor([[overlap, 1.0, 0.8]])
    assert best_agreeing(values, iou, torch.tensor([1])).item() == pytest.approx(score)


def test_an_answer_without_area_agrees_with_itself():
    values, iou = torch.tensor([[0.9, 0.2], [0.7, 0.4]]), torch.zeros(2, 2)
    assert best_agreeing(values, iou, torch.tensor([1, 0])).tolist() == pytest.approx([0.2, 0.7])


def test_without_a_proposal_there_is_no_score():
    values = torch.full((1, 3), -math.inf)
    assert best_agreeing(values, torch.zeros(1, 3), torch.tensor([0])).tolist() == [-math.inf]


def test_the_chosen_entry_of_every_field():
    group = Group(
        values=torch.tensor([[0.9, 0.8], [0.7, 0.6]]),
        points=torch.tensor([[4, 2], [1, 3]]),
        winner=torch.tensor([1, 0]),
        score=torch.tensor([0.9, 0.7]),
        boxes=torch.arange(16.0).view(2, 2, 4),
        masks=torch.arange(24.0).view(2, 2, 2, 3),
    )
    assert group.chosen("values").tolist() == pytest.approx([0.8, 0.7]) and group.chosen("points").tolist() == [2, 1]
    assert group.chosen("boxes").tolist() == [[4, 5, 6, 7], [8, 9, 10, 11]]
    assert torch.equal(group.chosen("masks"), torch.stack((group.masks[0, 1], group.masks[1, 0])))
