"""The light mask head: lazy masks equal the full ones, stay with their images, and survive saving."""

import pytest
import torch
from detectors.base import DetectorTester

from pbrec_hf.geometry.proposals import Proposals
from pbrec_hf.small.dynamic_masks import mask_logits
from pbrec_hf.small.nanodet import NanoDetConfig
from pbrec_hf.small.nanodet_masks import NanoDetMasksConfig, NanoDetMasksDetector, ellipses_in_boxes
from pbrec_hf.small.nanodet_trunk import NanoDetTrunkConfig


def tiny_config(**changes):
    trunk = NanoDetTrunkConfig(stem_channels=4, stage_channels=[8, 8, 8], stage_depths=[1, 1, 1], neck_channels=8)
    detector = NanoDetConfig(trunk_config=trunk, tower_depth=1, num_labels=3)
    sizes = {"channels": 8, "mask_channels": 4, "picture_channels": 4, "stacked_convs": 1, "norm_groups": 4}
    return NanoDetMasksConfig(**{"detector_config": detector, **sizes, **changes})


def tiny_detector(**changes):
    torch.manual_seed(0)
    detector = NanoDetMasksDetector(tiny_config(**changes)).eval()
    torch.nn.init.normal_(detector.head.kernel_output.weight)
    return detector


class TestNanoDetMasks(DetectorTester):
    def make(self, **fields):
        inside = tiny_config().detector_config.to_dict() | fields
        return NanoDetMasksDetector(tiny_config(detector_config=NanoDetConfig(**inside)))

    def class_logits(self, detector, pixels):
        with torch.no_grad():
            return detector.detector(pixels).class_logits


def test_lazy_masks_equal_the_full_ones():
    detector, pixels = tiny_detector(), torch.randn(2, 3, 64, 96)
    proposals = detector.propose(pixels)
    assert proposals.grids == ((8, 12), (4, 6), (2, 3)) and proposals.canvas == (64, 96)
    with torch.no_grad():
        output = detector(pixels)
    images, points = torch.tensor([1, 0, 1]), torch.tensor([0, 125, 97])
    drawn = proposals.masks.at(images, points)
    assert drawn.shape == (3, 16, 24)
    for mask, image, point in zip(drawn, images, points, strict=True):
        full = mask_logits(output.features[image], output.kernels[image]).sigmoid()
        torch.testing.assert_close(mask, full[point])


def test_boxes_quality_and_labels_are_those_of_nanodet():
    detector, pixels = tiny_detector(), torch.randn(1, 3, 64, 64)
    found, expected = detector.propose(pixels), detector.detector.propose(pixels)
    assert found.grids == expected.grids and torch.equal(found.labels, expected.labels)
    torch.testing.assert_close(found.boxes, expected.boxes)
    torch.testing.assert_close(found.quality, expected.quality)


def test_masks_are_computed_at_the_first_scale():
    detector, pixels = tiny_detector(), torch.randn(1, 3, 64, 96)
    alone = detector.propose(pixels)
    index = torch.tensor([0]), torch.tensor([50])
    detector.detector.config.scales = [1.0, 2.0]
    assert detector.propose(pixels).grids == alone.grids
    torch.testing.assert_close(detector.propose(pixels).masks.at(*index), alone.masks.at(*index))
    detector.detector.config.scales = [2.0, 1.0]
    larger = detector.propose(pixels)
    assert larger.grids == ((16, 24), (8, 12), (4, 6)) and larger.canvas == alone.canvas
    assert larger.masks.at(*index).shape == (1, 32, 48)
    torch.testing.assert_close(larger.boxes, detector.detector.propose(pixels).boxes[:, : larger.num_points])


def test_masks_stay_with_their_images():
    detector, pixels = tiny_detector(), torch.randn(3, 3, 64, 64)
    together = detector.propose(pixels)
    parts = [detector.propose(pixels[index : index + 1]) for index in range(3)]
    image, point = torch.tensor([0]), torch.tensor([70])
    expected = together.masks.at(torch.tensor([2]), point)
    for proposals in (together[2:], together[torch.tensor([2, 0])], parts[2], Proposals.cat(parts)[2:].to("cpu")):
        torch.testing.assert_close(proposals.masks.at(image, point), expected, atol=1e-5, rtol=1e-4)


def test_an_initial_kernel_computes_the_ellipse_in_its_box():
    box = torch.tensor([[32.0, 16, 96, 48]])
    kernel = ellipses_in_boxes(torch.zeros(1, 7), box, canvas=(128, 128))
    drawn = mask_logits(torch.randn(2, 128, 128), kernel)[0] > 0
    assert abs(drawn.sum().item() - torch.pi * 32 * 16) < 20
    rows, columns = drawn.any(1).nonzero(), drawn.any(0).nonzero()
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (16, 47, 32, 95)


def test_an_empty_box_has_a_finite_mask():
    kernel = ellipses_in_boxes(torch.zeros(1, 7), torch.zeros(1, 4), canvas=(64, 64))
    assert mask_logits(torch.zeros(2, 16, 16), kernel).isfinite().all()


def test_saved_and_loaded_it_computes_the_same_masks(tmp_path):
    detector, pixels = tiny_detector(), torch.randn(1, 3, 64, 64)
    detector.save_pretrained(tmp_path)
    again = NanoDetMasksDetector.from_pretrained(tmp_path)
    assert again.config.id2label == detector.config.detector_config.id2label
    torch.testing.assert_close(again(pixels).kernels, detector(pixels).kernels)


def test_a_frozen_detector_gets_no_gradient():
    detector = tiny_detector()
    detector(torch.randn(1, 3, 64, 64)).kernels.sum().backward()
    assert all(parameter.grad is None for parameter in detector.detector.parameters())
    assert detector.head.lateral[0].weight.grad is not None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": 9}, "multiples of norm_groups"),
        ({"stacked_convs": 0}, "1 to"),
    ],
)
def test_illegal_configs_are_refused(changes, message):
    with pytest.raises(Exception, match=message):
        tiny_config(**changes)
