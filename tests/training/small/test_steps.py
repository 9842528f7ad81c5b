"""The loss of pbrec-mt-small: by hand, for one object, several, none, and one that no point in the picture holds."""

import math
from types import SimpleNamespace

import pytest
import torch

from pbrec_hf.training.small import train
from pbrec_hf.training.small.steps import disturb, loss_of


def by_hand(logits, targets, present, ranking):
    """The same in plain Python."""
    binary, among, named = [], [], 0
    for row, wanted, there in zip(logits, targets, present, strict=True):
        visible = [(value, goal) for value, goal, inside in zip(row, wanted, there, strict=True) if inside]
        binary.append(sum(math.log1p(math.exp(value)) - goal * value for value, goal in visible))
        total = sum(goal for _, goal in visible)
        if total:
            named += 1
            norm = math.log(sum(math.exp(value) for value, _ in visible))
            among.append(-sum(goal / total * (value - norm) for value, goal in visible))
    return sum(binary) / len(logits) + ranking * sum(among) / max(1, named)


@pytest.mark.parametrize("ranking", [0.0, 0.7])
def test_the_loss_is_the_one_by_hand(ranking):
    logits = [[1.0, -2.0, 0.5, 3.0], [0.2, 0.1, -1.0, 0.0], [1.0, 1.0, 1.0, 1.0], [0.0, 2.0, 0.0, 0.0]]
    targets = [[1.0, 0.0, 0.0, 0.0], [0.9, 0.0, 0.6, 0.0], [0.0] * 4, [0.0, 0.0, 0.0, 0.8]]
    present = [[True] * 4, [True, True, True, False], [True] * 4, [True, True, True, False]]
    tensors = torch.tensor(logits), torch.tensor(targets), torch.tensor(present)
    assert loss_of(*tensors, ranking).item() == pytest.approx(by_hand(logits, targets, present, ranking), rel=1e-5)


def test_only_the_channels_of_the_neck_are_dropped():
    features = torch.ones(3, 7, 4)
    changed = disturb(features, neck=5, neck_dropout=1.0, noise=0.0)
    assert not changed[:, :5].any() and (changed[:, 5:] == 1).all()
    assert torch.equal(disturb(features, neck=5, neck_dropout=0.0, noise=0.0), features)


def test_answers_are_kept_but_for_expressions_with_rare_words(monkeypatch):
    """Of a model that says the same of everything: targets are its probabilities, and of rare words annotated."""
    said = torch.tensor([[2.0, -1.0, 0.0], [2.0, -1.0, 0.0]]), torch.tensor([[0.0, 1.0, 2.0], [0.0, 1.0, 2.0]])
    monkeypatch.setattr(train, "forward", lambda teacher, batch: said)
    annotated = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]).half()
    batch = SimpleNamespace(rare=torch.tensor([True, False]), centerness=annotated, massness=annotated / 2)
    center, mass = train.kept_answers(None, batch)
    assert torch.equal(center[0], annotated[0].float()) and torch.equal(mass[0], annotated[0].float() / 2)
    assert torch.equal(center[1], said[0][1].sigmoid()) and torch.equal(mass[1], said[1][1].sigmoid())
