"""Mass-ness targets from small squares are those of the whole canvas, repairs included."""

import numpy as np
import pytest
import torch

from pbrec_hf.comprehension.targets import massness_targets
from pbrec_hf.data.mask_targets import massness_labels
from pbrec_hf.data.placement import Placement
from pbrec_hf.images.segmentation import mask_to_segmentation

CANVAS, STRIDE = 256, 16
PLACEMENT = Placement.from_letterbox((CANVAS, CANVAS, CANVAS, CANVAS, 0, 0), CANVAS)


@pytest.mark.parametrize("style", ["paper", "released_code", "hard"])
@pytest.mark.parametrize(
    "mask_box", [(200, 180, 203, 182), (33, 130, 34, 131), (100, 40, 190, 120)], ids=["far", "left", "large"]
)
@pytest.mark.parametrize("box", [(199, 179, 205, 183), (30, 120, 60, 140), (90, 30, 200, 130)])
def test_a_repair_is_at_the_centre_of_the_box_on_the_whole_canvas(style, mask_box, box):
    left, top, right, bottom = mask_box
    mask = np.zeros((CANVAS, CANVAS), np.uint8)
    mask[top:bottom, left:right] = 1
    boxes = torch.tensor([box], dtype=torch.float32)
    size = (CANVAS, CANVAS)
    found = massness_labels(boxes, [mask_to_segmentation(mask)], [PLACEMENT], [size], CANVAS, STRIDE, style)
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    expected = massness_targets(torch.from_numpy(mask)[None], CANVAS, STRIDE, style=style, centers=centers)
    assert torch.equal(found[1], expected[1])
    torch.testing.assert_close(found[0], expected[0], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("speck", [[200.1, 180.1, 200.2, 180.1, 200.2, 180.2], [90.1, 60.1, 90.2, 60.1, 90.2, 60.2]])
def test_the_repaired_point_of_a_mask_without_pixels_is_the_nearest_to_the_boxs_centre(speck):
    """It is found in a square somewhere on the canvas, so the centre must be moved there, too."""
    segmentation = {"polygons": [speck], "counts": None, "size": None}
    boxes = torch.tensor([[150.0, 150, 206, 230], [60, 40, 92, 64], [10, 10, 14, 14]])
    sizes, placements = [(CANVAS, CANVAS)] * 3, [PLACEMENT] * 3
    targets, repaired = massness_labels(boxes, [segmentation] * 3, placements, sizes, CANVAS, STRIDE, "paper")
    assert repaired.tolist() == [True] * 3 and targets.sum(dim=1).tolist() == [1, 1, 1]
    cells = CANVAS // STRIDE
    expected = [(190 // STRIDE) * cells + 178 // STRIDE, (52 // STRIDE) * cells + 76 // STRIDE, 0]
    assert targets.argmax(dim=1).tolist() == expected


def test_no_referents_have_no_targets():
    targets, repaired = massness_labels(torch.zeros(0, 4), [], [], [], CANVAS, STRIDE, "paper")
    assert targets.shape == (0, (CANVAS // STRIDE) ** 2) and repaired.shape == (0,)
