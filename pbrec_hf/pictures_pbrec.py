"""Reading a picture from whatever a user has: path, URL, base64, PIL image, array or tensor → upright RGB.

Everything that cannot be read ends in one line that names the source and says what to do. No network unless the source
is a URL; never more memory than the limit on pixels allows.
"""

import base64
import binascii
import os
from collections.abc import Mapping
from io import BytesIO

import numpy as np
import PIL.Image
import PIL.ImageOps
import torch
from transformers.utils import logging

logger = logging.get_logger(__name__)

MOST_PIXELS = 178_000_000  # where Pillow, too, refuses: larger headers are usually attacks
_ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")


def load_picture(source, timeout: float | None = 30.0) -> PIL.Image.Image:
    """
    The picture in upright RGB (EXIF orientation applied, transparency on white, first frame of an animation).

    Args:
        source: path, http(s) URL, `data:` URI or base64 text, the bytes of a file or a file open for reading them, an
            image cell of `datasets` ({"bytes", "path"}), PIL image, array or tensor (H, W), (H, W, C) or (C, H, W):
            uint8, or floating point in [0, 1].
        timeout: seconds to wait for a URL.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a readable picture, or too large.
        TypeError: none of the forms above.
    """
    if isinstance(source, Mapping) and source.keys() <= {"bytes", "path"} and source:
        source = source.get("path") if source.get("bytes") is None else source["bytes"]
    if hasattr(source, "read") and not isinstance(source, PIL.Image.Image):
        source = source.read()
    name = _name(source)
    if isinstance(source, PIL.Image.Image):
        return _upright_rgb(source, name)
    if isinstance(source, (np.ndarray, torch.Tensor)):
        return _from_array(source)
    if not isinstance(source, (str, bytes, bytearray, os.PathLike)):
        raise TypeError(
            f"{type(source).__name__} is no picture: give a path, URL, base64 text, bytes, image, array or tensor."
        )
    file = BytesIO(source) if isinstance(source, (bytes, bytearray)) else _open(os.fspath(source), timeout)
    try:
        image = PIL.Image.open(file)
    except PIL.Image.DecompressionBombError as error:
        raise ValueError(f"{name} is too large ({error}): scale the picture down first.") from error
    except PIL.UnidentifiedImageError as error:
        raise ValueError(f"{name} is not a picture that Pillow can read: give a JPEG or PNG file.") from error
    except PermissionError:
        raise
    except Exception as error:  # a damaged header makes Pillow's readers raise nearly anything
        raise ValueError(f"{name} is damaged ({error}): get the file again.") from error
    with image:
        return _upright_rgb(image, name)


def _open(source: str, timeout: float | None) -> str | BytesIO:
    if source.startswith(("http://", "https://")):
        return _download(source, timeout)
    if source.startswith("data:"):
        return _decode(source.partition(",")[2], _name(source))
    if os.path.isdir(source):
        raise ValueError(f"{source} is a folder: give a picture file.")
    if os.path.exists(source):
        return source
    # A path is short or has a dot; base64 text is long and has none.
    if len(source) > 200 and "." not in source:
        return _decode(source, _name(source))
    raise FileNotFoundError(f"No picture at {source}: check the path.")


def _decode(text: str, name: str) -> BytesIO:
    try:
        return BytesIO(base64.b64decode("".join(text.split()), validate=True))
    except binascii.Error as error:
        raise ValueError(f"{name} is neither a file nor base64 text ({error}): check it.") from error


def _download(url: str, timeout: float | None) -> BytesIO:
    from huggingface_hub import get_session

    try:
        response = get_session().get(url, timeout=timeout, follow_redirects=True)
        response.raise_for_status()
    except Exception as error:  # the HTTP library's own classes are no part of the Hub client's interface
        raise ValueError(f"{url} could not be fetched ({error}): check the address and the connection.") from error
    return BytesIO(response.content)


def _upright_rgb(image: PIL.Image.Image, name: str) -> PIL.Image.Image:
    if image.width * image.height > MOST_PIXELS:
        raise ValueError(
            f"{name} has {image.width}×{image.height} pixels, more than {MOST_PIXELS // 10**6} million: scale it down."
        )
    try:
        image = PIL.ImageOps.exif_transpose(image)
        if image.mode.startswith(("I", "F")):
            return _from_deep_gray(image)
        if image.mode in _ALPHA or "transparency" in image.info:
            image = image.convert("RGBA")
            white = PIL.Image.new("RGBA", image.size, "white")
            return PIL.Image.alpha_composite(white, image).convert("RGB")
        return image.convert("RGB")
    except Exception as error:  # damaged data make Pillow's decoders raise nearly anything
        raise ValueError(f"{name} is damaged ({error}): get the file again.") from error


def _from_deep_gray(image: PIL.Image.Image) -> PIL.Image.Image:
    """More than 8 bits per pixel: Pillow's own conversion would cut instead of scaling."""
    values = np.asarray(image, dtype=np.float64)
    if image.mode == "F" and values.max(initial=0) <= 1:
        values = values * 255
    elif values.max(initial=0) > 255:
        values = values * (255 / 65535)
    return PIL.Image.fromarray(values.clip(0, 255).astype(np.uint8)).convert("RGB")


def _from_array(array: np.ndarray | torch.Tensor) -> PIL.Image.Image:
    values = array
    if isinstance(array, torch.Tensor):
        # NumPy does not know bfloat16.
        values = (array.float() if array.is_floating_point() else array).detach().cpu().numpy()
    if values.ndim == 3 and values.shape[0] in (1, 3, 4) and values.shape[2] not in (1, 3, 4):
        values = values.transpose(1, 2, 0)
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[:, :, 0]
    if values.size == 0 or values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[2] not in (3, 4)):
        raise ValueError(f"An array of shape {array.shape} is no picture: give (H, W), (H, W, 3) or (3, H, W).")
    if np.issubdtype(values.dtype, np.floating):
        if not 0 <= values.min() <= values.max() <= 1:
            raise ValueError(
                f"A floating-point picture holds values from {values.min():g} to {values.max():g}: scale them to "
                "[0, 1], or give uint8."
            )
        values = (values * 255).round().astype(np.uint8)
    elif values.dtype != np.uint8:
        raise ValueError(f"A picture of type {values.dtype}: give uint8, or floating point in [0, 1].")
    return _upright_rgb(PIL.Image.fromarray(np.ascontiguousarray(values)), "The array")


def _name(source) -> str:
    if isinstance(source, (str, os.PathLike)):
        text = os.fspath(source)
        return text if len(text) <= 200 else f"{text[:30]}…"
    return getattr(source, "filename", None) or "The picture"


__all__ = ["load_picture"]
