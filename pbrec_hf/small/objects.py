"""Description channels of detected objects: classes, colours, order among similar objects, neighbours.

Pure functions over the boxes and class probabilities of the detections in one picture; those that describe take any
leading dimensions, of several pictures with as many objects each. All channels are soft values in
[0, 1]; uncertain detections have small values. Every channel has a name ("object:dog", "upper:red", "like:left:1"), so
that a projection of the channels can be initialised with word vectors. Coordinates are canvas pixels, boxes XYXY.
Knows nothing of expressions and networks.
"""

from collections import Counter
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..geometry.boxes import box_centers
from .colors import COLOR_NAMES

# An object is compared with the objects of its class, and with all objects of the picture.
GROUPS = ("like", "all")
ORDERS = ("left", "right", "above", "below", "bigger", "smaller", "nearer", "farther")
RANKS = (0, 1, 2)
COUNTS = (1, 2, 3, 4)
PARTS = ("whole", "upper", "lower")
# Regions of clothes, as shares of an object's height from its top: start and end.
UPPER_PART, LOWER_PART = (0.2, 0.5), (0.55, 0.85)
# Of each of `PARTS`: the share of the width that is left out on either side; start and end, as shares of the height.
_REGIONS = ((0.2, 0.15, 0.85), (0.25, *UPPER_PART), (0.25, *LOWER_PART))
_SAMPLES = 8  # points along each side of a region, whose colours are averaged
RELATIONS = ("overlaps", "left of", "right of", "above", "below")
SHAPE = ("found", "score", "width", "height", "area", "upright", "x in box", "y in box", "central")


def object_channel_names(classes: list[str], postures: Sequence[str] = ()) -> list[str]:
    """Channel names of `describe_objects`, which is given these `postures` or none, and of `place_objects`."""
    names = [f"object:{name}" for name in classes]
    names += [f"{part}:{color}" for part in PARTS for color in COLOR_NAMES]
    for group in GROUPS:
        names += [f"{group}:{order}:{rank}" for order in ORDERS for rank in RANKS]
        names += [f"{group}:middle"] + [f"{group}:count:{count}" for count in COUNTS]
    names += [f"{relation}:{name}" for relation in RELATIONS for name in classes]
    return names + [f"object:{posture}" for posture in postures] + [f"shape:{name}" for name in SHAPE]


def describe_objects(
    boxes: Tensor,
    classes: Tensor,
    weight: Tensor,
    colors: Tensor,
    canvas: tuple[int, int],
    postures: Tensor | None = None,
) -> Tensor:
    """
    Description channels of each object, the same at all its points.

    Args:
        boxes: (n, 4) XYXY in canvas pixels.
        classes: (n, C) class probabilities.
        weight: (n,) in [0, 1], confidence that the object exists.
        colors: (n, 33), shares of the colour names in the parts of each box (`part_colors`).
        canvas: (H, W) in pixels.
        postures: (n, p), probabilities of postures; None = there are no channels for them.

    Returns:
        (n, channels) in the order of `object_channel_names`, without the shape channels.
    """
    kind = torch.nn.functional.normalize(classes, dim=-1)
    like = (kind @ kind.mT).clamp(max=1) ** 2
    others = weight[..., None, :] * _apart(weight)
    groups = torch.stack((like * others, others), dim=-3)
    seen = visible(classes)
    parts = [seen, colors, _order_among(boxes, groups, canvas), _relations(boxes, seen, others, canvas)]
    return torch.cat(parts if postures is None else [*parts, postures], dim=-1)


def visible(probabilities: Tensor) -> Tensor:
    """Square roots of class probabilities, as network input: they set low ones apart from 0 (0.05 becomes 0.22)."""
    return probabilities.clamp(min=0).sqrt()


def part_colors(boxes: Tensor, colors: Tensor, canvas: tuple[int, int]) -> Tensor:
    """
    Shares of the colour names in each box: whole, upper part (20 to 50 % of its height) and lower part (55 to 85 %).

    Args:
        boxes: (n, 4) XYXY in canvas pixels.
        colors: (11, h, w), shares of the colour names over the canvas.
        canvas: (H, W) in pixels.

    Returns:
        (n, 33), 11 names for each of `PARTS`.
    """
    return region_means(boxes, colors, _REGIONS, canvas).flatten(-2)


def region_means(
    boxes: Tensor, maps: Tensor, regions: Sequence[tuple[float, float, float]], canvas: tuple[int, int]
) -> Tensor:
    """
    The mean of each channel in some regions of each box, as RoIAlign takes it.

    Args:
        boxes: (…, n, 4) XYXY in canvas pixels.
        maps: (…, C, h, w) over the canvas.
        regions: of each box: the share of the width that is left out on either side; start and end, as shares of the
            height.
        canvas: (H, W) in pixels.

    Returns:
        (…, n, regions, C).
    """
    inset, start, end = boxes.new_tensor(regions)[..., None].unbind(1)  # (R, 1) each
    left, top, right, bottom = boxes[..., None, :, :].unbind(-1)  # (…, 1, n)
    width, height = right - left, bottom - top
    across = _averaging(left + inset * width, right - inset * width, canvas[1], maps.shape[-1])
    down = _averaging(top + start * height, top + end * height, canvas[0], maps.shape[-2])
    # Interpolation is separable: first over the columns of the map, then over its rows.
    columns = torch.einsum("...nw,...chw->...nch", across.flatten(-3, -2), maps)
    means = (columns * down.flatten(-3, -2)[..., None, :]).sum(-1).unflatten(-2, down.shape[-3:-1])
    return means.movedim(-3, -2)


def _averaging(start: Tensor, end: Tensor, side: int, cells: int) -> Tensor:
    """
    Weights (…, n, cells) of the cells of an axis in the average over n intervals, as RoIAlign takes it.

    Args:
        start, end: (…, n) in canvas pixels.
        side: of the canvas, in pixels.
        cells: of the map over it.
    """
    steps = (torch.arange(_SAMPLES, dtype=start.dtype, device=start.device) + 0.5) / _SAMPLES
    places = (start[..., None] + (end - start)[..., None] * steps) * (cells / side) - 0.5
    at = torch.arange(cells, dtype=start.dtype, device=start.device)
    return (1 - (places.clamp(0, cells - 1)[..., None] - at).abs()).clamp(min=0).mean(-2)


def _order_among(boxes: Tensor, groups: Tensor, canvas: tuple[int, int]) -> Tensor:
    """
    Order of each object within groups: soft counts of the objects left of it, right of it …, and the group's size.

    Counts are encoded as triangular functions around 0, 1 and 2.

    Args:
        boxes: (n, 4) XYXY in canvas pixels.
        groups: (G, n, n) in [0, 1], how much the column's object counts as another one in a group of the row's object.
        canvas: (H, W) in pixels.

    Returns:
        (n, G · 29), of each group a rank channel for each of `ORDERS` and `RANKS`, "middle", and `COUNTS`.
    """
    size = boxes.new_tensor([canvas[1], canvas[0]])
    center = (boxes[..., :2] + boxes[..., 2:]) / 2 / size
    extent = ((boxes[..., 2:] - boxes[..., :2]) / size).clamp(min=1e-3)
    log_area = extent.log().sum(-1)
    nearness = log_area / 2 + 3 * boxes[..., 3] / size[1]
    # Of each pair of `ORDERS` the first; the second has its opposite.
    values = torch.stack((*center.unbind(-1), -log_area, -nearness), dim=-2)
    softness = boxes.new_tensor((0.02, 0.02, 0.12, 0.12))[:, None, None]
    beyond = (values[..., :, None] - values[..., None, :]) / softness  # (…, 4, n, n)
    beyond = torch.sigmoid(torch.stack((beyond, -beyond), dim=-3)).flatten(-4, -3)
    counts = (groups[..., None, :, :] * beyond[..., None, :, :, :]).sum(-1).transpose(-2, -1)  # (…, G, n, 8)
    ranks = _triangles(counts, RANKS).flatten(-2)
    total = groups.sum(-1)
    middle = _triangles(counts[..., 0] - counts[..., 1], (0,)) * (total / 2).clamp(max=1)[..., None]
    sizes = _triangles((total + 1).clamp(max=COUNTS[-1]), COUNTS)
    return torch.cat((ranks, middle, sizes), dim=-1).movedim(-3, -2).flatten(-2)


def _triangles(values: Tensor, centers: tuple[int, ...]) -> Tensor:
    """Triangular functions (…, len(centers)): 1 at the centre, 0 from a distance of 1."""
    return (1 - (values[..., None] - values.new_tensor(centers)).abs()).clamp(min=0)


def _relations(boxes: Tensor, classes: Tensor, others: Tensor, canvas: tuple[int, int]) -> Tensor:
    """
    Classes of the neighbours of each object, weighted by their distance.

    Args:
        boxes: (n, 4) XYXY in canvas pixels.
        classes: (n, C), compressed class probabilities (`visible`).
        others: (n, n) in [0, 1], how much the column's object counts as a neighbour of the row's.
        canvas: (H, W) in pixels.

    Returns:
        (n, 5 · C) in [0, 1], for each of `RELATIONS` the classes of objects that the object overlaps, is left of …
    """
    left, top, right, bottom = boxes.unbind(-1)
    width, height = (right - left).clamp(min=1), (bottom - top).clamp(min=1)
    x, y = (left + right) / 2, (top + bottom) / 2
    shared_x = _pairs(torch.minimum, right) - _pairs(torch.maximum, left)
    shared_y = _pairs(torch.minimum, bottom) - _pairs(torch.maximum, top)
    shared_x, shared_y = shared_x.clamp(min=0), shared_y.clamp(min=0)
    overlap = shared_x * shared_y / _pairs(torch.minimum, width * height)
    rows = shared_y / _pairs(torch.minimum, height)
    cols = shared_x / _pairs(torch.minimum, width)
    dx, dy = _pairs(_beyond, x) / canvas[1], _pairs(_beyond, y) / canvas[0]
    near = torch.exp(-3 * (dx**2 + dy**2).sqrt())
    share = torch.stack(
        (
            overlap,
            near * rows * (dx / 0.05).clamp(0, 1),
            near * rows * (-dx / 0.05).clamp(0, 1),
            near * cols * (dy / 0.05).clamp(0, 1),
            near * cols * (-dy / 0.05).clamp(0, 1),
        ),
        dim=-2,
    )  # (…, n, 5, n)
    if not boxes.shape[-2]:
        return classes.new_zeros((*classes.shape[:-1], len(RELATIONS) * classes.shape[-1]))
    share = share * others[..., None, :]
    # Of several neighbours of a class, the strongest relation counts.
    related = share[..., None] * classes[..., None, None, :, :]
    return related.amax(-2).flatten(-2)


def _pairs(function: Callable[[Tensor, Tensor], Tensor], values: Tensor) -> Tensor:
    """A function of the values (…, n) of the row's and the column's object: (…, n, n)."""
    return function(values[..., :, None], values[..., None, :])


def _beyond(one: Tensor, other: Tensor) -> Tensor:
    return other - one


def _apart(values: Tensor) -> Tensor:
    """(n, n), 0 where an object of values (…, n) would be paired with itself, otherwise 1."""
    return 1 - torch.eye(values.shape[-1], dtype=values.dtype, device=values.device)


def place_objects(
    boxes: Tensor, weight: Tensor, points: Tensor, stride: int, canvas: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """
    Assign points to objects, and describe each point's position in its object.

    A point belongs to the object with the highest weighted center-ness. An object without a point gets the one nearest
    to its centre, unless this is farther than `stride` or the only point of another object.

    Args:
        boxes: (n, 4) XYXY in canvas pixels, best first.
        weight: (n,) in [0, 1].
        points: (P, 2) XY in canvas pixels.
        stride: distance between points. Boxes are enlarged to 1.25 strides, so that small ones contain a point.
        canvas: (H, W) in pixels.

    Returns:
        int64 (P,), the object of each point, -1 = none; and the shape channels (P, 9) in the order of `SHAPE`.
    """
    if not len(boxes):
        none = torch.full((len(points),), -1, dtype=torch.long, device=points.device)
        return none, points.new_zeros((len(points), len(SHAPE)))
    extent, offset, central, index = owners_of_points(boxes, weight, points, stride)
    claimed = torch.zeros_like(central[:, 0], dtype=torch.bool)
    for point, item in _orphan_claims(index, torch.cdist(points, box_centers(boxes)), stride):
        index[point], claimed[point] = item, True
    return index, shape_channels(index, claimed, extent, offset, central, weight, canvas)


def owners_of_points(
    boxes: Tensor, weight: Tensor, points: Tensor, stride: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """
    The object of each point, before objects without a point claim one; arguments as of `place_objects`, batched.

    Returns:
        Sizes (…, n, 2) of the enlarged boxes; offsets (…, P, n, 2) of points from centres, in [-½, ½] inside;
        center-ness (…, P, n); and int64 (…, P), the object of each point, -1 = none.
    """
    extent = (boxes[..., 2:] - boxes[..., :2]).clamp(min=1.25 * stride)
    offset = (points[..., None, :] - box_centers(boxes)[..., None, :, :]) / extent[..., None, :, :]
    far = offset.abs()
    inside = (far < 0.5).all(-1)
    nearness = ((0.5 - far) / (0.5 + far)).clamp(min=0)
    central = (nearness[..., 0] * nearness[..., 1]).sqrt()
    rank = (central * weight.clamp(min=1e-3).sqrt()[..., None, :]).masked_fill(~inside, 0)
    best, index = rank.max(-1)
    return extent, offset, central, index.masked_fill(best <= 0, -1)


def shape_channels(
    index: Tensor,
    claimed: Tensor,
    extent: Tensor,
    offset: Tensor,
    central: Tensor,
    weight: Tensor,
    canvas: tuple[int, int],
) -> Tensor:
    """
    The shape channels (…, P, 9) in the order of `SHAPE`.

    Args:
        index: int64 (…, P), the object of each point, -1 = none.
        claimed: bool (…, P), the points that became the only ones of their objects, and so count as their centres.
        extent, offset, central: of `owners_of_points`.
        weight, canvas: as of `place_objects`.
    """
    found = index >= 0
    at = index.clamp(min=0)[..., None]
    width, height = (extent / extent.new_tensor([canvas[1], canvas[0]])).unbind(-1)
    width, height, score = (values.gather(-1, at[..., 0]) for values in (width, height, weight))
    inner = [values.gather(-1, at)[..., 0].clamp(-0.5, 0.5) + 0.5 for values in offset.unbind(-1)]
    middle = central.gather(-1, at)[..., 0].masked_fill(claimed, 1.0)
    area = (width * height).sqrt()
    values = (torch.ones_like(width), score, width, height, area, height / (width + height), *inner, middle)
    return torch.stack(values, dim=-1) * found[..., None]


def _orphan_claims(index: Tensor, distance: Tensor, reach: float) -> list[tuple[int, int]]:
    """
    Points for objects that have none.

    Args:
        index: int64 (P,), the object of each point, -1 = none.
        distance: (P, n), of points and centres of objects.
        reach: largest distance of a new point.

    Returns:
        (point, object) for each of these objects, if one of its four nearest points is free or can be spared.
    """
    owners = index.tolist()
    counts = Counter(owners)
    claims = []
    for item in range(distance.shape[1]):
        if counts[item]:
            continue
        order = distance[:, item].topk(min(4, len(owners)), largest=False)
        for far, point in zip(order.values.tolist(), order.indices.tolist(), strict=True):
            if far <= reach and (owners[point] < 0 or counts[owners[point]] > 1):
                counts[owners[point]] -= 1
                owners[point], counts[item] = item, 1
                claims.append((point, item))
                break
    return claims


__all__ = [
    "describe_objects",
    "object_channel_names",
    "owners_of_points",
    "part_colors",
    "place_objects",
    "region_means",
    "shape_channels",
    "visible",
]
