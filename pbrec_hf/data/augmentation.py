"""Random training views of a picture with its expressions: the released recipe of PBREC-MT.

Long side drawn from seven sizes, colour jitter without hue, optional blur, mirroring with the words left and right
swapped, a random place on the canvas; as an option TransVG's crop, which here never cuts a referent. Every draw comes
from the generator that is passed in. Pixels stay uint8 until the colours change. Knows nothing of targets and batches;
at test time none of this runs (the image processor alone makes the canvas).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Generator, Tensor
from torchvision.transforms.v2 import functional as tvf

from ..geometry.letterbox import centered
from .color_jitter import jitter_colors_
from .directions import is_positional, swap_left_right
from .draws import chance, integer, uniform
from .placement import Placement


@dataclass(frozen=True)
class AugmentationConfig:
    """
    The recipe's numbers. Probabilities in [0, 1]; lengths relative to the canvas or the picture.

    Attributes:
        scales: long side of the picture / side of the canvas; one is drawn. 640 px: 640, 608, …, 448.
        jitter_probability: of changing the colours at all; then all three factors are drawn, in random order.
        brightness, contrast, saturation: factor uniform in [1 - x, 1 + x].
        blur_probability, blur_sigma: Gaussian blur, sigma uniform between the two values, pixels of the canvas.
        flip_probability: of mirroring; pictures whose expressions cannot be mirrored stay as they are.
        translate: place the picture anywhere on the canvas, else in its centre.
        crop_probability, crop_smallest_side: of cutting the picture, and the smallest share kept of each side.

    Raises:
        ValueError: a number is out of its range.
    """

    scales: Sequence[float] = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7)
    jitter_probability: float = 0.8
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    blur_probability: float = 0.0
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    flip_probability: float = 0.5
    translate: bool = True
    crop_probability: float = 0.0
    crop_smallest_side: float = 0.64

    def __post_init__(self) -> None:
        shares = "jitter_probability blur_probability flip_probability crop_probability brightness contrast saturation"
        for name in shares.split():
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)} is out of range: give a number in [0, 1].")
        if not self.scales or not all(0 < scale <= 1 for scale in self.scales):
            raise ValueError(f"scales={self.scales} is out of range: give one or more numbers in (0, 1].")
        if not 0 < self.crop_smallest_side <= 1:
            raise ValueError(f"crop_smallest_side={self.crop_smallest_side} is out of range: give a number in (0, 1].")
        if len(self.blur_sigma) != 2 or not 0 < self.blur_sigma[0] <= self.blur_sigma[1]:
            raise ValueError(f"blur_sigma={self.blur_sigma} is no range: give two positive numbers, smaller first.")


def draw_view(
    config: AugmentationConfig,
    height: int,
    width: int,
    boxes: Tensor,
    expressions: Sequence[str],
    canvas: int,
    generator: Generator,
) -> tuple[Placement, list[str]]:
    """
    Draw where a picture is placed on the canvas, and word its expressions accordingly.

    Args:
        config: the recipe.
        height, width: of the original, pixels.
        boxes: (R, 4) XYXY of all referents, pixels of the original; a crop keeps all of them whole.
        expressions: E texts about the picture.
        canvas: side of the canvas, pixels.
        generator: source of the draws.
    """
    crop = (0, 0, height, width)
    if chance(config.crop_probability, generator) and not any(map(is_positional, expressions)):
        crop = _draw_crop(config.crop_smallest_side, height, width, boxes, generator)
    swapped = [swap_left_right(expression) for expression in expressions]
    mirrored = [text for text in swapped if text is not None]
    flip = chance(config.flip_probability, generator) and len(mirrored) == len(expressions)
    long_side = round(canvas * config.scales[integer(len(config.scales), generator)])
    ratio = long_side / max(crop[2:])
    size = (max(1, round(crop[2] * ratio)), max(1, round(crop[3] * ratio)))
    if config.translate:
        offset = (integer(canvas - size[0] + 1, generator), integer(canvas - size[1] + 1, generator))
    else:
        offset = centered(size, canvas)
    return Placement(crop, flip, size, offset, canvas), list(mirrored if flip else expressions)


def recolour_(config: AugmentationConfig, picture: Tensor, generator: Generator) -> None:
    """
    Change the colours of a picture and blur it, by chance and in place.

    Args:
        config: the recipe.
        picture: float32 (3, h, w) RGB in [0, 255].
        generator: source of the draws.
    """
    if chance(config.jitter_probability, generator):
        jitter_colors_(
            picture,
            generator,
            brightness=config.brightness,
            contrast=config.contrast,
            saturation=config.saturation,
        )
    if chance(config.blur_probability, generator):
        low, high = config.blur_sigma
        sigma = uniform(low, high, generator)
        # Reflection padding needs a kernel that reaches less than one side of the picture outwards.
        reach = min(math.ceil(3 * sigma), min(picture.shape[-2:]) - 1)
        picture.copy_(tvf.gaussian_blur(picture, [2 * reach + 1] * 2, [sigma, sigma]))


def _draw_crop(
    smallest_side: float, height: int, width: int, boxes: Tensor, generator: Generator
) -> tuple[int, int, int, int]:
    """(top, left, height, width) of a window that holds every box; anywhere if there is none."""
    window = []
    for side, first_edges, last_edges in ((height, boxes[:, 1], boxes[:, 3]), (width, boxes[:, 0], boxes[:, 2])):
        low, high = side, 0
        if len(boxes):
            low, high = max(0, math.floor(first_edges.min())), min(side, math.ceil(last_edges.max()))
        length = max(round(side * uniform(smallest_side, 1, generator)), high - low, 1)
        first, last = max(0, high - length), min(low, side - length)
        window.append((first + integer(last - first + 1, generator), length))
    (top, crop_height), (left, crop_width) = window
    return top, left, crop_height, crop_width


__all__ = ["AugmentationConfig", "draw_view", "recolour_"]
