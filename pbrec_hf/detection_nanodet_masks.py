"""A light mask head on a frozen NanoDet: one mask for every point of the stride-16 grid.

Like SOLOv2 (arXiv 2003.10152), with what the frozen detector knows as input: its maps, class logits and box distances
of all three strides, summed from coarse to fine. Shallow features of the picture itself add edges and colours. Each
point predicts the kernel that draws its mask at a quarter of the canvas. It expects letterboxed, ImageNet-normalised
canvases whose sides are multiples of 32, of any size. Knows nothing of targets and losses.
"""

from dataclasses import dataclass

import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedConfig
from transformers import initialization as init
from transformers.configuration_utils import SubConfigSpec
from transformers.utils import ModelOutput
from transformers.utils.generic import can_return_tuple

from .backbone_nanodet import STRIDES
from .detection_nanodet import NanoDetConfig, NanoDetDetector
from .dynamic_masks_pbrec import NUM_SHAPE, DynamicMasks
from .loading_pbrec import StrictConfig, StrictModel
from .proposals_pbrec import Proposals

# Brings class logits to the size of the other channels.
CLASS_LOGIT_SCALE = 0.25


@strict
class NanoDetMasksConfig(StrictConfig):
    """Sizes of the mask head.

    Args:
        detector_config: the NanoDet inside; its classes are the labels.
        channels: channels of the towers.
        mask_channels: channels of the pixel features that come from the detector's maps.
        picture_channels: channels of those that come from the picture itself.
        stacked_convs: convolutions in each tower.
        norm_groups: groups of the group norms.
        center_region: share of the box around the centre of mass whose points are positive in training.
        smallest_object: objects with a smaller sqrt(width · height), in canvas pixels, are no targets in training.
        freeze_detector: whether NanoDet is excluded from training.
    """

    model_type = "pbrec_nanodet_masks"
    sub_configs_defaults = {"detector_config": SubConfigSpec(config_class=NanoDetConfig)}

    detector_config: dict | PreTrainedConfig | None = None
    channels: int = 64
    mask_channels: int = 32
    picture_channels: int = 24
    stacked_convs: int = 3
    norm_groups: int = 8
    center_region: float | int = 0.5
    smallest_object: float | int = 12
    freeze_detector: bool = True

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        self.id2label = dict(self.detector_config.id2label)
        self.label2id = {name: index for index, name in self.id2label.items()}

    def validate_architecture(self):
        for name, low, high in (
            ("channels", 1, 4096),
            ("mask_channels", 1, 4096),
            ("picture_channels", 1, 4096),
            ("stacked_convs", 1, 32),
            ("norm_groups", 1, 4096),
            ("smallest_object", 0, 8192),
        ):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name}={getattr(self, name)} is out of range; give a number from {low} to {high}")
        for name in ("channels", "picture_channels"):
            if getattr(self, name) % self.norm_groups:
                raise ValueError(f"{name}={getattr(self, name)} must be a multiple of norm_groups={self.norm_groups}")
        if not 0 < self.center_region <= 1:
            raise ValueError(f"center_region={self.center_region} is out of range; give a number in (0, 1]")


@dataclass
class NanoDetMasksOutput(ModelOutput):
    """What draws the masks, see dynamic_masks_pbrec.py.

    Args:
        features: (I, C, H/4, W/4) pixel features.
        kernels: (I, C + NUM_SHAPE, H/16, W/16), one per point.
        class_logits: (I, classes, H/16, W/16), the detector's highest at each point.
    """

    features: Tensor | None = None
    kernels: Tensor | None = None
    class_logits: Tensor | None = None


class ConvNormRelu(nn.Sequential):
    """3×3 convolution, group norm, ReLU."""

    def __init__(self, in_channels: int, out_channels: int, groups: int, stride: int = 1):
        conv = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        super().__init__(conv, nn.GroupNorm(groups, out_channels), nn.ReLU())


class MaskHead(nn.Module):
    """Maps of the detector at strides 8, 16, 32 and the picture -> pixel features and kernels."""

    def __init__(self, in_channels: int, config: NanoDetMasksConfig):
        super().__init__()
        channels, fine, groups = config.channels, config.picture_channels, config.norm_groups
        pixel_channels = config.mask_channels + fine

        def tower() -> nn.Sequential:
            return nn.Sequential(*(ConvNormRelu(channels, channels, groups) for _ in range(config.stacked_convs)))

        self.lateral = nn.ModuleList(nn.Conv2d(in_channels, channels, 1) for _ in STRIDES)
        self.picture = nn.Sequential(
            ConvNormRelu(3, fine, groups, stride=2), ConvNormRelu(fine, fine, groups, stride=2)
        )
        self.mask_tower, self.kernel_tower = tower(), tower()
        self.picture_to_kernel = nn.Conv2d(fine, channels, 1)
        self.mask_output = nn.Conv2d(channels, config.mask_channels, 1)
        self.kernel_output = nn.Conv2d(channels, pixel_channels + NUM_SHAPE, 1)

    def forward(self, maps: list[Tensor], pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        """maps: three of (I, in_channels, H/stride, W/stride); pixel_values: (I, 3, H, W)."""
        fine, middle, coarse = (conv(values) for conv, values in zip(self.lateral, maps, strict=True))
        middle = middle + F.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)
        pixels = fine + F.interpolate(middle, scale_factor=2, mode="bilinear", align_corners=False)
        picture = self.picture(pixel_values)
        at_points = middle + F.avg_pool2d(fine, 2) + self.picture_to_kernel(F.avg_pool2d(picture, 4))
        kernels = self.kernel_output(self.kernel_tower(at_points))
        masks = self.mask_output(self.mask_tower(pixels))
        masks = F.interpolate(masks, scale_factor=2, mode="bilinear", align_corners=False)
        return torch.cat([masks, picture], dim=1), kernels


class NanoDetMasksDetector(StrictModel):
    """The detector; see the module's text for what it expects."""

    config: NanoDetMasksConfig
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    base_model_prefix = "detector"
    _no_split_modules = ["ShuffleBlock"]

    def __init__(self, config: NanoDetMasksConfig):
        super().__init__(config)
        self.detector = NanoDetDetector(config.detector_config)
        self.head = MaskHead(config.detector_config.trunk_config.neck_channels + config.num_labels + 4, config)
        self.post_init()
        self.detector.requires_grad_(not config.freeze_detector)

    @torch.no_grad()
    def _init_weights(self, module):
        super()._init_weights(module)
        if isinstance(module, MaskHead):
            for conv in module.modules():
                if isinstance(conv, nn.Conv2d):
                    init.kaiming_normal_(conv.weight, mode="fan_in", nonlinearity="relu")
            # Kernels start as nothing but the typical ellipse around their point.
            init.normal_(module.kernel_output.weight, std=0.01)
            init.zeros_(module.kernel_output.bias)

    @can_return_tuple
    def forward(self, pixel_values: Tensor, **kwargs) -> NanoDetMasksOutput:
        """
        Args:
            pixel_values: (I, 3, H, W) RGB, ImageNet-normalised; H and W multiples of 32.
        """
        pixel_values = pixel_values.to(self.dtype)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.config.freeze_detector):
            classes, distances, maps = self._detector_maps(pixel_values)
        inputs = [
            torch.cat([features, logits * CLASS_LOGIT_SCALE, sides], dim=1)
            for features, logits, sides in zip(maps, classes, distances, strict=True)
        ]
        features, kernels = self.head(inputs, pixel_values)
        fine, middle, coarse = classes
        coarse = F.interpolate(coarse, scale_factor=2, mode="nearest")
        highest = torch.maximum(torch.maximum(F.max_pool2d(fine, 2), middle), coarse)
        return NanoDetMasksOutput(features=features, kernels=kernels, class_logits=highest)

    @torch.no_grad()
    def propose(self, pixel_values: Tensor, pixel_mask: Tensor | None = None) -> Proposals:
        """Masks of all points of the stride-16 grid, drawn when asked for, and the best class of each point.

        Args:
            pixel_values: (I, 3, H, W) RGB, ImageNet-normalised; H and W multiples of 32.
            pixel_mask: not needed.
        """
        output = self(pixel_values)
        masks = DynamicMasks.pack(output.features.float(), output.kernels.float())
        labels = output.class_logits.flatten(2).argmax(1)
        return Proposals((masks.grid,), tuple(pixel_values.shape[-2:]), masks=masks, labels=labels)

    def _detector_maps(self, pixel_values: Tensor) -> tuple[list[Tensor], list[Tensor], tuple[Tensor, ...]]:
        """Per stride: class logits, distances in strides and the neck's features, all (I, ·, H/stride, W/stride)."""
        output = self.detector(pixel_values)
        sizes = [features.shape[-2:] for features in output.feature_maps]
        counts = [rows * cols for rows, cols in sizes]

        def as_maps(values: Tensor) -> list[Tensor]:
            parts = values.transpose(1, 2).split(counts, dim=2)
            return [part.unflatten(2, size) for part, size in zip(parts, sizes, strict=True)]

        distances = [sides / stride for sides, stride in zip(as_maps(output.distances), STRIDES, strict=True)]
        return as_maps(output.class_logits), distances, output.feature_maps


__all__ = ["NanoDetMasksConfig", "NanoDetMasksDetector", "NanoDetMasksOutput"]
