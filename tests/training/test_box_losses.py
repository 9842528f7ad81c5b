"""Assignment rules and losses of FCOS and NanoDet on cases small enough to check by hand."""

import math

import pytest
import torch

from pbrec_hf.detectors.fcos import FcosOutput
from pbrec_hf.geometry.boxes import distances_to_sides
from pbrec_hf.geometry.centerness import centerness
from pbrec_hf.geometry.points import grid_points
from pbrec_hf.small.nanodet_outputs import NanoDetOutput
from pbrec_hf.training.detection.box_assignment import (
    BACKGROUND,
    assign_by_atss,
    assign_by_center,
)
from pbrec_hf.training.detection.box_losses import (
    distribution_focal_loss,
    fcos_losses,
    nanodet_losses,
    quality_focal_loss,
)

POINTS = grid_points(4, 4, 32)
LEVELS = torch.cat([grid_points(16, 16, 8), grid_points(8, 8, 16), grid_points(4, 4, 32)])
STRIDES = torch.tensor([8.0] * 256 + [16.0] * 64 + [32.0] * 16)
NOTHING = [torch.zeros(0, 4)], [torch.zeros(0, dtype=torch.long)]


def test_the_smaller_of_two_boxes_owns_a_shared_point():
    boxes = torch.tensor([[0.0, 0, 128, 128], [32.0, 32, 64, 64]])
    owner = assign_by_center(POINTS, boxes, radius=48).view(4, 4)
    assert owner[1, 1] == 1 and owner[2, 2] == 0
    assert owner[0, 0] == BACKGROUND  # inside the large box, but not within the radius of its middle


def test_atss_takes_points_of_the_level_whose_anchors_fit():
    owner = assign_by_atss(LEVELS, STRIDES, torch.tensor([[24.0, 24, 104, 104]]))  # 80 px: anchors of stride 16
    assert set(STRIDES[owner == 0].tolist()) == {16.0}
    assert (distances_to_sides(LEVELS[owner == 0], torch.tensor([[24.0, 24, 104, 104]])) > 0).all()


def test_no_objects_means_background_everywhere():
    assert (assign_by_center(POINTS, NOTHING[0][0], 48) == BACKGROUND).all()
    assert (assign_by_atss(LEVELS, STRIDES, NOTHING[0][0]) == BACKGROUND).all()


def test_centerness_is_one_in_the_middle_and_falls_to_the_sides():
    points = torch.tensor([[10.0, 20], [4.0, 10]])
    values = centerness(points[:, None], torch.tensor([[0.0, 0, 20, 40], [0.0, 0, 20, 20]]))[:, 0]
    torch.testing.assert_close(values, torch.tensor([1.0, 0.5]))


def test_distribution_focal_loss_is_least_at_the_mean_between_two_bins():
    share = torch.tensor([[0.25, 0.75, 1e-9, 1e-9]]).log()
    best = distribution_focal_loss(share, torch.tensor([0.75]))
    assert best.item() == pytest.approx(-(0.25 * math.log(0.25) + 0.75 * math.log(0.75)), abs=1e-4)
    assert distribution_focal_loss(share, torch.tensor([2.5])) > 5


def test_quality_focal_loss_is_zero_where_the_quality_is_met():
    logits = torch.tensor([0.3, -2.0])
    assert quality_focal_loss(logits, logits.sigmoid()).abs().max() == 0
    assert quality_focal_loss(torch.tensor(0.0), torch.tensor(1.0)).item() == pytest.approx(0.25 * math.log(2))


def perfect_fcos(boxes, labels):
    owner = assign_by_center(POINTS, boxes, 48)
    matched = boxes[owner.clamp(min=0)]
    distances = distances_to_sides(POINTS, matched).clamp(min=1)
    logits = torch.full((1, 16, 3), -20.0)
    logits[0, owner >= 0, labels[owner[owner >= 0]]] = 20.0
    quality = centerness(POINTS[:, None], matched)[:, 0].clamp(1e-4, 1 - 1e-4).logit()
    return FcosOutput(class_logits=logits, distances=distances[None], centerness_logits=quality[None])


def test_fcos_losses_of_the_right_answer_are_nearly_zero():
    boxes, labels = torch.tensor([[10.0, 12, 100, 90]]), torch.tensor([2])
    losses = fcos_losses(perfect_fcos(boxes, labels), POINTS, 32, [boxes], [labels])
    assert losses["loss_class"] < 1e-6 and losses["loss_box"].abs() < 1e-5
    wrong = fcos_losses(perfect_fcos(boxes, labels), POINTS, 32, [boxes + 20], [labels - 1])
    assert wrong["loss_class"] > 1 and wrong["loss_box"] > 0.1


def nanodet_output(bins=8):
    torch.manual_seed(0)
    logits = torch.randn(1, len(LEVELS), 4, bins, requires_grad=True)
    distances = (logits.softmax(-1) @ torch.arange(float(bins))) * STRIDES[:, None]
    classes = torch.full((1, len(LEVELS), 3), -4.0, requires_grad=True)
    return NanoDetOutput(class_logits=classes, distances=distances, distance_logits=logits)


@pytest.mark.parametrize("objects", [NOTHING, ([torch.tensor([[20.0, 20, 70, 90]])], [torch.tensor([1])])])
def test_losses_and_gradients_are_finite(objects):
    output = nanodet_output()
    losses = nanodet_losses(output, LEVELS, STRIDES, *objects)
    sum(losses.values()).backward()
    assert all(loss.isfinite() for loss in losses.values())
    assert output.class_logits.grad.isfinite().all() and output.distance_logits.grad.isfinite().all()
    fcos = FcosOutput(
        class_logits=torch.zeros(1, 16, 3), distances=torch.ones(1, 16, 4), centerness_logits=torch.zeros(1, 16)
    )
    assert all(loss.isfinite() for loss in fcos_losses(fcos, POINTS, 32, *objects).values())


def test_nanodet_learns_one_box():
    boxes, labels = [torch.tensor([[20.0, 20, 70, 90]])], [torch.tensor([1])]
    logits = torch.zeros(1, len(LEVELS), 4, 8, requires_grad=True)
    classes = torch.full((1, len(LEVELS), 3), -4.0, requires_grad=True)
    optimizer = torch.optim.Adam([logits, classes], lr=0.3)
    for _ in range(40):
        distances = (logits.softmax(-1) @ torch.arange(8.0)) * STRIDES[:, None]
        output = NanoDetOutput(class_logits=classes, distances=distances, distance_logits=logits)
        optimizer.zero_grad()
        sum(nanodet_losses(output, LEVELS, STRIDES, boxes, labels).values()).backward()
        optimizer.step()
    best = classes[0].amax(-1).argmax()
    box = torch.cat([LEVELS[best] - distances[0, best, :2], LEVELS[best] + distances[0, best, 2:]])
    assert classes[0, best].argmax() == 1
    torch.testing.assert_close(box, boxes[0][0], atol=3, rtol=0)
