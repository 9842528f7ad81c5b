"""Masks drawn again inside of their boxes, at a resolution that grows as the box shrinks.

A box that is a little enlarged is cut out of the mask's logits, of some maps of details and of the picture itself, at
the same number of places whatever its size (RoIAlign, arXiv 1703.06870). A small U-Net (arXiv 1505.04597) says what to
add to the logits there; far outside of the box there is no mask. Knows nothing of detectors, targets and losses.
"""

from collections.abc import Sequence
from functools import lru_cache, partial
from threading import get_ident

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torchvision.ops import roi_align
from transformers import initialization as init

from ..geometry.proposed_masks import BoxMasks
from ..layers.convolutions import ConvNormRelu
from ..layers.initialization import constant, starting

# Places along a side of a crop.
CROP_SIDE = 32
# Sides of a crop, relative to those of its box, and the least, in cells of the features.
ENLARGED = 1.25
LEAST_SIDE = 1.0
# Samples along a side of a place, whose mean it takes.
_SAMPLES = 2
# Channels of a crop besides the details: the mask's logit and RGB; the refiner adds the two coordinates.
_OTHERS = 4
_LARGEST_LOGIT = 8.0
_LOGIT_SCALE = 0.25
_KAIMING = partial(init.kaiming_normal_, mode="fan_in", nonlinearity="relu")


class MaskRefiner(nn.Module):
    """
    The U-Net.

    Args:
        detail_channels: maps of details in a crop.
        widths: channels at each of its sizes, of which each is half of the one before.
        norm_groups: of the group norms, a divisor of every width.
    """

    def __init__(self, detail_channels: int, widths: Sequence[int], norm_groups: int):
        super().__init__()
        first, *others = widths
        self.down = nn.ModuleList([ConvNormRelu(detail_channels + _OTHERS + 2, first, norm_groups)])
        self.up = nn.ModuleList()
        for fine, coarse in zip(widths, others, strict=False):
            self.down.append(ConvNormRelu(fine, coarse, norm_groups))
            self.up.append(ConvNormRelu(fine + coarse, fine, norm_groups))
        for block in (*self.down, *self.up):
            starting(block.conv, weight=_KAIMING)
        # Masks start as they are.
        self.output = starting(nn.Conv2d(first, 1, 1), weight=constant(0.0), bias=constant(0.0))

    def forward(self, crops: Tensor) -> Tensor:
        """Crops (n, detail_channels + 4, S, S), the mask's logits first -> refined logits (n, S, S)."""
        logits = crops[:, :1].clamp(-_LARGEST_LOGIT, _LARGEST_LOGIT)
        place = (torch.arange(CROP_SIDE, dtype=crops.dtype, device=crops.device) + 0.5) * (2 / CROP_SIDE) - 1
        places = torch.stack(torch.meshgrid(place, place, indexing="xy")).expand(crops.shape[0], -1, -1, -1)
        values = torch.cat((logits * _LOGIT_SCALE, crops[:, 1:], places), dim=1)
        finer: list[Tensor] = []
        for block in self.down:
            values = block(F.max_pool2d(values, 2) if finer else values)
            finer.append(values)
        values = finer.pop()
        for block in reversed(self.up):
            larger = F.interpolate(values, scale_factor=2.0, mode="bilinear", align_corners=False)
            values = block(torch.cat((finer.pop(), larger), dim=1))
        return (logits + self.output(values))[:, 0]

    def vector(self) -> Tensor:
        """All weights, (P,), as `refined_logits` takes them."""
        # Not `parameters_to_vector`, which refuses channels-last memory.
        return torch.cat([parameter.flatten() for parameter in self.parameters()])


def enlarged(boxes: Tensor) -> Tensor:
    """Where crops are cut: boxes (…, 4) XYXY in cells of the features -> (…, 4)."""
    middle = (boxes[..., :2] + boxes[..., 2:]) / 2
    half = ((boxes[..., 2:] - boxes[..., :2]) / 2).clamp(min=LEAST_SIDE / 2) * ENLARGED
    return torch.cat((middle - half, middle + half), dim=-1)


def cut_out(maps: Tensor, regions: Tensor, owner: Tensor, scale: float = 1.0) -> Tensor:
    """
    The values of maps in regions.

    Args:
        maps: (I, C, h, w).
        regions: (n, 4) XYXY in cells of the features.
        owner: (n,) int64, the entry of `maps` that each is cut out of.
        scale: pixels of the maps in a cell.

    Returns:
        (n, C, CROP_SIDE, CROP_SIDE).
    """
    numbered = torch.cat((owner.to(regions.dtype)[:, None], regions), dim=1)
    return roi_align(maps, numbered, CROP_SIDE, scale, _SAMPLES, aligned=True)


def refined_logits(
    logits: Tensor,
    details: Tensor,
    pictures: Tensor,
    owner: Tensor,
    regions: Tensor,
    vector: Tensor,
    form: tuple[int, ...],
) -> Tensor:
    """
    The logits of n masks of I pictures, inside of their regions.

    Args:
        logits: (n, h, w) of the masks as they are.
        details: (I, C, h, w).
        pictures: (I, 3, H, W), of any size.
        owner: (n,) int64, the picture of each mask.
        regions: (n, 4) of `enlarged`.
        vector: of a `MaskRefiner`.
        form: its arguments, `widths` one by one, with `norm_groups` last.

    Returns:
        (n, CROP_SIDE, CROP_SIDE).
    """
    each = torch.arange(regions.shape[0], device=regions.device)
    crops = (
        cut_out(logits[:, None], regions, each),
        cut_out(details, regions, owner),
        cut_out(pictures, regions, owner, pictures.shape[-1] / details.shape[-1]),
    )
    network = _skeleton(details.shape[1], form, get_ident())
    sizes = [parameter.numel() for parameter in network.parameters()]
    weights = {
        name: part.view_as(parameter)
        for (name, parameter), part in zip(network.named_parameters(), vector.split(sizes), strict=True)
    }
    refined: Tensor = functional_call(network, weights, (torch.cat(crops, dim=1),))
    return refined


@lru_cache(maxsize=64)
def _skeleton(detail_channels: int, form: tuple[int, ...], thread: int) -> MaskRefiner:
    # One for each thread: a call with other weights puts them into the module while it runs.
    with torch.device("meta"):
        return MaskRefiner(detail_channels, form[:-1], form[-1])


def on_the_canvas(logits: Tensor, regions: Tensor, cells: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """
    Probabilities over the whole canvas.

    Args:
        logits: (n, CROP_SIDE, CROP_SIDE), inside of `regions`.
        regions: (n, 4) XYXY in cells of the features.
        cells: (h, w) of the features.
        size: (h', w') of the masks.

    Returns:
        (n, h', w'), 0 outside of the regions.
    """
    points = torch.arange(logits.shape[0], device=logits.device)
    drawn = BoxMasks(logits.sigmoid()[None], regions[None], cells, size)
    return drawn.at(torch.zeros_like(points), points)


__all__ = ["CROP_SIDE", "MaskRefiner", "cut_out", "enlarged", "on_the_canvas", "refined_logits"]
