"""What graphs compute with fixed sizes is what Python computes with as many objects as there are."""

import pytest
import torch
from torchvision.ops import batched_nms, nms

from pbrec_hf import Grounder
from pbrec_hf.app.options import PHOTOGRAPHS
from pbrec_hf.geometry.suppression import survivors
from pbrec_hf.small.objects import place_objects
from pbrec_hf.small.slots import place_in_slots

CANVAS = (128, 128)


def crowd(count, seed, largest=60.0):
    generator = torch.Generator().manual_seed(seed)
    center = torch.rand(count, 2, generator=generator) * 128
    size = torch.rand(count, 2, generator=generator) * largest + 2
    return torch.cat((center - size / 2, center + size / 2), dim=1).clamp(0, 128)


@pytest.fixture
def graphs(monkeypatch):
    """Everything as in a graph, but step by step."""
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)


@pytest.fixture(scope="module")
def grounder():
    return Grounder()


@pytest.fixture(scope="module")
def inputs(grounder):
    paths = sorted((PHOTOGRAPHS / "images").glob("*.jpg"))[:3]
    return grounder.processor([str(path) for path in paths], ["left thing"] * 3)


@pytest.mark.parametrize("seed", range(5))
def test_survivors_are_those_of_torchvision(seed):
    boxes = crowd(200, seed)
    labels = torch.randint(0, 3, (200,), generator=torch.Generator().manual_seed(seed))
    quality = torch.linspace(1, 0.1, 200)
    eligible = quality > 0.2
    for kinds, kept in (
        (None, nms(boxes[eligible], quality[eligible], 0.4)),
        (labels[None], batched_nms(boxes[eligible], quality[eligible], labels[eligible], 0.4)),
    ):
        found = survivors(boxes[None], eligible[None], 0.4, kinds)[0]
        assert 0 < len(kept) < eligible.sum()
        assert found.nonzero().squeeze(1).tolist() == sorted(kept.tolist())


@pytest.mark.parametrize("seed", range(5))
def test_objects_in_slots_own_the_same_points(seed):
    boxes = crowd(25, seed, largest=30.0)
    weight = torch.linspace(1, 0, 25)
    row, column = torch.meshgrid(torch.arange(8) * 16 + 8.0, torch.arange(8) * 16 + 8.0, indexing="ij")
    points = torch.stack((column, row), dim=-1).flatten(0, 1)
    index, shape = place_objects(boxes, weight, points, 16, CANVAS)
    empty = torch.full((5, 4), -1e4)
    slots = place_in_slots(
        torch.cat((boxes, empty))[None], torch.cat((weight, torch.zeros(5)))[None], points, 16, CANVAS
    )
    assert (shape[:, -1] == 1).any()  # some object claimed a point
    assert torch.equal(slots[0][0], index)
    torch.testing.assert_close(slots[1][0], shape)


def test_the_map_of_a_picture_is_the_same(grounder, inputs, request):
    backbone = grounder.model.model.backbone
    with torch.no_grad():
        plain = backbone(inputs["pixel_values"])
        request.getfixturevalue("graphs")
        static = backbone(inputs["pixel_values"])
    torch.testing.assert_close(static.feature_maps[-1], plain.feature_maps[-1], atol=1e-4, rtol=1e-4)
    assert torch.equal(static.points, plain.points) and torch.equal(static.attended, plain.attended)


def test_candidates_are_the_same(grounder, inputs, graphs):
    proposed = grounder.processor.box_detector.propose(inputs["pixel_values"], inputs["pixel_mask"])
    assert torch.equal(proposed.candidates, inputs["box_proposals"].candidates)
    assert proposed.candidates.any(dim=1).all()


def test_a_picture_of_nothing_has_the_same_map(grounder, request):
    backbone = grounder.model.model.backbone
    with torch.no_grad():
        plain = backbone(torch.zeros(1, 3, 512, 512))
        request.getfixturevalue("graphs")
        static = backbone(torch.zeros(1, 3, 512, 512))
    torch.testing.assert_close(static.feature_maps[-1], plain.feature_maps[-1], atol=1e-4, rtol=1e-4)
