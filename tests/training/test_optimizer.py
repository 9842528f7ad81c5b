import pytest
import torch
from checkpoints import tiny_model
from torch.optim import SGD

from pbrec_hf.training.config import TrainingConfig
from pbrec_hf.training.ema import WeightAverage
from pbrec_hf.training.optimizer import build_optimizer, build_schedule, freeze_towers, parameter_groups, tower_of


def config(**fields) -> TrainingConfig:
    return TrainingConfig(init="a", data="b", **fields)


def rates(groups) -> dict:
    return {group["name"]: group["lr"] for group in groups}


def test_every_trainable_parameter_is_in_one_group():
    model = tiny_model()
    groups = parameter_groups(model, config())
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    grouped = [parameter for group in groups for parameter in group["params"]]
    assert {id(parameter) for parameter in grouped} == {id(parameter) for parameter in trainable}
    assert len(grouped) == len(trainable)
    assert rates(groups) == {"backbone": 1e-6, "text": 1e-6, "fusion": 1e-4}


def test_a_rate_of_zero_freezes_a_tower():
    model = tiny_model()
    settings = config(text_learning_rate=0)
    freeze_towers(model, settings)
    assert rates(parameter_groups(model, settings)).keys() == {"backbone", "fusion"}
    with pytest.raises(ValueError, match="trainable"):
        nothing = config(learning_rate=0, backbone_learning_rate=0, text_learning_rate=0)
        freeze_towers(model, nothing)
        parameter_groups(model, nothing)


def test_rates_fall_with_the_distance_from_the_output():
    model = tiny_model(frozen_backbone_modules=[])
    groups = parameter_groups(model, config(layer_decay=0.5, decay_norms_and_biases=False))
    rate_of = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    decay_of = {id(parameter): group["weight_decay"] for group in groups for parameter in group["params"]}
    named = dict(model.named_parameters())
    backbone = {name: rate_of[id(value)] for name, value in named.items() if tower_of(name) == "backbone"}
    for name, rate in backbone.items():
        stage = int(name.split("stages.")[1][0]) if "stages." in name else -1
        assert rate == pytest.approx(1e-6 * 0.5 ** (3 - stage))
    assert {decay_of[id(value)] for name, value in named.items() if name.endswith("bias")} == {0.0}


def test_the_cosine_equals_torchs_and_low_rates_stay():
    total = 20
    settings = config(weight_decay=0)
    optimizer = build_optimizer(tiny_model(), settings)
    schedule = build_schedule(optimizer, settings, total)
    reference = SGD([torch.nn.Parameter(torch.zeros(1))], lr=1e-4)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(reference, total, eta_min=1e-6)
    for _ in range(total):
        found = rates(optimizer.param_groups)
        assert found["fusion"] == pytest.approx(cosine.get_last_lr()[0], rel=1e-6)
        assert found["text"] == pytest.approx(1e-6)
        for step in (optimizer, reference, schedule, cosine):
            step.step()


def test_warm_up_rises_to_the_peak():
    settings = config(warmup_steps=3)
    optimizer = build_optimizer(tiny_model(), settings)
    schedule = build_schedule(optimizer, settings, 10)
    found = []
    for _ in range(4):
        found.append(rates(optimizer.param_groups)["fusion"])
        optimizer.step()
        schedule.step()
    assert found == pytest.approx([0.25e-4, 0.5e-4, 0.75e-4, 1e-4])


def test_the_average_follows_the_weights():
    model = torch.nn.Linear(2, 1)
    start = model.weight.detach().clone()
    average = WeightAverage(model, 0.75)
    with torch.no_grad():
        model.weight.add_(4)
    average.update()
    with average.applied():
        torch.testing.assert_close(model.weight, start + 1)
    torch.testing.assert_close(model.weight, start + 4)
    with pytest.raises(ValueError, match="other parameters"):
        average.load_state_dict({"weight": start})
