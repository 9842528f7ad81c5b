"""SOLO equals the golden head, its lazy masks equal the full computation, and it survives saving."""

import math

import numpy as np
import pytest
import torch
from detectors.base import DetectorTester
from solo_golden import CANVAS, TINY_RESNET, facts, head_output, tensors, unpack_bits

from pbrec_hf.detectors.solo import (
    SoloConfig,
    SoloDetector,
    SoloPyramid,
    append_coordinates,
    evaluation_form,
    keep_local_maxima,
    resize,
)
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


def test_the_defaults_are_those_of_solo_r101():
    config = SoloConfig()
    assert config.backbone_config.depths == [3, 4, 23, 3] and len(config.class_names) == 80
    assert (config.neck, config.neck_channels, config.extra_levels) == ("fpn", 256, 1)
    assert (config.channels, config.stacked_convs, config.norm_groups) == (256, 7, 32)
    assert config.strides == [8, 8, 16, 32, 32] and config.num_grids == [40, 36, 24, 16, 12]
    assert config.scale_ranges == [[1, 96], [48, 192], [96, 384], [192, 768], [384, 2048]]
    assert config.level_maps == [0, 1, 2, 3, 4] and config.center_region == 0.2
    assert config.proposal_level == 2 and config.freeze_backbone is False and config.initializer_range == 0.01


def identity_pyramid(neck, **changes):
    """A pyramid of one channel whose convolutions change nothing."""
    pyramid = SoloPyramid([1, 1, 1], tiny_config(neck=neck, neck_channels=1, **changes))
    for conv in (*pyramid.lateral, *(pyramid.smooth or [])):
        torch.nn.init.dirac_(conv.weight)
        torch.nn.init.zeros_(conv.bias)
    return pyramid


def pyramid_maps():
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(1, 1, *size, generator=generator) for size in ((8, 12), (4, 6), (2, 3)))


@torch.no_grad()
def test_coarse_maps_are_repeated_and_added_to_finer_ones():
    fine, middle, coarse = pyramid_maps()
    middle_sum = middle + coarse.repeat_interleave(2, 2).repeat_interleave(2, 3)
    fine_sum = fine + middle_sum.repeat_interleave(2, 2).repeat_interleave(2, 3)
    found = identity_pyramid("fpn")((fine, middle, coarse), {0, 1, 2})
    for index, expected in enumerate((fine_sum, middle_sum, coarse)):
        torch.testing.assert_close(found[index], expected)
    assert set(identity_pyramid("fpn")((fine, middle, coarse), {1})) == {1}


@torch.no_grad()
def test_a_trunk_with_a_neck_of_its_own_gets_no_sums():
    maps = pyramid_maps()
    found = identity_pyramid("lateral")(maps, {0, 2})
    assert set(found) == {0, 2} and all(torch.equal(found[index], maps[index]) for index in found)


@torch.no_grad()
@pytest.mark.parametrize("neck", ["fpn", "lateral"])
def test_extra_levels_take_every_second_pixel(neck):
    maps = pyramid_maps()
    found = identity_pyramid(neck, extra_levels=2)(maps, {3, 4})
    assert torch.equal(found[3], maps[2][:, :, ::2, ::2]) and torch.equal(found[4], maps[2][:, :, :1, :1])
    assert set(found) == {2, 3, 4} and set(identity_pyramid(neck, extra_levels=2)(maps, {3})) == {2, 3}


def test_coordinates_run_from_minus_one_to_one():
    found = append_coordinates(torch.zeros(2, 3, 3, 5))
    assert found.shape == (2, 5, 3, 5) and not found[:, :3].any()
    assert torch.equal(found[1, 3], torch.tensor([-1.0, -0.5, 0.0, 0.5, 1.0]).expand(3, 5))
    assert torch.equal(found[1, 4], torch.tensor([-1.0, 0.0, 1.0])[:, None].expand(3, 5))


def test_a_map_of_the_right_size_is_not_resized():
    features = torch.randn(1, 2, 4, 6)
    assert resize(features, (4, 6)) is features
    expected = torch.nn.functional.interpolate(features, (4, 3), mode="bilinear")
    assert torch.equal(resize(features, (4, 3)), expected)


def test_only_cells_that_no_neighbour_above_or_left_exceeds_are_kept():
    values = torch.rand(2, 3, 5, 5, generator=torch.Generator().manual_seed(0)).mul(4).round()
    expected = values.clone()
    for image, channel, row, col in np.ndindex(*values.shape):
        neighbours = values[image, channel, max(row - 1, 0) : row + 1, max(col - 1, 0) : col + 1]
        if neighbours.max() > values[image, channel, row, col]:
            expected[image, channel, row, col] = 0
    assert torch.equal(keep_local_maxima(values), expected)


def test_masks_are_twice_the_map_of_their_level():
    detector = tiny_detector(strides=[4, 8, 16, 32, 32])
    output = detector(torch.randn(1, 3, 64, 96))
    sizes = [tuple(logits.shape[1:]) for logits in output.mask_logits]
    assert sizes == [(64, 32, 48), (49, 16, 24), (25, 8, 12), (16, 4, 6), (9, 4, 6)]
    assert [tuple(logits.shape[1:]) for logits in output.class_logits] == [(5, side, side) for side in (8, 7, 5, 4, 3)]
    assert detector.mask_size((64, 96)) == (32, 48)
    proposals = detector.propose(torch.randn(1, 3, 64, 96))
    assert proposals.masks.at(torch.tensor([0]), torch.tensor([3])).shape == (1, 32, 48)


def test_a_trunk_in_training_keeps_its_statistics_and_the_rest_trains():
    detector = tiny_detector().train()
    norms = [module for module in detector.backbone.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert norms and not any(norm.training for norm in norms)
    assert detector.training and detector.backbone.training and detector.head.training
    detector(torch.randn(1, 3, 64, 64)).mask_logits[0].sum().backward()
    assert all(parameter.requires_grad for parameter in detector.parameters())
    assert detector.backbone.embedder.embedder.convolution.weight.grad is not None
    assert not detector.eval().training


@torch.no_grad()
def test_the_towers_fit_a_pyramid_of_any_width():
    detector = tiny_detector(neck_channels=6, channels=4, stacked_convs=3)
    widths = [layer.conv.weight.shape[:2] for layer in detector.head.mask_tower]
    assert widths == [(4, 8), (4, 4), (4, 4)]  # two more channels: the coordinates
    assert [layer.conv.weight.shape[:2] for layer in detector.head.class_tower] == [(4, 6), (4, 4), (4, 4)]
    assert len(detector.propose(torch.randn(1, 3, 64, 64))) == 1


@pytest.mark.parametrize(
    ("frozen", "asked", "expected"), [(False, True, True), (False, False, False), (True, True, False)]
)
def test_the_trunk_keeps_a_graph_only_if_it_trains(frozen, asked, expected):
    detector = tiny_detector(freeze_backbone=frozen)
    seen = []
    detector.backbone.register_forward_hook(lambda *_: seen.append(torch.is_grad_enabled()))
    with torch.set_grad_enabled(asked):
        detector(torch.randn(1, 3, 64, 64))
    assert seen == [expected]


def test_outputs_start_from_background():
    detector = tiny_detector()
    prior = -math.log(99)
    for output in (*detector.head.mask_outputs, detector.head.class_output):
        assert torch.allclose(output.bias, torch.tensor(prior))


@torch.no_grad()
def test_detections_join_all_levels():
    detector, pixels = tiny_detector(), torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    thresholds = SoloThresholds(class_score=0.02, mask=0.02, score=0.0)
    found = detector.detect(pixels, thresholds=thresholds)
    masks, classes = evaluation_form(detector(pixels), (16, 16))
    for image in range(2):
        expected = solo_detections(
            masks=[torch.cat([level[image] for level in masks])],
            classes=[torch.cat([level[image].flatten(1).T for level in classes])],
            strides=torch.tensor([8] * 64 + [8] * 49 + [16] * 25 + [32] * 16 + [32] * 9),
            canvas=(64, 64),
            letterbox=None,
            thresholds=thresholds,
        )[0]
        assert len(found[image]["scores"]) > 3
        for name, value in expected.items():
            torch.testing.assert_close(found[image][name], value)


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
        ({"center_region": 1.01}, "center_region"),
        ({"proposal_level": -1}, "from 0 to 4"),
        ({"proposal_level": 6}, "from 0 to 4"),
        ({"level_maps": [0, 1, 2, 3, 5]}, "indices into the 5 maps"),
        ({"level_maps": [0, 1, 2, 3, -1]}, "indices into the 5 maps"),
        ({"level_maps": [0, 1, 2, 3, 4], "extra_levels": 0}, "indices into the 4 maps"),
        ({"scale_ranges": [[1, 5]] * 6}, "one entry per level, 5"),
        ({"scale_ranges": [[1, 5]] * 4 + [[1, 2, 3]]}, "pairs"),
        ({"scale_ranges": [[1, 5]] * 4 + [[-1, 2]]}, "pairs"),
        ({"strides": [8] * 4}, "one entry per level, 5"),
        (
            {"level_maps": [], "strides": [], "num_grids": [], "scale_ranges": [], "proposal_level": 0},
            "one entry per level, 0",
        ),
        ({"neck_channels": 0}, "neck_channels=0: give a number from 1 to 4096"),
        ({"neck_channels": 4097}, "neck_channels=4097"),
        ({"channels": 0}, "channels=0"),
        ({"channels": 4097}, "channels=4097"),
        ({"stacked_convs": 0}, "stacked_convs=0"),
        ({"stacked_convs": 33}, "stacked_convs=33"),
        ({"norm_groups": 0}, "norm_groups=0"),
        ({"norm_groups": 4097}, "norm_groups=4097"),
        ({"extra_levels": -1}, "extra_levels=-1"),
        ({"extra_levels": 5}, "extra_levels=5"),
        ({"strides": [0, 8, 16, 32, 32]}, "strides=.*: give numbers from 1 to 512"),
        ({"strides": [8, 8, 16, 32, 1024]}, "strides="),
        ({"num_grids": [0, 7, 5, 4, 3]}, "num_grids="),
        ({"num_grids": [513, 7, 5, 4, 3]}, "num_grids="),
    ],
)
def test_illegal_configs_are_refused(changes, message):
    with pytest.raises(Exception, match=message):
        tiny_config(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"center_region": 1},
        {"proposal_level": 4},
        {"proposal_level": 0},
        {"extra_levels": 4, "level_maps": [0, 1, 2, 3, 7]},
        {"extra_levels": 0, "level_maps": [0, 1, 2, 3, 3]},
        {"scale_ranges": [[0, 0]] * 5},
        {"neck_channels": 4096, "channels": 4096, "norm_groups": 4096},
        {"neck_channels": 1, "channels": 1, "norm_groups": 1, "stacked_convs": 1},
        {"stacked_convs": 32},
        {"strides": [1, 8, 16, 32, 512], "num_grids": [1, 7, 5, 4, 512]},
    ],
)
def test_the_ends_of_the_limits_are_legal(changes):
    config = tiny_config(**changes)
    assert {name: getattr(config, name) for name in changes} == changes


def test_canvas_must_be_a_multiple_of_the_largest_stride():
    with pytest.raises(ValueError, match="multiples of 32"):
        tiny_detector().propose(torch.randn(1, 3, 40, 64))
