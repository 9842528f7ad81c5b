"""Proposals hold one entry per point of all grids, and can be sliced, concatenated and moved by image."""

import pytest
import torch
from torch.nn.functional import interpolate

from pbrec_hf.geometry.boxes import boxes_from_distances
from pbrec_hf.geometry.proposals import Proposals
from pbrec_hf.geometry.proposed_masks import LazyMasks

GRIDS = ((4, 6), (2, 3))
POINTS = 30


def masks(images, size=None):
    generator = torch.Generator().manual_seed(5)
    features = torch.randn(images, 8, 5, 7, generator=generator)
    return LazyMasks(
        features, torch.randn(POINTS, 8, generator=generator), torch.randn(POINTS, generator=generator), size
    )


def proposals(images=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return Proposals(
        grids=GRIDS,
        canvas=(64, 96),
        quality=torch.rand(images, POINTS, generator=generator),
        boxes=torch.rand(images, POINTS, 4, generator=generator),
        masks=masks(images),
        candidates=torch.rand(images, POINTS, generator=generator) > 0.5,
        labels=torch.randint(0, 80, (images, POINTS), generator=generator),
    )


@pytest.mark.parametrize("size", [None, (10, 14)])
def test_lazy_masks_equal_the_whole_convolution(size):
    lazy = masks(2, size)
    everything = (torch.einsum("nc,ichw->inhw", lazy.weight, lazy.features) + lazy.bias[:, None, None]).sigmoid()
    if size:
        everything = interpolate(everything, size, mode="bilinear", align_corners=False)
    image, point = torch.tensor([1, 0, 1, 1]), torch.tensor([3, 29, 0, 3])
    torch.testing.assert_close(lazy.at(image, point), everything[image, point])
    assert lazy.at(image[:0], point[:0]).shape == (0, *everything.shape[-2:])


def test_points_split_by_grid_and_images_by_index():
    whole = proposals()
    assert len(whole) == 3 and whole.num_points == POINTS and whole.points_per_grid == [24, 6]
    some = whole[torch.tensor([2, 0])]
    assert len(some) == 2 and torch.equal(some.boxes, whole.boxes[[2, 0]])
    assert torch.equal(some.masks.features, whole.masks.features[[2, 0]]) and some.masks.weight is whole.masks.weight
    assert len(whole[1:]) == 2
    with pytest.raises(TypeError, match=r"write \[1:2\]"):
        whole[1]


def test_concatenated_parts_equal_the_whole():
    whole = proposals()
    joined = Proposals.cat([whole[:1], whole[1:]]).to("cpu")
    for name in ("quality", "boxes", "candidates", "labels"):
        assert torch.equal(getattr(joined, name), getattr(whole, name))
    assert torch.equal(joined.masks.features, whole.masks.features) and joined.grids == whole.grids


def test_proposals_of_different_detectors_cannot_be_concatenated():
    boxes = Proposals(GRIDS, (64, 96), boxes=torch.zeros(1, POINTS, 4))
    with pytest.raises(ValueError, match="different detectors"):
        Proposals.cat([proposals(), boxes])
    other = proposals()
    other.masks.weight = other.masks.weight + 1
    with pytest.raises(ValueError, match="Masks of different detectors"):
        Proposals.cat([proposals(), other])
    with pytest.raises(ValueError, match="at least one"):
        Proposals.cat([])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "are empty: give boxes"),
        ({"boxes": torch.zeros(1, POINTS - 1, 4)}, "29 points"),
        ({"boxes": torch.zeros(1, POINTS + 1, 4)}, "31 points"),
        ({"boxes": torch.zeros(1, POINTS, 4), "quality": torch.zeros(2, POINTS)}, "different numbers of images"),
    ],
)
def test_inconsistent_proposals_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Proposals(GRIDS, (64, 96), **fields)


def test_inconsistent_masks_are_refused():
    with pytest.raises(ValueError, match="do not fit together"):
        LazyMasks(torch.zeros(1, 8, 2, 2), torch.zeros(4, 7), torch.zeros(4))


def test_missing_boxes_or_masks_raise_a_clear_error():
    quality = Proposals(GRIDS, (64, 96), quality=torch.zeros(1, POINTS))
    with pytest.raises(ValueError, match="hold no boxes: use a detector"):
        quality.require_boxes()
    with pytest.raises(ValueError, match="hold no masks: use a detector"):
        quality.require_masks()
    whole = proposals()
    assert whole.require_boxes() is whole.boxes and whole.require_masks() is whole.masks


def test_boxes_are_clipped_to_the_canvas():
    points = torch.tensor([[16.0, 16.0], [80.0, 48.0]])
    distances = torch.tensor([[[4.0, 20.0, 8.0, 2.0], [1.0, 2.0, 30.0, 40.0]]])
    expected = torch.tensor([[[12.0, 0.0, 24.0, 18.0], [79.0, 46.0, 96.0, 64.0]]])
    assert torch.equal(boxes_from_distances(points, distances, (64, 96)), expected)


def test_masks_alone_have_images_points_and_a_device():
    alone = Proposals(GRIDS, (64, 96), masks=masks(2))
    assert len(alone) == 2 and alone.num_points == POINTS and alone.device == torch.device("cpu")
    joined = Proposals.cat([alone, alone[torch.tensor([False, True])]])
    assert len(joined) == 3 and torch.equal(joined.masks.features[2], alone.masks.features[1])
    assert Proposals(GRIDS, (64, 96), quality=torch.zeros(1, POINTS, device="meta")).device == torch.device("meta")


def test_every_tensor_moves_to_the_device():
    moved = proposals().to("meta")
    tensors = [moved.quality, moved.boxes, moved.candidates, moved.labels]
    tensors += [moved.masks.features, moved.masks.weight, moved.masks.bias]
    assert all(tensor.is_meta for tensor in tensors) and moved.device == torch.device("meta")
    assert moved.grids == GRIDS and moved.canvas == (64, 96)


@pytest.mark.parametrize("change", ["grids", "canvas", "bias", "size"])
def test_what_differs_in_one_thing_is_of_another_detector(change):
    one, other = proposals(), proposals()
    if change == "grids":
        other.grids = ((6, 4), (2, 3))
    elif change == "canvas":
        other.canvas = (96, 64)
    elif change == "bias":
        other.masks.bias = other.masks.bias + 1
    else:
        other.masks.size = (10, 14)
    with pytest.raises(ValueError, match="different detectors cannot be concatenated"):
        Proposals.cat([one, one, other])


def test_masks_at_the_size_of_their_features_are_not_resized():
    lazy = masks(1)
    image, point = torch.tensor([0, 0]), torch.tensor([7, 2])
    plain = lazy.at(image, point)
    for size in ((5, 7), (10, 7), (5, 14)):
        found = LazyMasks(lazy.features, lazy.weight, lazy.bias, size).at(image, point)
        expected = interpolate(plain[:, None], size, mode="bilinear", align_corners=False)[:, 0]
        assert torch.equal(found, expected)


@pytest.mark.parametrize(
    ("features", "weight", "bias"),
    [((1, 8, 2), (4, 8), (4,)), ((8, 2, 2), (4, 8), (4,)), ((1, 8, 2, 2), (4, 8), (5,)), ((1, 8, 2, 2), (4,), (4,))],
)
def test_masks_of_other_shapes_are_refused(features, weight, bias):
    with pytest.raises(ValueError, match=r"do not fit together: give \(I, C, h, w\), \(N, C\) and \(N,\)"):
        LazyMasks(torch.zeros(features), torch.zeros(weight), torch.zeros(bias))


def test_sides_are_plain_integers():
    found = Proposals(torch.tensor([[4, 6], [2, 3]]), torch.tensor([64, 96]), quality=torch.zeros(1, POINTS))
    assert found.grids == GRIDS and found.canvas == (64, 96)
    assert all(type(side) is int for pair in (*found.grids, found.canvas) for side in pair)
