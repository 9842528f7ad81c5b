"""Photographs with instance masks → canvases: flip, scale jitter, colours, instances pasted from another photograph.

Copy-paste (arXiv 2012.07177) puts instances of one jittered photograph in front of another; what they hide is removed
from the masks behind. Pixels and masks move by torchvision's transforms v2; draws come from torch's own generator.
Results are ImageNet-normalised with the mean colour (0) around the picture, as the package's image processor makes
them. Knows nothing of files and detectors.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as tvf
from torchvision.tv_tensors import Image, Mask
from transformers.utils.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from ...data.color_jitter import jitter_colors_
from ...data.draws import chance, uniform
from .coco_instances import Instances, Photograph, tidy

# Instances of which less than this share is left after cropping or hiding are no longer asked for.
LEAST_VISIBLE = 0.2


@dataclass(frozen=True)
class InstanceAugmentationConfig:
    """
    The recipe's numbers.

    Attributes:
        canvas: side of the square canvas, pixels.
        scale: range of the longer side as a share of the canvas; above 1 a part is cropped.
        flip: probability of mirroring.
        paste: probability of pasting instances of another photograph.
        color: strength of the colour jitter; the hue shifts by a tenth of it.
    """

    canvas: int = 320
    scale: tuple[float, float] = (0.6, 1.5)
    flip: float = 0.5
    paste: float = 0.5
    color: float = 0.3


class PlacedInstances(Instances):
    """
    A canvas before normalisation.

    Attributes:
        image: (3, canvas, canvas) RGB in [0, 255], uint8 or float32.
        pixel_mask: bool (canvas, canvas), where there is picture.
    """

    image: Tensor
    pixel_mask: Tensor


class DetectorInputs(Instances):
    """
    A canvas as detectors take it.

    Attributes:
        pixel_values: float32 (3, canvas, canvas).
        pixel_mask: int64 (canvas, canvas), 1 where there is picture.
    """

    pixel_values: Tensor
    pixel_mask: Tensor


def plain(item: Photograph, canvas: int) -> DetectorInputs:
    """A photograph in the middle of its canvas, as in use."""
    return _normalised(_place(item["image"], item["masks"], item["labels"], canvas, 1.0, (0.5, 0.5)))


class InstanceAugmentation:
    """Random canvases of a photograph and, for copy-paste, another one."""

    def __init__(self, config: InstanceAugmentationConfig) -> None:
        self.config = config

    def __call__(self, item: Photograph, other: Photograph) -> DetectorInputs:
        """A canvas of `item`, perhaps with instances of `other` in front."""
        scene = self._jittered(item)
        if chance(self.config.paste):
            scene = copy_paste(scene, self._jittered(other))
        return _normalised(scene)

    def _jittered(self, item: Photograph) -> PlacedInstances:
        image, masks = item["image"], item["masks"]
        if chance(self.config.flip):
            image, masks = tvf.horizontal_flip(image), masks.flip(-1)
        low, high = self.config.scale
        scale = low * (high / low) ** uniform(0, 1)
        colored, strength = image.float(), self.config.color
        jitter_colors_(colored, brightness=strength, contrast=strength, saturation=strength, hue=strength / 10)
        return _place(colored, masks, item["labels"], self.config.canvas, scale, (uniform(0, 1), uniform(0, 1)))


def copy_paste(scene: PlacedInstances, source: PlacedInstances) -> PlacedInstances:
    """`scene` with a random half of the instances of `source` (both canvases of one size) in front."""
    chosen = (torch.rand(len(source["masks"])) < 0.5).nonzero().squeeze(1)
    if not len(chosen):
        return scene
    pasted = source["masks"][chosen]
    front = pasted.any(0)
    before = scene["masks"].flatten(1).sum(1)
    behind = scene["masks"] & ~front
    kept = behind.flatten(1).sum(1) >= LEAST_VISIBLE * before
    return {
        "image": torch.where(front, source["image"], scene["image"]),
        "pixel_mask": scene["pixel_mask"] | front,
        **tidy(torch.cat([behind[kept], pasted]), torch.cat([scene["labels"][kept], source["labels"][chosen]])),
    }


def _place(
    image: Tensor, masks: Tensor, labels: Tensor, canvas: int, scale: float, where: tuple[float, float]
) -> PlacedInstances:
    """The photograph, its longer side `scale` · `canvas`, on a canvas; `where` (x, y) in [0, 1] divides the slack."""
    height, width = image.shape[-2:]
    ratio = scale * canvas / max(height, width)
    size = [max(1, round(height * ratio)), max(1, round(width * ratio))]
    image = tvf.resize(Image(image), size, antialias=True)
    masks = tvf.resize(Mask(masks.to(torch.uint8)), size)
    # Cut what sticks out first, then pad: both by the same share of the slack.
    top, left = (int(share * (side - canvas)) for share, side in zip(where[::-1], size, strict=True))
    areas = masks.flatten(1).sum(1)
    pixel_mask = Mask(torch.ones(size, dtype=torch.uint8))
    # torchvision's crop pads with zeros where it reaches over the edge.
    image, masks, pixel_mask = (tvf.crop(value, top, left, canvas, canvas) for value in (image, masks, pixel_mask))
    kept = masks.flatten(1).sum(1) >= LEAST_VISIBLE * areas
    return {
        "image": image.as_subclass(Tensor),
        "pixel_mask": pixel_mask.as_subclass(Tensor).bool(),
        **tidy(masks.as_subclass(Tensor)[kept].bool(), labels[kept]),
    }


def _normalised(scene: PlacedInstances) -> DetectorInputs:
    pixels = tvf.normalize(scene["image"] / 255, list(IMAGENET_DEFAULT_MEAN), list(IMAGENET_DEFAULT_STD))
    return {
        "pixel_values": pixels * scene["pixel_mask"],
        "pixel_mask": scene["pixel_mask"].long(),
        "masks": scene["masks"],
        "boxes": scene["boxes"],
        "labels": scene["labels"],
    }


__all__ = [
    "DetectorInputs",
    "InstanceAugmentation",
    "InstanceAugmentationConfig",
    "PlacedInstances",
    "copy_paste",
    "plain",
]
