"""Seeded weights in the released key layout: of the reduced golden network, and the key list of the full one."""

import json

import torch
from places import GOLDEN
from seeded_weights import seeded_state_dict


def full_key_shapes() -> dict[str, list[int]]:
    """Keys and shapes of the full released model (ResNet-101, BERT-base, 6 layers)."""
    return json.loads((GOLDEN / "state_dict_spec.json").read_text())


def reduced_state_dict() -> dict[str, torch.Tensor]:
    """ResNet-50, BERT 3 × 48 with 200 words, D 64, 2 fusion layers: the network behind `small_io.safetensors`."""
    meta = json.loads((GOLDEN / "small_meta.json").read_text())
    bert = meta["bert_config"]
    width, ffn, length = (meta["args"][name] for name in ("hidden_dim", "dim_feedforward", "max_query_len"))
    sizes = {256: width, 1024: ffn, 768: 3 * width}  # of the fusion part
    shapes = {}
    for key, shape in full_key_shapes().items():
        if key.startswith("backbone.0.body."):
            number = key.split(".")[4] if "layer3" in key else "0"
            if int(number) < 6:  # ResNet-50 has 6 blocks where ResNet-101 has 23
                shapes[key] = shape
        elif key.startswith("bert.bert."):
            if "encoder.layer." in key and int(key.split(".")[4]) >= bert["num_hidden_layers"]:
                continue
            text = {768: 48, 3072: bert["intermediate_size"], 30522: bert["vocab_size_or_config_json_file"], 512: 64}
            shapes[key] = [text.get(n, n) for n in shape]
        elif key.startswith("backbone.1."):
            shapes[key] = [
                sizes.get(shape[0], shape[0]),
                *(s if i or "top_blocks" not in key else width for i, s in enumerate(shape[1:])),
            ]
        elif key.startswith("ca.ca.layers.") and int(key.split(".")[3]) >= meta["args"]["ca_layers"]:
            continue
        elif key == "position_embedding.pe":
            shapes[key] = [1, length, width]
        elif key == "txt_proj.weight":
            shapes[key] = [width, 48]
        else:
            shapes[key] = [sizes.get(n, n) for n in shape]
    return {key: torch.from_numpy(value) for key, value in seeded_state_dict(shapes.items(), meta["seed"]).items()}
