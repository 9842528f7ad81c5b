"""The eleven basic colour names of English for RGB pixels.

Every pixel has exactly one name, determined by hue, saturation and value; regions are described by the share of each
name. The thresholds follow common usage for photographs (dark orange is brown, pale red is pink) rather than an exact
colour space. Knows nothing of objects.
"""

import torch
from torch import Tensor

COLOR_NAMES = ("black", "white", "gray", "red", "orange", "brown", "yellow", "green", "blue", "purple", "pink")
_INDEX = {name: index for index, name in enumerate(COLOR_NAMES)}
# Upper ends of the hue ranges in degrees; the last range and the first are both red.
_HUE_ENDS = (14, 42, 68, 165, 258, 300, 342)
_HUE_NAMES = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "red")


def hue_saturation_value(rgb: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Hue in degrees [0, 360), saturation and value in [0, 1] of `rgb` (…, 3) in [0, 1]; grey has hue 0."""
    # Three planes: reducing a dimension of three numbers would take longer than all the rest.
    red, green, blue = rgb.unbind(-1)
    value = torch.maximum(torch.maximum(red, green), blue)
    chroma = value - torch.minimum(torch.minimum(red, green), blue)
    safe = chroma.clamp(min=1e-6)
    sextant = torch.where(green == value, (blue - red) / safe + 2, (red - green) / safe + 4)
    sextant = torch.where(red == value, ((green - blue) / safe) % 6, sextant)
    return torch.where(chroma > 0, 60 * sextant, 0.0), chroma / value.clamp(min=1e-6), value


def color_indices(rgb: Tensor) -> Tensor:
    """Index into `COLOR_NAMES` of every pixel of `rgb` (…, 3) in [0, 1]: int64 (…)."""
    hue, saturation, value = hue_saturation_value(rgb)
    bins = (hue[..., None] > torch.tensor(_HUE_ENDS, dtype=hue.dtype, device=hue.device)).sum(-1)
    name = torch.tensor([_INDEX[color] for color in _HUE_NAMES], device=rgb.device)[bins]
    warm = (name == _INDEX["red"]) | (name == _INDEX["orange"]) | (name == _INDEX["yellow"])
    # Skin, wood and sand: orange of moderate value or saturation.
    name = torch.where(warm & (hue > 8) & (hue < 50) & ((value < 0.62) | (saturation < 0.5)), _INDEX["brown"], name)
    pale_red = (name == _INDEX["red"]) & ((hue <= 8) | (hue > 300)) & (value > 0.7) & (saturation < 0.55)
    name = torch.where(pale_red, _INDEX["pink"], name)
    colorless = saturation < torch.full_like(value, 0.28).masked_fill(value > 0.45, 0.17)
    gray = torch.where(value > 0.72, _INDEX["white"], _INDEX["gray"])
    name = torch.where(colorless, gray, name)
    return torch.where(value < torch.full_like(value, 0.2).masked_fill(colorless, 0.27), _INDEX["black"], name)


def color_maps(rgb: Tensor) -> Tensor:
    """One-hot maps float32 (…, 11, H, W) of the colour names of `rgb` (…, 3, H, W) in [0, 1]."""
    indices = color_indices(rgb.movedim(-3, -1))
    names = torch.arange(len(COLOR_NAMES), device=rgb.device)
    return (indices[..., None, :, :] == names[:, None, None]).float()


__all__ = ["COLOR_NAMES", "color_indices", "color_maps", "hue_saturation_value"]
