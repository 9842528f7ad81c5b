"""Masks → outlines: the polygons around a mask, for formats that have no run lengths.

An outline goes along the edges of pixels, so that before it is thinned it holds exactly the mask's pixels. Holes are
not outlined: the formats that need polygons cannot say them. Pure functions over NumPy arrays.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Points = NDArray[np.float64]


def outlines(mask: NDArray[np.bool_], tolerance: float = 0.7) -> list[Points]:
    """
    The outlines of a mask's parts (of pixels that share a side), the largest part first.

    Args:
        mask: bool (H, W).
        tolerance: how far, in pixels, a thinned outline may leave the exact one; 0 = the exact one.

    Returns:
        (n, 2) x, y in pixels each, clockwise as one sees it, not closed.
    """
    labels, count = ndimage.label(mask)
    slices = ndimage.find_objects(labels)
    parts = []
    for number, where in enumerate(slices[:count], start=1):
        part = ndimage.binary_fill_holes(labels[where] == number)
        corners = _around(part) + np.array((where[1].start, where[0].start))
        parts.append((int(part.sum()), thinned(corners, tolerance) if tolerance else corners))
    parts.sort(key=lambda pair: -pair[0])  # stable: equal parts stay in reading order
    return [points for _, points in parts]


def joined_outline(mask: NDArray[np.bool_], tolerance: float = 0.7, least: float = 0.01) -> list[float] | None:
    """
    One flat outline [x0, y0, x1, y1, …] of a whole mask: its parts are joined by bridges without width.

    Args:
        mask: bool (H, W).
        tolerance: as for `outlines`.
        least: parts that are smaller than this share of the largest one's outline box are left out.

    Returns:
        Pixels; None of an empty mask.
    """
    parts = outlines(mask, tolerance)
    if not parts:
        return None
    areas = [float(np.ptp(points[:, 0]) * np.ptp(points[:, 1])) for points in parts]
    joined = parts[0]
    for points, area in zip(parts[1:], areas[1:], strict=True):
        if area < least * max(areas):
            continue
        squares = ((joined[:, None] - points[None]) ** 2).sum(-1)
        here, there = divmod(int(squares.argmin()), len(points))
        detour = np.concatenate((points[there:], points[: there + 1]))
        joined = np.concatenate((joined[: here + 1], detour, joined[here:]))
    return [float(value) for value in joined.ravel()]


def thinned(points: Points, tolerance: float) -> Points:
    """
    A closed outline with fewer points (Ramer–Douglas–Peucker): no point left out is further away than `tolerance`.

    Args:
        points: (n, 2), not closed.
        tolerance: pixels.
    """
    if len(points) < 4:
        return points
    # Two points that are surely kept: the first, and the one that is furthest from it.
    far = int(((points - points[0]) ** 2).sum(1).argmax())
    ring = np.concatenate((points, points[:1]))
    kept = np.zeros(len(ring), dtype=bool)
    kept[[0, far, -1]] = True
    spans = [(0, far), (far, len(points))]
    while spans:
        start, end = spans.pop()
        if end - start < 2:
            continue
        line, between = ring[end] - ring[start], ring[start + 1 : end] - ring[start]
        length = float(np.hypot(*line))
        if length:
            distance = np.abs(between[:, 0] * line[1] - between[:, 1] * line[0]) / length
        else:
            distance = np.hypot(between[:, 0], between[:, 1])
        worst = int(distance.argmax())
        if distance[worst] > tolerance:
            middle = start + 1 + worst
            kept[middle] = True
            spans += [(start, middle), (middle, end)]
    found: Points = ring[:-1][kept[:-1]]
    return found if len(found) >= 3 else points


def _around(part: NDArray[np.bool_]) -> Points:
    """
    The corners of the outline of a connected mask without holes, (n, 2) x, y, clockwise.

    Every side of a pixel that borders on the background is walked with the mask to the right. Where two pixels touch
    at a corner only, the walk turns right, so that it stays with the pixel it comes along.
    """
    padded = np.pad(part, 1)
    y, x = np.nonzero(part)
    start = int(x[y == y[0]].min()), int(y[0])  # of the first row's first pixel: its upper side is an outline
    direction, (column, row) = 0, start  # 0 right, 1 down, 2 left, 3 up
    steps = ((1, 0), (0, 1), (-1, 0), (0, -1))
    corners = [start]

    def inside(dx: int, dy: int) -> bool:
        # Pixel beside the corner (column, row): dx, dy in {0, -1}; padding shifts by one.
        return bool(padded[row + dy + 1, column + dx + 1])

    # The pixels ahead of a walker at a corner, to the left and to the right of the way, for each direction.
    ahead = (((0, -1), (0, 0)), ((0, 0), (-1, 0)), ((-1, 0), (-1, -1)), ((-1, -1), (0, -1)))
    while True:
        dx, dy = steps[direction]
        column, row = column + dx, row + dy
        left, right = (inside(*pixel) for pixel in ahead[direction])
        turn = 1 if not right else -1 if left else 0
        if (column, row) == start:
            break
        if turn:
            corners.append((column, row))
            direction = (direction + turn) % 4
    return np.array(corners, dtype=np.float64)


__all__ = ["joined_outline", "outlines", "thinned"]
