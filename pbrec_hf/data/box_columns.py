"""Boxes in four columns of their own (xmin … ymax, x, y, w, h) → one column `bbox`.

The names say what the numbers are, corners or a size, whatever the table's other boxes are. Knows nothing of pictures.
"""

from collections.abc import Mapping
from typing import Any

_FORMS = {
    ("xmin", "ymin", "xmax", "ymax"): "xyxy",
    ("x_min", "y_min", "x_max", "y_max"): "xyxy",
    ("x1", "y1", "x2", "y2"): "xyxy",
    ("left", "top", "right", "bottom"): "xyxy",
    ("x", "y", "w", "h"): "xywh",
}
BOX_COLUMNS = frozenset(name for names in _FORMS for name in names)


def joined_box(row: Mapping[str, Any], bbox_format: str) -> tuple[Mapping[str, Any], str]:
    """
    A row → the row with `bbox`, and the form of that box: `bbox_format`, or what the names of four columns say.

    Raises:
        ValueError: the row has two boxes or a part of one, its columns are corners and `bbox_format` says "xywh", or
            they are x, y, width, height, which may mean the size of the picture.
    """
    if row.get("bbox") is not None:
        return row, bbox_format
    written = {str(name).lower(): name for name in row}
    found = [names for names in _FORMS if all(name in written for name in names)]
    if not found and all(row.get(name) is not None for name in ("x", "y", "width", "height")):
        raise ValueError("width and height are those of the picture; call those of the box w and h")
    if not found:
        return row, bbox_format
    if len(found) > 1:
        raise ValueError(f"there are boxes in the columns {' and '.join(map(', '.join, found))}; keep one of them")
    (names,) = found
    if bbox_format != "xyxy" and _FORMS[names] != bbox_format:
        raise ValueError(f"the columns {', '.join(names)} are corners; leave out bbox_format={bbox_format!r}")
    columns = [written[name] for name in names]
    box = [row[column] for column in columns]
    rest = {name: value for name, value in row.items() if name not in columns}
    if None in box and box != [None] * 4:
        raise ValueError(f"give a number in each of the columns {', '.join(names)}")
    return rest | {"bbox": None if None in box else box}, _FORMS[names]


__all__ = ["BOX_COLUMNS", "joined_box"]
