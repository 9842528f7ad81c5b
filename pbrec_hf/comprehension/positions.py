"""Position codes of the fusion encoder: sine and cosine over the rows and columns of the picture, and over tokens.

Pure functions, computed in float32 on every call: a 400 × 256 table costs less than a buffer that has to survive casts
and changes of size.
"""

import math

import torch
from torch import Tensor


def sine_positions_2d(mask: Tensor, dim: int, shift: Tensor | None = None) -> Tensor:
    """
    Codes of grid cells, relative to the picture rather than the canvas, as in DETR (arXiv 2005.12872).

    The first `dim / 2` channels encode the row, the others the column.

    Args:
        mask: bool (I, rows, cols), True where the cell shows the picture.
        dim: number of channels, a multiple of 4.
        shift: (I, rows · cols, 2) XY offset of each point from the centre of its cell, in cells; None = no offset.

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
        # In a row or column of nothing but padding, the total is 0 and the angle about -3e6: large, but finite, and as
        # in the released code. No point attends to such cells; only their own scores depend on it.
        position = position - 0.5
        if shift is not None:
            position = position + shift[..., 2 - axis].reshape(position.shape)
        position = position / (total + 1e-6) * (2 * math.pi)
        angle = position[..., None] / wavelength
        codes.append(torch.stack((angle[..., 0::2].sin(), angle[..., 1::2].cos()), dim=-1).flatten(-2))
    return torch.cat(codes, dim=-1).flatten(1, 2)


def sine_positions_1d(length: int, dim: int, device: torch.device | None = None) -> Tensor:
    """Sinusoidal position codes of tokens (arXiv 1706.03762): float32 (length, dim), sine and cosine interleaved."""
    position = torch.arange(length, dtype=torch.float32, device=device)[:, None]
    frequency = torch.exp(torch.arange(0, dim, 2, dtype=torch.float32, device=device) * -(math.log(10000.0) / dim))
    angle = position * frequency
    return torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(-2)


__all__ = ["sine_positions_1d", "sine_positions_2d"]
