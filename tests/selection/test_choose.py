"""Which head ranks what, on which grid; and what does not fit together is refused by name."""

import math

import pytest
import torch

from pbrec_hf.geometry.proposals import Proposals
from pbrec_hf.geometry.proposed_masks import LazyMasks
from pbrec_hf.modeling_pbrec import PbrecImageFeatures, PbrecOutput
from pbrec_hf.selection.choose import pictures_of, rank_and_choose
from pbrec_hf.selection.settings import SelectionSettings

BOXES = torch.tensor([[[0.0, 0, 32, 32], [32, 0, 64, 32], [0, 32, 32, 64], [32, 32, 64, 64]]])
PLACES = torch.tensor([[64, 64, 64, 64, 0, 0]])


def boxes(grid=(2, 2), **fields):
    return Proposals((grid,), (64, 64), **{"boxes": BOXES, **fields})


def masks(grid=(2, 2), **fields):
    """The mask of point k is the quarter that box k fills."""
    quarters = torch.full((1, 4, 4, 4), -9.0)
    for point in range(4):
        row, col = divmod(point, 2)
        quarters[0, point, 2 * row : 2 * row + 2, 2 * col : 2 * col + 2] = 9.0
    return Proposals((grid,), (64, 64), masks=LazyMasks(quarters, torch.eye(4), torch.zeros(4)), **fields)


def inputs(**fields):
    return {"letterbox": PLACES, "box_proposals": boxes(), "mask_proposals": masks(), **fields}


def best_at(point):
    """Logits of one expression whose best point is `point`."""
    logits = torch.full((1, 4), -3.0)
    logits[0, point] = 3.0
    return logits


ONE = SelectionSettings(top_k=1)


@pytest.mark.parametrize(("center", "mass", "expected"), [(1, 2, (1, 2)), (1, None, (1, 1)), (None, 2, (2, 2))])
def test_a_missing_head_is_replaced_by_the_other(center, mass, expected):
    heads = {"center_logits": center, "mass_logits": mass}
    outputs = PbrecOutput(**{name: None if point is None else best_at(point) for name, point in heads.items()})
    groups = rank_and_choose(outputs, inputs(), ONE)
    assert (groups["boxes"].points.item(), groups["masks"].points.item()) == expected
    assert list(groups) == ["boxes", "masks"]


@pytest.mark.parametrize("kind", ["boxes", "masks"])
def test_one_kind_of_proposals_is_enough(kind):
    other = {"boxes": "mask_proposals", "masks": "box_proposals"}[kind]
    settings = SelectionSettings(top_k=1, masks_follow_boxes=True)
    groups = rank_and_choose(PbrecOutput(center_logits=best_at(3)), inputs(**{other: None}), settings)
    assert list(groups) == [kind] and groups[kind].points.item() == 3
    with pytest.raises(ValueError, match="`inputs` holds no proposals"):
        rank_and_choose(PbrecOutput(center_logits=best_at(3)), {"letterbox": PLACES}, ONE)


def test_masks_vote_even_where_boxes_are_chosen_by_fit():
    outputs = PbrecOutput(center_logits=best_at(1), mass_logits=best_at(2))
    groups = rank_and_choose(outputs, inputs(), SelectionSettings(choose="fit", top_k=1))
    assert groups["boxes"].points.item() == 1 and groups["masks"].points.item() == 2
    # The value of a fit is a cosine, that of a vote a probability.
    assert groups["boxes"].values.item() != groups["boxes"].score.item()
    assert groups["masks"].values.item() == pytest.approx(1 / (1 + math.exp(-3)))


def test_scores_form_a_grid_over_a_canvas_that_is_not_square():
    wide = Proposals(((1, 2),), (32, 64), boxes=torch.tensor([[[0.0, 0, 32, 32], [32, 0, 64, 32]]]))
    place = torch.tensor([[32, 64, 32, 64, 0, 0]])
    logits = torch.tensor([[0.0, 0, 0, 4, 0, 0, 0, 4]])  # 2 × 4 points: the last column
    found = rank_and_choose(
        PbrecOutput(center_logits=logits), {"letterbox": place, "box_proposals": wide}, SelectionSettings(top_k=2)
    )
    assert found["boxes"].points.tolist() == [[1, 0]]
    # Cells of the 1 × 2 grid lie between the middle columns of each half.
    middle = 1 / (1 + math.exp(-4))
    assert found["boxes"].values.tolist()[0] == pytest.approx([(0.5 + middle) / 2, 0.5])


@pytest.mark.parametrize(("points", "canvas"), [(7, (64, 64)), (3, (64, 64)), (8, (64, 64)), (1, (64, 6400))])
def test_scores_that_form_no_grid_are_refused(points, canvas):
    offered = Proposals(((2, 2),), canvas, boxes=BOXES)
    outputs = PbrecOutput(center_logits=torch.zeros(1, points))
    with pytest.raises(
        ValueError, match=f"{points} scores per expression do not form a grid .* of {canvas[0]}×{canvas[1]}"
    ):
        rank_and_choose(outputs, {"letterbox": PLACES, "box_proposals": offered}, ONE)


def test_the_number_of_expressions_is_that_of_the_inputs():
    assert pictures_of({"letterbox": PLACES}, 3).tolist() == [0, 0, 0]
    assert pictures_of({"letterbox": PLACES.expand(2, -1), "image_index": torch.tensor([1, 0, 1])}, 3).tolist() == [
        1,
        0,
        1,
    ]
    for count in (2, 4):
        with pytest.raises(ValueError, match=f"`outputs` scores {count} expressions, but `inputs` holds 3"):
            pictures_of({"letterbox": PLACES, "image_index": torch.tensor([0, 0, 0])}, count)


def test_a_mask_of_the_same_grid_belongs_to_its_box_even_if_another_is_nearer():
    settings = SelectionSettings(top_k=1, masks_follow_boxes=True)
    shifted = masks(boxes=BOXES.flip(1))
    outputs = PbrecOutput(center_logits=best_at(1), mass_logits=best_at(2))
    followed = rank_and_choose(outputs, inputs(mask_proposals=shifted), settings)
    assert followed["masks"].points.item() == 1
    other_grid = masks(grid=(1, 4), boxes=BOXES.flip(1))
    assert rank_and_choose(outputs, inputs(mask_proposals=other_grid), settings)["masks"].points.item() == 2
    group = followed["masks"]
    assert group.values.shape == (1, 1) and group.winner.tolist() == [0]
    assert torch.equal(group.values[:, 0], followed["boxes"].values[:, 0]) and torch.equal(
        group.score, followed["boxes"].score
    )
    with pytest.raises(ValueError, match=r"at different points \(grids \(\(2, 2\),\) and grids \(\(1, 4\),\)\)"):
        rank_and_choose(outputs, inputs(mask_proposals=masks(grid=(1, 4))), settings)


def test_the_fit_reads_the_points_and_the_mask_of_the_model():
    logits = torch.full((1, 16), -9.0)
    logits[0, 5] = logits[0, 10] = 3.0
    settings = SelectionSettings(choose="fit", top_k=1)
    small = torch.tensor([[[16.0, 16, 32, 32], [32, 32, 48, 48], [0, 0, 1, 1], [63, 63, 64, 64]]])
    offered = {"letterbox": PLACES, "box_proposals": boxes(boxes=small)}
    for padded, expected in ((5, 1), (10, 0)):
        mask = torch.ones(1, 16, dtype=torch.bool)
        mask[0, padded] = False
        features = PbrecImageFeatures(features=torch.zeros(1, 16, 2), mask=mask)
        outputs = PbrecOutput(center_logits=logits, image_features=features)
        assert rank_and_choose(outputs, offered, settings)["boxes"].points.item() == expected


@pytest.mark.parametrize("kind", ["boxes", "masks"])
def test_a_quality_is_from_0_to_1_but_for_the_rounding_of_half_precision(kind):
    name, make = {"boxes": ("box_proposals", boxes), "masks": ("mask_proposals", masks)}[kind]
    outputs = PbrecOutput(center_logits=best_at(1))
    for low, high in ((0.0, 1.0), (-0.0009, 0.5), (0.5, 1.0009)):
        quality = torch.tensor([[low, high, 0.5, 0.5]])
        assert kind in rank_and_choose(outputs, inputs(**{name: make(quality=quality)}), ONE)
    for low, high in ((-0.0011, 0.5), (0.5, 1.0011)):
        quality = torch.tensor([[low, high, 0.5, 0.5]])
        with pytest.raises(ValueError, match=f"The quality of the proposed {kind} runs from {low:g} to {high:g}"):
            rank_and_choose(outputs, inputs(**{name: make(quality=quality)}), ONE)
    nobody = {"letterbox": PLACES[:0], name: make()[:0]}
    assert rank_and_choose(PbrecOutput(center_logits=torch.zeros(0, 4)), nobody, ONE)[kind].score.shape == (0,)
