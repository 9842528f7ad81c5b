"""The attention of [CLS] over the points: that of eager attention, from a model loaded in any way."""

import numpy as np
import pytest
import torch
from checkpoints import tiny_box_detector, tiny_model, tiny_processor

from pbrec_hf.inference.attention import answer_with_attention

TEXTS = [["left dog", "the red car"], ["girl on the left"]]


@pytest.fixture(scope="module")
def inputs():
    wide, high = (
        np.random.default_rng(0).integers(256, size=(*size, 3), dtype=np.uint8) for size in ((40, 90), (80, 50))
    )
    return tiny_processor(box_detector=tiny_box_detector())([wide, high], TEXTS)


@pytest.mark.parametrize("layer", [-1, 0])
@pytest.mark.parametrize("kind", ["sdpa", "eager"])
def test_it_is_that_of_eager_attention(inputs, kind, layer):
    eager, model = tiny_model(3), tiny_model(3)
    eager.set_attn_implementation("eager")
    if kind == "eager":
        model.set_attn_implementation(kind)
    assert model.config._attn_implementation == kind  # sdpa is what models are made with
    with torch.no_grad():
        known = eager(**inputs, output_attentions=True).attentions[layer][:, :, 16, :16]
        plain = model(**inputs)
    outputs, weights = answer_with_attention(model, inputs, layer)
    assert weights.shape == (3, 2, 16) and weights.dtype == torch.float32
    torch.testing.assert_close(weights, known, atol=1e-6, rtol=1e-5)
    assert torch.equal(outputs.center_logits, plain.center_logits)


def test_nothing_in_the_padding_is_attended_to(inputs):
    outputs, weights = answer_with_attention(tiny_model(), inputs)
    padding = ~outputs.image_features.mask[inputs["image_index"]]
    assert padding.any() and not weights.transpose(1, 2)[padding].any()
    assert (weights.sum(-1) < 1).all() and (weights.sum(-1) > 0).all()


def test_the_model_is_left_as_it_was(inputs):
    model = tiny_model()
    answer_with_attention(model, inputs)
    assert not model.model.fusion.layers[-1].self_attn._forward_pre_hooks
    with pytest.raises(ValueError, match="layer=2: the fusion encoder has 2"):
        answer_with_attention(model, inputs, layer=2)
