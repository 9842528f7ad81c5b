"""From photographs with instance masks to canvases: flip, scale jitter, colours, instances pasted from another one.

Copy-paste (arXiv 2012.07177) puts instances of one jittered photograph in front of another; what they hide is removed
from the masks behind. Pixels and masks move by torchvision's transforms v2. Items are those of `coco_instances.py`;
results are ImageNet-normalised with mean colour (0) around the picture, as the package's image processor makes them.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tvf
from torchvision.tv_tensors import Image, Mask
from transformers.utils.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from .coco_instances import tidy

# Instances of which less than this share is left after cropping or hiding are no longer asked for.
LEAST_VISIBLE = 0.2


@dataclass(frozen=True)
class AugmentationConfig:
    """
    Attributes:
        canvas: side of the square canvas in pixels.
        scale: range of the longer side as a share of the canvas; above 1 a part is cropped.
        flip: probability of mirroring.
        paste: probability of pasting instances of another photograph.
        color: strength of the colour jitter.
    """

    canvas: int = 320
    scale: tuple[float, float] = (0.6, 1.5)
    flip: float = 0.5
    paste: float = 0.5
    color: float = 0.3


def plain(item: dict, canvas: int) -> dict:
    """The item on the middle of its canvas, as in use: {"pixel_values", "pixel_mask", "masks", "boxes", "labels"}."""
    return _normalised(_place(item, canvas, 1.0, (0.5, 0.5)))


class Augmentation:
    """Random canvases of a photograph and, for copy-paste, another one. Draws from torch's generator."""

    def __init__(self, config: AugmentationConfig):
        self.config = config
        strength = config.color
        self.colors = v2.ColorJitter(brightness=strength, contrast=strength, saturation=strength, hue=strength / 10)

    def __call__(self, item: dict, other: dict) -> dict:
        scene = self._jittered(item)
        if torch.rand(()) < self.config.paste:
            scene = copy_paste(scene, self._jittered(other))
        return _normalised(scene)

    def _jittered(self, item: dict) -> dict:
        image, masks = Image(item["image"]), item["masks"]
        if torch.rand(()) < self.config.flip:
            image, masks = tvf.horizontal_flip(image), masks.flip(-1)
        low, high = self.config.scale
        scale = low * (high / low) ** torch.rand(()).item()
        flipped = {**item, "image": self.colors(image), "masks": masks}
        return _place(flipped, self.config.canvas, scale, tuple(torch.rand(2).tolist()))


def copy_paste(scene: dict, source: dict) -> dict:
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
        **scene,
        "image": torch.where(front, source["image"], scene["image"]),
        "pixel_mask": scene["pixel_mask"] | front,
        **tidy(torch.cat([behind[kept], pasted]), torch.cat([scene["labels"][kept], source["labels"][chosen]])),
    }


def _place(item: dict, canvas: int, scale: float, where: tuple[float, float]) -> dict:
    """The photograph, its longer side `scale` · `canvas`, on a canvas; `where` (x, y) in [0, 1] divides the slack."""
    height, width = item["image"].shape[-2:]
    ratio = scale * canvas / max(height, width)
    size = [max(1, round(height * ratio)), max(1, round(width * ratio))]
    image = tvf.resize(Image(item["image"]), size, antialias=True)
    masks = tvf.resize(Mask(item["masks"].to(torch.uint8)), size)
    # Cut what sticks out first, then pad: both by the same share of the slack.
    top, left = (int(share * (side - canvas)) for share, side in zip(where[::-1], size, strict=True))
    areas = masks.flatten(1).sum(1)
    pixel_mask = Mask(torch.ones(size, dtype=torch.uint8))
    # torchvision's crop pads with zeros where it reaches over the edge.
    image, masks, pixel_mask = (tvf.crop(value, top, left, canvas, canvas) for value in (image, masks, pixel_mask))
    kept = masks.flatten(1).sum(1) >= LEAST_VISIBLE * areas
    placed = {"image": image.as_subclass(Tensor), "pixel_mask": pixel_mask.as_subclass(Tensor).bool()}
    masks = masks.as_subclass(Tensor)[kept].bool()
    return {**placed, **tidy(masks, item["labels"][kept])}


def _normalised(scene: dict) -> dict:
    pixels = tvf.normalize(scene["image"] / 255, list(IMAGENET_DEFAULT_MEAN), list(IMAGENET_DEFAULT_STD))
    rest = {name: scene[name] for name in ("masks", "boxes", "labels")}
    return {"pixel_values": pixels * scene["pixel_mask"], "pixel_mask": scene["pixel_mask"].long(), **rest}


__all__ = ["Augmentation", "AugmentationConfig", "copy_paste", "plain"]
