"""What a screen shows of an answer: the same on a smaller picture.

A photograph of 25 million pixels under ten maps of scores takes gigabytes, and no screen has as many pixels.
"""

from dataclasses import replace

from PIL import Image

from ..geometry.letterbox import Letterbox
from ..inference.grounder import Grounded
from ..selection.answers import answers

SIDE = 1600  # pixels


def at_screen_size(result: Grounded, mask_threshold: float = 0.5, side: int = SIDE) -> Grounded:
    """
    The result on its photograph with at most `side` pixels on the longer side, with masks; for drawing.

    Args:
        result: of one photograph; its masks in pixels are not read.
        mask_threshold: as the answers were made with.
    """
    scale = min(1.0, side / max(result.image.size))
    width, height = (max(1, round(length * scale)) for length in result.image.size)
    image = result.image.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)
    row = result.inputs["letterbox"][0]
    letterbox = row.new_tensor(Letterbox.of(row.cpu())._replace(height=height, width=width))[None]
    found = answers(result.referents, result.inputs, mask_threshold, target_sizes=[(height, width)])
    return replace(result, image=image, answers=found, inputs={**result.inputs, "letterbox": letterbox})


__all__ = ["SIDE", "at_screen_size"]
