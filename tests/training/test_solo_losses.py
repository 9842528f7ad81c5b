"""SOLO's targets and losses equal the golden ones, and are finite where there is nothing to learn."""

import pytest
import torch
from pycocotools import mask as coco_mask
from solo_golden import facts, head_output, tensors, unpack_bits

from pbrec_hf.training.detection.solo_losses import dice_loss, solo_losses
from pbrec_hf.training.detection.solo_targets import shrink_masks, solo_targets

ONE_LEVEL = {"num_classes": 5, "strides": [8], "num_grids": [8], "scale_ranges": [(0, 1000)], "center_region": 0.2}


def golden_targets(image):
    sizes = facts()["config_small"]
    return solo_targets(
        tensors()[f"gt.{image}.boxes"],
        tensors()[f"gt.{image}.labels"],
        unpack_bits(tensors()[f"gt.{image}.masks"]),
        num_classes=sizes["num_classes"],
        strides=sizes["strides"],
        num_grids=sizes["num_grids"],
        scale_ranges=sizes["scale_ranges"],
        center_region=sizes["pos_scale"],
    )


def targets_of(mask, box, **changes):
    masks = torch.as_tensor(mask)[None]
    return solo_targets(torch.tensor([box]), torch.tensor([3]), masks, **{**ONE_LEVEL, **changes})


def losses_of(targets):
    """The losses of a head that answers 0 everywhere, and the gradient of its masks."""
    masks = [torch.zeros(1, 64, 16, 16, requires_grad=True)]
    losses = solo_losses(tuple(masks), (torch.zeros(1, 5, 8, 8),), [targets])
    sum(losses.values()).backward()
    return losses, masks[0].grad


@pytest.mark.parametrize("image", [0, 1])
def test_targets_equal_golden(image):
    for level, target in enumerate(golden_targets(image)):
        prefix = f"target.{image}.{level}."
        assert torch.equal(target.labels, tensors()[prefix + "labels"])
        assert torch.equal(target.positive, tensors()[prefix + "pos"].bool())
        if target.positive.any():
            assert torch.equal(target.masks, tensors()[prefix + "masks"].bool())
        else:
            assert prefix + "masks" not in tensors() and not len(target.masks)


def test_losses_equal_golden():
    targets = [golden_targets(image) for image in range(2)]
    assert sum(int(t.positive.sum()) for image in targets for t in image) == facts()["num_pos"]
    losses = solo_losses(head_output().mask_logits, head_output().class_logits, targets)
    golden = facts()["loss_mmdet"]
    assert losses["loss_mask"].item() == pytest.approx(golden["loss_mask"], abs=1e-5)
    assert losses["loss_class"].item() == pytest.approx(golden["loss_cls"], abs=1e-5)


def test_a_half_covered_pixel_belongs_to_the_smaller_mask():
    mask = torch.zeros(1, 8, 8, dtype=torch.uint8)
    mask[0, 1, 1:3] = 1  # two of the middle four pixels of the first block of 4×4
    mask[0, 1, 5] = 1  # one of the second block's
    assert torch.equal(shrink_masks(mask, 4)[0], torch.tensor([[True, False], [False, False]]))
    with pytest.raises(ValueError, match="multiple of 3"):
        shrink_masks(mask, 3)


def test_an_empty_mask_is_skipped():
    (target,) = targets_of(torch.zeros(64, 64, dtype=torch.bool), [10.0, 10.0, 40.0, 40.0])
    assert not target.positive.any() and (target.labels == 5).all()
    losses, gradient = losses_of([target])
    assert losses["loss_mask"].item() == 0 and losses["loss_class"].isfinite() and gradient.isfinite().all()


def test_no_objects_at_all():
    nothing = solo_targets(torch.zeros(0, 4), torch.zeros(0).long(), torch.zeros(0, 64, 64).bool(), **ONE_LEVEL)
    losses, _ = losses_of(nothing)
    assert losses["loss_mask"].item() == 0 and losses["loss_class"].isfinite()


def test_an_object_smaller_than_a_cell_owns_its_cell():
    mask = torch.zeros(64, 64, dtype=torch.bool)
    mask[20, 41] = True  # one pixel: nothing is left of it at a quarter of the size
    (target,) = targets_of(mask, [41.0, 20.0, 42.0, 21.0])
    assert target.positive.nonzero().tolist() == [[2 * 8 + 5]] and target.labels[2, 5] == 3
    losses, gradient = losses_of([target])
    assert losses["loss_mask"].isfinite() and gradient.isfinite().all()


@pytest.mark.parametrize("kind", ["crowd RLE", "multi-part polygon"])
def test_coco_segmentations_give_finite_targets(kind):
    parts = [[4, 4, 20, 4, 20, 20, 4, 20], [40, 40, 60, 40, 60, 60]]
    rle = coco_mask.merge(coco_mask.frPyObjects(parts, 64, 64))
    if kind == "crowd RLE":
        pixels, counts = coco_mask.decode(rle).ravel(order="F"), [0]
        for before, pixel in zip([0, *pixels], pixels, strict=False):
            counts = [*counts, 1] if pixel != before else [*counts[:-1], counts[-1] + 1]
        rle = coco_mask.frPyObjects({"counts": counts, "size": [64, 64]}, 64, 64)
    (target,) = targets_of(coco_mask.decode(rle), [4.0, 4.0, 60.0, 60.0])
    assert target.positive.any() and target.masks[0].sum() > 10
    losses, gradient = losses_of([target])
    assert losses["loss_mask"].isfinite() and gradient.isfinite().all()


def test_the_later_of_two_objects_owns_a_shared_cell():
    masks = torch.zeros(2, 64, 64, dtype=torch.bool)
    masks[0, 10:50, 10:50] = masks[1, 20:40, 20:40] = True
    boxes = torch.tensor([[10.0, 10, 50, 50], [20.0, 20, 40, 40]])
    (target,) = solo_targets(boxes, torch.tensor([1, 2]), masks, **ONE_LEVEL)
    assert target.labels[3, 3] == 2
    assert target.masks[target.positive[: 3 * 8 + 3].sum()].sum() == 25


def test_dice_loss_is_zero_for_a_perfect_mask():
    mask = torch.zeros(1, 4, 4)
    mask[0, 1:3] = 1
    assert dice_loss(mask, mask).item() == pytest.approx(0, abs=1e-3)
    assert dice_loss(1 - mask, mask).item() == pytest.approx(1)
