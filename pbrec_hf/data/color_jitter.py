"""Random changes of a picture's colours, which both recipes of augmentation share.

The arithmetic is torchvision's (`adjust_brightness`, `adjust_contrast`, `adjust_saturation`, `adjust_hue`), in place,
because for a picture of a few megabytes fresh memory costs several times what the sums do. Knows nothing of
expressions, boxes and masks.
"""

from collections.abc import Callable

import torch
from torch import Generator, Tensor
from torchvision.transforms.v2 import functional as tvf

from .draws import uniform


def jitter_colors_(
    picture: Tensor,
    generator: Generator | None = None,
    *,
    brightness: float = 0.0,
    contrast: float = 0.0,
    saturation: float = 0.0,
    hue: float = 0.0,
) -> None:
    """
    Scale brightness, contrast and saturation and shift the hue of a picture, in random order and in place.

    Args:
        picture: float32 (3, h, w) RGB in [0, 255].
        generator: source of the draws; None is torch's own.
        brightness, contrast, saturation: x of a factor that is uniform in [1 - x, 1 + x], 0 ≤ x ≤ 1.
        hue: x of a shift that is uniform in [-x, x], in turns of the colour circle; 0 draws none.
    """
    steps: list[tuple[Callable[[Tensor, float], None], float, float]] = [
        (_scale_brightness_, 1, brightness),
        (_scale_contrast_, 1, contrast),
        (_scale_saturation_, 1, saturation),
    ]
    if hue:
        steps.append((_shift_hue_, 0, hue))
    for index in torch.randperm(len(steps), generator=generator).tolist():
        change_, middle, strength = steps[index]
        change_(picture, uniform(middle - strength, middle + strength, generator))


def _scale_brightness_(picture: Tensor, factor: float) -> None:
    picture.mul_(factor).clamp_(0, 255)


def _scale_contrast_(picture: Tensor, factor: float) -> None:
    mean = _luma(picture.mean(dim=(1, 2)))
    torch.lerp(mean.expand_as(picture), picture, factor, out=picture).clamp_(0, 255)


def _scale_saturation_(picture: Tensor, factor: float) -> None:
    torch.lerp(_luma(picture).expand_as(picture), picture, factor, out=picture).clamp_(0, 255)


def _shift_hue_(picture: Tensor, turns: float) -> None:
    picture.copy_(tvf.adjust_hue(picture / 255, turns)).mul_(255)


def _luma(picture: Tensor) -> Tensor:
    """ITU-R 601 grey of (3, …), as torchvision and PIL compute it."""
    return (picture[0] * 0.2989).add_(picture[1], alpha=0.587).add_(picture[2], alpha=0.114)


__all__ = ["jitter_colors_"]
