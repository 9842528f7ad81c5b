"""The light mask head: lazy masks equal the full ones, travel with their images, and survive saving."""

import pytest
import torch

from pbrec_hf.backbone_nanodet import NanoDetTrunkConfig
from pbrec_hf.detection_nanodet import NanoDetConfig
from pbrec_hf.detection_nanodet_masks import NanoDetMasksConfig, NanoDetMasksDetector
from pbrec_hf.dynamic_masks_pbrec import mask_logits, points_of_grid
from pbrec_hf.proposals_pbrec import Proposals


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


def test_lazy_masks_equal_the_full_ones():
    detector, pixels = tiny_detector(), torch.randn(2, 3, 64, 96)
    proposals = detector.propose(pixels)
    assert proposals.grids == ((4, 6),) and proposals.canvas == (64, 96) and proposals.labels.shape == (2, 24)
    assert proposals.quality is None and proposals.boxes is None
    with torch.no_grad():
        output = detector(pixels)
    images, points = torch.tensor([1, 0, 1]), torch.tensor([0, 23, 7])
    drawn = proposals.masks.at(images, points)
    assert drawn.shape == (3, 16, 24)
    for mask, image, point in zip(drawn, images, points, strict=True):
        kernels = output.kernels[image].flatten(1).T
        full = mask_logits(output.features[image], kernels, points_of_grid(4, 6, pixels)).sigmoid()
        torch.testing.assert_close(mask, full[point])


def test_masks_travel_with_their_images():
    detector, pixels = tiny_detector(), torch.randn(3, 3, 64, 64)
    together = detector.propose(pixels)
    parts = [detector.propose(pixels[index : index + 1]) for index in range(3)]
    image, point = torch.tensor([0]), torch.tensor([5])
    expected = together.masks.at(torch.tensor([2]), point)
    for proposals in (together[2:], together[torch.tensor([2, 0])], parts[2], Proposals.cat(parts)[2:].to("cpu")):
        torch.testing.assert_close(proposals.masks.at(image, point), expected, atol=1e-5, rtol=1e-4)


def test_a_new_kernel_draws_the_typical_ellipse_around_its_point():
    points = points_of_grid(4, 4, torch.zeros(()))
    drawn = mask_logits(torch.randn(2, 32, 32), torch.zeros(16, 7), points)
    assert drawn.view(16, -1).argmax(1)[5].item() in (11 * 32 + 11, 11 * 32 + 12, 12 * 32 + 11, 12 * 32 + 12)
    assert ((drawn[5] > 0).float().mean() - torch.pi / 64).abs() < 0.01  # half axes of an eighth of the side


def test_save_and_load_give_the_same_masks(tmp_path):
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
        ({"channels": 9}, "multiple of norm_groups"),
        ({"center_region": 2}, "center_region"),
        ({"stacked_convs": 0}, "1 to"),
    ],
)
def test_config_refuses(changes, message):
    with pytest.raises(Exception, match=message):
        tiny_config(**changes)
