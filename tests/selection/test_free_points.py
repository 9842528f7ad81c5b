"""Proposals at points of their own: as on grids where they stand there, of images or of expressions, filled or not."""

import dataclasses

import pytest
import torch

from pbrec_hf.geometry.points import grid_points
from pbrec_hf.geometry.proposals import Proposals
from pbrec_hf.geometry.proposed_masks import DenseMasks
from pbrec_hf.modeling_pbrec import PbrecOutput
from pbrec_hf.selection.answers import answers
from pbrec_hf.selection.choose import rank_and_choose
from pbrec_hf.selection.referents import only_referent
from pbrec_hf.selection.settings import SelectionSettings

CANVAS = (128, 128)
LETTERBOX = torch.tensor([[64, 128, 64, 128, 32, 0], [128, 128, 128, 128, 0, 0]])  # the first has padding
INDEX = torch.tensor([0, 0, 1])


def on_grid(**fields):
    """8 × 8 boxes with masks on two canvases."""
    generator = torch.Generator().manual_seed(0)
    centres = grid_points(8, 8, 16).expand(2, -1, -1)
    half = torch.rand(2, 64, 2, generator=generator) * 30 + 5
    return Proposals(
        grids=((8, 8),),
        canvas=CANVAS,
        boxes=torch.cat((centres - half, centres + half), dim=2),
        quality=torch.rand(2, 64, generator=generator),
        masks=DenseMasks(torch.randn(2, 64, 32, 32, generator=generator)),
        **fields,
    )


def at_points(proposals):
    return dataclasses.replace(proposals, grids=(), points=grid_points(8, 8, 16).expand(len(proposals), -1, -1))


def chosen(proposals, index=INDEX, **settings):
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(len(INDEX), 16, generator=generator)
    outputs = PbrecOutput(center_logits=logits, mass_logits=logits.flip(1))
    inputs = {
        "letterbox": LETTERBOX,
        "image_index": index,
        "box_proposals": dataclasses.replace(proposals, masks=None),
        "mask_proposals": proposals,
    }
    groups = rank_and_choose(outputs, inputs, SelectionSettings(**settings))
    return groups, answers(only_referent(groups), inputs)


SETTINGS = [{}, {"choose": "fit"}, {"masks_follow_boxes": True}, {"interpolate": "logits", "ranking": "score"}]


def assert_same(one, other, atol=1e-6):
    for kind in ("boxes", "masks"):
        torch.testing.assert_close(one[0][kind].values, other[0][kind].values, atol=atol, rtol=0)
        assert torch.equal(one[0][kind].chosen("points"), other[0][kind].chosen("points"))
    for answer, expected in zip(one[1], other[1], strict=True):
        torch.testing.assert_close(answer["boxes"], expected["boxes"])
        assert torch.equal(answer["masks"], expected["masks"])


@pytest.mark.parametrize("settings", SETTINGS)
def test_points_at_the_cells_of_a_grid_are_chosen_as_on_the_grid(settings):
    assert_same(chosen(at_points(on_grid()), **settings), chosen(on_grid(), **settings))


@pytest.mark.parametrize("settings", SETTINGS)
def test_proposals_of_expressions_are_chosen_as_those_of_their_images(settings):
    of_images = at_points(on_grid())
    of_expressions = dataclasses.replace(of_images[INDEX], per_expression=True)
    assert_same(chosen(of_expressions, **settings), chosen(of_images, **settings))


def test_proposals_of_other_expressions_are_refused():
    two = dataclasses.replace(at_points(on_grid()), per_expression=True)
    with pytest.raises(ValueError, match="found for 2 expressions, but there are 3"):
        chosen(two)


@pytest.mark.parametrize("settings", SETTINGS)
def test_what_fills_a_row_is_never_chosen(settings):
    whole = at_points(on_grid())
    filled = whole.padded(100)
    assert filled.num_points == 100 and filled.valid.sum(dim=1).tolist() == [64, 64]
    (few, expected), (many, found) = chosen(whole, **settings), chosen(filled, **settings)
    for kind in few:
        assert torch.equal(many[kind].chosen("points"), few[kind].chosen("points"))
    for answer, wanted in zip(found, expected, strict=True):
        assert torch.equal(answer["boxes"], wanted["boxes"]) and torch.equal(answer["masks"], wanted["masks"])


@pytest.mark.parametrize("settings", SETTINGS)
def test_where_nothing_was_proposed_there_is_no_answer(settings):
    nothing = dataclasses.replace(at_points(on_grid()), valid=torch.zeros(2, 64, dtype=torch.bool))
    assert [len(answer["boxes"]) for answer in chosen(nothing, **settings)[1]] == [0, 0, 0]


def test_points_in_the_padding_are_not_chosen():
    proposals = at_points(on_grid())
    values = chosen(proposals, top_k=64)[0]["boxes"].values
    inside = (proposals.points[0, :, 1] >= 32) & (proposals.points[0, :, 1] < 96)
    assert (values[0] > -torch.inf).sum() == inside.sum() == 32 and (values[2] > -torch.inf).all()


def test_level_weights_belong_to_grids():
    with pytest.raises(ValueError, match="level_weights has 1 entries for a detector with 0 grids"):
        chosen(at_points(on_grid()), level_weights=[1.0])
