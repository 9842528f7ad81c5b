"""Boxes as files write them → XYXY. Knows nothing of pictures: `row_checks.py` checks that boxes are inside theirs."""

import math
from collections.abc import Sequence
from typing import Any

Box = tuple[float, float, float, float]

BBOX_FORMATS = ("xyxy", "xywh")
LARGEST = 10**7  # pixels; beyond is damage


def parse_box(values: Any, bbox_format: str = "xyxy") -> Box:
    """
    Four numbers → (left, top, right, bottom).

    Args:
        values: list of the corners (`"xyxy"`) or of left, top, width, height (`"xywh"`), pixels.
        bbox_format: one of `BBOX_FORMATS`.

    Raises:
        ValueError: not four finite numbers of a picture's size.
    """
    if isinstance(values, Sequence) and not isinstance(values, (str, bytes)) and len(values) == 4:
        try:
            if any(isinstance(value, bool) for value in values):
                raise TypeError
            left, top, third, fourth = numbers = [float(value) for value in values]
        except (TypeError, ValueError, OverflowError):
            numbers = [math.nan]
        if all(abs(number) < LARGEST for number in numbers):  # NaN compares false
            return (left, top, third, fourth) if bbox_format == "xyxy" else (left, top, left + third, top + fourth)
    raise ValueError("give a list of 4 finite numbers")


__all__ = ["BBOX_FORMATS", "LARGEST", "Box", "parse_box"]
