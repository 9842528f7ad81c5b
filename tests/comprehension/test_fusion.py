"""The parts of the fusion encoder equal their definitions: attention, a layer, a head, the bounds of the start."""

import math

import pytest
import torch
from torch.nn import functional as F

from pbrec_hf import PbrecConfig
from pbrec_hf.comprehension.fusion import (
    PbrecAttention,
    PbrecFusionEncoder,
    PbrecHead,
    PbrecLayer,
    PbrecPreTrainedModel,
    eager_attention_forward,
    xavier_bound,
)


@pytest.fixture
def config():
    config = PbrecConfig(d_model=12, num_attention_heads=3, intermediate_size=20, num_hidden_layers=2, dropout=0.5)
    config._attn_implementation = "eager"
    return config


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def spread(layer):
    """The half-width of the uniform distribution that many weights come from."""
    return layer.detach().abs().max().item()


def test_the_bound_of_xavier():
    assert xavier_bound(10, 14) == 0.5


def test_attention_with_eager_code_equals_its_formula():
    module = torch.nn.Identity().eval()
    query, key, value = (random(2, 3, 5, 4, seed=seed) for seed in range(3))
    mask = torch.zeros(2, 1, 1, 5)
    mask[1, ..., 3:] = -torch.inf
    output, weights = eager_attention_forward(module, query, key, value, mask, scaling=0.3, dropout=0.9)
    for e in range(2):
        for head in range(3):
            logits = query[e, head] @ key[e, head].T * 0.3
            expected = (logits if e == 0 else logits[:, :3]).softmax(-1)
            torch.testing.assert_close(weights[e, head, :, : expected.shape[1]], expected)
            torch.testing.assert_close(output[e, :, head], expected @ value[e, head, : expected.shape[1]])
    plain, _ = eager_attention_forward(module, query, key, value, None, scaling=0.3)
    torch.testing.assert_close(plain[0], output[0])
    assert output.is_contiguous() and not weights[1, ..., 3:].any()


def test_attention_drops_weights_only_in_training():
    module = torch.nn.Identity().train()
    query = random(1, 1, 50, 4)
    torch.manual_seed(0)
    _, weights = eager_attention_forward(module, query, query, query, None, scaling=0.5, dropout=0.4)
    assert 0.3 < (weights == 0).float().mean() < 0.5
    _, whole = eager_attention_forward(module, query, query, query, None, scaling=0.5)
    assert (whole > 0).all()
    torch.testing.assert_close(weights[weights > 0], whole[weights > 0] / 0.6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_the_softmax_is_computed_in_single_precision(dtype):
    query, key = random(1, 1, 8, 16).to(dtype), random(1, 1, 300, 16, seed=1).to(dtype)
    value = torch.ones(1, 1, 300, 16, dtype=dtype)
    _, weights = eager_attention_forward(torch.nn.Identity().eval(), query, key, value, None, scaling=1.0)
    assert weights.dtype == dtype
    logits = torch.matmul(query, key.transpose(2, 3))
    assert torch.equal(weights, logits.float().softmax(-1).to(dtype))


def test_every_attention_of_transformers_and_gradient_checkpointing_are_offered():
    for kind in ("sdpa", "flash_attn", "flex_attn", "attention_backend"):
        assert getattr(PbrecPreTrainedModel, f"_supports_{kind}") is True
    assert PbrecPreTrainedModel.supports_gradient_checkpointing is True


def test_queries_and_keys_have_positions_but_values_have_not(config):
    torch.manual_seed(0)
    attention = PbrecAttention(config).eval()
    assert attention.head_dim == 4 and attention.scaling == 0.5 and attention.is_causal is False
    hidden, positioned = random(2, 5, 12), random(2, 5, 12, seed=1)
    output, weights = attention(hidden, positioned)
    query, key = attention.q_proj(positioned), attention.k_proj(positioned)
    value = attention.v_proj(hidden)
    parts = []
    for head in range(3):
        part = slice(4 * head, 4 * head + 4)
        attended = (query[..., part] @ key[..., part].transpose(1, 2) / 2).softmax(-1)
        torch.testing.assert_close(weights[:, head], attended)
        parts.append(attended @ value[..., part])
    torch.testing.assert_close(output, attention.out_proj(torch.cat(parts, dim=-1)))


def test_a_layer_adds_positions_to_the_residual_and_normalises_after_each_part(config):
    torch.manual_seed(0)
    layer = PbrecLayer(config).eval()
    hidden, positions = random(2, 5, 12), random(2, 5, 12, seed=1)
    attended, _ = layer.self_attn(hidden, hidden + positions)
    middle = F.layer_norm(hidden + positions + attended, (12,), layer.attention_norm.weight, layer.attention_norm.bias)
    inner = layer.fc2(F.gelu(layer.fc1(middle)))
    expected = F.layer_norm(middle + inner, (12,), layer.output_norm.weight, layer.output_norm.bias)
    torch.testing.assert_close(layer(hidden, positions), expected)
    assert not torch.allclose(layer.train()(hidden, positions), expected)


def test_the_encoder_is_a_norm_the_layers_and_a_norm(config):
    torch.manual_seed(0)
    encoder = PbrecFusionEncoder(config).eval()
    vectors, positions = random(2, 7, 12) * 3, random(2, 7, 12, seed=1)
    mask = torch.ones(2, 7)
    mask[1, 4:] = 0
    expected = encoder.input_norm(vectors)
    blocked = torch.zeros(2, 1, 1, 7).masked_fill(mask[:, None, None] == 0, torch.finfo(torch.float32).min)
    for layer in encoder.layers:
        expected = layer(expected, positions, blocked)
    expected = encoder.final_norm(expected)
    found = encoder(vectors, positions, attention_mask=mask)
    torch.testing.assert_close(found.last_hidden_state, expected)
    moved = vectors.clone()
    moved[1, 4:] += 1
    again = encoder(moved, positions, attention_mask=mask).last_hidden_state
    torch.testing.assert_close(again[1, :4], expected[1, :4])


def test_what_the_config_asks_for_is_returned(config):
    encoder = PbrecFusionEncoder(config).eval()
    vectors, positions = random(1, 7, 12), random(1, 7, 12, seed=1)
    assert encoder(vectors, positions).hidden_states is None
    encoder.config.output_hidden_states = True
    assert len(encoder(vectors, positions).hidden_states) == 3
    encoder.config.return_dict = False
    assert isinstance(encoder(vectors, positions), tuple)


def test_a_head_is_three_layers_and_gives_one_logit_per_vector(config):
    torch.manual_seed(0)
    head = PbrecHead(config)
    assert [tuple(layer.weight.shape) for layer in head.layers] == [(12, 12), (12, 12), (1, 12)]
    features = random(3, 2, 12)
    first, second, last = head.layers
    torch.nn.init.constant_(last.bias, -1.0)  # logits may be negative
    expected = last(second(first(features).relu()).relu())[..., 0]
    torch.testing.assert_close(head(features), expected)


def test_weights_start_uniformly_within_the_bounds_of_the_released_code():
    torch.manual_seed(0)
    config = PbrecConfig(d_model=64, num_attention_heads=4, intermediate_size=128, num_hidden_layers=1)
    layer = PbrecFusionEncoder(config).layers[0]
    one_matrix = math.sqrt(6 / (64 + 3 * 64))
    for projection in (layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj):
        assert 0.98 * one_matrix < spread(projection.weight) <= one_matrix and not projection.bias.any()
    square, wide = math.sqrt(6 / 128), math.sqrt(6 / 192)
    assert 0.98 * square < spread(layer.self_attn.out_proj.weight) <= square
    assert not layer.self_attn.out_proj.bias.any()
    for part, inner in ((layer.fc1, 64), (layer.fc2, 128)):
        assert 0.98 * wide < spread(part.weight) <= wide
        assert 0.9 / math.sqrt(inner) < spread(part.bias) <= 1 / math.sqrt(inner)
