"""Key names of a ResNet: torchvision's (also DETR's, mmdetection's and the released PBREC's) to transformers'."""

import re

_BLOCK = re.compile(r"layer(\d)\.(\d+)\.(conv|bn)(\d)\.(\w+)")
_SHORTCUT = re.compile(r"layer(\d)\.(\d+)\.downsample\.([01])\.(\w+)")
_PARTS = {"conv": "convolution", "bn": "normalization", "0": "convolution", "1": "normalization"}


def resnet_key(key: str) -> str | None:
    """`layer3.0.bn2.weight` → `encoder.stages.2.layers.0.layer.1.normalization.weight`; None for other keys."""
    if match := _BLOCK.fullmatch(key):
        stage, block, part, number, tensor = match.groups()
        return f"encoder.stages.{int(stage) - 1}.layers.{block}.layer.{int(number) - 1}.{_PARTS[part]}.{tensor}"
    if match := _SHORTCUT.fullmatch(key):
        stage, block, part, tensor = match.groups()
        return f"encoder.stages.{int(stage) - 1}.layers.{block}.shortcut.{_PARTS[part]}.{tensor}"
    if key.startswith(("conv1.", "bn1.")):
        part, tensor = key.split(".", 1)
        return f"embedder.embedder.{_PARTS[part[:-1]]}.{tensor}"
    return None


def resnet_shape(state_dict_keys: list[str], prefix: str = "") -> dict:
    """Depths and layer type of the ResNet whose torchvision-named keys start with `prefix`, for a `ResNetConfig`."""
    depths = []
    for stage in range(1, 5):
        blocks = {
            key[len(prefix) :].split(".")[1] for key in state_dict_keys if key.startswith(f"{prefix}layer{stage}.")
        }
        depths.append(len(blocks))
    bottleneck = f"{prefix}layer1.0.conv3.weight" in state_dict_keys
    return {
        "depths": depths,
        "layer_type": "bottleneck" if bottleneck else "basic",
        "hidden_sizes": [256, 512, 1024, 2048] if bottleneck else [64, 128, 256, 512],
    }
