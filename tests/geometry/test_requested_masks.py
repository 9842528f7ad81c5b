"""Masks made on request: in the order of the boxes, each canvas seen once."""

import torch

from pbrec_hf.geometry.proposals import Proposals
from pbrec_hf.geometry.requested_masks import RequestedMasks, are_requested


def requested(seen):
    def features(canvas):
        seen.append(float(canvas[0, 0, 0]))
        return canvas[0, 0, 0]

    def masks(value, boxes):
        return (value + boxes[:, 0])[:, None, None].expand(-1, 2, 3)

    canvases = torch.arange(3.0)[:, None, None, None].expand(3, 3, 4, 6) * 100
    return RequestedMasks(canvases, features, masks)


def test_each_box_gets_its_mask_and_each_canvas_is_seen_once():
    seen: list[float] = []
    masks = requested(seen)
    assert len(masks) == 3 and masks.canvas == (4, 6) and masks.device == torch.device("cpu")
    boxes = torch.tensor([[1.0, 0, 2, 2], [2, 0, 3, 3], [3, 0, 4, 4], [4, 0, 5, 5]])
    made = masks.of_boxes(torch.tensor([2, 0, 2, 0]), boxes)
    assert made.shape == (4, 2, 3) and made[:, 0, 0].tolist() == [201, 2, 203, 4]
    assert seen == [0, 200]
    masks.of_boxes(torch.tensor([1, 2]), boxes[:2])
    assert seen == [0, 200, 100]


def test_they_are_told_from_proposals():
    assert are_requested(requested([]))
    assert not are_requested(Proposals(((1, 1),), (4, 4), quality=torch.ones(1, 1))) and not are_requested(None)
