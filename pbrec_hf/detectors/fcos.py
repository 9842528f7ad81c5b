"""FCOS, reduced to level P5: one box, class and center-ness at every point of the stride-32 grid.

ResNet (any depth, frozen BatchNorm) -> C5 -> 1×1 lateral -> 3×3 smoothing -> the two towers of the head. P5 is the
coarsest level that the feature pyramid derives from the ResNet, so it has no top-down input, and the outputs equal
those of the full detector at P5. Expects letterboxed, ImageNet-normalised canvases whose sides are multiples of 32;
knows nothing of expressions and has no NMS. Source: FCOS (arXiv 1904.01355, 2006.09214).

The defaults are those of torchvision's FCOS. Options of the config cover the original FCOS (tianzhi0549/FCOS).
"""

import math
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from torchvision.models import get_model
from torchvision.models.detection import FCOS_ResNet50_FPN_Weights
from transformers import initialization as init
from transformers.utils import ModelOutput
from transformers.utils.generic import can_return_tuple

from ..geometry.boxes import boxes_from_distances
from ..geometry.letterbox import canvas_of
from ..geometry.points import grid_points
from ..geometry.proposals import Proposals
from ..layers.frozen_norm import FrozenNorm
from ..layers.initialization import PRIOR_BIAS, normal, starting
from .base import Detector, DetectorConfig, require_multiple
from .coco_classes import TORCHVISION_COCO_CLASSES
from .torchvision_weights import published_weights

STRIDE = 32
DEPTHS = (18, 34, 50, 101, 152)
NORM_GROUPS = 32
_TRUNK = partial(init.kaiming_normal_, mode="fan_out", nonlinearity="relu")
_PYRAMID = partial(init.kaiming_uniform_, a=1)


@strict
class FcosConfig(DetectorConfig):
    """
    Architecture of an FCOS detector.

    Args:
        depth: of the ResNet, one of 18, 34, 50, 101, 152.
        stride_in_1x1: whether the stride of a bottleneck is in its first 1×1 convolution (Caffe) instead of its 3×3.
        batch_norm_eps: added to the variance of BatchNorm.
        pixel_offset: added to the normalised RGB pixels, for networks trained with a different mean. It cannot be
            folded into the first convolution, whose zero padding must remain the mean colour.
        neck_channels: channels of P5 and the towers, a multiple of 32.
        tower_depth: number of convolutions in each tower.
        distance_activation: "relu" (in strides) or "exp" (in pixels).
        centerness_tower: "regression" or "classification", the tower with the center-ness output.
        points: "corner", (32·col, 32·row), as in torchvision; or "center", ((col + ½)·32, (row + ½)·32), as in the
            original.
        id2label: the classes, by default the 91 indices of torchvision's COCO models.
    """

    model_type = "pbrec_fcos"

    depth: int = 50
    stride_in_1x1: bool = False
    batch_norm_eps: float | int = 1e-5
    pixel_offset: list[float | int] | tuple[float | int, ...] = (0.0, 0.0, 0.0)
    neck_channels: int = 256
    tower_depth: int = 4
    distance_activation: str = "relu"
    centerness_tower: str = "regression"
    points: str = "corner"

    # The 91 indices of torchvision's COCO models, including placeholders.
    default_classes = TORCHVISION_COCO_CLASSES
    limits: ClassVar = {"tower_depth": (1, 16), "neck_channels": (1, 4096)}

    def __post_init__(self, **kwargs: Any) -> None:
        self.pixel_offset = list(self.pixel_offset)
        super().__post_init__(**kwargs)

    def validate_architecture(self) -> None:
        """
        Check the fields; transformers calls it after construction.

        Raises:
            ValueError: a field is out of range.
        """
        self.check_limits()
        self.check_choice("depth", DEPTHS)
        self.check_choice("distance_activation", ("relu", "exp"))
        self.check_choice("centerness_tower", ("regression", "classification"))
        self.check_choice("points", ("corner", "center"))
        if self.stride_in_1x1 and self.depth < 50:
            raise ValueError(
                f"stride_in_1x1=True needs bottlenecks, which depth={self.depth} lacks: choose 50 or more."
            )
        if not 0 <= self.batch_norm_eps < 1:
            raise ValueError(f"batch_norm_eps={self.batch_norm_eps}: give a number in [0, 1).")
        if len(self.pixel_offset) != 3 or not all(math.isfinite(value) for value in self.pixel_offset):
            raise ValueError(f"pixel_offset={self.pixel_offset}: give three finite numbers, for R, G and B.")
        if self.neck_channels % NORM_GROUPS:
            raise ValueError(f"neck_channels={self.neck_channels}: give a multiple of {NORM_GROUPS} up to 4096.")


@dataclass
class FcosOutput(ModelOutput):
    """
    Predictions at the P points of P5.

    Attributes:
        class_logits: (I, P, classes).
        distances: (I, P, 4) from the point to left, top, right, bottom, in canvas pixels.
        centerness_logits: (I, P).
    """

    # `forward` fills every field; ModelOutput requires the defaults.
    class_logits: Tensor = None  # type: ignore[assignment]
    distances: Tensor = None  # type: ignore[assignment]
    centerness_logits: Tensor = None  # type: ignore[assignment]


class FcosDetector(Detector):
    """FCOS at level P5; see the module docstring."""

    config: FcosConfig
    _no_split_modules = ["BasicBlock", "Bottleneck"]
    exportable = True

    def __init__(self, config: FcosConfig):
        super().__init__(config)
        width = config.neck_channels
        self.body = _resnet_body(config)
        self.lateral = starting(nn.Conv2d(512 if config.depth < 50 else 2048, width, 1), weight=_PYRAMID)
        self.smooth = starting(nn.Conv2d(width, width, 3, padding=1), weight=_PYRAMID)
        self.classification_tower = _tower(width, config.tower_depth)
        self.regression_tower = _tower(width, config.tower_depth)
        self.class_output = starting(nn.Conv2d(width, len(config.class_names), 3, padding=1), normal(0.01), PRIOR_BIAS)
        self.distance_output = starting(nn.Conv2d(width, 4, 3, padding=1), normal(0.01))
        self.centerness_output = starting(nn.Conv2d(width, 1, 3, padding=1), normal(0.01))
        self.post_init()

    @can_return_tuple
    def forward(self, pixel_values: Tensor, **kwargs: Any) -> FcosOutput:
        """
        Args:
            pixel_values: (I, 3, H, W) RGB, ImageNet-normalised; H and W multiples of 32.

        Raises:
            ValueError: a side is not a multiple of 32.
        """
        require_multiple(pixel_values.shape, STRIDE)
        # A copy from the host, at which a GPU waits and no CUDA graph can be captured: only where it changes anything.
        if any(self.config.pixel_offset):
            pixel_values = pixel_values + pixel_values.new_tensor(self.config.pixel_offset)[:, None, None]
        p5 = self.smooth(self.lateral(self.body(pixel_values)))
        towers = {"classification": self.classification_tower(p5), "regression": self.regression_tower(p5)}
        raw = _per_point(self.distance_output(towers["regression"]))
        return FcosOutput(
            class_logits=_per_point(self.class_output(towers["classification"])),
            distances=raw.relu() * STRIDE if self.config.distance_activation == "relu" else raw.exp(),
            centerness_logits=_per_point(self.centerness_output(towers[self.config.centerness_tower])).squeeze(-1),
        )

    @torch.no_grad()
    def propose(
        self, pixel_values: Tensor, pixel_mask: Tensor | None = None, output: FcosOutput | None = None
    ) -> Proposals:
        """
        The box and the best class of every point, with the predicted center-ness as quality.

        Args:
            pixel_values: (I, 3, H, W) RGB, ImageNet-normalised; H and W multiples of 32.
            pixel_mask: unused.
            output: the output of this detector for these canvases, if it has been computed already.
        """
        outputs = self(pixel_values.to(self.dtype)) if output is None else output
        canvas = canvas_of(pixel_values)
        grid = (canvas[0] // STRIDE, canvas[1] // STRIDE)
        points = grid_points(*grid, STRIDE, device=pixel_values.device)
        if self.config.points == "corner":
            points = points - STRIDE / 2
        return Proposals(
            grids=(grid,),
            canvas=canvas,
            quality=outputs.centerness_logits.float().sigmoid(),
            boxes=boxes_from_distances(points, outputs.distances.float(), canvas),
            labels=outputs.class_logits.argmax(-1),
        )

    @classmethod
    def from_torchvision(
        cls, weights: FCOS_ResNet50_FPN_Weights | str = "COCO_V1", progress: bool = False
    ) -> "FcosDetector":
        """
        The detector with torchvision's FCOS-R50 weights, which torchvision downloads on first use.

        Args:
            weights: a member of torchvision's `FCOS_ResNet50_FPN_Weights`, or its name.
            progress: whether torchvision shows a progress bar.

        Raises:
            ValueError: torchvision has no such weights.
            OSError: the weights are neither in torch's cache nor downloadable.
        """
        member, state_dict = published_weights(FCOS_ResNet50_FPN_Weights, weights, progress)
        names, _ = torchvision_names(state_dict)
        model = cls(FcosConfig(id2label=dict(enumerate(member.meta["categories"]))))
        model.load_state_dict({name: state_dict[key] for key, name in names.items()})
        return model.eval()


_TORCHVISION_NAMES = {
    "backbone.body.": "body.",
    "backbone.fpn.inner_blocks.2.0.": "lateral.",
    "backbone.fpn.layer_blocks.2.0.": "smooth.",
    "head.classification_head.conv.": "classification_tower.",
    "head.regression_head.conv.": "regression_tower.",
    "head.classification_head.cls_logits.": "class_output.",
    "head.regression_head.bbox_reg.": "distance_output.",
    "head.regression_head.bbox_ctrness.": "centerness_output.",
}
_TORCHVISION_UNUSED = {
    "backbone.fpn.inner_blocks.": "laterals of C3 and C4: not used by P5",
    "backbone.fpn.layer_blocks.": "smoothing of P3 and P4: not used by P5",
    "backbone.fpn.extra_blocks.": "P6 and P7: not computed",
}


def torchvision_names(keys: Iterable[str]) -> tuple[dict[str, str], dict[str, str]]:
    """
    Names of torchvision's weights in this module.

    Args:
        keys: of a state dict of torchvision's FCOS.

    Returns:
        For every key that P5 needs, its name in `FcosDetector`; for every other key, the reason why it is not used.

    Raises:
        ValueError: a key belongs to neither.
    """
    names, unused = {}, {}
    for key in keys:
        if key.endswith(".num_batches_tracked"):
            unused[key] = "counter of BatchNorm, which is frozen"
        elif prefix := next((p for p in _TORCHVISION_NAMES if key.startswith(p)), None):
            names[key] = _TORCHVISION_NAMES[prefix] + key.removeprefix(prefix)
        elif prefix := next((p for p in _TORCHVISION_UNUSED if key.startswith(p)), None):
            unused[key] = _TORCHVISION_UNUSED[prefix]
        else:
            raise ValueError(
                f"{key!r} is not a key of torchvision's FCOS with a ResNet: give a checkpoint of that network."
            )
    return names, unused


def _resnet_body(config: FcosConfig) -> nn.Sequential:
    """The ResNet up to C5, with torchvision's names of modules."""

    def norm_layer(channels: int) -> FrozenNorm:
        return FrozenNorm(channels, eps=config.batch_norm_eps)

    resnet = get_model(f"resnet{config.depth}", weights=None, norm_layer=norm_layer)
    if config.stride_in_1x1:
        for stage in (resnet.layer2, resnet.layer3, resnet.layer4):
            first = stage[0]
            first.conv1.stride, first.conv2.stride = first.conv2.stride, first.conv1.stride
    body = nn.Sequential(
        OrderedDict((name, m) for name, m in resnet.named_children() if name not in ("avgpool", "fc"))
    )
    for module in body.modules():
        if isinstance(module, nn.Conv2d):
            starting(module, weight=_TRUNK)
    return body


def _tower(channels: int, depth: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Conv2d(channels, channels, 3, padding=1), nn.GroupNorm(NORM_GROUPS, channels), nn.ReLU()]
    return nn.Sequential(*layers)


def _per_point(maps: Tensor) -> Tensor:
    """(I, C, rows, cols) -> (I, rows · cols, C)."""
    return maps.flatten(2).transpose(1, 2)


__all__ = ["FcosConfig", "FcosDetector", "FcosOutput", "torchvision_names"]
