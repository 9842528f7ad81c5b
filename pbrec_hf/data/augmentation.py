"""Random training views of a picture with its expressions: the released recipe of PBREC-MT.

Long side drawn from seven sizes, colour jitter without hue, optional blur, mirroring with the words left and right
swapped, a random place on the canvas; as an option TransVG's crop, which here never cuts a referent. Every draw comes
from the `torch.Generator` that is passed in. Pixels stay uint8 until the colours change. Knows nothing of targets and
batches; at test time none of this runs (the image processor alone makes the canvas).
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torchvision.transforms.v2 import functional as tvf

from ..geometry.letterbox import centered
from .directions import is_positional, swap_left_right
from .placement import Placement


@dataclass(frozen=True)
class AugmentationConfig:
    """The recipe's numbers. Probabilities in [0, 1]; lengths relative to the canvas or the picture.

    Attributes:
        scales: long side of the picture / side of the canvas; one is drawn. 640 px: 640, 608, ..., 448.
        jitter_probability: of changing the colours at all; then all three factors are drawn, in random order.
        brightness, contrast, saturation: factor uniform in [1 - x, 1 + x].
        blur_probability, blur_sigma: Gaussian blur, sigma uniform between the two values, pixels of the canvas.
        flip_probability: of mirroring; pictures whose expressions cannot be mirrored stay as they are.
        translate: place the picture anywhere on the canvas, else in its centre.
        crop_probability, crop_smallest_side: of cutting the picture, and the smallest kept share of each side.
    """

    scales: Sequence[float] = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7)
    jitter_probability: float = 0.8
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    blur_probability: float = 0.0
    blur_sigma: Sequence[float] = (0.1, 2.0)
    flip_probability: float = 0.5
    translate: bool = True
    crop_probability: float = 0.0
    crop_smallest_side: float = 0.64

    def __post_init__(self) -> None:
        shares = "jitter_probability blur_probability flip_probability crop_probability brightness contrast saturation"
        for name in shares.split():
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {getattr(self, name)}")
        if not self.scales or not all(0 < scale <= 1 for scale in self.scales):
            raise ValueError(f"scales must be one or more numbers in (0, 1], got {self.scales}")
        if not 0 < self.crop_smallest_side <= 1:
            raise ValueError(f"crop_smallest_side must lie in (0, 1], got {self.crop_smallest_side}")
        if len(self.blur_sigma) != 2 or not 0 < self.blur_sigma[0] <= self.blur_sigma[1]:
            raise ValueError(f"blur_sigma must be two positive numbers, smaller first, got {self.blur_sigma}")


def row_generator(seed: int, epoch: int, key: str) -> torch.Generator:
    """A generator that depends on these three alone, not on workers, processes or the order of rows."""
    digest = hashlib.blake2b(f"{seed}/{epoch}/{key}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


def draw_view(
    config: AugmentationConfig,
    height: int,
    width: int,
    boxes: torch.Tensor,
    expressions: Sequence[str],
    canvas: int,
    generator: torch.Generator,
) -> tuple[Placement, list[str]]:
    """Draw how a picture lies on the canvas, and word its expressions accordingly.

    Args:
        height, width: of the original, pixels.
        boxes: (E, 4) XYXY of the referents, pixels of the original; a crop keeps all of them whole.
        expressions: E texts about the picture.
        canvas: side of the canvas, pixels.
    """
    crop = (0, 0, height, width)
    if _chance(config.crop_probability, generator) and not any(map(is_positional, expressions)):
        crop = _draw_crop(config.crop_smallest_side, height, width, boxes, generator)
    mirrored = [swap_left_right(expression) for expression in expressions]
    flip = _chance(config.flip_probability, generator) and None not in mirrored
    long_side = round(canvas * config.scales[_integer(len(config.scales), generator)])
    ratio = long_side / max(crop[2:])
    size = (max(1, round(crop[2] * ratio)), max(1, round(crop[3] * ratio)))
    if config.translate:
        offset = (_integer(canvas - size[0] + 1, generator), _integer(canvas - size[1] + 1, generator))
    else:
        offset = centered(size, canvas)
    return Placement(crop, flip, size, offset, canvas), list(mirrored if flip else expressions)


def recolour_(config: AugmentationConfig, picture: torch.Tensor, generator: torch.Generator) -> None:
    """Jitter the colours of a float32 picture (3, h, w) in [0, 255] and blur it, by chance and in place.

    The arithmetic is torchvision's (`adjust_brightness`, `adjust_contrast`, `adjust_saturation`). In place, because
    for a picture of a few megabytes fresh memory costs several times what the sums do.
    """
    if _chance(config.jitter_probability, generator):
        steps = (
            (_scale_brightness_, config.brightness),
            (_scale_contrast_, config.contrast),
            (_scale_saturation_, config.saturation),
        )
        for index in torch.randperm(3, generator=generator).tolist():
            scale_, strength = steps[index]
            scale_(picture, _uniform(1 - strength, 1 + strength, generator))
    if _chance(config.blur_probability, generator):
        sigma = _uniform(*config.blur_sigma, generator)
        # reflection padding needs a kernel that reaches less than one picture side outwards
        reach = min(math.ceil(3 * sigma), min(picture.shape[-2:]) - 1)
        picture.copy_(tvf.gaussian_blur(picture, [2 * reach + 1] * 2, [sigma, sigma]))


def _scale_brightness_(picture: torch.Tensor, factor: float) -> None:
    picture.mul_(factor).clamp_(0, 255)


def _scale_contrast_(picture: torch.Tensor, factor: float) -> None:
    mean = _luma(picture.mean(dim=(1, 2)))
    torch.lerp(mean.expand_as(picture), picture, factor, out=picture).clamp_(0, 255)


def _scale_saturation_(picture: torch.Tensor, factor: float) -> None:
    torch.lerp(_luma(picture).expand_as(picture), picture, factor, out=picture).clamp_(0, 255)


def _luma(picture: torch.Tensor) -> torch.Tensor:
    """ITU-R 601 grey of (3, ...), as torchvision and PIL compute it."""
    return (picture[0] * 0.2989).add_(picture[1], alpha=0.587).add_(picture[2], alpha=0.114)


def _draw_crop(
    smallest_side: float, height: int, width: int, boxes: torch.Tensor, generator: torch.Generator
) -> tuple[int, int, int, int]:
    """(top, left, height, width) of a window that holds every box."""
    window = []
    for side, low, high in (
        (height, boxes[:, 1].min(), boxes[:, 3].max()),
        (width, boxes[:, 0].min(), boxes[:, 2].max()),
    ):
        low, high = max(0, math.floor(low)), min(side, math.ceil(high))
        length = max(round(side * _uniform(smallest_side, 1, generator)), high - low, 1)
        first, last = max(0, high - length), min(low, side - length)
        window.append((first + _integer(last - first + 1, generator), length))
    (top, crop_height), (left, crop_width) = window
    return top, left, crop_height, crop_width


def _uniform(low: float, high: float, generator: torch.Generator) -> float:
    return low + (high - low) * torch.rand((), generator=generator).item()


def _chance(probability: float, generator: torch.Generator) -> bool:
    return torch.rand((), generator=generator).item() < probability


def _integer(count: int, generator: torch.Generator) -> int:
    """Uniform in 0 .. count - 1."""
    return int(torch.randint(count, (), generator=generator))
