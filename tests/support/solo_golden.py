"""The golden SOLO head: its file, a detector with its weights and what that gives on the golden pyramid."""

import json
from functools import cache

import numpy as np
import torch
from places import GOLDEN
from safetensors.torch import load_file

from pbrec_hf.convert.solo import solo_key
from pbrec_hf.detectors.solo import SoloConfig, SoloDetector, SoloOutput

CANVAS = (160, 224)
TINY_RESNET = {
    "model_type": "resnet",
    "depths": [1, 1, 1, 1],
    "embedding_size": 8,
    "hidden_sizes": [8, 8, 16, 16],
    "out_features": ["stage1", "stage2", "stage3", "stage4"],
}


@cache
def tensors() -> dict[str, torch.Tensor]:
    return load_file(GOLDEN / "solo_head.safetensors")


@cache
def facts() -> dict:
    return json.loads((GOLDEN / "solo_head.json").read_text())


@cache
def head_output() -> SoloOutput:
    sizes = facts()["config_small"]
    config = SoloConfig(
        backbone_config=TINY_RESNET,
        neck_channels=sizes["in_channels"],
        channels=sizes["feat_channels"],
        num_labels=sizes["num_classes"],
        num_grids=sizes["num_grids"],
        scale_ranges=sizes["scale_ranges"],
    )
    head = SoloDetector(config).eval().head
    weights = {key[2:]: value for key, value in tensors().items() if key.startswith("w.")}
    head.load_state_dict({solo_key(f"mask_head.{key}").removeprefix("head."): w for key, w in weights.items()})
    with torch.no_grad():
        return head({index: tensors()[f"in.P{index + 2}"] for index in range(5)}, CANVAS)


def unpack_bits(packed: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(np.unpackbits(packed.numpy(), axis=-1)).bool()
