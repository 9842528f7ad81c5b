"""Maps at other sizes, where these do not divide each other, in operations that every runtime computes alike."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


def adaptive_max(values: Tensor, size: tuple[int, int]) -> Tensor:
    """The highest values of (I, rows, cols, C) in the cells of a grid of `size`, as `F.adaptive_max_pool2d`."""
    for dim, wanted in ((1, size[0]), (2, size[1])):
        windows = _windows(values.shape[dim], wanted)
        # A short window repeats its last place, which changes no maximum.
        steps = range(max(end - start for start, end in windows))
        places = [[min(start + step, end - 1) for start, end in windows] for step in steps]
        highest, *others = (values.index_select(dim, torch.tensor(at, device=values.device)) for at in places)
        for other in others:
            highest = torch.maximum(highest, other)
        values = highest
    return values


def adaptive_mean(values: Tensor, size: tuple[int, int]) -> Tensor:
    """The means of (I, C, rows, cols) over the cells of a grid of `size`, as `F.adaptive_avg_pool2d`."""
    rows, cols = values.shape[-2:]
    if rows % size[0] == 0 and cols % size[1] == 0:
        return F.avg_pool2d(values, (rows // size[0], cols // size[1]))
    return _shares(rows, size[0], values) @ values @ _shares(cols, size[1], values).T


def nearest(values: Tensor, size: tuple[int, int]) -> Tensor:
    """
    The values of (I, rows, cols, C) on a grid of `size`, as `F.interpolate` in the mode "nearest".

    A runtime that divides by a rounded scale takes a neighbour where the quotient should be a whole number.
    """
    for dim, wanted in ((1, size[0]), (2, size[1])):
        given = values.shape[dim]
        places = [number * given // wanted for number in range(wanted)]
        values = values.index_select(dim, torch.tensor(places, device=values.device))
    return values


def _windows(given: int, wanted: int) -> list[tuple[int, int]]:
    """Start and end of each of `wanted` windows over `given` places; they may share places."""
    return [(number * given // wanted, -(-(number + 1) * given // wanted)) for number in range(wanted)]


def _shares(given: int, wanted: int, like: Tensor) -> Tensor:
    """(wanted, given), what each place counts for the mean of each window."""
    starts, ends = np.array(_windows(given, wanted)).T[..., None]
    places = np.arange(given)
    shares = ((starts <= places) & (places < ends)) / (ends - starts)
    return torch.from_numpy(shares).to(like)


__all__ = ["adaptive_max", "adaptive_mean", "nearest"]
