"""`PbrecImageProcessor`: a picture onto the square canvas.

Letterbox as released: the longer side to `size["longest_edge"]`, centred, padding = mean colour (0 after normalising).
`letterbox` (I, 6) int64 records it, see `geometry/letterbox.py`, which also leads boxes and masks back.
"""

import math
from collections.abc import Iterable, Sequence
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as tvF
from transformers.image_processing_backends import TorchvisionBackend
from transformers.image_processing_utils import BatchFeature
from transformers.image_utils import (
    IMAGENET_DEFAULT_MEAN,
    IMAGENET_DEFAULT_STD,
    ChannelDimension,
    PILImageResampling,
    SizeDict,
)
from transformers.image_utils import pil_torch_interpolation_mapping as interpolations

from .geometry.letterbox import Letterbox, centered
from .images.containers import plain
from .images.reading import load_pixels

# What torchvision resizes alike on every device.
_RESAMPLES = (PILImageResampling.NEAREST, PILImageResampling.BILINEAR, PILImageResampling.BICUBIC)


class PbrecImageProcessor(TorchvisionBackend):
    r"""
    Pictures in any form [`load_picture`] takes → `pixel_values` (I, 3, S, S), `pixel_mask` (I, S, S) int64 with
    1 = picture, and `letterbox` (I, 6) int64.

    Args:
        size (`dict`, defaults to `{"longest_edge": 640}`): side S of the canvas in pixels.
        resample (`int`, defaults to 2): 0 (nearest), 2 (bilinear) or 3 (bicubic).
        do_resize, do_rescale, rescale_factor, do_normalize, image_mean, image_std: as in transformers.

    Raises:
        ValueError: a picture that cannot be read, a size other than `{"longest_edge": 16 … 8192}`, another `resample`,
            a mean or deviation that is not three finite numbers, a deviation or factor of 0.
    """

    resample = PILImageResampling.BILINEAR
    image_mean = IMAGENET_DEFAULT_MEAN
    image_std = IMAGENET_DEFAULT_STD
    size = {"longest_edge": 640}
    default_to_square = False
    do_resize = True
    do_rescale = True
    do_normalize = True
    do_convert_rgb = True
    model_input_names = ["pixel_values", "pixel_mask", "letterbox"]

    def preprocess(
        self, images: Any, *, input_data_format: str | ChannelDimension | None = None, **kwargs: Any
    ) -> BatchFeature:
        """One picture or a list; see the class. `input_data_format` says how arrays lie, where shapes do not."""
        images = plain(images)
        several = isinstance(images, (list, tuple)) or getattr(images, "ndim", 0) == 4
        images = list(images) if several else [images]
        if not images:
            raise ValueError("No picture given: give at least one.")
        if input_data_format is not None:
            layout = ChannelDimension(input_data_format)
            images = [_channels_last(image, layout) for image in images]
        pixels = [load_pixels(image) for image in images]
        return super().preprocess(pixels, input_data_format=ChannelDimension.FIRST, **kwargs)

    def _standardize_kwargs(self, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        # Runs when a processor is made and with the arguments of every call: bad values are refused at both times.
        kwargs = super()._standardize_kwargs(**kwargs)
        size, resample = kwargs["size"], kwargs["resample"]
        side = size.longest_edge
        if set(dict(size)) != {"longest_edge"} or not isinstance(side, int) or not 16 <= side <= 8192:
            raise ValueError(f"size={dict(size)}: give {{'longest_edge': S}} with S from 16 to 8192 pixels.")
        if resample not in _RESAMPLES:
            raise ValueError(f"resample={resample!r}: give 0 (nearest), 2 (bilinear) or 3 (bicubic).")
        for name in ("image_mean", "image_std"):
            if not _are_numbers(kwargs[name], 3) or (name == "image_std" and min(kwargs[name]) <= 0):
                raise ValueError(f"{name}={kwargs[name]!r}: give three numbers for RGB; those of image_std exceed 0.")
        factor = kwargs["rescale_factor"]
        if not _are_numbers([factor], 1) or factor == 0:
            raise ValueError(f"rescale_factor={factor!r}: give a number other than 0, such as {1 / 255}.")
        return kwargs

    def _preprocess(  # type: ignore[override]
        self,
        images: list[Tensor],
        do_resize: bool,
        size: SizeDict,
        resample: PILImageResampling,
        do_rescale: bool,
        rescale_factor: float,
        do_normalize: bool,
        image_mean: Sequence[float],
        image_std: Sequence[float],
        return_tensors: str | None = None,
        **kwargs: Any,
    ) -> BatchFeature:
        side = int(size.longest_edge or 0)  # checked by `_standardize_kwargs`
        canvas = images[0].new_zeros((len(images), 3, side, side), dtype=torch.float32)
        pixel_mask = images[0].new_zeros((len(images), side, side), dtype=torch.int64)
        # The library's own constants would have torch's default dtype.
        unit = 1.0 / rescale_factor if do_rescale else 1.0
        mean, std = (canvas.new_tensor(tuple(colors)) * unit for colors in (image_mean, image_std))
        letterbox = []
        for index, image in enumerate(images):
            height, width = image.shape[-2:]
            place = Letterbox.fit(height, width, side)
            if not do_resize:
                if max(height, width) > side:
                    raise ValueError(f"A picture of {height}×{width} needs do_resize=True on a canvas of {side}.")
                place = Letterbox(height, width, height, width, *centered((height, width), side))
            elif (height, width) != (place.resized_height, place.resized_width):
                resized = [place.resized_height, place.resized_width]
                image = tvF.resize(image, resized, interpolation=interpolations[resample], antialias=True)
            image = image.to(torch.float32, copy=True)
            if do_normalize:
                image = tvF.normalize(image, mean, std, inplace=True)
            elif do_rescale:
                image *= rescale_factor
            canvas[(index, ..., *place.window)] = image
            pixel_mask[(index, *place.window)] = 1
            letterbox.append(place)
        data = {"pixel_values": canvas, "pixel_mask": pixel_mask, "letterbox": torch.tensor(letterbox)}
        return BatchFeature(data, tensor_type=return_tensors)


def _channels_last(image: Any, layout: ChannelDimension) -> Any:
    """An array or tensor (H, W, C) or (C, H, W) as an array (H, W, C); other pictures as they are."""
    if not isinstance(image, (np.ndarray, Tensor)) or image.ndim != 3:
        return image
    array = np.asarray(image)
    return np.moveaxis(array, 0, -1) if layout == ChannelDimension.FIRST else array


def _are_numbers(values: Any, count: int) -> bool:
    """Whether `values` are `count` finite numbers."""
    if not isinstance(values, Iterable):
        return False
    values = list(values)
    return len(values) == count and all(isinstance(value, Real) and math.isfinite(value) for value in values)


__all__ = ["PbrecImageProcessor"]
