"""The repeated selection, written out one expression, one proposal and one pixel at a time."""

import math

import torch

SAME = 0.5


def pixels(box, side):
    """The set of a box's pixels; its corners are whole numbers."""
    left, top, right, bottom = (int(value) for value in box)
    return {(x, y) for x in range(max(left, 0), min(right, side)) for y in range(max(top, 0), min(bottom, side))}


def mask_pixels(mask):
    """The set of a mask's pixels."""
    return {tuple(place) for place in (mask > 0.5).nonzero().tolist()}


def iou(one, other):
    """Of two sets of pixels."""
    return len(one & other) / len(one | other) if one | other else 0.0


def repeated_selection(shapes, values, first, score, settings, threshold, fits=None):
    """
    The answers of one expression, best first: (score, proposal).

    Args:
        shapes: a set of pixels for each proposal.
        values: of the proposals; -inf = none.
        first, score: the answer of the paper.
        settings: of the selection.
        threshold: of the scores.
        fits: of the proposals, where they do not vote.
    """
    if score == -math.inf:
        return []
    if settings.several_quality_power is not None:
        agreeing = [place for place in range(len(values)) if iou(shapes[first], shapes[place]) >= SAME]
        score = max(values[place] for place in {first, *agreeing})
    found, rest = [(score, first)], {place for place, value in enumerate(values) if value > -math.inf}
    while len(found) < settings.max_referents:
        answer_score, answer = found[-1]
        for place in list(rest):
            same = iou(shapes[answer], shapes[place]) >= SAME
            least = settings.part_covered * len(shapes[place])
            covered = bool(shapes[place]) and len(shapes[answer] & shapes[place]) >= least
            if place == answer or same or (covered and values[place] < settings.part_value * answer_score):
                rest.discard(place)
        if not rest:
            break
        seed = min(rest, key=lambda place: (-values[place], place))
        group = {place for place in rest if place == seed or iou(shapes[seed], shapes[place]) >= SAME}
        if fits is not None:
            answer = min(group, key=lambda place: (-fits[place], -values[place], place))
        else:
            best = sorted(group, key=lambda place: (-values[place], place))[: settings.top_k]
            votes = {one: sum(iou(shapes[one], shapes[other]) for other in best if other != one) for one in best}
            most = max(votes.values())
            answer = next(place for place in best if math.isclose(votes[place], most, rel_tol=1e-5, abs_tol=1e-6))
        found.append((values[seed], answer))
    least = settings.least_share * max(value for value, _ in found)
    found = [(value, answer) for value, answer in found if value >= threshold and value >= least]
    return sorted(found, key=lambda one: -one[0])


def mask_in_box(box, places, values, masks, candidates):
    """
    The proposal whose mask, of the best that stand in a box, is the most similar one.

    Args:
        box: (4,) XYXY in pixels of the canvas.
        places: (N, 2) XY, where the masks stand.
        values: (N,) of the masks; -inf = none.
        masks: (N, h, w) with cells of one pixel of the canvas.
        candidates: how many are compared.
    """
    known = [place for place, value in enumerate(values) if value > -math.inf]
    left, top, right, bottom = box.tolist()

    def beyond(place):
        x, y = places[place].tolist()
        return max(left - x, x - right, 0) + max(top - y, y - bottom, 0)

    inside = sorted((place for place in known if beyond(place) == 0), key=lambda place: (-values[place], place))
    listed = inside or sorted(known, key=lambda place: (beyond(place), place))

    def similar(place):
        rows, cols = (masks[place] > 0.5).nonzero(as_tuple=True)
        if not len(rows):
            return 0.0
        around = torch.stack((cols.min(), rows.min(), cols.max() + 1, rows.max() + 1)).float()
        low, high = torch.maximum(around[:2], box[:2]), torch.minimum(around[2:], box[2:])
        shared = (high - low).clamp(min=0).prod()
        areas = [(one[2:] - one[:2]).prod() for one in (around, box)]
        return float(shared / (sum(areas) - shared))

    overlaps = [(similar(place), place) for place in listed[:candidates]]
    most = max(value for value, _ in overlaps)
    return next(place for value, place in overlaps if math.isclose(value, most, rel_tol=1e-5))
