"""`PbrecImageProcessor`: a picture onto the square canvas, and boxes and masks exactly back.

Letterbox as released: the longer side to `size["longest_edge"]`, centred, padding = mean colour (0 after normalising).
`letterbox` (I, 6) int64 records it: original height and width, resized height and width, top, left. This one geometry
serves training, inference and export.
"""

import torch
from torch import Tensor
from torchvision.ops import clip_boxes_to_image
from torchvision.transforms.v2 import functional as tvF
from transformers.image_processing_backends import TorchvisionBackend
from transformers.image_processing_utils import BatchFeature
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, PILImageResampling
from transformers.image_utils import pil_torch_interpolation_mapping as interpolations

from .pictures_pbrec import load_picture

# What torchvision resizes alike on every device.
_RESAMPLES = (PILImageResampling.NEAREST, PILImageResampling.BILINEAR, PILImageResampling.BICUBIC)


def letterbox_geometry(height: int, width: int, size: int) -> tuple[int, int, int, int]:
    """Resized height and width, top and left of a picture on a canvas of `size`² pixels, rounded as released."""
    scale = size / max(height, width)
    resized = max(1, round(height * scale)), max(1, round(width * scale))
    top, left = (round((size - side) / 2 - 0.1) for side in resized)
    return *resized, top, left


class PbrecImageProcessor(TorchvisionBackend):
    r"""
    Pictures in any form [`load_picture`] takes → `pixel_values` (I, 3, S, S), `pixel_mask` (I, S, S) int64 with
    1 = picture, and `letterbox` (I, 6) int64.

    Args:
        size (`dict`, defaults to `{"longest_edge": 640}`): side S of the canvas in pixels.
        resample (`int`, defaults to 2): 0 (nearest), 2 (bilinear) or 3 (bicubic).
        do_resize, do_rescale, rescale_factor, do_normalize, image_mean, image_std: as in transformers.

    Raises:
        ValueError: a picture that cannot be read, a size other than `{"longest_edge": 16 … 8192}`, another `resample`.
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

    def preprocess(self, images, **kwargs) -> BatchFeature:
        """One picture or a list of them; see the class."""
        several = isinstance(images, (list, tuple)) or getattr(images, "ndim", 0) == 4
        images = list(images) if several else [images]
        if not images:
            raise ValueError("No picture given: give at least one.")
        # A uint8 tensor in CHW is what the rest works on; all else becomes one by way of an upright RGB picture.
        ready = [image if _is_ready(image) else load_picture(image) for image in images]
        return super().preprocess(ready, **kwargs)

    def _standardize_kwargs(self, **kwargs) -> dict:
        # Runs when a processor is made and with the arguments of every call: bad values are refused at both times.
        kwargs = super()._standardize_kwargs(**kwargs)
        size, resample = kwargs["size"], kwargs["resample"]
        side = size.longest_edge
        if set(dict(size)) != {"longest_edge"} or not isinstance(side, int) or not 16 <= side <= 8192:
            raise ValueError(f"size={dict(size)}: give {{'longest_edge': S}} with S from 16 to 8192 pixels.")
        if resample not in _RESAMPLES:
            raise ValueError(f"resample={resample!r}: give 0 (nearest), 2 (bilinear) or 3 (bicubic).")
        return kwargs

    def _preprocess(
        self,
        images: list[Tensor],
        do_resize: bool,
        size,
        resample,
        do_rescale: bool,
        rescale_factor: float,
        do_normalize: bool,
        image_mean,
        image_std,
        return_tensors=None,
        **kwargs,
    ) -> BatchFeature:
        side = size.longest_edge
        canvas = images[0].new_zeros((len(images), 3, side, side), dtype=torch.float32)
        pixel_mask = images[0].new_zeros((len(images), side, side), dtype=torch.int64)
        letterbox = []
        for index, image in enumerate(images):
            height, width = image.shape[-2:]
            new_height, new_width, top, left = letterbox_geometry(height, width, side)
            if not do_resize:
                if max(height, width) > side:
                    raise ValueError(f"A picture of {height}×{width} needs do_resize=True on a canvas of {side}.")
                new_height, new_width = height, width
                top, left = (round((side - length) / 2 - 0.1) for length in (height, width))
            elif (height, width) != (new_height, new_width):
                mode = interpolations[resample]
                image = tvF.resize(image, [new_height, new_width], interpolation=mode, antialias=True)
            image = self.rescale_and_normalize(
                image, do_rescale, rescale_factor, do_normalize, tuple(image_mean), tuple(image_std)
            )
            canvas[index, :, top : top + new_height, left : left + new_width] = image
            pixel_mask[index, top : top + new_height, left : left + new_width] = 1
            letterbox.append([height, width, new_height, new_width, top, left])
        data = {"pixel_values": canvas, "pixel_mask": pixel_mask, "letterbox": torch.tensor(letterbox)}
        return BatchFeature(data, tensor_type=return_tensors)


def _is_ready(image) -> bool:
    if not isinstance(image, Tensor) or image.dtype != torch.uint8:
        return False
    return image.ndim == 3 and image.shape[0] == 3 and image.numel() > 0


def boxes_to_canvas(boxes: Tensor, letterbox: Tensor) -> Tensor:
    """Boxes (n, 4) XYXY in pixels of the original picture → pixels of the canvas; `letterbox` (6,)."""
    scale, offset = _scale_and_offset(letterbox, boxes)
    return boxes * scale + offset


def boxes_to_original(boxes: Tensor, letterbox: Tensor) -> Tensor:
    """
    Boxes (n, 4) XYXY in pixels of the canvas → pixels of the original picture, clipped to it.

    A box that clipping would leave without width or height becomes one pixel wide or high, inside the picture.
    """
    scale, offset = _scale_and_offset(letterbox, boxes)
    height, width = letterbox[:2].tolist()
    boxes = clip_boxes_to_image((boxes - offset) / scale, (height, width))
    start, end = boxes[:, :2], boxes[:, 2:]
    limit = boxes.new_tensor([width, height])
    flat = end <= start
    start = torch.where(flat, torch.minimum(start, limit - 1), start)
    return torch.cat((start, torch.where(flat, start + 1, end)), dim=1)


def masks_to_original(mask: Tensor, letterbox: Tensor, canvas: tuple[int, int], threshold: float = 0.5) -> Tensor:
    """
    A map of probabilities over the canvas → a binary mask of the original picture.

    Each original pixel takes the bilinear value at its own centre: one interpolation, none to the canvas in between.

    Args:
        mask: (h, w) of any resolution, covering the whole canvas.
        letterbox: (6,) of the picture.
        canvas: (height, width) in pixels.

    Returns:
        bool (original height, original width).
    """
    height, width, new_height, new_width, top, left = letterbox.tolist()
    rows, cols = mask.shape
    y = (torch.arange(height, device=mask.device) + 0.5) * (new_height / height) + top
    x = (torch.arange(width, device=mask.device) + 0.5) * (new_width / width) + left
    # Bilinear is linear along y, then along x: two small products, no coordinates for every pixel of a large picture.
    values = _linear(y * (rows / canvas[0]), rows) @ mask.float() @ _linear(x * (cols / canvas[1]), cols).T
    return values > threshold


def _linear(position: Tensor, cells: int) -> Tensor:
    """Weights (n, cells) of linear interpolation at `position` (n,), in cells from the left edge of the first one."""
    centre = (position - 0.5).clamp(0, cells - 1)
    return (1 - (centre[:, None] - torch.arange(cells, device=position.device)).abs()).clamp(min=0)


def _scale_and_offset(letterbox: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    height, width, new_height, new_width, top, left = letterbox.tolist()
    scale = like.new_tensor([new_width / width, new_height / height]).repeat(2)
    return scale, like.new_tensor([left, top]).repeat(2)


__all__ = ["PbrecImageProcessor"]
