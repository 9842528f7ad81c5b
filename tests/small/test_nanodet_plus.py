"""NanoDet-Plus: the published arithmetic, four grids of top-left corners, and what stands on it."""

import numpy as np
import pytest
import torch
from checkpoints import tiny_model, tiny_processor
from detectors.base import DetectorTester
from places import FIXTURES
from safetensors.torch import load_file
from seeded_weights import seeded_state_dict
from transformers import AutoBackbone

from pbrec_hf.small.backbone import GroundingBackbone, GroundingBackboneConfig
from pbrec_hf.small.nanodet import NanoDetConfig, NanoDetDetector
from pbrec_hf.small.nanodet_masks import NanoDetMasksConfig, NanoDetMasksDetector
from pbrec_hf.small.nanodet_outputs import average_outputs, flip_output
from pbrec_hf.small.nanodet_trunk import NanoDetTrunkConfig

TRUNK = {"stem_channels": 8, "stage_channels": [8, 16, 32], "stage_depths": [2, 2, 1], "neck_channels": 16}
GRIDS = ((12, 8), (6, 4), (3, 2), (2, 1))  # of a canvas of 96 × 64, no multiple of 64


def plus_config(**fields):
    trunk = NanoDetTrunkConfig(neck="ghost_pan", **TRUNK)
    return NanoDetConfig(**{"trunk_config": trunk, "tower_kernel": 5, "points": "corner", **fields})


class TestNanoDetPlus(DetectorTester):
    canvas = (96, 160)

    def make(self, **fields):
        return NanoDetDetector(plus_config(**fields))


class TestMasksOnNanoDetPlus(DetectorTester):
    canvas = (96, 160)

    def make(self, **fields):
        sizes = {"channels": 8, "mask_channels": 4, "picture_channels": 4, "stacked_convs": 1, "norm_groups": 4}
        return NanoDetMasksDetector(NanoDetMasksConfig(detector_config=plus_config(**fields), **sizes))

    def class_logits(self, detector, pixels):
        with torch.no_grad():
            return detector.detector(pixels).class_logits


@pytest.fixture(scope="module")
def detector():
    return lively(plus_config(num_labels=4, candidate_min_quality=0.0))


@pytest.fixture(scope="module")
def canvases():
    return torch.randn(2, 3, 96, 64, generator=torch.Generator().manual_seed(4))


def lively(config):
    """A detector whose predictions differ between points."""
    torch.manual_seed(3)
    model = NanoDetDetector(config).eval()
    for head in model.heads.values():
        torch.nn.init.normal_(head.output.weight)
        torch.nn.init.zeros_(head.output.bias)
    return model


def corners():
    """Points of the grids, written out."""
    return torch.tensor(
        [[col * s, row * s] for (rows, cols), s in zip(GRIDS, (8, 16, 32, 64), strict=True)
         for row in range(rows) for col in range(cols)], dtype=torch.float32
    )  # fmt: skip


@torch.no_grad()
def test_it_computes_what_the_published_graph_computes():
    trunk = NanoDetTrunkConfig(neck="ghost_pan", stage_channels=[176, 352, 704], neck_channels=128)
    model = NanoDetDetector(NanoDetConfig(trunk_config=trunk, tower_kernel=5, points="corner")).eval()
    spec = [(name, tuple(value.shape)) for name, value in model.state_dict().items()]
    weights = {name: torch.from_numpy(value) for name, value in seeded_state_dict(spec, 27).items()}
    # He's start is for convolutions in front of a ReLU; with many that have none, the signal would grow.
    model.load_state_dict({name: value * 0.85 if value.ndim == 4 else value for name, value in weights.items()})
    noise = np.random.RandomState(5).standard_normal((1, 3, 96, 64)).astype(np.float32)
    output, expected = model(torch.from_numpy(noise)), load_file(FIXTURES / "golden/nanodet_plus.safetensors")
    torch.testing.assert_close(output.scores, expected["scores"], atol=1e-5, rtol=0)
    torch.testing.assert_close(output.distance_logits, expected["distance_logits"], atol=1e-4, rtol=0)


@torch.no_grad()
def test_proposals_stand_at_the_corners_that_distances_are_measured_from(detector, canvases):
    proposals, output = detector.propose(canvases), detector(canvases)
    assert output.grids == GRIDS and proposals.grids == () and proposals.canvas == (96, 64)
    assert torch.equal(output.points, corners()) and torch.equal(proposals.points, corners().expand(2, -1, -1))
    last = -1  # stride 64, row 1, column 0: (0, 64)
    mean = (output.distance_logits[1, last].softmax(-1) * torch.arange(8.0)).sum(-1) * 64
    expected = torch.stack([-mean[0], 64 - mean[1], mean[2], 64 + mean[3]])
    limits = torch.tensor([64.0, 96.0, 64.0, 96.0])
    torch.testing.assert_close(proposals.boxes[1, last], expected.clamp(min=torch.zeros(4), max=limits))


@pytest.mark.parametrize(("side", "on_grids"), [(64, True), (96, False)])
def test_centres_of_whole_cells_form_grids(side, on_grids):
    proposals = NanoDetDetector(plus_config(points="center")).eval().propose(torch.zeros(1, 3, side, side))
    assert (proposals.points is None) == on_grids
    if not on_grids:  # cells of 64 pixels reach beyond 96
        assert proposals.points[0, -4:].tolist() == [[32, 32], [96, 32], [32, 96], [96, 96]]


def test_a_point_beyond_the_canvas_takes_the_mask_of_its_edge():
    detector = lively(plus_config(points="center", candidate_min_quality=0.0, candidate_nms_iou=1.0))
    mask = torch.zeros(1, 96, 96, dtype=torch.int64)
    mask[:, :, 95:] = 1
    inside = detector.propose(torch.zeros(1, 3, 96, 96), mask)
    assert inside.candidates[0, -4:].tolist() == [False, True, False, True]
    assert not inside.candidates[0, :-4].any()


@torch.no_grad()
@pytest.mark.parametrize("scales", [[1.0], [1.0, 0.6]])
def test_mirrored_pictures_get_mirrored_detections(canvases, scales):
    both = lively(plus_config(mirrored=True, scales=scales))
    here, there = both.propose(canvases), both.propose(canvases.flip(-1))
    grids = both(canvases).grids
    sizes = [rows * cols for rows, cols in grids]

    def levels(values):
        return [level.unflatten(0, grid) for level, grid in zip(values[0].split(sizes), grids, strict=True)]

    for points, flipped in zip(levels(here.points), levels(there.points), strict=True):
        torch.testing.assert_close(points, torch.tensor([64.0, 0]) + flipped.flip(1) * torch.tensor([-1, 1]))
    for boxes, flipped in zip(levels(here.boxes), levels(there.boxes), strict=True):
        left, top, right, bottom = flipped.flip(1).unbind(-1)
        expected = torch.stack((64 - right, top, 64 - left, bottom), dim=-1)
        torch.testing.assert_close(boxes, expected, atol=1e-3, rtol=1e-4)


@torch.no_grad()
def test_both_looks_at_a_picture_agree_on_boxes_between_their_points(detector, canvases):
    one, other = detector(canvases), flip_output(detector(canvases.flip(-1)), 64)
    mean = average_outputs(one, other)
    assert mean.points[:2].tolist() == [[4, 0], [12, 0]]  # between x = 0 and 8, 8 and 16: corners of mirrored cells

    def boxes(output):
        return torch.cat(
            (output.points - output.distances[..., :2], output.points + output.distances[..., 2:]), dim=-1
        )

    weight = torch.stack([output.scores.amax(-1) for output in (one, other)])
    first, second = (weight / weight.sum(0))[..., None]
    torch.testing.assert_close(boxes(mean), first * boxes(one) + second * boxes(other), atol=1e-3, rtol=1e-4)


def test_the_trunk_is_a_stand_alone_backbone(detector, canvases):
    config = NanoDetTrunkConfig(neck="ghost_pan", **TRUNK, out_features=["stride8", "stride64"])
    backbone = AutoBackbone.from_config(config).eval()
    backbone.load_state_dict(detector.trunk.state_dict())
    fine, coarse = backbone(canvases).feature_maps
    assert backbone.channels == [16, 16] and coarse.shape == (2, 16, 2, 1)
    assert torch.equal(fine, detector(canvases).feature_maps[0])
    assert torch.equal(coarse, detector(canvases).feature_maps[3])


def test_every_weight_is_used(detector, canvases):
    output = detector(canvases)
    (output.class_logits.sum() + output.distances.sum()).backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in detector.parameters())
    detector.zero_grad()


@torch.no_grad()
def test_masks_start_from_the_boxes_of_nanodet_plus():
    sizes = {"channels": 8, "mask_channels": 4, "picture_channels": 4, "stacked_convs": 1, "norm_groups": 4}
    model = NanoDetMasksDetector(NanoDetMasksConfig(detector_config=plus_config(), **sizes)).eval()
    torch.nn.init.zeros_(model.head.kernel_output.weight)  # the ellipse in the box is all that is left
    torch.nn.init.zeros_(model.head.kernel_output.bias)
    canvas = torch.randn(1, 3, 96, 64)
    proposals, boxes = model.propose(canvas), model.detector.propose(canvas)
    assert torch.equal(proposals.points, boxes.points) and torch.equal(proposals.boxes, boxes.boxes)
    for point in (100, 96 + 24 + 6 + 1):  # of strides 16 and 64
        mask = proposals.masks.at(torch.tensor([0]), torch.tensor([point]))[0] > 0.5
        left, top, right, bottom = proposals.boxes[0, point] / 4
        x, y = torch.meshgrid(torch.arange(16) + 0.5, torch.arange(24) + 0.5, indexing="xy")
        across, down = (right - left) / 2, (bottom - top) / 2
        ellipse = ((x - (left + right) / 2) / across) ** 2 + ((y - (top + bottom) / 2) / down) ** 2 < 1
        assert ellipse.any() and torch.equal(mask, ellipse)


@torch.no_grad()
def test_the_map_with_named_channels_reads_the_scores_and_the_neck_of_nanodet_plus():
    config = GroundingBackboneConfig(detector_config=plus_config(num_labels=3), stride=32)
    backbone = GroundingBackbone(config).eval()
    canvas = torch.randn(1, 3, 64, 64)
    features = backbone(canvas).feature_maps[0]
    output = backbone.detector(canvas)
    assert torch.equal(features[:, :16], output.feature_maps[2])
    # The highest probability on any grid, at the corners of the grid's cells in the first cell of the map.
    levels = output.scores[0].split([64, 16, 4, 1])
    best = torch.stack([level.T.unflatten(1, (n, n))[:, : n // 2 + 1, : n // 2 + 1].amax((1, 2))
                        for level, n in zip(levels, (8, 4, 2, 1), strict=True)]).amax(0)  # fmt: skip
    torch.testing.assert_close(features[0, 16:19, 0, 0] ** 2, best)


def test_a_processor_with_it_answers():
    processor = tiny_processor(box_detector=lively(plus_config()))
    inputs = processor(np.full((60, 90, 3), 128, dtype=np.uint8), ["left dog", "red car"])
    with torch.no_grad():
        answers = processor.post_process_referring_expression(tiny_model()(**inputs), inputs)
    assert len(answers) == 2
    for answer in answers:
        assert answer["boxes"].shape[1] == 4 and len(answer["boxes"])
        assert (answer["boxes"] >= 0).all() and (answer["boxes"] <= torch.tensor([90, 60, 90, 60])).all()


@pytest.mark.parametrize(
    ("config", "fields", "message"),
    [
        (NanoDetTrunkConfig, {"neck": "fpn"}, "neck='fpn': give one of 'pan', 'ghost_pan'"),
        (NanoDetTrunkConfig, {"neck": "ghost_pan", "neck_channels": 15}, "neck_channels=15: give an even number"),
        (NanoDetTrunkConfig, {"out_features": ["stride64"]}, "stride64"),
        (NanoDetConfig, {"tower_kernel": 4}, "tower_kernel=4: give one of 3, 5"),
        (NanoDetConfig, {"points": "middle"}, "points='middle': give one of 'center', 'corner'"),
    ],
)
def test_configs_validate_themselves(config, fields, message):
    with pytest.raises(Exception, match=message):
        config(**fields)
