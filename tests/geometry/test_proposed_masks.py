"""Masks that are there, and masks inside of boxes: read, moved, joined and filled."""

import pytest
import torch
from torchvision.models.detection.roi_heads import paste_masks_in_image

from pbrec_hf.geometry.proposed_masks import BoxMasks, DenseMasks, LazyMasks

BOXES = torch.tensor([[[4.0, 8, 40, 56], [0, 0, 64, 64]], [[10, 10, 30, 20], [-8, 20, 20, 70]]])


def dense():
    return DenseMasks(torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0)))


def inside_boxes():
    maps = torch.rand(2, 2, 28, 28, generator=torch.Generator().manual_seed(0))
    return BoxMasks(maps, BOXES, canvas=(64, 64), size=(64, 64))


def test_maps_are_read_as_probabilities():
    masks = dense()
    image, point = torch.tensor([1, 0]), torch.tensor([2, 0])
    assert torch.equal(masks.at(image, point), torch.stack((masks.logits[1, 2], masks.logits[0, 0])).sigmoid())


def test_masks_in_boxes_are_as_torchvision_pastes_them():
    """But for its border: torchvision grows a box to whole pixels, which moves edges by less than one."""
    masks = inside_boxes()
    image, point = torch.tensor([0, 0, 1]), torch.tensor([0, 1, 0])
    found = masks.at(image, point)
    expected = paste_masks_in_image(masks.maps[image, point][:, None], BOXES[image, point], (64, 64), padding=1)[:, 0]
    assert found.shape == (3, 64, 64)
    inner = torch.stack([(expected[k] > 0) & (found[k] > 0) for k in range(3)])
    assert (found[1] - expected[1]).abs().mean() < 0.1 and inner[0].sum() > 36 * 48 * 0.9
    outside = torch.ones(64, 64, dtype=torch.bool)
    outside[8:56, 4:40] = False
    assert not found[0][outside].any()


def test_a_flat_map_fills_the_pixels_of_its_box():
    masks = BoxMasks(torch.ones(1, 1, 28, 28), torch.tensor([[[8.0, 16, 40, 48]]]), (64, 64), (32, 32))
    expected = torch.zeros(32, 32)
    expected[8:24, 4:20] = 1
    found = masks.at(torch.tensor([0]), torch.tensor([0]))[0]
    assert torch.equal(found > 0.5, expected > 0.5)


@pytest.mark.parametrize("make", [dense, inside_boxes])
def test_images_are_chosen_joined_and_filled(make):
    masks = make()
    again = type(masks).cat([masks[0:1], masks[torch.tensor([1])]])
    image, point = torch.tensor([0, 1, 1]), torch.tensor([1, 0, 1])
    assert len(masks[0:1]) == 1 and torch.equal(again.at(image, point), masks.at(image, point))
    more = masks.padded(7)
    assert more.num_points == 7 and torch.equal(more.at(image, point), masks.at(image, point))
    assert more.at(torch.tensor([0, 1]), torch.tensor([6, 5])).amax() < 1e-6


def test_masks_of_different_kinds_or_detectors_are_not_joined():
    lazy = LazyMasks(torch.zeros(1, 2, 4, 5), torch.zeros(3, 2), torch.zeros(3))
    other = LazyMasks(torch.zeros(1, 2, 4, 5), torch.ones(3, 2), torch.zeros(3))
    for parts in ([dense(), lazy], [lazy, other]):
        with pytest.raises(ValueError, match="different detectors"):
            type(parts[0]).cat(parts)
    with pytest.raises(ValueError, match="stand on grids"):
        lazy.padded(5)


@pytest.mark.parametrize(
    "make",
    [
        lambda: DenseMasks(torch.zeros(2, 3, 4)),
        lambda: BoxMasks(torch.zeros(1, 2, 3, 3), torch.zeros(1, 3, 4), (64, 64), (64, 64)),
    ],
)
def test_shapes_that_do_not_fit_are_refused(make):
    with pytest.raises(ValueError, match="give"):
        make()


def test_dense_masks_are_resized_before_the_sigmoid():
    logits = torch.tensor([[[[-4.0, 4.0]], [[0.0, 8.0]]]])
    masks = DenseMasks(logits, size=(1, 4))
    found = masks.at(torch.tensor([0, 0]), torch.tensor([1, 0]))
    expected = torch.tensor([[[0.0, 2.0, 6.0, 8.0]], [[-4.0, -2.0, 2.0, 4.0]]])
    assert torch.allclose(found, expected.sigmoid())
    more = masks.padded(3)
    assert more.size == (1, 4)
    assert more.at(torch.tensor([0]), torch.tensor([2])).max() < 1e-6
