"""The letterbox as a graph: pixels of a picture in, what `PbrecImageProcessor` makes of them out.

Resizing is a product with weights, which are those of torch's antialiased resizing of bytes: integers of 16 bits, with
rounding after each axis. So both give the same canvas; of pictures that are reduced more than four times, a few pixels
in a million are a grey level off.
"""

import torch
from torch import Tensor, nn
from transformers.image_utils import PILImageResampling

from ..image_processing_pbrec import PbrecImageProcessor

_LARGEST = 2**15  # weights stay below it
_BLOCK = 32  # places of the canvas that read the same pixels; others would only be multiplied by 0


class CanvasPart(nn.Module):
    """
    picture, uint8 (H, W, 3) RGB, upright → pixel_values (1, 3, S, S), pixel_mask int64 (1, S, S), letterbox int64
    (1, 6); see [`PbrecImageProcessor`] and `geometry/letterbox.py`.

    Args:
        processor: the one it equals.

    Raises:
        ValueError: the processor does not resize, or not bilinearly.
    """

    def __init__(self, processor: PbrecImageProcessor):
        super().__init__()
        if not processor.do_resize or processor.resample != PILImageResampling.BILINEAR:
            raise ValueError(
                f"do_resize={processor.do_resize}, resample={processor.resample}: only a letterbox with "
                "do_resize=True and resample=2 (bilinear) has a graph."
            )
        self.side = int(processor.size["longest_edge"])
        unit = 1 / processor.rescale_factor if processor.do_rescale else 1.0
        normal = processor.do_normalize
        # As the processor computes it: without normalising, bytes are only scaled.
        mean = torch.tensor(processor.image_mean if normal else [0.0] * 3) * unit
        std = torch.tensor(processor.image_std if normal else [1.0] * 3) * unit
        self.register_buffer("mean", mean[:, None, None])
        self.register_buffer("std", std[:, None, None])

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See the class."""
        lengths = picture.shape[:2]
        widest = torch.sym_max(*lengths) * (_BLOCK + 2) // self.side + 4  # pixels that a block reads
        height, width = (torch.scalar_tensor(length, dtype=torch.int64) for length in lengths)
        scale = self.side / torch.maximum(height, width).double()
        rows, cols = ((length.double() * scale).round().long().clamp(min=1) for length in (height, width))
        top, left = ((self.side - length) // 2 for length in (rows, cols))
        across = resized_along(picture.transpose(0, 1).flatten(1), cols, left, self.side, widest)
        down = across.unflatten(1, (-1, 3)).transpose(0, 1).flatten(1)
        pixels = resized_along(down, rows, top, self.side, widest).unflatten(1, (-1, 3)).permute(2, 0, 1)
        mask = covered(rows, top, self.side)[:, None] & covered(cols, left, self.side)
        canvas = (pixels - self.mean) / self.std * mask
        return canvas[None], mask[None].long(), torch.stack([height, width, rows, cols, top, left])[None]


def covered(resized: Tensor, start: Tensor, side: int) -> Tensor:
    """Which of the `side` places of an axis are covered by `resized` ones from `start` on: bool (S,)."""
    place = torch.arange(side) - start
    return (place >= 0) & (place < resized)


def resized_along(pixels: Tensor, resized: Tensor, start: Tensor, side: int, widest: int | torch.SymInt) -> Tensor:
    """
    One axis resized and laid onto a canvas.

    Args:
        pixels: (n, C) bytes, in any type.
        resized, start: int64 (), the axis' length on the canvas, and where it starts.
        side: S, of the canvas.
        widest: W, a number of pixels that is enough for any block of places.

    Returns:
        float32 (S, C), whole numbers from 0 to 255; 0 beside the picture.
    """
    length = pixels.shape[0]
    blocks = -(-side // _BLOCK)
    place = torch.arange(blocks * _BLOCK).view(blocks, _BLOCK) - start
    support = resized.clamp(min=length)  # a triangle as wide as the longer of both kinds of pixels, on either side
    first = (length * (2 * place[:, :1] + 1) - 2 * support).div(2 * resized, rounding_mode="floor").clamp(min=0)
    read = first + torch.arange(widest)  # (blocks, W)
    # In whole numbers, so that weights are the same wherever they are computed.
    apart = (2 * read[:, None] + 1) * resized - length * (2 * place[:, :, None] + 1)
    counts = (read < length)[:, None] & ((place >= 0) & (place < resized))[:, :, None]
    weights = (2 * support - apart.abs()).clamp(min=0).float() * counts
    weights = weights / weights.sum(2, keepdim=True).clamp(min=1)
    units = 2.0 ** torch.arange(23)
    unit = torch.where((weights.max() * units + 0.5).floor() < _LARGEST, units, 1.0).max()
    weights = (weights * unit + 0.5).floor() / unit
    blocks_of_pixels = pixels[read.clamp(max=length - 1).flatten()].float().unflatten(0, (blocks, -1))
    values = torch.matmul(weights, blocks_of_pixels).flatten(0, 1)[:side]
    return (values + 0.5).floor().clamp(0, 255)


__all__ = ["CanvasPart"]
