"""Key names of a ResNet: torchvision's (also DETR's, mmdetection's and the released PBREC's) to transformers'."""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from transformers import ResNetConfig

_BLOCK = re.compile(r"layer(\d)\.(\d+)\.(conv|bn)(\d)\.(\w+)")
_SHORTCUT = re.compile(r"layer(\d)\.(\d+)\.downsample\.([01])\.(\w+)")
_PARTS = {"conv": "convolution", "bn": "normalization", "0": "convolution", "1": "normalization"}
_HIDDEN_SIZES = {"basic": [64, 128, 256, 512], "bottleneck": [256, 512, 1024, 2048]}


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


class ResNetShape(NamedTuple):
    """
    What tells one ResNet from another.

    Attributes:
        layer_type: "basic" or "bottleneck".
        depths: blocks of each of the four stages; 0 where the keys have none.
    """

    layer_type: str
    depths: tuple[int, ...]

    def config(self, out_features: Sequence[str] = ("stage4",)) -> ResNetConfig:
        """The config of transformers' backbone of this shape that gives the maps `out_features`."""
        return ResNetConfig(
            layer_type=self.layer_type,
            depths=list(self.depths),
            hidden_sizes=_HIDDEN_SIZES[self.layer_type],
            out_features=list(out_features),  # type: ignore[call-arg]  # the config's mixin takes it
        )


def resnet_shape(keys: Iterable[str], prefix: str = "") -> ResNetShape:
    """The shape of the ResNet whose torchvision-named keys start with `prefix`."""
    inner = {key.removeprefix(prefix) for key in keys if key.startswith(prefix)}
    depths = (len({key.split(".")[1] for key in inner if key.startswith(f"layer{stage}.")}) for stage in range(1, 5))
    return ResNetShape("bottleneck" if "layer1.0.conv3.weight" in inner else "basic", tuple(depths))
