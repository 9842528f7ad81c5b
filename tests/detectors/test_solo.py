"""SOLO equals the golden head, its lazy masks equal the full computation, and it survives saving."""

import numpy as np
import pytest
import torch
from detectors.base import DetectorTester
from solo_golden import CANVAS, TINY_RESNET, facts, head_output, tensors, unpack_bits

from pbrec_hf.detectors.solo import SoloConfig, SoloDetector, evaluation_form
from pbrec_hf.detectors.solo_detections import SoloThresholds, matrix_nms, solo_detections
from pbrec_hf.small.nanodet_trunk import NanoDetTrunkConfig

LEVELS = 5


def tiny_config(**changes):
    values = {
        "backbone_config": TINY_RESNET,
        "neck_channels": 8,
        "channels": 8,
        "norm_groups": 4,
        "stacked_convs": 2,
        "num_grids": [8, 7, 5, 4, 3],
        "num_labels": 5,
        "initializer_range": 0.3,
    }
    merged = {**values, **changes}
    return SoloConfig(**{name: value for name, value in merged.items() if value is not None})


def tiny_detector(**changes):
    torch.manual_seed(0)
    return SoloDetector(tiny_config(**changes)).eval()


class TestSolo(DetectorTester):
    def make(self, **fields):
        fields = {"num_labels": None, **fields} if "id2label" in fields else fields
        return SoloDetector(tiny_config(initializer_range=0.01, **fields))

    def class_logits(self, detector, pixels):
        with torch.no_grad():
            return torch.cat([logits.flatten() for logits in detector(pixels).class_logits])


def test_forward_equals_golden():
    for level in range(LEVELS):
        masks, classes = head_output().mask_logits[level], head_output().class_logits[level]
        # Every eighth mask is kept in the golden file.
        torch.testing.assert_close(masks[:, ::8], tensors()[f"train.mask.{level}"], atol=2e-5, rtol=0)
        torch.testing.assert_close(classes, tensors()[f"train.cate.{level}"], atol=2e-5, rtol=0)


def test_evaluation_form_equals_golden():
    masks, classes = evaluation_form(head_output(), (40, 56))
    for level in range(LEVELS):
        torch.testing.assert_close(masks[level][:1, ::8], tensors()[f"eval.mask_image0.{level}"], atol=1e-5, rtol=0)
        torch.testing.assert_close(classes[level], tensors()[f"eval.cate.{level}"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("image", [0, 1])
def test_detections_equal_golden(image):
    masks, classes = evaluation_form(head_output(), (40, 56))
    sizes = facts()["config_small"]
    found = solo_detections(
        masks=[torch.cat([m[image] for m in masks])],
        classes=[torch.cat([c[image].flatten(1).T for c in classes])],
        strides=torch.tensor(sizes["strides"]).repeat_interleave(torch.tensor(sizes["num_grids"]) ** 2),
        canvas=CANVAS,
        letterbox=torch.tensor([[200, 280, *CANVAS, 0, 0]]),
        thresholds=SoloThresholds(),
    )[0]
    golden = {name: tensors()[f"infer.{image}.{name}"] for name in ("scores", "labels", "mask_area_all")}
    torch.testing.assert_close(found["scores"], golden["scores"], atol=1e-5, rtol=0)
    assert torch.equal(found["labels"], golden["labels"])
    assert torch.equal(found["masks"].flatten(1).sum(1), golden["mask_area_all"].long())
    assert torch.equal(found["masks"][:10], unpack_bits(tensors()[f"infer.{image}.masks_top10_bits"]))


@pytest.mark.parametrize("level", [0, 2, 4])
@pytest.mark.parametrize("neck", ["fpn", "lateral"])
def test_lazy_masks_equal_the_full_computation(level, neck):
    detector = tiny_detector(proposal_level=level, neck=neck)
    pixels = torch.randn(2, 3, 96, 128)
    proposals = detector.propose(pixels)
    masks, _ = evaluation_form(detector(pixels), detector.mask_size((96, 128)))
    grid = detector.config.num_grids[level]
    assert proposals.grids == ((grid, grid),) and proposals.canvas == (96, 128)
    assert proposals.quality is None and proposals.boxes is None
    images, points = torch.tensor([1, 0, 1]), torch.tensor([0, grid * grid - 1, 4])
    torch.testing.assert_close(proposals.masks.at(images, points), masks[level][images, points])


def test_labels_are_the_best_class_of_each_cell():
    detector, pixels = tiny_detector(), torch.randn(1, 3, 64, 64)
    expected = detector(pixels).class_logits[2].flatten(2).argmax(1)
    assert torch.equal(detector.propose(pixels).labels, expected)


def test_proposing_computes_only_its_level():
    detector = tiny_detector(proposal_level=2)
    computed = set()
    for index, conv in enumerate(detector.pyramid.smooth):
        conv.register_forward_hook(lambda *_, index=index: computed.add(index))
    for output in detector.head.mask_outputs:
        output.register_forward_hook(lambda *_: pytest.fail("the last mask convolution must wait"))
    detector.propose(torch.randn(1, 3, 64, 64))
    assert computed == {2}


def test_it_runs_on_a_trunk_with_its_own_neck():
    trunk = NanoDetTrunkConfig(stem_channels=4, stage_channels=[8, 8, 8], stage_depths=[1, 1, 1], neck_channels=8)
    one_level = {"level_maps": [0], "strides": [8], "num_grids": [6], "scale_ranges": [[0, 999]], "proposal_level": 0}
    detector = tiny_detector(backbone_config=trunk, neck="lateral", extra_levels=0, **one_level)
    proposals = detector.propose(torch.randn(1, 3, 64, 64))
    assert proposals.num_points == 36
    assert proposals.masks.at(torch.tensor([0]), torch.tensor([35])).shape == (1, 16, 16)


def test_saved_and_loaded_it_computes_the_same_masks(tmp_path):
    detector, pixels = tiny_detector(), torch.randn(1, 3, 64, 64)
    detector.save_pretrained(tmp_path)
    again = SoloDetector.from_pretrained(tmp_path)
    assert again.config.num_grids == [8, 7, 5, 4, 3]
    for before, after in zip(detector(pixels).mask_logits, again(pixels).mask_logits, strict=True):
        torch.testing.assert_close(before, after)


def test_frozen_trunk_gets_no_gradient_and_batch_norm_keeps_its_statistics():
    detector = tiny_detector(freeze_backbone=True).train()
    before = {name: value.clone() for name, value in detector.backbone.named_buffers()}
    detector(torch.randn(1, 3, 64, 64)).mask_logits[0].sum().backward()
    assert all(parameter.grad is None for parameter in detector.backbone.parameters())
    assert detector.head.mask_tower[0].conv.weight.grad is not None
    assert all(torch.equal(value, before[name]) for name, value in detector.backbone.named_buffers())


def test_detections_at_canvas_and_original_size():
    detector, pixels = tiny_detector(), torch.randn(1, 3, 64, 64)
    anything = SoloThresholds(class_score=0.0, mask=0.0, score=0.0)
    on_canvas = detector.detect(pixels, thresholds=anything)[0]["masks"]
    original = detector.detect(pixels, torch.tensor([[50, 100, 32, 64, 16, 0]]), anything)[0]["masks"]
    assert on_canvas.shape[1:] == (64, 64) and original.shape[1:] == (50, 100) and len(on_canvas)
    nothing = detector.detect(pixels, thresholds=SoloThresholds(class_score=1.0))[0]
    assert nothing["masks"].shape == (0, 64, 64) and len(nothing["scores"]) == 0


def test_matrix_nms_suppresses_within_a_class_only():
    masks = torch.ones(3, 2, 2, dtype=torch.bool)
    scores = matrix_nms(masks, torch.tensor([0, 1, 0]), torch.tensor([0.9, 0.8, 0.7]), sigma=2.0)
    torch.testing.assert_close(scores, torch.tensor([0.9, 0.8, 0.7 * np.exp(-2)], dtype=torch.float32))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"neck": "none"}, "give one of"),
        ({"norm_groups": 3}, "multiple of norm_groups"),
        ({"num_grids": [8]}, "one entry per level, 5"),
        ({"level_maps": [0, 1, 2, 3, 9]}, "indices into"),
        ({"proposal_level": 5}, "from 0 to 4"),
        ({"strides": [8, 8, 16, 32, 20]}, "divide"),
        ({"scale_ranges": [[5, 1]] * 5}, "pairs"),
        ({"center_region": 0.0}, "center_region"),
    ],
)
def test_illegal_configs_are_refused(changes, message):
    with pytest.raises(Exception, match=message):
        tiny_config(**changes)


def test_canvas_must_be_a_multiple_of_the_largest_stride():
    with pytest.raises(ValueError, match="multiples of 32"):
        tiny_detector().propose(torch.randn(1, 3, 40, 64))
