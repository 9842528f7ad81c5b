"""Position codes of the fusion encoder: sine and cosine over the picture's own rows and columns, and over tokens.

Pure functions, computed in float32 on every call: a table of 400 × 256 costs less than keeping a buffer right.
"""

import math

import torch
from torch import Tensor


def sine_positions_2d(mask: Tensor, dim: int, shift: Tensor | None = None) -> Tensor:
    """
    Code of each grid cell relative to the picture, not to the canvas: the first `dim / 2` channels tell the row, the
    others the column.

    Args:
        mask: bool (I, rows, cols), True where the cell holds picture.
        dim: channels, a multiple of 4.
        shift: (I, rows · cols, 2), how far right and down of its cell's centre each point stands, in cells.

    Returns:
        float32 (I, rows · cols, dim), row-major.
    """
    present = mask.float()
    half = dim // 2
    channel = torch.arange(half, dtype=torch.float32, device=mask.device)
    wavelength = 10000 ** (2 * torch.div(channel, 2, rounding_mode="floor") / half)
    codes = []
    for axis in (1, 2):
        position = present.cumsum(axis)
        total = position.select(axis, -1).unsqueeze(axis)
        # In a row or column that is all padding the total is 0 and the angle about -3e6: large, but finite, and equal
        # to the released code's. Such cells are never attended to; only their own scores depend on it.
        position = position - 0.5
        if shift is not None:
            position = position + shift[..., 2 - axis].reshape(position.shape)
        position = position / (total + 1e-6) * (2 * math.pi)
        angle = position[..., None] / wavelength
        codes.append(torch.stack((angle[..., 0::2].sin(), angle[..., 1::2].cos()), dim=-1).flatten(-2))
    return torch.cat(codes, dim=-1).flatten(1, 2)


def sine_positions_1d(length: int, dim: int, device: torch.device | None = None) -> Tensor:
    """The usual sine table over tokens, positions from 0: float32 (length, dim)."""
    position = torch.arange(length, dtype=torch.float32, device=device)[:, None]
    frequency = torch.exp(torch.arange(0, dim, 2, dtype=torch.float32, device=device) * -(math.log(10000.0) / dim))
    angle = position * frequency
    return torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(-2)
