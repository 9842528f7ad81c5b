"""Picture files to uint8 RGB tensors, upright.

JPEGs go through libjpeg-turbo straight into a tensor; everything else (PNG, CMYK, 16 bit, palettes, animations) goes
the way of inference, `load_picture`. The header is read first, so that a decompression bomb is refused before it
unpacks.
"""

import io
from collections.abc import Mapping
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms.v2.functional import pil_to_tensor

from ..pictures_pbrec import load_picture

ImageSource = Mapping[str, Any] | str | PathLike | bytes | Image.Image | np.ndarray | torch.Tensor

_UNREADABLE = (OSError, SyntaxError, Image.DecompressionBombError)  # what PIL raises; SyntaxError: a broken PNG


def load_image(source: ImageSource) -> torch.Tensor:
    """uint8 RGB tensor (3, height, width), turned upright by its EXIF orientation.

    Args:
        source: a `datasets` image cell ``{"path", "bytes"}``, a path, encoded bytes, a PIL image, a uint8 tensor
            (3, H, W), which is passed through, or any other array that `load_picture` takes.

    Raises:
        ValueError: missing, damaged or oversized file, or an array that is no picture; names the file.
        TypeError: none of the forms above.
    """
    if isinstance(source, torch.Tensor) and source.dtype == torch.uint8 and source.ndim == 3 and len(source) == 3:
        return source
    if isinstance(source, Image.Image | np.ndarray | torch.Tensor):
        return pil_to_tensor(load_picture(source))
    data, name = _encoded(source)
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.format == "JPEG" and image.mode in ("RGB", "L"):
                try:
                    encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
                    return decode_image(encoded, ImageReadMode.RGB, apply_exif_orientation=True)
                except RuntimeError:
                    pass  # odd but legal files that only PIL reads; damaged ones raise below
            return pil_to_tensor(load_picture(image))
    except (*_UNREADABLE, ValueError) as error:
        raise ValueError(f"cannot decode image {name}: {error}; re-encode the file or drop its rows") from error


def image_size(source: ImageSource) -> tuple[int, int]:
    """(height, width) of the upright picture from the file's header alone.

    Raises:
        ValueError: missing or unreadable file; names it.
    """
    if isinstance(source, Image.Image):
        return _upright_size(source)
    if isinstance(source, np.ndarray | torch.Tensor):
        return tuple(load_image(source).shape[-2:])
    # of a file, only the header is read from the disk
    file, name = (source, repr(fspath(source))) if isinstance(source, str | PathLike) else _encoded(source)
    try:
        with Image.open(io.BytesIO(file) if isinstance(file, bytes) else file) as image:
            return _upright_size(image)
    except _UNREADABLE as error:
        raise ValueError(f"cannot read image {name}: {error}; correct the path or drop its rows") from error


def _encoded(source: Mapping[str, Any] | str | PathLike | bytes) -> tuple[bytes, str]:
    """Encoded bytes and a name for messages."""
    if isinstance(source, bytes):
        return source, f"of {len(source)} bytes"
    if isinstance(source, Mapping):
        if source.get("bytes") is not None:
            return source["bytes"], repr(source.get("path") or f"of {len(source['bytes'])} bytes")
        source = source.get("path")
    if not isinstance(source, str | PathLike):
        raise TypeError(f"an image must be a path, bytes, PIL image or uint8 tensor, got {type(source).__name__}")
    try:
        return Path(source).read_bytes(), repr(fspath(source))
    except OSError as error:
        raise ValueError(f"cannot read image {fspath(source)!r}: {error.strerror}; correct the path") from error


def _upright_size(image: Image.Image) -> tuple[int, int]:
    turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)  # 0x0112: the EXIF orientation tag
    return (image.width, image.height) if turned else (image.height, image.width)
