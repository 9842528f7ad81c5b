"""SOLO's detections: mask quality, thresholds, Matrix-NMS and counts equal plain loops and hand-computed values."""

import math

import pytest
import torch

from pbrec_hf.detectors.solo_detections import SoloThresholds, matrix_nms, solo_detections

CANVAS = (8, 8)


def test_the_defaults_are_those_of_solo():
    found = SoloThresholds()
    assert (found.class_score, found.mask, found.max_candidates) == (0.1, 0.5, 500)
    assert (found.sigma, found.score, found.max_detections) == (2.0, 0.05, 100)
    with pytest.raises(AttributeError):
        found.sigma = 1.0


@pytest.mark.parametrize("sigma", [0.5, 2.0])
def test_matrix_nms_equals_its_definition(sigma):
    generator = torch.Generator().manual_seed(0)
    masks = torch.rand(12, 4, 5, generator=generator) > 0.4
    labels = torch.randint(0, 2, (12,), generator=generator)
    scores = torch.rand(12, generator=generator).sort(descending=True).values

    def iou(i, j):
        return ((masks[i] & masks[j]).sum() / (masks[i] | masks[j]).sum()).item() if labels[i] == labels[j] else 0.0

    expected = []
    for j in range(12):
        decays = [1.0]
        for i in range(j):
            most = max((iou(k, i) for k in range(i)), default=0.0)
            decays.append(math.exp(-sigma * (iou(i, j) ** 2 - most**2)))
        expected.append(scores[j].item() * min(decays))
    torch.testing.assert_close(matrix_nms(masks, labels, scores, sigma), torch.tensor(expected))


def boxes_as_masks(*places, value=0.9):
    masks = torch.full((len(places), *CANVAS), 0.1)
    for mask, (top, left, bottom, right) in zip(masks, places, strict=True):
        mask[top:bottom, left:right] = value
    return masks


def detect(masks, classes, strides=None, letterbox=None, **thresholds):
    strides = torch.ones(len(masks)) if strides is None else torch.tensor(strides)
    return solo_detections([masks], [classes], strides, CANVAS, letterbox, SoloThresholds(**thresholds))[0]


def test_scores_are_class_probability_times_mask_quality():
    masks = boxes_as_masks((0, 0, 4, 4), (4, 4, 8, 8))
    masks[0, :2, :4] = 0.7  # mean of the mask's own pixels: 0.8
    classes = torch.tensor([[0.5, 0.0, 0.2], [0.0, 0.6, 0.0]])
    found = detect(masks, classes)
    # The second mask of the first place has another class, so that nothing is suppressed.
    assert found["labels"].tolist() == [1, 0, 2]
    assert found["scores"].tolist() == pytest.approx([0.6 * 0.9, 0.5 * 0.8, 0.2 * 0.8])
    assert torch.equal(found["masks"], masks[[1, 0, 0]] > 0.5)


def test_thresholds_are_exclusive_for_classes_masks_and_areas_and_inclusive_for_scores():
    masks = boxes_as_masks((0, 0, 2, 2), (4, 4, 8, 8), value=1.0)
    classes = torch.tensor([[0.5], [0.25]])
    assert len(detect(masks, classes, class_score=0.25)["scores"]) == 1
    assert len(detect(masks, classes, class_score=0.24)["scores"]) == 2
    assert len(detect(masks, torch.tensor([[0.5], [0.08]]))["scores"]) == 1  # above the last threshold, not the first
    # An area must exceed the stride of its level.
    assert detect(masks, classes, [4.0, 15.0])["scores"].tolist() == [0.25]
    assert detect(masks, classes, [3.0, 16.0])["scores"].tolist() == [0.5]
    assert len(detect(masks, classes, score=0.25)["scores"]) == 2
    assert len(detect(masks, classes, score=0.26)["scores"]) == 1
    assert len(detect(masks, classes, mask=1.0)["scores"]) == 0
    masks[0, 0, 0] = 0.5  # not above the threshold: no part of the mask
    assert detect(masks, classes)["masks"][0].sum() == 3


def test_candidates_and_detections_are_the_best_ones():
    places = [(0, 0, 4, 4), (0, 4, 4, 8), (4, 0, 8, 4), (4, 4, 8, 8)]
    masks, classes = boxes_as_masks(*places, value=1.0), torch.tensor([[0.3], [0.6], [0.5], [0.4]])
    assert detect(masks, classes)["scores"].tolist() == pytest.approx([0.6, 0.5, 0.4, 0.3])
    for limit in ("max_candidates", "max_detections"):
        found = detect(masks, classes, **{limit: 3})
        assert found["scores"].tolist() == pytest.approx([0.6, 0.5, 0.4])
        assert torch.equal(found["masks"], masks[[1, 2, 3]] > 0.5)


def test_a_suppressed_detection_moves_behind_others_and_below_the_limit():
    places = [(0, 0, 4, 4), (0, 0, 4, 4), (4, 4, 8, 8)]
    masks, classes = boxes_as_masks(*places, value=1.0), torch.tensor([[0.9], [0.8], [0.2]])
    found = detect(masks, classes)
    assert found["scores"].tolist() == pytest.approx([0.9, 0.2, 0.8 * math.exp(-2)])
    assert found["masks"][1, 6, 6] and not found["masks"][2, 6, 6]
    assert detect(masks, classes, score=0.15)["scores"].tolist() == pytest.approx([0.9, 0.2])
    assert detect(masks, classes, sigma=0.0)["scores"].tolist() == pytest.approx([0.9, 0.8, 0.2])


def test_masks_are_cropped_to_the_picture_and_enlarged():
    masks = boxes_as_masks((2, 0, 4, 8), value=1.0)
    masks[0, :2] = 0.0
    masks[0, 4:] = 0.0
    # 16 × 32 pixels in rows 2 … 5 of the canvas; the mask is their upper half, up to the edge of the interpolation.
    place = torch.tensor([[9, 9, 9, 9, 0, 0], [16, 32, 4, 8, 2, 0]])
    strides = torch.ones(1)
    class_ = torch.tensor([[0.9]])
    found = solo_detections([masks, masks], [class_, class_], strides, CANVAS, place, SoloThresholds())
    assert found[0]["masks"].shape == (1, 9, 9)
    expected = torch.zeros(16, 32, dtype=torch.bool)
    expected[:8] = True
    assert torch.equal(found[1]["masks"][0], expected)


def test_small_masks_are_resized_to_the_canvas():
    masks = torch.zeros(1, 2, 2)
    masks[0, 0] = 1.0
    found = detect(masks, torch.tensor([[0.9]]))
    expected = torch.zeros(8, 8, dtype=torch.bool)
    expected[:4] = True
    assert torch.equal(found["masks"][0], expected)
