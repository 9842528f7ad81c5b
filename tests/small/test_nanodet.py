"""NanoDet: any canvas of multiples of 32, three grids, its own NMS, and a trunk that serves as a backbone."""

import pytest
import torch
from detectors.base import DetectorTester
from torchvision.ops import batched_nms, box_iou
from transformers import AutoBackbone, AutoModel

import pbrec_hf  # noqa: F401  (registers the Auto classes)
from pbrec_hf.small.nanodet import NanoDetConfig, NanoDetDetector
from pbrec_hf.small.nanodet_outputs import average_outputs, flip_output
from pbrec_hf.small.nanodet_trunk import NanoDetBackbone, NanoDetTrunkConfig

TRUNK = {"stem_channels": 8, "stage_channels": [8, 16, 32], "stage_depths": [2, 2, 1], "neck_channels": 16}


class TestNanoDet(DetectorTester):
    def make(self, **fields):
        return NanoDetDetector(NanoDetConfig(trunk_config=NanoDetTrunkConfig(**TRUNK), **fields))


@pytest.fixture(scope="module")
def detector():
    torch.manual_seed(3)
    config = NanoDetConfig(trunk_config=NanoDetTrunkConfig(**TRUNK), num_labels=4, candidate_min_quality=0.0)
    model = NanoDetDetector(config).eval()
    for head in model.heads.values():
        torch.nn.init.normal_(head.output.weight)  # predictions that differ between points
        torch.nn.init.zeros_(head.output.bias)
    return model


@pytest.fixture(scope="module")
def canvases():
    return torch.randn(2, 3, 96, 64, generator=torch.Generator().manual_seed(4))


def test_forward_returns_logits_distances_and_maps(detector, canvases):
    outputs = detector(canvases)
    points = 12 * 8 + 6 * 4 + 3 * 2
    assert outputs.class_logits.shape == (2, points, 4) and outputs.distances.shape == (2, points, 4)
    assert [tuple(m.shape) for m in outputs.feature_maps] == [(2, 16, 12, 8), (2, 16, 6, 4), (2, 16, 3, 2)]
    bins = torch.arange(8.0)
    mean = (outputs.distance_logits.softmax(-1) * bins).sum(-1)
    torch.testing.assert_close(outputs.distances[:, -6:], mean[:, -6:] * 32)
    torch.testing.assert_close(outputs.distances[:, :96], mean[:, :96] * 8)
    (outputs.class_logits.sum() + outputs.distances.sum()).backward()
    assert all(parameter.grad is not None for parameter in detector.parameters())
    detector.zero_grad()


@torch.no_grad()
def test_mirrored_pictures_get_mirrored_detections(detector, canvases):
    both = NanoDetDetector(NanoDetConfig(**{**detector.config.to_dict(), "mirrored": True})).eval()
    both.load_state_dict(detector.state_dict())
    output, mirror = both(canvases), flip_output(both(canvases.flip(-1)), 64)
    torch.testing.assert_close(output.class_logits, mirror.class_logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(output.distances, mirror.distances, atol=1e-3, rtol=1e-4)
    boxes, flipped = both.propose(canvases).boxes, both.propose(canvases.flip(-1)).boxes
    flipped[..., [0, 2]] = 64 - flipped[..., [2, 0]]
    row_of_points = boxes[0, :8], flipped[0, :8].flip(0)
    torch.testing.assert_close(*row_of_points, atol=1e-3, rtol=1e-4)


@torch.no_grad()
def test_two_outputs_are_averaged_and_the_more_confident_one_counts_more(detector, canvases):
    one, other = detector(canvases), flip_output(detector(canvases.flip(-1)), 64)
    mean = average_outputs(one, other)
    probabilities = one.class_logits.sigmoid(), other.class_logits.sigmoid()
    torch.testing.assert_close(mean.class_logits.sigmoid(), sum(probabilities) / 2)
    torch.testing.assert_close(mean.scores, sum(probabilities) / 2)
    torch.testing.assert_close(mean.feature_maps[1], (one.feature_maps[1] + other.feature_maps[1]) / 2)
    between = torch.stack((one.distances, other.distances))
    assert (mean.distances >= between.amin(0) - 1e-3).all() and (mean.distances <= between.amax(0) + 1e-3).all()
    surer = probabilities[0].amax(-1) > probabilities[1].amax(-1)
    nearer = (mean.distances - one.distances).abs() <= (mean.distances - other.distances).abs() + 1e-3
    assert nearer[surer].all() and not nearer[~surer].all()


def test_training_ignores_the_flip_unless_the_detector_is_frozen(detector, canvases):
    both = NanoDetDetector(NanoDetConfig(**{**detector.config.to_dict(), "mirrored": True}))
    both.load_state_dict(detector.state_dict())
    answer, trained = both.eval()(canvases), both.train()(canvases)
    torch.testing.assert_close(trained.class_logits, detector(canvases).class_logits)
    assert trained.distance_logits is not None and answer.distance_logits is None
    both.requires_grad_(False)
    torch.testing.assert_close(both(canvases).class_logits, answer.class_logits)


@torch.no_grad()
def test_each_scale_adds_its_own_proposals(detector, canvases):
    several = NanoDetDetector(NanoDetConfig(**{**detector.config.to_dict(), "scales": [1.0, 0.6]})).eval()
    several.load_state_dict(detector.state_dict())
    output, alone = several(canvases), detector(canvases)
    # In channels-last memory, as it resizes them: in another, sums are in another order.
    given = canvases.contiguous(memory_format=torch.channels_last)
    shrunk = detector(torch.nn.functional.interpolate(given, (64, 32), mode="bilinear"))  # 96 · 0.6, 64 · 0.6
    assert output.grids == (*alone.grids, (8, 4), (4, 2), (2, 1)) and output.feature_maps[0].shape[-2:] == (12, 8)
    count = len(alone.points)
    assert torch.equal(output.class_logits, torch.cat((alone.class_logits, shrunk.class_logits), dim=1))
    assert torch.equal(output.points[:count], alone.points)
    assert output.points[count].tolist() == [8.0, 6.0]  # the cell (0, 0) of 8 × 8 on a canvas of 32 × 64
    factors = torch.tensor([64 / 32, 96 / 64]).repeat(2)
    torch.testing.assert_close(output.distances[:, count:], shrunk.distances * factors)
    boxes, small = (
        several.propose(canvases).boxes[:, count:],
        detector.propose(torch.nn.functional.interpolate(canvases, (64, 32), mode="bilinear")).boxes,
    )
    torch.testing.assert_close(boxes, small * factors, atol=1e-3, rtol=1e-4)
    assert several.train()(canvases).grids == alone.grids  # training uses the canvas at its own size


def test_proposals_are_boxes_around_their_points(detector, canvases):
    proposals = detector.propose(canvases)
    outputs = detector(canvases)
    assert proposals.grids == ((12, 8), (6, 4), (3, 2)) and proposals.canvas == (96, 64)
    left, top, right, bottom = outputs.distances[1, 96 + 5]  # stride 16, row 1, column 1
    expected = torch.stack([24 - left, 24 - top, 24 + right, 24 + bottom])
    limits = torch.tensor([64.0, 96.0, 64.0, 96.0])
    torch.testing.assert_close(proposals.boxes[1, 96 + 5], expected.clamp(min=torch.zeros(4), max=limits))
    scores = outputs.class_logits.sigmoid()
    # Without gradients, activations are fused into the convolutions.
    torch.testing.assert_close(proposals.quality, scores.amax(-1), atol=1e-6, rtol=0)
    assert torch.equal(proposals.labels, scores.argmax(-1))
    assert not proposals.boxes.requires_grad


@pytest.mark.parametrize("agnostic", [False, True])
def test_candidates_are_the_points_that_survive_suppression(detector, canvases, agnostic):
    detector.config.candidate_nms_class_agnostic = agnostic
    proposals = detector.propose(canvases)
    for boxes, quality, labels, kept in zip(
        proposals.boxes, proposals.quality, proposals.labels, proposals.candidates, strict=True
    ):
        rivals = box_iou(boxes, boxes) > 0.6
        if not agnostic:
            rivals &= labels[:, None] == labels
        better = quality[None, :] > quality[:, None]
        assert not (rivals & better)[kept][:, kept].any()  # no candidate is suppressed by another
        assert (rivals & better & kept)[~kept].any(1).all()  # all others are
    detector.config.candidate_nms_class_agnostic = False


def test_padding_has_no_candidates_and_candidates_can_be_disabled(detector, canvases):
    mask = torch.zeros(2, 96, 64, dtype=torch.int64)
    mask[:, :48] = 1
    rows = torch.cat(
        [torch.arange(r).repeat_interleave(c) * s + s // 2 for r, c, s in ((12, 8, 8), (6, 4, 16), (3, 2, 32))]
    )
    inside = detector.propose(canvases, mask).candidates
    assert inside.any() and not inside[:, rows >= 48].any()
    detector.config.candidate_nms_iou = None
    assert detector.propose(canvases).candidates is None
    detector.config.candidate_nms_iou = 0.6


def test_proposals_below_the_lowest_quality_are_no_candidates_and_suppress_none(detector, canvases):
    free = detector.propose(canvases)
    lowest = free.quality[free.candidates].median().item()
    expected = []
    for boxes, scores, labels in zip(free.boxes, free.quality, free.labels, strict=True):
        index = (scores >= lowest).nonzero().squeeze(1)
        kept = torch.zeros(len(scores), dtype=torch.bool)
        kept[index[batched_nms(boxes[index], scores[index], labels[index], 0.6)]] = True
        expected.append(kept)
    detector.config.candidate_min_quality = lowest
    try:
        found = detector.propose(canvases).candidates
    finally:
        detector.config.candidate_min_quality = 0.0
    assert torch.equal(found, torch.stack(expected))
    assert found.sum() < free.candidates.sum() and found[free.quality == lowest].any()  # the lowest one is a candidate


def test_detections_are_sorted_and_limited(detector, canvases):
    found = detector.detect(canvases, min_score=0.3, max_detections=7)
    assert len(found) == 2
    for image in found:
        assert image["boxes"].shape == (7, 4) and (image["scores"].diff() <= 0).all() and image["scores"].min() > 0.3
    assert len(detector.detect(canvases, min_score=1.0)[0]["scores"]) == 0


def test_a_batch_equals_single_canvases(detector, canvases):
    both, second = detector.propose(canvases), detector.propose(canvases[1:])
    torch.testing.assert_close(both[1:].boxes, second.boxes, rtol=0, atol=1e-4)


def test_saved_and_loaded_detector_is_the_same(detector, canvases, tmp_path):
    detector.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path)
    assert type(loaded) is NanoDetDetector
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in detector.state_dict().items())
    assert torch.equal(loaded.propose(canvases).boxes, detector.propose(canvases).boxes)


def test_the_trunk_is_a_stand_alone_backbone(detector, canvases):
    config = NanoDetTrunkConfig(**TRUNK, out_features=["stride16"])
    backbone = AutoBackbone.from_config(config).eval()
    assert type(backbone) is NanoDetBackbone and backbone.channels == [16]
    backbone.load_state_dict(detector.trunk.state_dict())
    (features,) = backbone(canvases).feature_maps
    assert torch.equal(features, detector(canvases).feature_maps[1])


def test_default_classes_are_those_of_coco():
    config = NanoDetConfig()
    assert (config.num_labels, config.id2label[0], config.id2label[79]) == (80, "person", "toothbrush")
    assert config.label2id["giraffe"] == 23


def test_a_canvas_that_is_not_a_multiple_of_32_is_refused(detector):
    with pytest.raises(ValueError, match="multiples of 32"):
        detector.propose(torch.zeros(1, 3, 100, 96))
    detector.config.scales = [0.5]
    with pytest.raises(ValueError, match="The canvas has 100×96"):
        detector.propose(torch.zeros(1, 3, 100, 96))
    detector.config.scales = [1.0]


@pytest.mark.parametrize(
    ("config", "fields", "message"),
    [
        (NanoDetTrunkConfig, {"stage_channels": [8, 15, 32]}, "must be even"),
        (NanoDetTrunkConfig, {"stage_depths": [2, 2]}, "three entries"),
        (NanoDetTrunkConfig, {"stage_depths": [2, 2, 10**9]}, "out of range"),
        (NanoDetTrunkConfig, {"negative_slope": -1.0}, "negative_slope"),
        (NanoDetConfig, {"num_bins": 1}, "num_bins=1"),
        (NanoDetConfig, {"candidate_nms_iou": 1.5}, "candidate_nms_iou=1.5"),
        (NanoDetConfig, {"scales": []}, "has 0 entries: give 1 to 8 numbers"),
        (NanoDetConfig, {"scales": [1.0, 0.01]}, "0.01.: give numbers from 0.1 to 4"),
    ],
)
def test_configs_validate_themselves(config, fields, message):
    with pytest.raises(Exception, match=message):
        config(**fields)
