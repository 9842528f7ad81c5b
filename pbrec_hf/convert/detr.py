"""The ResNet inside a DETR checkpoint -> the state dict of transformers' `ResNetBackbone`.

DETR serves only to initialise the comprehension model's backbone; its transformer and heads are named as dead.
"""

from torch import Tensor
from transformers import ResNetBackbone, ResNetConfig

from .report import ConversionReport
from .resnet import resnet_key, resnet_shape
from .verification import verify_forward

PREFIX = "backbone.0.body."
DEAD = ("transformer.", "class_embed.", "bbox_embed.", "query_embed.", "input_proj.", "bbox_attention.", "mask_head.")
DETR = "detr."  # before every key but the mask branch's in panoptic checkpoints


def convert_detr_backbone(state_dict: dict[str, Tensor]) -> tuple[dict[str, Tensor], ConversionReport]:
    """
    Args:
        state_dict: of a DETR with any ResNet, e.g. DETR-R101.

    Returns:
        Tensors named as in `ResNetBackbone` (without BatchNorm's counters, which DETR's frozen layers lack), for
        `PbrecModel.backbone.load_state_dict`; and the report.

    Raises:
        ValueError: a key is unknown, or the ResNet is not complete.
    """
    report, weights = ConversionReport(), {}
    for key, value in state_dict.items():
        name = key.removeprefix(DETR)
        if name.endswith(".num_batches_tracked"):
            report.dead[key] = "counter of BatchNorm, which is frozen"
        elif target := name.startswith(PREFIX) and resnet_key(name.removeprefix(PREFIX)):
            weights[target] = value
            report.used.append(key)
        elif name.startswith(DEAD):
            report.dead[key] = "DETR's transformer and heads: the comprehension model has its own"
    names = [key.removeprefix(DETR) for key in state_dict]
    shape = resnet_shape(names, PREFIX)
    if not all(shape["depths"]):
        raise ValueError(f"no ResNet under {PREFIX!r} in the checkpoint; give a DETR with a ResNet backbone")
    backbone = ResNetBackbone(ResNetConfig(**shape, out_features=["stage4"]))
    expected = backbone.state_dict()
    counters = {key: value for key, value in expected.items() if key.endswith(".num_batches_tracked")}
    report.missing = sorted(set(expected) - set(weights) - set(counters))
    report.require_complete(list(state_dict))
    backbone.load_state_dict({**counters, **weights})
    verify_forward(backbone)
    return weights, report
