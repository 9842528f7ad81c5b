"""Where an expression looks: the attention of its [CLS] token over the points of the picture, as in Figure 4.

Fast implementations of attention (sdpa, flash) give no weights. Here those of one layer are computed from the layer's
own queries and keys while the model answers, so that any model will do, however it was loaded, and answers as ever.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..geometry.image_index import image_of_each
from ..modeling_pbrec import PbrecForReferringExpression, PbrecOutput


@torch.no_grad()
def answer_with_attention(
    model: PbrecForReferringExpression, inputs: Mapping[str, Any], layer: int = -1
) -> tuple[PbrecOutput, Tensor]:
    """
    The model's outputs, and how much [CLS] attends to each point. Not for several threads at once.

    Args:
        model: in evaluation mode.
        inputs: what the processor returned for pictures and expressions.
        layer: of the fusion encoder; default: the last.

    Returns:
        The outputs, and float32 (E, heads, P): softmax weights, which sum to 1 over the points *and* the tokens of the
        expression; 0 at points that nothing attends to, such as those in the padding.

    Raises:
        ValueError: there is no such layer.
    """
    layers = model.model.fusion.layers
    if not -len(layers) <= layer < len(layers):
        raise ValueError(f"layer={layer}: the fusion encoder has {len(layers)}, give a number from 0, or -1.")
    seen: list[Tensor] = []

    def look(attention: nn.Module, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
        seen.append(arguments[1] if len(arguments) > 1 else options["positioned"])

    attention = layers[layer].self_attn
    hook = attention.register_forward_pre_hook(look, with_kwargs=True)
    try:
        outputs: PbrecOutput = model(**inputs)
    finally:
        hook.remove()
    positioned = torch.cat(seen)  # a CPU scores a few expressions at a time
    features = outputs.image_features
    assert features is not None  # every forward pass on pictures returns them
    expressions, points = len(positioned), features.features.shape[1]
    pictures = image_of_each(inputs.get("image_index"), expressions, len(features.features))
    words = inputs.get("attention_mask")
    words = torch.ones_like(inputs["input_ids"]) if words is None else words
    attended = torch.cat((features.attention_mask[pictures.to(positioned.device)], words.bool()), dim=1)

    def by_head(projected: Tensor) -> Tensor:
        return projected.unflatten(-1, (-1, attention.head_dim)).transpose(1, 2).float()

    query = by_head(attention.q_proj(positioned[:, points : points + 1]))  # [CLS], the first token of an expression
    scores = (query @ by_head(attention.k_proj(positioned)).transpose(2, 3))[:, :, 0] * attention.scaling
    weights = scores.masked_fill(~attended[:, None], -torch.inf).softmax(dim=-1)
    return outputs, weights[:, :, :points]


__all__ = ["answer_with_attention"]
