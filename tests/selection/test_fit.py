"""The fit equals its definition in plain loops: the cosine of center-ness and scores, times the quality."""

import math

import pytest
import torch
from torchvision.ops import box_iou

from pbrec_hf.geometry.centerness import centerness_at
from pbrec_hf.geometry.points import grid_points
from pbrec_hf.geometry.proposals import Proposals
from pbrec_hf.selection.fit import fit_boxes
from pbrec_hf.selection.settings import SelectionSettings

IMAGES, POINTS, GRID, STRIDE = 2, 9, (5, 5), 16
INDEX = torch.tensor([1, 0, 1])


@pytest.fixture
def case():
    """Values, logits and proposals of three expressions on two canvases of 80 × 80 pixels."""
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(IMAGES, POINTS, 2, 2, generator=generator) * 80
    boxes = torch.cat((corners.amin(2), corners.amax(2)), dim=-1)
    quality = torch.rand(IMAGES, POINTS, generator=generator)
    values = torch.rand(3, POINTS, generator=generator)
    values[0, [2, 3]] = values[1, 5] = -math.inf
    logits = torch.randn(3, 25, generator=generator)
    return values, logits, Proposals(((3, 3),), (80, 80), quality=quality, boxes=boxes)


def cosine(one, other):
    norms = math.sqrt(sum(a * a for a in one)) * math.sqrt(sum(b * b for b in other))
    return sum(a * b for a, b in zip(one, other, strict=True)) / norms


def expected_fits(values, logits, proposals, power, points=None, mask=None):
    fits = []
    for expression, image in enumerate(INDEX.tolist()):
        scores = logits[expression].sigmoid()
        if mask is not None:
            scores = scores * mask[image]
        positions = grid_points(*GRID, STRIDE) if points is None else points[image]
        targets = centerness_at(positions, proposals.boxes[image], STRIDE)
        row = [cosine(scores.tolist(), target.tolist()) for target in targets]
        weights = [1.0] * POINTS if power is None else (proposals.quality[image] ** power).tolist()
        pairs = zip(row, weights, values[expression].tolist(), strict=True)
        fits.append([fit * weight if value > -math.inf else -math.inf for fit, weight, value in pairs])
    return fits


def check(found, fits, values, proposals, top_k):
    for expression, image in enumerate(INDEX.tolist()):
        order = sorted(range(POINTS), key=lambda n: -fits[expression][n])[:top_k]
        assert found.points[expression].tolist() == order
        assert found.values[expression].tolist() == pytest.approx([fits[expression][n] for n in order], rel=1e-5)
        assert torch.equal(found.boxes[expression], proposals.boxes[image, order])
        overlap = box_iou(proposals.boxes[image, order[:1]], proposals.boxes[image])[0]
        agreeing = [values[expression, n].item() for n in range(POINTS) if overlap[n] >= 0.5]
        assert found.score[expression].item() == max(agreeing)
    assert found.winner.tolist() == [0, 0, 0]


@pytest.mark.parametrize("power", [0.4, 1.0])
def test_boxes_are_rated_by_similarity_and_quality(case, power):
    values, logits, proposals = case
    settings = SelectionSettings(choose="fit", top_k=7, quality_power=power)
    found = fit_boxes(values, logits, GRID, proposals, INDEX, settings)
    check(found, expected_fits(values, logits, proposals, power), values, proposals, 7)


def test_the_quality_may_be_ignored(case):
    values, logits, proposals = case
    settings = SelectionSettings(choose="fit", top_k=12, ranking="score")
    found = fit_boxes(values, logits, GRID, proposals, INDEX, settings)
    check(found, expected_fits(values, logits, proposals, None), values, proposals, 12)


def test_points_in_the_padding_do_not_count_and_points_may_stand_elsewhere(case):
    values, logits, proposals = case
    mask = torch.ones(IMAGES, 25, dtype=torch.bool)
    mask[0, :10] = mask[1, 20:] = False
    points = (
        grid_points(*GRID, STRIDE) + torch.rand(IMAGES, 25, 2, generator=torch.Generator().manual_seed(1)) * 14 - 7
    )
    settings = SelectionSettings(choose="fit", top_k=4)
    found = fit_boxes(values, logits, GRID, proposals, INDEX, settings, points, mask)
    expected = expected_fits(values, logits, proposals, 1.0, points, mask)
    assert expected != expected_fits(values, logits, proposals, 1.0)
    check(found, expected, values, proposals, 4)
