"""Refined masks: an untrained refiner changes nothing, weights travel with masks, crops are where boxes are."""

import pytest
import torch
from detectors.base import DetectorTester
from small.test_nanodet_masks import tiny_config, tiny_detector
from torch.nn import functional as F

from pbrec_hf.geometry.proposals import Proposals
from pbrec_hf.small.dynamic_masks import DynamicMasks, RefinedMasks
from pbrec_hf.small.mask_refiner import CROP_SIDE, MaskRefiner, cut_out, enlarged, on_the_canvas, refined_logits
from pbrec_hf.small.nanodet import NanoDetConfig
from pbrec_hf.small.nanodet_masks import NanoDetMasksDetector

WIDTHS = [8, 8, 12]


def refining(trained=True):
    detector = tiny_detector(refiner_widths=WIDTHS)
    if trained:
        torch.nn.init.normal_(detector.head.refiner.output.weight)
    return detector


class TestRefinedMasks(DetectorTester):
    def make(self, **fields):
        inside = tiny_config().detector_config.to_dict() | fields
        return NanoDetMasksDetector(tiny_config(detector_config=NanoDetConfig(**inside), refiner_widths=WIDTHS))

    def class_logits(self, detector, pixels):
        with torch.no_grad():
            return detector.detector(pixels).class_logits


def test_a_refiner_is_optional():
    detector = tiny_detector()
    assert not any("refiner" in name or "details" in name for name, _ in detector.named_parameters())
    assert type(detector.propose(torch.randn(1, 3, 64, 64)).masks) is DynamicMasks


def test_an_untrained_refiner_keeps_the_masks():
    detector, pixels = refining(trained=False), torch.randn(1, 3, 64, 64)
    refined = detector.propose(pixels).masks
    plain = DynamicMasks(refined.features, refined.kernels)
    image, point = torch.zeros(3, dtype=torch.long), torch.tensor([20, 70, 82])
    drawn, expected = refined.at(image, point), plain.at(image, point)
    assert isinstance(refined, RefinedMasks) and drawn.shape == (3, 32, 32)
    expected = F.interpolate(expected[:, None], (32, 32), mode="bilinear", align_corners=False)[:, 0]
    cells = (torch.arange(32) + 0.5) / 2
    for mask, wanted, (left, top, right, bottom) in zip(drawn, expected, refined.regions[0, point], strict=True):
        inside = ((cells > top) & (cells < bottom))[:, None] & ((cells > left) & (cells < right))
        assert not mask[~inside].any()
        assert (mask - wanted)[inside].abs().mean() < 0.05


def test_a_mask_that_is_asked_for_again_is_the_same():
    masks = refining().propose(torch.randn(2, 3, 64, 64)).masks
    images, points = torch.tensor([1, 0, 1, 1, 0]), torch.tensor([70, 70, 20, 70, 70])
    together = masks.at(images, points)
    assert together[0].equal(together[3]) and together[1].equal(together[4]) and not together[0].equal(together[1])
    alone = torch.cat([masks.at(image[None], point[None]) for image, point in zip(images, points, strict=True)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
    assert masks.at(images[:0], points[:0]).shape == (0, *together.shape[1:])


def test_crops_show_what_is_in_their_region():
    row = (torch.arange(20) + 0.5).expand(1, 1, 20, 20)
    regions = enlarged(torch.tensor([[6.0, 4, 14, 12], [9.9, 4, 10.1, 4.2]]))
    assert regions.tolist()[0] == [5, 3, 15, 13] and regions[1, 2] - regions[1, 0] == pytest.approx(1.25)
    crops = cut_out(row, regions, torch.tensor([0, 0]))
    places = (torch.arange(CROP_SIDE) + 0.5) / CROP_SIDE
    for crop, (left, _, right, _) in zip(crops[:, 0], regions, strict=True):
        torch.testing.assert_close(crop[3], left + places * (right - left), atol=1e-4, rtol=0)
    larger = F.interpolate(row, scale_factor=2.0, mode="bilinear", align_corners=False)
    doubled = cut_out(larger, regions, torch.tensor([0, 0]), scale=2.0)
    torch.testing.assert_close(doubled[0], crops[0], atol=0.05, rtol=0)


def test_the_weights_travel_as_a_vector():
    torch.manual_seed(0)
    refiner = MaskRefiner(5, WIDTHS, 4)
    torch.nn.init.normal_(refiner.output.weight)
    logits, details, picture = torch.randn(2, 8, 8), torch.randn(5, 8, 8), torch.randn(3, 32, 32)
    regions = torch.tensor([[1.0, 1, 6, 7], [2.0, 0, 8, 4]])
    same = torch.zeros(2, dtype=torch.long)
    crops = torch.cat(
        (
            cut_out(logits[:, None], regions, torch.tensor([0, 1])),
            cut_out(details[None], regions, same),
            cut_out(picture[None], regions, same, 4.0),
        ),
        dim=1,
    )
    vector = refiner.vector()
    found = refined_logits(logits, details[None], picture[None], same, regions, vector, (*WIDTHS, 4))
    torch.testing.assert_close(found, refiner(crops))
    assert not torch.allclose(found, crops[:, 0])
    assert torch.equal(refiner.to(memory_format=torch.channels_last).vector(), vector)


def test_a_mask_lies_in_its_region():
    drawn = on_the_canvas(torch.full((1, CROP_SIDE, CROP_SIDE), 9.0), torch.tensor([[2.0, 1, 6, 4]]), (8, 8), (16, 16))
    rows, columns = (drawn[0] > 0.5).nonzero().unbind(1)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (2, 7, 4, 11)


def test_masks_stay_with_their_images():
    detector, pixels = refining(), torch.randn(3, 3, 64, 64)
    together = detector.propose(pixels)
    parts = [detector.propose(pixels[index : index + 1]) for index in range(3)]
    image, point = torch.tensor([0]), torch.tensor([70])
    expected = together.masks.at(torch.tensor([2]), point)
    for proposals in (together[2:], together[torch.tensor([2, 0])], parts[2], Proposals.cat(parts)[2:].to("cpu")):
        torch.testing.assert_close(proposals.masks.at(image, point), expected, atol=1e-4, rtol=1e-3)
    with pytest.raises(ValueError, match="different detectors"):
        Proposals.cat([parts[0], refining(trained=False).propose(pixels[:1])])


def test_saved_and_loaded_it_computes_the_same_masks(tmp_path):
    detector, pixels = refining(), torch.randn(1, 3, 64, 64)
    detector.save_pretrained(tmp_path)
    again = NanoDetMasksDetector.from_pretrained(tmp_path)
    index = torch.tensor([0]), torch.tensor([70])
    torch.testing.assert_close(again.propose(pixels).masks.at(*index), detector.propose(pixels).masks.at(*index))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"refiner_widths": [8, 9]}, "multiples of norm_groups"),
        ({"refiner_widths": [8] * 7}, "at most 6"),
        ({"refiner_widths": [0]}, "from 1 to"),
    ],
)
def test_illegal_configs_are_refused(changes, message):
    with pytest.raises(Exception, match=message):
        tiny_config(**changes)
