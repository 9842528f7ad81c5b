"""Answers in Label Studio's form: regions of rectangles and of brush strokes, for its imports and its ML backend.

Boxes are shares of the picture in per cent. A mask is Label Studio's own run lengths of the bytes of an RGBA picture.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...images.segmentation import rle_to_mask

RECTANGLES, BRUSH = "rectanglelabels", "brushlabels"
_WORD_BITS = 8
_RUN_BITS = (3, 4, 8, 16)


def regions(
    entry: dict[str, Any], size: tuple[int, int], control: tuple[str, str], kind: str = RECTANGLES, label: str = ""
) -> list[dict[str, Any]]:
    """
    The regions of the answers of one expression.

    Args:
        entry: of a record, see [`Labeller.record`].
        size: (height, width) of the upright picture.
        control: names of the label config's control and of its picture.
        kind: "rectanglelabels" or "brushlabels"; answers without a mask are rectangles.
        label: of the regions; "" = the expression.
    """
    height, width = size
    masks: Sequence[dict[str, Any] | None] = entry.get("masks") or [None] * len(entry["boxes"])
    found = []
    for number, (box, score, mask) in enumerate(zip(entry["boxes"], entry["scores"], masks, strict=True)):
        if kind == BRUSH and mask is not None:
            value: dict[str, Any] = {"format": "rle", "rle": brush_run_lengths(rle_to_mask(mask).numpy())}
        elif kind == BRUSH:
            continue
        else:
            left, top, right, bottom = box
            shares = (left / width, top / height, (right - left) / width, (bottom - top) / height)
            value = {
                name: round(100 * share, 4) for name, share in zip(("x", "y", "width", "height"), shares, strict=True)
            }
            value["rotation"] = 0
        digest = hashlib.blake2b(repr((entry["expression"], number, kind, box)).encode(), digest_size=5)
        found.append(
            {
                "id": digest.hexdigest(),
                "type": kind,
                "from_name": control[0],
                "to_name": control[1],
                "original_width": width,
                "original_height": height,
                "image_rotation": 0,
                "value": value | {kind: [label or entry["expression"]]},
                "score": score,
                "origin": "prediction",
            }
        )
    return found


def brush_run_lengths(mask: NDArray[np.bool_]) -> list[int]:
    """
    A mask as Label Studio packs it: runs of equal bytes of the RGBA picture, in a stream of bits.

    Args:
        mask: bool (H, W).

    Returns:
        Bytes as numbers.
    """
    flat = np.concatenate(([0], np.flatnonzero(np.diff(mask.ravel().view(np.uint8))) + 1, [mask.size]))
    bits = [format(4 * mask.size, "032b"), format(_WORD_BITS - 1, "05b")]
    bits += [format(length - 1, "04b") for length in _RUN_BITS]
    pixels = mask.ravel()
    for start, end in zip(flat[:-1].tolist(), flat[1:].tolist(), strict=True):
        value = format(255 if pixels[start] else 0, "08b")
        rest = 4 * (end - start)
        while rest:
            # A flag says that one value follows for the whole run, which is at most 2 ** 16 long.
            length = min(rest, 2 ** _RUN_BITS[-1])
            place = next(place for place, most in enumerate(_RUN_BITS) if length <= 2**most)
            bits.append(f"1{place:02b}{length - 1:0{_RUN_BITS[place]}b}{value}")
            rest -= length
    stream = "".join(bits)
    stream += "0" * (-len(stream) % 8)
    packed = int(stream, 2).to_bytes(len(stream) // 8, "big")
    return list(packed)


__all__ = ["BRUSH", "RECTANGLES", "brush_run_lengths", "regions"]
