"""Checkpoints in int8, by transformers' `quantization_config` on a CPU."""

import pytest
import torch
from checkpoints import tiny_model
from safetensors.torch import load_file, save_file
from torchao.quantization import Int8WeightOnlyConfig
from transformers import TorchAoConfig

from pbrec_hf import PbrecForReferringExpression

KEY = "center_head.layers.0.weight"


@pytest.fixture
def int8():
    return {"quantization_config": TorchAoConfig(Int8WeightOnlyConfig())}


@pytest.fixture
def folder(tmp_path):
    tiny_model().save_pretrained(tmp_path)
    return tmp_path


@torch.no_grad()
def scores(model):
    pixels = torch.linspace(-1, 1, 3 * 128 * 128).view(1, 3, 128, 128)
    return model(pixel_values=pixels, input_ids=torch.tensor([[2, 5, 7, 3]])).center_logits.sigmoid()


def test_a_quantised_model_answers_nearly_the_same_and_is_saved_as_it_is(folder, int8, tmp_path):
    model = PbrecForReferringExpression.from_pretrained(folder, **int8)
    assert type(model.get_parameter(KEY)).__name__ == "Int8Tensor"
    plain = scores(PbrecForReferringExpression.from_pretrained(folder))
    difference = (scores(model) - plain).abs().max()
    assert 0 < difference < 0.01, difference
    model.save_pretrained(tmp_path / "int8")
    again = PbrecForReferringExpression.from_pretrained(tmp_path / "int8")
    assert type(again.get_parameter(KEY)).__name__ == "Int8Tensor"
    assert torch.equal(scores(again), scores(model))


def test_numbers_that_are_not_finite_are_refused_as_ever(folder, int8):
    tensors = load_file(folder / "model.safetensors")
    tensors[KEY][0, 0] = torch.nan
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=f"not finite numbers: {KEY}"):
        PbrecForReferringExpression.from_pretrained(folder, **int8)
