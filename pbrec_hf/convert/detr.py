"""The ResNet inside a DETR checkpoint → transformers' `ResNetBackbone`.

DETR serves only to initialise the comprehension model's backbone; its transformer and heads are named as dead.
"""

from collections.abc import Mapping

from torch import Tensor
from transformers import ResNetBackbone

from .report import ConversionReport
from .resnet import resnet_key, resnet_shape
from .verification import verify_forward

PREFIX = "backbone.0.body."
DEAD = ("transformer.", "class_embed.", "bbox_embed.", "query_embed.", "input_proj.", "bbox_attention.", "mask_head.")
DETR = "detr."  # before every key but the mask branch's in panoptic checkpoints
_COUNTER = ".num_batches_tracked"


def build_detr_backbone(state_dict: Mapping[str, Tensor]) -> tuple[ResNetBackbone, ConversionReport]:
    """
    The backbone of a DETR with any ResNet, such as DETR-R101, and what became of every key.

    Raises:
        ValueError: a key is unknown, or the ResNet is not complete.
    """
    report = ConversionReport()
    weights: dict[str, Tensor] = {}
    for key, value in state_dict.items():
        name = key.removeprefix(DETR)
        if name.endswith(_COUNTER):
            report.dead[key] = "counter of BatchNorm, which is frozen"
        elif target := name.startswith(PREFIX) and resnet_key(name.removeprefix(PREFIX)):
            weights[target] = value
            report.used.append(key)
        elif name.startswith(DEAD):
            report.dead[key] = "DETR's transformer and heads: the comprehension model has its own"
    shape = resnet_shape([key.removeprefix(DETR) for key in state_dict], PREFIX)
    if not all(shape.depths):
        raise ValueError(f"There is no ResNet under {PREFIX!r} in the checkpoint: give a DETR with a ResNet backbone.")
    backbone = ResNetBackbone(shape.config())
    counters = {key: value for key, value in backbone.state_dict().items() if key.endswith(_COUNTER)}
    report.missing = sorted(backbone.state_dict().keys() - weights.keys() - counters.keys())
    report.require_complete(state_dict)
    backbone.load_state_dict({**counters, **weights})
    verify_forward(backbone)
    return backbone, report


def convert_detr_backbone(state_dict: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], ConversionReport]:
    """
    The weights of `build_detr_backbone` alone, for `PbrecModel.backbone.load_state_dict`.

    Returns:
        Tensors named as in `ResNetBackbone`, without the counters of BatchNorm, which DETR's frozen layers lack; and
        the report.
    """
    backbone, report = build_detr_backbone(state_dict)
    return {key: value for key, value in backbone.state_dict().items() if not key.endswith(_COUNTER)}, report
