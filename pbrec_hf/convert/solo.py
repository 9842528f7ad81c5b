"""SOLO checkpoints of the original repository and of mmdetection 2.x/3.x → `SoloDetector`.

The two differ in names only: `bbox_head.{ins_convs,cate_convs,solo_ins_list,solo_cate}` is what mmdetection later
called `mask_head.{mask_convs,cls_convs,conv_mask_list,conv_cls}`. Sizes are read off the tensors; what leaves no
trace there (strides, scale ranges) is SOLO's default. The trunk must be a ResNet with its stride on the 3×3
('pytorch' style).
"""

import math
import re
from collections.abc import Mapping

from torch import Tensor

from ..detectors.solo import SoloConfig, SoloDetector
from .labels import labels_of
from .report import ConversionReport
from .resnet import resnet_key, resnet_shape
from .verification import verify_forward

_TOWER = re.compile(r"(mask_convs|ins_convs|cls_convs|cate_convs)\.(\d+)\.(conv|gn)\.(\w+)")
_MASK_OUTPUT = re.compile(r"(?:conv_mask_list|solo_ins_list)\.(\d+)\.(\w+)")
_CLASS_OUTPUT = re.compile(r"(?:conv_cls|solo_cate)\.(\w+)")
_NECK = re.compile(r"neck\.(lateral|fpn)_convs\.(\d+)\.conv\.(\w+)")
_TOWERS = {"mask_convs": "mask", "ins_convs": "mask", "cls_convs": "class", "cate_convs": "class"}
_NECK_PARTS = {"lateral": "lateral", "fpn": "smooth"}
_LAYER_PARTS = {"conv": "conv", "gn": "norm"}
_UNUSED = {"backbone.fc.": "the ImageNet classifier of the trunk"}


def solo_key(key: str) -> str | None:
    """`mask_head.mask_convs.0.gn.bias` → `head.mask_tower.0.norm.bias`; None for keys without a counterpart."""
    if match := _NECK.fullmatch(key):
        part, index, tensor = match.groups()
        return f"pyramid.{_NECK_PARTS[part]}.{index}.{tensor}"
    if key.startswith("backbone."):
        name = resnet_key(key.removeprefix("backbone."))
        return name and f"backbone.{name}"
    part = re.sub(r"^(mask_head|bbox_head)\.", "", key)
    if match := _TOWER.fullmatch(part):
        tower, index, layer, tensor = match.groups()
        return f"head.{_TOWERS[tower]}_tower.{index}.{_LAYER_PARTS[layer]}.{tensor}"
    if match := _MASK_OUTPUT.fullmatch(part):
        return "head.mask_outputs.{}.{}".format(*match.groups())
    if match := _CLASS_OUTPUT.fullmatch(part):
        return f"head.class_output.{match.group(1)}"
    return None


def convert_solo(state_dict: Mapping[str, Tensor]) -> tuple[SoloDetector, ConversionReport]:
    """
    The detector with the checkpoint's weights, in evaluation mode, and what became of every key.

    Args:
        state_dict: tensors of either layout, with or without a leading `module.`.

    Raises:
        ValueError: keys are unknown or missing, shapes do not fit, or the result gives numbers that are not finite.
    """
    weights = {key.removeprefix("module."): value for key, value in state_dict.items()}
    report = ConversionReport()
    renamed: dict[str, Tensor] = {}
    for key, value in weights.items():
        if name := solo_key(key):
            report.used.append(key)
            renamed[name] = value
        elif reason := next((why for prefix, why in _UNUSED.items() if key.startswith(prefix)), None):
            report.dead[key] = reason
    model = SoloDetector(_config_of(renamed, list(weights)))
    # The counters of BatchNorm are not weights; old checkpoints lack them.
    expected = {name for name in model.state_dict() if not name.endswith("num_batches_tracked")}
    report.missing = sorted(expected - set(renamed))
    report.require_complete(weights)
    try:
        model.load_state_dict(renamed, strict=False)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"The checkpoint is not a SOLO of a published size ({reason}): give one of those.") from error
    verify_forward(model)
    return model.eval(), report


def _config_of(renamed: dict[str, Tensor], source_keys: list[str]) -> SoloConfig:
    """The sizes that the tensors have, and SOLO's defaults for what leaves no trace in them."""
    levels = [name for name in renamed if re.fullmatch(r"head\.mask_outputs\.\d+\.bias", name)]
    needed = ("head.mask_tower.0.conv.weight", "head.class_output.bias", "pyramid.lateral.0.weight")
    if absent := [name for name in needed if name not in renamed]:
        raise ValueError(
            f"Nothing in the checkpoint becomes {', '.join(absent)}: give a SOLO of the original repository "
            "(bbox_head.*) or of mmdetection (mask_head.*)."
        )
    channels, with_coordinates = renamed[needed[0]].shape[:2]
    classes = len(renamed[needed[1]])
    stages = [f"stage{number}" for number in range(1, 5)]
    return SoloConfig(
        backbone_config=resnet_shape(source_keys, "backbone.").config(stages),
        neck_channels=with_coordinates - 2,
        channels=channels,
        stacked_convs=sum(bool(re.fullmatch(r"head\.mask_tower\.\d+\.conv\.weight", name)) for name in renamed),
        num_grids=[math.isqrt(len(renamed[name])) for name in sorted(levels)],
        **labels_of(classes),
    )


__all__ = ["convert_solo", "solo_key"]
