"""The fusion encoder: a transformer over the points of a picture and the tokens of an expression, and its heads.

It follows the released code: a LayerNorm on the concatenation; in every layer, positions added to the residual and to
the input of queries and keys, but not of values; a final LayerNorm. Expects vectors of width `d_model`, from any
backbone and text encoder.
"""

import itertools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers.activations import ACT2FN
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutput
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from ..configuration_pbrec import PbrecConfig
from ..hub.loading import StrictModel
from ..layers.initialization import starting, uniform


def xavier_bound(fan_in: int, fan_out: int) -> float:
    """Half-width of the Xavier-uniform distribution, sqrt(6 / (fan_in + fan_out))."""
    return math.sqrt(6 / (fan_in + fan_out))


def linear(
    in_features: int, out_features: int, weight_bound: float | None = None, bias_bound: float | None = None
) -> nn.Linear:
    """
    A linear layer with uniform initialisation.

    Args:
        in_features, out_features: as for `nn.Linear`.
        weight_bound, bias_bound: half-widths of the distributions; None = 1 / sqrt(in_features), the default of torch.
    """
    default = 1 / math.sqrt(in_features)
    return starting(
        nn.Linear(in_features, out_features),
        weight=uniform(default if weight_bound is None else weight_bound),
        bias=uniform(default if bias_bound is None else bias_bound),
    )


def eager_attention_forward(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[Tensor, Tensor]:
    """
    Reference implementation of softmax attention.

    Args:
        module: the attention layer; dropout is active while it trains.
        query, key, value: (E, heads, T, head_dim).
        attention_mask: additive, broadcast to (E, heads, T, T); None = every position attends to every other.
        scaling: factor of the attention logits.
        dropout: probability.

    Returns:
        Attended values (E, T, heads, head_dim) and attention weights (E, heads, T, T).
    """
    weights = torch.matmul(query, key.transpose(2, 3)) * scaling
    if attention_mask is not None:
        weights = weights + attention_mask
    weights = nn.functional.softmax(weights, dim=-1, dtype=torch.float32).to(query.dtype)
    weights = nn.functional.dropout(weights, p=dropout, training=module.training)
    return torch.matmul(weights, value).transpose(1, 2).contiguous(), weights


class PbrecAttention(nn.Module):
    """Self-attention with positions in the queries and keys, but not in the values."""

    def __init__(self, config: PbrecConfig):
        super().__init__()
        self.config = config
        self.head_dim = config.d_model // config.num_attention_heads
        self.scaling = self.head_dim**-0.5
        self.is_causal = False  # sdpa would otherwise assume a causal decoder wherever the mask is None
        width = config.d_model
        bound = xavier_bound(width, 3 * width)  # the released code initialises all three as one (3D, D) matrix
        self.q_proj, self.k_proj, self.v_proj = (linear(width, width, bound, 0) for _ in range(3))
        self.out_proj = linear(width, width, xavier_bound(width, width), 0)

    def forward(
        self,
        hidden_states: Tensor,
        positioned: Tensor,
        attention_mask: Tensor | None = None,
        attended: Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple[Tensor, Tensor | None]:
        """
        Args:
            hidden_states: (E, T, d_model), input of the values.
            positioned: (E, T, d_model), hidden states plus positions, input of queries and keys.
            attention_mask: as the selected attention implementation expects it.
            attended: int64 (K,), the only positions that have keys and values; None = all T. The mask is of these.

        Returns:
            (E, T, d_model), and the attention weights (E, heads, T, T) if the implementation returns them.
        """
        shape = hidden_states.shape[:-1]
        heads = (*shape, -1, self.head_dim)
        query = self.q_proj(positioned).view(heads).transpose(1, 2)
        if attended is not None:
            hidden_states, positioned = hidden_states[:, attended], positioned[:, attended]
        heads = (shape[0], hidden_states.shape[1], -1, self.head_dim)
        key = self.k_proj(positioned).view(heads).transpose(1, 2)
        value = self.v_proj(hidden_states).view(heads).transpose(1, 2)
        attention: Callable[..., tuple[Tensor, Tensor | None]] = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention_forward
        )
        dropout = self.config.attention_dropout if self.training else 0.0
        output, weights = attention(
            self, query, key, value, attention_mask, scaling=self.scaling, dropout=dropout, **kwargs
        )
        return self.out_proj(output.reshape(*shape, -1)), weights


class PbrecLayer(GradientCheckpointingLayer):
    """One post-norm layer. The residual is x + position, as in the released code."""

    def __init__(self, config: PbrecConfig):
        super().__init__()
        self.self_attn = PbrecAttention(config)
        self.attention_norm = nn.LayerNorm(config.d_model, eps=config.layer_norm_eps)
        bound = xavier_bound(config.d_model, config.intermediate_size)
        self.fc1 = linear(config.d_model, config.intermediate_size, bound)
        self.fc2 = linear(config.intermediate_size, config.d_model, bound)
        self.output_norm = nn.LayerNorm(config.d_model, eps=config.layer_norm_eps)
        self.activation = ACT2FN[config.hidden_act]
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self,
        hidden_states: Tensor,
        positions: Tensor,
        attention_mask: Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> Tensor:
        """(E, T, d_model) hidden states and positions -> (E, T, d_model)."""
        positioned = hidden_states + positions
        attended, _ = self.self_attn(hidden_states, positioned, attention_mask, **kwargs)
        hidden_states = self.attention_norm(positioned + self.dropout(attended))
        inner = self.dropout(self.activation(self.fc1(hidden_states)))
        return self.output_norm(hidden_states + self.dropout(self.fc2(inner)))


class PbrecHead(nn.Module):
    """Three-layer MLP from the feature vector of a point to its logit."""

    def __init__(self, config: PbrecConfig):
        super().__init__()
        widths = (config.d_model, config.d_model, config.d_model, 1)
        self.layers = nn.ModuleList(linear(a, b) for a, b in itertools.pairwise(widths))

    def forward(self, features: Tensor) -> Tensor:
        """(…, d_model) -> (…)."""
        for layer in self.layers[:-1]:
            features = layer(features).relu()
        return self.layers[-1](features).squeeze(-1)


class PbrecPreTrainedModel(StrictModel):
    """Base class: strict loading and saving, initialisation, supported attention implementations."""

    config: PbrecConfig
    base_model_prefix = "model"
    main_input_name = "pixel_values"
    input_modalities = ["image", "text"]
    _no_split_modules = ["PbrecLayer"]
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True


def _attended(config: PbrecConfig, mask: Any) -> Tensor | None:
    """
    The positions int64 (K,) that any expression attends to, where leaving out the others saves time.

    A backbone that names objects lets most points be scored, but not attended to: without their keys and values,
    answers are the same and attention takes a third of its time.

    Args:
        config: of the encoder.
        mask: of its attention.
    """
    # The weights that eager attention returns are of all positions; a graph cannot depend on a mask.
    if torch.is_grad_enabled() or torch.compiler.is_compiling() or config._attn_implementation != "sdpa":
        return None
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool or mask.ndim != 4:
        return None
    kept = mask.flatten(0, -2).any(dim=0)
    return None if kept.all() else kept.nonzero().squeeze(1)


class PbrecFusionEncoder(PbrecPreTrainedModel):
    """Transformer encoder over the points of a picture, followed by the tokens of an expression."""

    _can_record_outputs = {"hidden_states": PbrecLayer, "attentions": PbrecAttention}

    def __init__(self, config: PbrecConfig):
        super().__init__(config)
        self.input_norm = nn.LayerNorm(config.d_model, eps=config.layer_norm_eps)
        self.layers = nn.ModuleList(PbrecLayer(config) for _ in range(config.num_hidden_layers))
        self.final_norm = nn.LayerNorm(config.d_model, eps=config.layer_norm_eps)
        self.post_init()

    @merge_with_config_defaults
    @capture_outputs(tie_last_hidden_states=False)
    def forward(
        self,
        inputs_embeds: Tensor,
        positions: Tensor,
        attention_mask: Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> BaseModelOutput:
        """
        Args:
            inputs_embeds: (E, P + L, d_model), vectors of points, then of tokens.
            positions: (E, P + L, d_model), their position codes.
            attention_mask: (E, P + L), non-zero where attended to; None = everywhere.

        Returns:
            `last_hidden_state` (E, P + L, d_model).
        """
        hidden_states = self.input_norm(inputs_embeds)
        mask = create_bidirectional_mask(
            config=self.config, inputs_embeds=hidden_states, attention_mask=attention_mask
        )
        if (attended := _attended(self.config, mask)) is not None:
            mask = mask[..., attended]
            mask = None if mask.dtype == torch.bool and mask.all() else mask
            kwargs["attended"] = attended  # type: ignore[typeddict-unknown-key]
        for layer in self.layers:
            hidden_states = layer(hidden_states, positions, mask, **kwargs)
        return BaseModelOutput(last_hidden_state=self.final_norm(hidden_states))


__all__ = ["PbrecFusionEncoder", "PbrecHead", "PbrecPreTrainedModel", "linear", "xavier_bound"]
