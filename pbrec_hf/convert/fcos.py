"""FCOS checkpoints, torchvision's and the original ones (tianzhi0549/FCOS) → `FcosDetector`, which keeps level P5.

The original network was trained on Caffe's ResNet: BGR pixels in 0 … 255 minus a mean of their own, bottlenecks with
the stride in their first 1×1 convolution, BatchNorm without eps, points at the centres of cells. The scale and the
order of the channels go into the first convolution, the learned scale of P5 into the last one; the rest are options of
`FcosConfig`, so that the result computes what the original does.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from transformers.utils.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from ..detectors.fcos import FcosConfig, FcosDetector, torchvision_names
from .labels import labels_of
from .report import ConversionReport
from .resnet import resnet_shape
from .verification import verify_forward

CAFFE_BGR_MEAN = (102.9801, 115.9465, 122.7717)
P5_SCALE = "rpn.head.scales.2.scale"
# What the published variants do with distances and center-ness.
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {"distance_activation": "exp", "centerness_tower": "classification"},
    "improved": {"distance_activation": "relu", "centerness_tower": "regression"},
}
DEPTHS: dict[tuple[str, tuple[int, ...]], int] = {
    ("basic", (2, 2, 2, 2)): 18,
    ("basic", (3, 4, 6, 3)): 34,
    ("bottleneck", (3, 4, 6, 3)): 50,
    ("bottleneck", (3, 4, 23, 3)): 101,
    ("bottleneck", (3, 8, 36, 3)): 152,
}
_ORIGINAL_NAMES = {
    "backbone.body.stem.": "body.",
    "backbone.body.layer": "body.layer",
    "backbone.fpn.fpn_inner4.": "lateral.",
    "backbone.fpn.fpn_layer4.": "smooth.",
    "rpn.head.cls_tower.": "classification_tower.",
    "rpn.head.bbox_tower.": "regression_tower.",
    "rpn.head.cls_logits.": "class_output.",
    "rpn.head.bbox_pred.": "distance_output.",
    "rpn.head.centerness.": "centerness_output.",
}
_ORIGINAL_DEAD = {
    "backbone.fpn.fpn_inner": "laterals of C3 and C4: P5 does not read them",
    "backbone.fpn.fpn_layer": "smoothing of P3 and P4: P5 does not read it",
    "backbone.fpn.top_blocks.": "P6 and P7: not computed",
    "rpn.head.scales.": "scales of the other levels",
    "rpn.anchor_generator.": "anchors: FCOS has none",
}


def convert_torchvision_fcos(state_dict: Mapping[str, Tensor], **config: Any) -> tuple[FcosDetector, ConversionReport]:
    """
    The detector with the weights of a torchvision FCOS with a ResNet-FPN, whose depth is read off the keys.

    Args:
        state_dict: of `torchvision.models.detection.FCOS`.
        config: further fields of [`FcosConfig`], e.g. `id2label` of one's own classes.

    Raises:
        ValueError: keys are unknown or missing.
    """
    names, dead = torchvision_names(state_dict)
    return _build({name: state_dict[key] for key, name in names.items()}, names, dead, state_dict, config)


def convert_original_fcos(
    state_dict: Mapping[str, Tensor], variant: str, **config: Any
) -> tuple[FcosDetector, ConversionReport]:
    """
    The detector with the weights of an original FCOS, such as FCOS-R101.

    Args:
        state_dict: of tianzhi0549/FCOS; a leading `module.` is accepted.
        variant: "plain" (such as `fcos_R_101_FPN_2x`) or "improved" (such as `fcos_imprv_R_101_FPN_2x`). Their keys
            are the same, their arithmetic is not.
        config: further fields of [`FcosConfig`].

    Raises:
        ValueError: the variant is unknown, or keys are unknown or missing.
    """
    if variant not in VARIANTS:
        raise ValueError(f"variant={variant!r} is unknown: choose one of {', '.join(VARIANTS)}.")
    names: dict[str, str] = {}
    dead: dict[str, str] = {}
    for key in state_dict:
        name = key.removeprefix("module.")
        if name == P5_SCALE:
            names[key] = "distance_output.weight"
        elif prefix := next((p for p in _ORIGINAL_NAMES if name.startswith(p)), None):
            names[key] = _ORIGINAL_NAMES[prefix] + name.removeprefix(prefix)
        elif reason := next((why for p, why in _ORIGINAL_DEAD.items() if name.startswith(p)), None):
            dead[key] = reason
    weights = {name: state_dict[key] for key, name in names.items() if not key.endswith(P5_SCALE)}
    scale = next((state_dict[key] for key in names if key.endswith(P5_SCALE)), None)
    for name in ("body.conv1.weight", "distance_output.weight", "distance_output.bias"):
        if name not in weights or scale is None:
            raise ValueError(f"There is no {name} or no {P5_SCALE} in the checkpoint: give one of the original FCOS.")
    assert scale is not None
    mean, std = torch.tensor(IMAGENET_DEFAULT_MEAN), torch.tensor(IMAGENET_DEFAULT_STD)
    caffe_mean = torch.tensor(CAFFE_BGR_MEAN[::-1]) / 255
    weights["body.conv1.weight"] = weights["body.conv1.weight"].flip(1) * (255 * std)[:, None, None]
    for name in ("distance_output.weight", "distance_output.bias"):
        weights[name] = weights[name] * scale
    options = {
        "stride_in_1x1": True,
        "batch_norm_eps": 0.0,
        "pixel_offset": ((mean - caffe_mean) / std).tolist(),
        "points": "center",
        **VARIANTS[variant],
    }
    return _build(weights, names, dead, state_dict, {**options, **config})


def _build(
    weights: dict[str, Tensor],
    names: dict[str, str],
    dead: dict[str, str],
    source: Iterable[str],
    config: dict[str, Any],
) -> tuple[FcosDetector, ConversionReport]:
    """
    The detector of the size that `weights` have, loaded and run once.

    Args:
        weights: tensors under the detector's names.
        names: source key -> the detector's tensor that it goes into.
        dead: source key -> why it goes nowhere.
        source: all keys of the checkpoint.
        config: fields of [`FcosConfig`] that leave no trace in the tensors.
    """
    model = FcosDetector(FcosConfig(**{**_sizes(weights), **config}))
    expected = set(model.state_dict())
    used = [key for key, name in names.items() if name in expected]
    report = ConversionReport(used=used, dead=dead, missing=sorted(expected - set(weights)))
    report.require_complete(source)
    model.load_state_dict({name: value.float() for name, value in weights.items()})
    verify_forward(model)
    return model, report


def _sizes(weights: dict[str, Tensor]) -> dict[str, Any]:
    """Fields of `FcosConfig` that can be read off the tensors."""
    shape = resnet_shape(weights, "body.")
    if shape not in DEPTHS or not {"lateral.weight", "class_output.weight"} <= set(weights):
        raise ValueError(
            f"There is no ResNet that FCOS is known with ({shape.layer_type} blocks {list(shape.depths)}), or the "
            "head is missing: give a whole FCOS with a ResNet."
        )
    classes = weights["class_output.weight"].shape[0]
    tower = {int(m[1]) for key in weights if (m := re.fullmatch(r"regression_tower\.(\d+)\.weight", key))}
    sizes: dict[str, Any] = {
        "depth": DEPTHS[shape],
        "neck_channels": weights["lateral.weight"].shape[0],
        "tower_depth": len(tower) // 2,
    }
    return sizes if classes == FcosConfig().num_labels else sizes | labels_of(classes)
