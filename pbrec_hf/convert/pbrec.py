"""Released PBREC and PBREC-MT checkpoints → `PbrecForReferringExpression`.

Every key is used, or named as dead: the released network computes several tensors that no output reads. Sizes are read
off the tensors; the numbers of attention heads leave no trace there and are arguments.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import BertConfig

from ..configuration_pbrec import PbrecConfig
from ..modeling_pbrec import PbrecForReferringExpression
from .report import ConversionReport
from .resnet import resnet_key, resnet_shape
from .verification import verify_forward

_BODY = "backbone.0.body."
_LAYER_PARTS = {
    "self_attn.out_proj": "self_attn.out_proj",
    "linear1": "fc1",
    "linear2": "fc2",
    "norm2": "attention_norm",
    "norm3": "output_norm",
}
_RENAMED = {
    "backbone.1.fpn_inner4": "model.image_projection",
    "txt_proj": "model.text_projection",
    "ca.norm": "model.fusion.input_norm",
    "ca.ca.norm": "model.fusion.final_norm",
}
_DEAD = {
    "backbone.1.fpn_inner2.": "lateral of C3: nothing reads it",
    "backbone.1.fpn_inner3.": "lateral of C4: nothing reads it",
    "backbone.1.top_blocks.": "P6 and P7: nothing reads them",
    "bert.bert.pooler.": "the pooled text vector: nothing reads it",
    "position_embedding.pe": "a fixed sine table, computed where it is used",
}


def convert_pbrec(
    state_dict: Mapping[str, Tensor],
    num_attention_heads: int = 8,
    text_attention_heads: int | None = None,
    **config: Any,
) -> tuple[PbrecForReferringExpression, ConversionReport]:
    """
    Build the model that a released checkpoint holds.

    Args:
        state_dict: of the released layout; a leading `module.` is accepted.
        num_attention_heads: of the fusion encoder.
        text_attention_heads: of BERT; default one head per 64 channels.
        config: further fields of [`PbrecConfig`].

    Raises:
        ValueError: keys are unknown or missing.
    """
    source = {key.removeprefix("module."): value for key, value in state_dict.items()}
    model = PbrecForReferringExpression(_config(source, num_attention_heads, text_attention_heads, config))
    report = ConversionReport()
    weights: dict[str, Tensor] = {}
    for key, value in source.items():
        reason = next((why for prefix, why in _DEAD.items() if key.startswith(prefix)), None)
        if reason is None and key.startswith("ca.ca.layers.") and ".norm1." in key:
            reason = "norm1: declared by the released layer and never called"
        if reason is not None:
            report.dead[key] = reason
            continue
        converted = _convert(key, value)
        weights.update(converted)
        if converted:
            report.used.append(key)
    report.missing = sorted(set(model.state_dict()) - set(weights))
    report.require_complete(source)
    model.load_state_dict(weights)
    return model.eval(), report


def _convert(key: str, value: Tensor) -> dict[str, Tensor]:
    """The tensors, by name, that one released tensor becomes; none for an unknown key."""
    if key.startswith(_BODY):
        name = resnet_key(key.removeprefix(_BODY))
        return {f"model.backbone.{name}": value} if name else {}
    if key.startswith("bert.bert."):
        return {"model.text_model." + key.removeprefix("bert.bert."): value}
    if key.startswith("ca.ca.layers."):
        number, part = key.removeprefix("ca.ca.layers.").split(".", 1)
        target = f"model.fusion.layers.{number}."
        if part.startswith("self_attn.in_proj_"):
            tensor = part.removeprefix("self_attn.in_proj_")
            names = ("q_proj", "k_proj", "v_proj")
            return {
                f"{target}self_attn.{name}.{tensor}": third.clone()
                for name, third in zip(names, value.chunk(3), strict=True)
            }
        module, tensor = part.rsplit(".", 1)
        return {f"{target}{_LAYER_PARTS[module]}.{tensor}": value} if module in _LAYER_PARTS else {}
    for prefix, head in (("box_mlp.", "center_head."), ("seg_mlp.", "mass_head.")):
        if key.startswith(prefix):
            return {head + key.removeprefix(prefix): value}
    module, tensor = key.rsplit(".", 1)
    return {f"{_RENAMED[module]}.{tensor}": value} if module in _RENAMED else {}


def _config(
    state_dict: dict[str, Tensor], num_attention_heads: int, text_attention_heads: int | None, config: dict[str, Any]
) -> PbrecConfig:
    missing = [key for key in ("txt_proj.weight", "ca.ca.layers.0.linear1.weight") if key not in state_dict]
    if missing:
        raise ValueError(
            f"There is no {missing[0]!r} in the checkpoint, so it is not a released PBREC checkpoint: give one."
        )
    words = state_dict["bert.bert.embeddings.word_embeddings.weight"]
    heads = {"grounding": "box_mlp.layers.0.weight", "segmentation": "seg_mlp.layers.0.weight"}
    return PbrecConfig(
        backbone_config=resnet_shape(state_dict, _BODY).config(),
        text_config=BertConfig(
            vocab_size=words.shape[0],
            hidden_size=words.shape[1],
            num_hidden_layers=_count(state_dict, "bert.bert.encoder.layer."),
            num_attention_heads=text_attention_heads or words.shape[1] // 64,
            intermediate_size=state_dict["bert.bert.encoder.layer.0.intermediate.dense.weight"].shape[0],
            max_position_embeddings=state_dict["bert.bert.embeddings.position_embeddings.weight"].shape[0],
        ),
        d_model=state_dict["txt_proj.weight"].shape[0],
        num_hidden_layers=_count(state_dict, "ca.ca.layers."),
        num_attention_heads=num_attention_heads,
        intermediate_size=state_dict["ca.ca.layers.0.linear1.weight"].shape[0],
        tasks=[task for task, key in heads.items() if key in state_dict],
        **{"max_text_length": state_dict["position_embedding.pe"].shape[1], **config},
    )


def _count(state_dict: dict[str, Tensor], prefix: str) -> int:
    return len({key.removeprefix(prefix).split(".")[0] for key in state_dict if key.startswith(prefix)})


def verify(model: PbrecForReferringExpression) -> None:
    """
    Run the converted model once on an empty canvas.

    Raises:
        ValueError: its scores are not finite.
    """
    size = model.config.image_size
    verify_forward(model, {"pixel_values": torch.zeros(1, 3, size, size), "input_ids": torch.tensor([[1, 2, 3]])})
