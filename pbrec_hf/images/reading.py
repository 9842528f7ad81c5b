"""Reading a picture from whatever a user has → upright RGB: one decoder and one rule of orientation for everything.

JPEGs go through libjpeg-turbo straight into a tensor; everything else (PNG, CMYK, 16 bit, palettes, animations) goes
through Pillow, which gives the same pixels. A picture that cannot be read raises a one-line error with its name and a
remedy. The network is used for URLs only. Memory is bounded: by limits on pixels and sides, which are checked before a
pixel is decoded, and since whatever needs wide numbers is converted in bands.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any, TypeGuard

import numpy as np
import PIL.Image
import PIL.ImageOps
import torch
from torch import Tensor
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms.v2.functional import pil_to_tensor

from .heif import PLUGIN, can_read_heif, is_heif
from .sources import TIMEOUT, name_of, open_source

PictureSource = (
    str | os.PathLike[str] | bytes | bytearray | Mapping[str, Any] | IO[bytes] | PIL.Image.Image | np.ndarray | Tensor
)

MOST_PIXELS = 178_000_000  # where Pillow, too, refuses: larger headers are usually attacks
LONGEST_SIDE = 65_535  # the most that JPEG can say; one row of 178 million pixels would cost gigabytes to resize
_BAND = 2**22  # pixels that are converted at a time
_ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")
_ORIENTATION = 0x0112  # the EXIF tag; Pillow also reads it from XMP
_SIDEWAYS = (5, 6, 7, 8)


def load_picture(source: PictureSource, timeout: float | None = TIMEOUT) -> PIL.Image.Image:
    """
    The picture in upright RGB (oriented by EXIF or XMP, transparency on white, first frame of an animation).

    Args:
        source: path (also `~/…` and `file://…`), http(s) URL, `data:` URI or base64 text, the bytes of a file or a
            file open for reading them, an image cell of `datasets` ({"bytes", "path"}), PIL image, array or tensor
            (H, W), (H, W, C) or (C, H, W): uint8, or floating point in [0, 1].
        timeout: seconds that fetching a URL may take.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a readable picture, or too large.
        TypeError: none of the forms above.
    """
    if isinstance(source, (np.ndarray, Tensor)):
        return _from_array(source)
    if isinstance(source, PIL.Image.Image):
        return _upright_rgb(source, name_of(source))
    with _opened(source, timeout) as (image, name):
        return _upright_rgb(image, name)


def load_pixels(source: PictureSource, timeout: float | None = TIMEOUT) -> Tensor:
    """
    The same pixels as uint8 (3, H, W) RGB; a tensor of this form is passed through.

    Args:
        source, timeout: as for `load_picture`, and so are the errors.
    """
    if is_pixels(source):
        return source
    if isinstance(source, (np.ndarray, Tensor, PIL.Image.Image)):
        return _to_pixels(load_picture(source))
    with _opened(source, timeout) as (image, name):
        if image.format == "JPEG" and image.mode in ("RGB", "L"):
            _require_small(image, name)
            try:
                return _turned(decode_image(_encoded(image), ImageReadMode.RGB), _orientation(image))
            except (RuntimeError, ValueError, OSError):
                pass  # odd but legal files that only Pillow reads; damaged ones raise below
        return _to_pixels(_upright_rgb(image, name))


def picture_size(source: PictureSource) -> tuple[int, int]:
    """
    (height, width) of the upright picture; of a file, only the header is read.

    Raises:
        FileNotFoundError, ValueError, TypeError: as of `load_picture`.
    """
    if isinstance(source, (np.ndarray, Tensor)):
        height, width = load_pixels(source).shape[-2:]
        return height, width
    if isinstance(source, PIL.Image.Image):
        return _upright_size(source)
    with _opened(source, TIMEOUT) as (image, name):
        try:
            return _upright_size(image)
        except Exception as error:  # of some formats Pillow reads all to find the orientation
            raise ValueError(f"{name} is damaged ({error}): get the file again.") from error


def is_pixels(source: object) -> TypeGuard[Tensor]:
    """Whether `source` is what `load_pixels` gives: a uint8 tensor (3, H, W) that is not empty."""
    if not isinstance(source, Tensor) or source.dtype != torch.uint8:
        return False
    return source.ndim == 3 and source.shape[0] == 3 and source.numel() > 0


@contextmanager
def _opened(source: Any, timeout: float | None) -> Iterator[tuple[PIL.Image.Image, str]]:
    """The picture, not decoded yet, and its name for messages."""
    file, name = open_source(source, timeout)
    try:
        image = _open(file, name)
    except _WithoutPlugin:
        raise
    except PIL.Image.DecompressionBombError as error:
        raise TooLargeError(f"{name} is too large ({error}): scale the picture down first.") from error
    except PIL.UnidentifiedImageError as error:
        raise ValueError(f"{name} is not a picture that Pillow can read: give a JPEG or PNG file.") from error
    except PermissionError:
        raise
    except Exception as error:  # a damaged header makes Pillow's readers raise nearly anything
        raise ValueError(f"{name} is damaged ({error}): get the file again.") from error
    with image:
        yield image, name


class TooLargeError(ValueError):
    """A picture has more pixels than are decoded."""


class _WithoutPlugin(ValueError):
    """A picture that Pillow reads with a plugin only."""


def _open(file: Any, name: str) -> PIL.Image.Image:
    try:
        return PIL.Image.open(file)
    except PIL.UnidentifiedImageError:
        if not is_heif(file):
            raise
    if not can_read_heif():
        raise _WithoutPlugin(
            f"{name} is a HEIC picture, for which Pillow needs a plugin: `pip install {PLUGIN.replace('_', '-')}`, or "
            "give a JPEG."
        )
    return PIL.Image.open(file)


def _encoded(image: PIL.Image.Image) -> Tensor:
    """The bytes of the file that `image` was opened from."""
    file: IO[bytes] = image.fp  # type: ignore[attr-defined]  # there until the picture is decoded
    file.seek(0)
    return torch.frombuffer(bytearray(file.read()), dtype=torch.uint8)


def _orientation(image: PIL.Image.Image) -> int:
    return image.getexif().get(_ORIENTATION, 1)


def _turned(pixels: Tensor, orientation: int) -> Tensor:
    """(3, H, W) turned upright, as `PIL.ImageOps.exif_transpose` does."""
    if orientation in _SIDEWAYS:
        pixels = pixels.transpose(1, 2)
    mirrored = {2: (2,), 3: (1, 2), 4: (1,), 6: (2,), 7: (1, 2), 8: (1,)}.get(orientation)
    return pixels if mirrored is None else pixels.flip(mirrored)


def _is_tiff_on_its_side(image: PIL.Image.Image) -> bool:
    """Pillow turns the size of such a TIFF when it opens it, and the pixels when it reads them."""
    return getattr(image, "tag_v2", {}).get(_ORIENTATION) in _SIDEWAYS


def _upright_size(image: PIL.Image.Image) -> tuple[int, int]:
    sideways = _orientation(image) in _SIDEWAYS and not _is_tiff_on_its_side(image)
    return (image.width, image.height) if sideways else (image.height, image.width)


def _require_small(image: PIL.Image.Image, name: str) -> None:
    size = f"{image.width}×{image.height} pixels"
    if image.width * image.height > MOST_PIXELS:
        raise TooLargeError(f"{name} has {size}, more than {MOST_PIXELS // 10**6} million: scale it down.")
    if max(image.size) > LONGEST_SIDE:
        raise TooLargeError(
            f"{name} has {size}, a side longer than {LONGEST_SIDE}: scale it down, or cut it into parts."
        )


def _upright_rgb(image: PIL.Image.Image, name: str) -> PIL.Image.Image:
    _require_small(image, name)
    try:
        if _is_tiff_on_its_side(image):
            _load_unmapped(image)
        if image.mode == "RGB" and "transparency" not in image.info and _orientation(image) == 1:
            # Already as it should be; a picture that is still in its file is read by `convert`.
            return image if type(image) is PIL.Image.Image else image.convert("RGB")
        image = PIL.ImageOps.exif_transpose(image)
        if image.mode.startswith(("I", "F")):
            return _in_bands(image, _deep_gray(image))
        if image.mode in _ALPHA or "transparency" in image.info:
            return _in_bands(image, _on_white)
        return image.convert("RGB")
    except Exception as error:  # damaged data make Pillow's decoders raise nearly anything
        raise ValueError(f"{name} is damaged ({error}): get the file again.") from error


def _load_unmapped(image: Any) -> None:
    """Where Pillow knows the file's name it maps plain pixels into memory, and takes the turned size for theirs."""
    name, image.filename = image.filename, ""
    try:
        image.load()
    finally:
        image.filename = name


def _bands(image: PIL.Image.Image) -> Iterator[tuple[int, PIL.Image.Image]]:
    """Rows of the picture, a few million pixels at a time, with the number of the first."""
    rows = max(1, _BAND // image.width)
    for top in range(0, image.height, rows):
        band = image.crop((0, top, image.width, min(top + rows, image.height)))
        band.info = image.info  # a palette's transparency
        yield top, band


def _in_bands(image: PIL.Image.Image, convert: Callable[[PIL.Image.Image], PIL.Image.Image]) -> PIL.Image.Image:
    """`convert` of one band after the other: what it needs beside the picture is small."""
    result = PIL.Image.new("RGB", image.size)
    for top, band in _bands(image):
        result.paste(convert(band), (0, top))
    return result


def _on_white(image: PIL.Image.Image) -> PIL.Image.Image:
    image = image.convert("RGBA")
    return PIL.Image.alpha_composite(PIL.Image.new("RGBA", image.size, "white"), image).convert("RGB")


def _deep_gray(image: PIL.Image.Image) -> Callable[[PIL.Image.Image], PIL.Image.Image]:
    """More than 8 bits per pixel: Pillow's own conversion would cut instead of scaling by the largest value."""
    extrema: Any = image.getextrema()  # of the one channel: (least, largest)
    largest = max(0, extrema[1])
    # CODEPATH: 16-bit scans hold up to 65,535; some tools write shares, others bytes, into wide pixels.
    scale = 255.0 if image.mode == "F" and largest <= 1 else 255 / 65535 if largest > 255 else 1.0

    def convert(band: PIL.Image.Image) -> PIL.Image.Image:
        values = np.asarray(band, dtype=np.float64) * scale
        return PIL.Image.fromarray(values.clip(0, 255).astype(np.uint8)).convert("RGB")

    return convert


def _to_pixels(image: PIL.Image.Image) -> Tensor:
    """RGB → uint8 (3, H, W)."""
    pixels = torch.empty((3, image.height, image.width), dtype=torch.uint8)
    for top, band in _bands(image):
        pixels[:, top : top + band.height] = pil_to_tensor(band)
    return pixels


def _from_array(array: np.ndarray | Tensor) -> PIL.Image.Image:
    values: np.ndarray
    if isinstance(array, Tensor):
        # NumPy does not know bfloat16.
        values = (array.float() if array.is_floating_point() else array).detach().cpu().numpy()
    else:
        values = array
    if values.ndim == 3 and values.shape[0] in (1, 3, 4) and values.shape[2] not in (1, 3, 4):
        values = values.transpose(1, 2, 0)
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[:, :, 0]
    if values.size == 0 or values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[2] not in (3, 4)):
        raise ValueError(f"An array of shape {tuple(array.shape)} is no picture: give (H, W), (H, W, 3) or (3, H, W).")
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


__all__ = [
    "LONGEST_SIDE",
    "MOST_PIXELS",
    "PictureSource",
    "TooLargeError",
    "is_pixels",
    "load_picture",
    "load_pixels",
    "picture_size",
]
