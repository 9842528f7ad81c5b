"""The running average of the weights: its arithmetic, what it covers, and what it refuses."""

import pytest
import torch
from torch import nn

from pbrec_hf.training.ema import WeightAverage


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    model[0].requires_grad_(False)
    return model


def step(model):
    with torch.no_grad():
        for parameter in model[1].parameters():
            parameter += torch.randn_like(parameter)


def test_each_update_keeps_a_share_of_the_old_average_which_starts_at_the_weights(model):
    average = WeightAverage(model, decay=0.9)
    expected = {f"1.{name}": value.clone() for name, value in model[1].state_dict().items()}
    assert average.state_dict().keys() == expected.keys()  # nothing of the frozen layer
    for _ in range(5):
        step(model)
        average.update()
        for name, value in model[1].state_dict().items():
            expected[f"1.{name}"].lerp_(value, 1 - 0.9)
    assert all(torch.equal(average.state_dict()[name], value) for name, value in expected.items())


def test_the_average_is_applied_and_taken_back(model):
    average = WeightAverage(model, decay=0.5)
    step(model)
    average.update()
    weights = model[1].weight.clone()
    with pytest.raises(KeyError), average.applied():
        assert torch.equal(model[1].weight, average.state_dict()["1.weight"])
        assert not torch.equal(model[1].weight, weights)
        raise KeyError
    assert torch.equal(model[1].weight, weights)


def test_an_average_resumes_and_one_of_other_parameters_is_refused(model):
    average, other = WeightAverage(model, decay=0.5), WeightAverage(model, decay=0.5)
    step(model)
    average.update()
    other.load_state_dict({name: value.clone() for name, value in average.state_dict().items()})
    for each in (average, other):
        each.update()
    assert torch.equal(average.state_dict()["1.bias"], other.state_dict()["1.bias"])
    with pytest.raises(ValueError, match=r"other parameters .*0\.bias.* start in another output_dir"):
        average.load_state_dict({**average.state_dict(), "0.bias": torch.zeros(4)})


def test_sharded_weights_are_refused(model):
    model[1].weight.device_mesh = None  # what a DTensor of FSDP2 has
    with pytest.raises(ValueError, match="leave it out with FSDP"):
        WeightAverage(model, decay=0.5)
