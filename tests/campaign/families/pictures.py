"""Pictures with damage, bombs, orientations. Oracle: Pillow's decoder, and the array that a picture was made of."""

import io
import os
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import PIL.Image
import PIL.ImageOps
import PIL.PngImagePlugin
from numpy.random import Generator

from pbrec_hf.images.reading import load_picture, load_pixels, picture_size

from ..family import Case, Family, Step, pick
from ..mutations import damage_bytes, draw_bytes
from ..outcome import Outcome, judge, wrong

_FORMATS = (
    "JPEG:RGB", "JPEG:L", "JPEG:CMYK", "PNG:RGB", "PNG:L", "PNG:P", "PNG:RGBA", "PNG:LA", "PNG:1", "WEBP:RGB",
    "WEBP:RGBA", "GIF:P", "TIFF:RGB", "TIFF:L", "BMP:RGB", "BMP:L",
)  # fmt: skip
_SPECIAL = ("fifo", "folder", "device", "text", "nothing")
_XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="{}"/></rdf:RDF></x:xmpmeta>'
)
# EXIF 2.3, tag 274: what turns the stored rows and columns upright.
_UPRIGHT = {
    1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1), 6: lambda a: a.swapaxes(0, 1)[:, ::-1],
    7: lambda a: a.swapaxes(0, 1)[::-1, ::-1], 8: lambda a: a.swapaxes(0, 1)[::-1],
}  # fmt: skip
_LOSS = 12.0  # mean difference of grey values that JPEG and WebP may make in a smooth picture


class Pictures(Family):
    """Subjects are formats and modes; steps are ("size", h, w, seed), ("orientation", where, n) and damage."""

    memory: ClassVar[int] = 1536 * 2**20
    seconds: ClassVar[float] = 30

    @staticmethod
    def draw(rng: Generator) -> Case:
        chance = rng.random()
        if chance < 0.08:
            return Case(pick(rng, _SPECIAL))
        if chance < 0.2:
            sides = [
                (1, 177_000_000),
                (177_000_000, 1),
                (13_000, 13_000),
                (60_000, 2_900),
                (50_000, 50_000),
                (2**31, 1),
            ]
            width, height = pick(rng, sides)
            return Case("bomb", (("header", width, height, pick(rng, (0, 2, 3, 6)), pick(rng, (1, 8, 16))),))
        steps: list[Step] = [("size", *rng.integers(9, 120, 2).tolist(), int(rng.integers(1000)))]
        if rng.random() < 0.5:
            steps.append(("orientation", pick(rng, ("exif", "xmp")), int(rng.integers(1, 9))))
        if rng.random() < 0.6:
            steps += draw_bytes(rng, 2000)
        return Case(pick(rng, _FORMATS), tuple(steps))

    def run(self, case: Case) -> Outcome:
        path = self.folder / "picture"
        if path.is_dir():
            path.rmdir()
        path.unlink(missing_ok=True)
        source, upright = _made(case, path)
        expected = upright if upright is not None else _by_pillow(path)
        loss = _LOSS if case.subject.startswith(("JPEG", "WEBP", "GIF", "PNG:P")) and upright is not None else 0.0
        outcomes = [
            judge(
                lambda read=read: _as_array(read(source)),
                lambda found: _difference(found, expected, loss),
                names=[source, "The picture"],
            )
            for read in (load_pixels, load_picture)
        ]
        if len({outcome.kind for outcome in outcomes}) > 1:
            return wrong(f"load_pixels: {outcomes[0]}; load_picture: {outcomes[1]}")
        if outcomes[0].kind == "answered" and expected is not None and picture_size(source) != expected.shape[:2]:
            return wrong(f"picture_size {picture_size(source)}, the picture has {expected.shape[:2]}")
        return next((outcome for outcome in outcomes if outcome.kind == "wrong"), outcomes[0])


def _made(case: Case, path: Path) -> tuple[str, np.ndarray | None]:
    """Writes the picture; its name, and the upright pixels if the bytes are whole."""
    if case.subject == "fifo":
        os.mkfifo(path)
    elif case.subject == "folder":
        path.mkdir()
    elif case.subject == "device":
        return "/dev/zero", None
    elif case.subject == "text":
        path.write_text("this is no picture")
    elif case.subject == "nothing":
        path.touch()
    elif case.subject == "bomb":
        path.write_bytes(_png_header(*(case.steps[0][1:] if case.steps else (1, 1, 2, 8))))
    else:
        return str(path), _written(case, path)
    return str(path), None


def _written(case: Case, path: Path) -> np.ndarray | None:
    kind, _, mode = case.subject.partition(":")
    named = {step[0]: step[1:] for step in case.steps if step[0] in ("size", "orientation")}
    height, width, seed = named.get("size", (16, 24, 0))
    where, orientation = named.get("orientation", ("exif", 1))
    image = PIL.Image.fromarray(_smooth(height, width, seed)).convert(mode.replace("RGBA", "RGB").replace("LA", "L"))
    if mode in ("RGBA", "LA"):
        image.putalpha(PIL.Image.fromarray(_smooth(height, width, seed + 1)[:, :, 0]))
    options, orientation = _oriented(kind, where, orientation)
    encoded = io.BytesIO()
    image.save(encoded, kind, **options, **({"quality": 95} if kind in ("JPEG", "WEBP") else {}))
    damage = tuple(step for step in case.steps if step[0] not in ("size", "orientation"))
    path.write_bytes(damage_bytes(encoded.getvalue(), damage))
    return None if damage else _UPRIGHT[orientation](_on_white(image))


def _oriented(kind: str, where: str, orientation: int) -> tuple[dict[str, Any], int]:
    """Options of Pillow's `save`, and the orientation that the file will have: not every format has room for one."""
    if kind in ("GIF", "BMP") or (kind, where) == ("TIFF", "xmp"):
        return {}, 1
    if where == "exif":
        exif = PIL.Image.Exif()
        exif[0x0112] = orientation
        return {"exif": exif}, orientation
    xmp = _XMP.format(orientation)
    if kind == "PNG":
        text = PIL.PngImagePlugin.PngInfo()
        text.add_itxt("XML:com.adobe.xmp", xmp)
        return {"pnginfo": text}, orientation
    return {"xmp": xmp.encode()}, orientation


def _smooth(height: int, width: int, seed: int) -> np.ndarray:
    """A picture without any symmetry, smooth enough to survive JPEG: (height, width, 3) uint8."""
    rng = np.random.default_rng(seed)
    rows, cols = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    a, b, c = rng.uniform(60, 120, 3)
    planes = [a * rows + b * cols, c * cols + 40 * rows * cols + 20, 90 * rows + a * cols * cols]
    return np.stack(planes, axis=-1).clip(0, 255).astype(np.uint8)


def _on_white(image: PIL.Image.Image) -> np.ndarray:
    """Opaque pixels, by the definition of alpha."""
    if image.mode not in ("RGBA", "LA"):
        return np.asarray(image.convert("RGB"))
    pixels = np.asarray(image.convert("RGBA")).astype(np.float64)
    alpha = pixels[:, :, 3:] / 255
    return (pixels[:, :, :3] * alpha + 255 * (1 - alpha)).round().astype(np.uint8)


def _by_pillow(path: Path) -> np.ndarray | None:
    """What Pillow makes of the file, or None."""
    if not path.is_file():
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with PIL.Image.open(path) as image:
                if image.width * image.height > 10**7:
                    return None
                upright = PIL.ImageOps.exif_transpose(image)
                if "transparency" in upright.info or upright.mode in ("RGBA", "LA", "PA"):
                    upright = upright.convert("RGBA")
                return _on_white(upright)
    except Exception:  # whatever it is: Pillow cannot read it
        return None


def _as_array(read: object) -> np.ndarray:
    return np.asarray(read) if isinstance(read, PIL.Image.Image) else read.numpy().transpose(1, 2, 0)


def _difference(found: np.ndarray, expected: np.ndarray | None, loss: float) -> str | None:
    if expected is None:
        return f"{found.shape} pixels of what Pillow cannot read"
    if found.shape != expected.shape:
        return f"{found.shape} pixels instead of {expected.shape}"
    difference = np.abs(found.astype(int) - expected)
    if difference.mean() > loss + 1:
        return f"pixels differ by {difference.mean():.1f} grey values"
    return None


def _png_header(width: int, height: int, color: int, bits: int) -> bytes:
    """A PNG of a few bytes that claims any size."""
    header = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 64)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


FAMILY = Pictures
