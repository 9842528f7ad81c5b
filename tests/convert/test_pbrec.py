"""Released checkpoints convert with every key accounted for."""

import pytest
import torch
from released_checkpoint import full_key_shapes, reduced_state_dict
from seeded_weights import seeded_state_dict

from pbrec_hf.convert.pbrec import convert_pbrec, verify


def test_the_full_released_layout_converts_with_every_key_accounted_for():
    shapes = full_key_shapes()
    weights = {key: torch.from_numpy(value) for key, value in seeded_state_dict(shapes.items(), 13).items()}
    model, report = convert_pbrec(weights)
    assert set(report.used) | set(report.dead) == set(shapes) and not set(report.used) & set(report.dead)
    assert not report.missing
    dead = sum(weights[key].numel() for key in report.dead if key != "position_embedding.pe")
    assert dead == 2_167_552  # as many as the released model has without a gradient
    assert model.config.max_text_length == 40 and model.config.backbone_config.depths == [3, 4, 23, 3]
    name = "backbone.0.body.layer3.22.conv3.weight"
    converted = model.model.backbone.encoder.stages[2].layers[22].layer[2].convolution.weight
    assert torch.equal(converted, weights[name])


def test_a_data_parallel_prefix_is_accepted_and_the_result_runs():
    weights = {f"module.{key}": value for key, value in reduced_state_dict().items()}
    model, report = convert_pbrec(weights, num_attention_heads=4, text_attention_heads=4)
    verify(model)
    assert "dead: ca.ca.layers.0.norm1.weight (norm1" in report.summary()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("box_mlp.layers.1.bias"), "center_head.layers.1.bias"),
        (lambda w: w.update({"surprise.weight": torch.zeros(1)}), "surprise.weight"),
        (lambda w: w.pop("txt_proj.weight"), "not a released PBREC checkpoint"),
    ],
)
def test_other_layouts_are_refused_by_name(change, message):
    weights = reduced_state_dict()
    change(weights)
    with pytest.raises(ValueError, match=message):
        convert_pbrec(weights, num_attention_heads=4, text_attention_heads=4)


def test_weights_that_are_not_finite_are_refused():
    weights = reduced_state_dict()
    weights["txt_proj.weight"][0, 0] = float("nan")
    model, _ = convert_pbrec(weights, num_attention_heads=4, text_attention_heads=4)
    with pytest.raises(ValueError, match="center_logits that are not finite"):
        verify(model)
