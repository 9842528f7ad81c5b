"""Ranking over the detector's grids, vote, fit and follow: the effect of each setting."""

import math

import pytest
import torch
from released_checkpoint import GOLDEN
from safetensors.torch import load_file

from pbrec_hf.comprehension.targets import centerness_targets
from pbrec_hf.geometry.letterbox import Letterbox
from pbrec_hf.geometry.points import grid_points
from pbrec_hf.geometry.proposals import Proposals
from pbrec_hf.geometry.proposed_masks import LazyMasks
from pbrec_hf.modeling_pbrec import PbrecImageFeatures, PbrecOutput
from pbrec_hf.selection.answers import answers as in_pixels
from pbrec_hf.selection.calibration import Limits
from pbrec_hf.selection.choose import rank_and_choose
from pbrec_hf.selection.fit import fit_boxes
from pbrec_hf.selection.groups import Group
from pbrec_hf.selection.ranking import rank_proposals
from pbrec_hf.selection.referents import Referents, only_referent
from pbrec_hf.selection.settings import SelectionSettings
from pbrec_hf.selection.vote import choose_boxes

WHOLE = torch.tensor([[640, 640, 640, 640, 0, 0]])


def answers(groups, inputs, threshold=0.0, *options, **named):
    return in_pixels(only_referent(groups, Limits(threshold)), inputs, *options, **named)


def proposals(grids, **fields):
    points = sum(rows * cols for rows, cols in grids)
    fields = {"quality": torch.full((1, points), 0.5), **fields}
    return Proposals(grids=grids, canvas=(640, 640), **fields)


def test_a_mask_that_several_expressions_mean_is_drawn_once_and_is_each_ones_own(monkeypatch):
    drawn = []
    draw = Letterbox.mask_to_original
    monkeypatch.setattr(Letterbox, "mask_to_original", lambda *args: drawn.append(args) or draw(*args))
    rows = torch.arange(5)
    masks = torch.zeros(5, 4, 4)
    masks[:3, :2], masks[3, 2:], masks[4, 1:3] = 1, 1, 1
    masks[2, 0, 0], masks[2, 0, 1] = 0.9, 1.1  # the same sum
    found = Referents(5, rows, torch.ones(5), torch.ones(5), None, masks=masks)
    inputs = {
        "letterbox": torch.tensor([[640, 640, 640, 640, 0, 0], [8, 8, 640, 640, 0, 0]]),
        "mask_proposals": proposals(((2, 2),)),
        "image_index": torch.tensor([0, 0, 0, 0, 1]),
    }
    first, second, *others = in_pixels(found, inputs)
    assert len(drawn) == 4
    assert torch.equal(first["masks"], second["masks"]) and first["boxes"].tolist() == [[0, 0, 640, 320]]
    assert [entry["boxes"].tolist() for entry in others[1:]] == [[[0, 320, 640, 640]], [[0, 2, 8, 6]]]
    first["masks"][:] = False
    assert second["masks"].any()


@pytest.mark.parametrize("kind", ["probabilities", "logits"])
def test_both_ways_of_interpolation_equal_the_golden_scores(kind):
    golden = load_file(GOLDEN / "mask_nms_paper.safetensors")
    logits = golden["mass_logits_20x20"].flatten(1).double()
    letterbox = WHOLE.expand(10, -1)
    masks = Proposals(grids=((24, 24),), canvas=(640, 640), quality=torch.ones(10, 576))
    settings = SelectionSettings(ranking="score", interpolate=kind)
    values = rank_proposals(logits, (20, 20), masks, torch.arange(10), letterbox, settings)
    expected = golden[f"score_24_from_{'sigmoid' if kind == 'probabilities' else 'logits'}"].flatten(1)
    torch.testing.assert_close(values, expected, atol=1e-9, rtol=0)


def test_levels_quality_and_candidates_change_the_ranking():
    grids = ((4, 4), (2, 2))
    logits = torch.zeros(1, 16)
    quality = torch.linspace(0.1, 1, 20)[None]
    candidates = torch.zeros(1, 20, dtype=torch.bool)
    candidates[0, 3] = True
    offered = proposals(grids, quality=quality, candidates=candidates)

    def best(**settings):
        values = rank_proposals(
            logits, (4, 4), offered, torch.zeros(1, dtype=int), WHOLE, SelectionSettings(**settings)
        )
        return values.argmax().item(), int(values.isfinite().sum())

    assert best() == (19, 20)
    assert best(ranking="score") == (0, 20)
    assert best(level_weights=[1.0, 0.1]) == (15, 20)
    assert best(candidates_only=True) == (3, 1)
    with pytest.raises(ValueError, match="level_weights has 1 entries for a detector with 2 grids"):
        best(level_weights=[1.0])


def test_points_in_the_padding_are_not_ranked():
    letterbox = torch.tensor([[320, 640, 320, 640, 160, 0]])
    offered = proposals(((4, 4),))
    values = rank_proposals(
        torch.zeros(1, 16), (4, 4), offered, torch.zeros(1, dtype=int), letterbox, SelectionSettings()
    )
    assert values.isfinite().view(4, 4).tolist() == [[False] * 4, [True] * 4, [True] * 4, [False] * 4]


def test_the_score_is_the_best_value_among_the_boxes_that_agree_with_the_answer():
    boxes = torch.tensor([[0.0, 0, 9, 9], [100, 100, 200, 200], [100, 100, 201, 200], [100, 100, 199, 200]])
    offered = proposals(((2, 2),), boxes=boxes[None])
    group = choose_boxes(torch.tensor([[0.9, 0.8, 0.7, 0.6]]), offered, torch.zeros(1, dtype=int), top_k=4)
    assert group.points[0, group.winner[0]].item() in (1, 2, 3)
    assert group.score.item() == pytest.approx(0.8)


def test_the_fit_selects_the_box_whose_target_equals_the_scores():
    whole, half, other = [64.0, 64, 448, 256], [64.0, 64, 256, 256], [448.0, 448, 640, 640]
    center, _ = centerness_targets(torch.tensor([whole, other]), 640, 32)
    logits = torch.logit(center, eps=0.01)
    boxes = torch.tensor([half, whole, whole, other])[None]
    quality = torch.tensor([[0.9, 0.8, 0.9, 0.3]])
    candidates = torch.tensor([[True, True, False, True]])
    inputs = {
        "box_proposals": proposals(((2, 2),), boxes=boxes, quality=quality, candidates=candidates),
        "image_index": torch.zeros(2, dtype=int),
        "letterbox": WHOLE,
    }
    outputs = PbrecOutput(center_logits=logits)
    settings = SelectionSettings(choose="fit", candidates_only=True, quality_power=0.4)
    group = rank_and_choose(outputs, inputs, settings)["boxes"]
    assert group.boxes[[0, 1], group.winner].tolist() == [whole, other]
    assert group.points[0].tolist()[:3] == [1, 0, 3] and group.values[0, 3] == -torch.inf
    values = rank_proposals(logits, (20, 20), inputs["box_proposals"], inputs["image_index"], WHOLE, settings)
    assert group.score[0] == values[0, :2].max() and group.score[1] == values[1, 3]
    everything = rank_and_choose(outputs, inputs, SelectionSettings(choose="fit", quality_power=0.4))["boxes"]
    assert everything.points[:, 0].tolist() == [2, 3]
    with pytest.raises(ValueError, match='choose="fit" needs a square grid, but the scores form 4×100: use "vote"'):
        fit_boxes(values, logits, (4, 100), inputs["box_proposals"], inputs["image_index"], settings)


def test_the_fit_of_one_expression_does_not_depend_on_the_others_of_its_picture():
    boxes = torch.tensor([[[0.0, 0, 320, 320], [320, 320, 640, 640], [0, 0, 640, 640], [100, 100, 200, 200]]])
    found = proposals(((2, 2),), boxes=boxes)
    logits = torch.randn(2, 400, generator=torch.Generator().manual_seed(0))
    values = torch.rand(2, 4, generator=torch.Generator().manual_seed(1))
    values[0] = -torch.inf  # no proposal is valid for the first expression
    both = fit_boxes(values, logits, (20, 20), found, torch.zeros(2, dtype=torch.long), SelectionSettings())
    alone = fit_boxes(values[1:], logits[1:], (20, 20), found, torch.zeros(1, dtype=torch.long), SelectionSettings())
    assert torch.equal(both.points[1], alone.points[0]) and both.score[1] == alone.score[0]
    assert both.score[0] == -torch.inf


def test_the_fit_uses_the_positions_of_the_points():
    # Both small boxes have the same nearest point, until it is moved to the centre of the second box.
    boxes = torch.tensor([[[317.0, 317, 329, 329], [338, 338, 350, 350]]])
    inputs = {
        "box_proposals": proposals(((1, 2),), boxes=boxes, quality=torch.tensor([[0.6, 0.5]])),
        "image_index": torch.zeros(1, dtype=int),
        "letterbox": WHOLE,
    }
    logits = torch.full((1, 400), -6.0)
    logits[0, 210] = 4.0
    points = grid_points(20, 20, 32)
    points[210] += 8
    settings = SelectionSettings(choose="fit")
    middles = PbrecOutput(center_logits=logits)
    assert rank_and_choose(middles, inputs, settings)["boxes"].points[0, 0] == 0
    moved = PbrecOutput(center_logits=logits, image_features=PbrecImageFeatures(points=points[None]))
    assert rank_and_choose(moved, inputs, settings)["boxes"].points[0, 0] == 1


@pytest.mark.parametrize(
    "fields", [{"interpolate": "masks"}, {"ranking": "x"}, {"top_k": 1.5}, {"choose": "best"}, {"mask_threshold": 1.0}]
)
def test_illegal_settings_are_refused(fields):
    with pytest.raises(ValueError, match=next(iter(fields))):
        SelectionSettings(**fields)


def masks(grids):
    """Point k of a 2 × 2 grid has the mask of channel k: the pixels of one quarter."""
    quarters = torch.full((1, 4, 4, 4), -9.0)
    for point in range(4):
        row, col = divmod(point, 2)
        quarters[0, point, 2 * row : 2 * row + 2, 2 * col : 2 * col + 2] = 9.0
    return proposals(grids, masks=LazyMasks(quarters, torch.eye(4), torch.zeros(4)))


def test_masks_may_follow_the_boxes():
    boxes = torch.tensor([[0.0, 0, 320, 320], [320, 0, 640, 320], [0, 320, 320, 640], [320, 320, 640, 640]])
    inputs = {
        "box_proposals": proposals(((2, 2),), boxes=boxes[None]),
        "mask_proposals": masks(((2, 2),)),
        "image_index": torch.zeros(2, dtype=int),
        "letterbox": WHOLE,
    }
    center, mass = torch.tensor([[3.0, 0, 0, 0], [0, 0, 0, 3.0]]), torch.tensor([[0, 3.0, 0, 0], [0, 3.0, 0, 0]])
    outputs = PbrecOutput(center_logits=center, mass_logits=mass)
    apart = rank_and_choose(outputs, inputs, SelectionSettings(top_k=1))
    assert apart["boxes"].points.tolist() == [[0], [3]] and apart["masks"].points.tolist() == [[1], [1]]
    together = rank_and_choose(outputs, inputs, SelectionSettings(top_k=1, masks_follow_boxes=True))
    assert together["masks"].points.tolist() == [[0], [3]]
    assert (together["masks"].masks[1, 0] > 0.5).nonzero().min() == 2
    inputs["box_proposals"].boxes[0, 3] = torch.tensor([320.0, 320, 640, 400])  # half of row 2 of the mask cells
    cut = rank_and_choose(outputs, inputs, SelectionSettings(top_k=1, masks_follow_boxes=True))
    halved = together["masks"].masks[1, 0, 2:] * torch.tensor([[0.5], [0.0]])
    torch.testing.assert_close(cut["masks"].masks[1, 0, 2:], halved)
    small, large = (answers(cut, inputs, 0.0, threshold)[1]["masks"].sum() for threshold in (0.4, 0.2))
    assert 0 < small < large
    inputs["box_proposals"] = proposals(((1, 4),), boxes=boxes[None])
    inputs["mask_proposals"].boxes = boxes[None, [0, 1, 3, 2]] + 5.0  # other points: the most similar box counts
    similar = rank_and_choose(outputs, inputs, SelectionSettings(top_k=1, masks_follow_boxes=True))
    chosen = similar["boxes"].points[:, 0].tolist()
    assert similar["masks"].points[:, 0].tolist() == [[0, 1, 3, 2].index(point) for point in chosen]
    inputs["mask_proposals"].boxes = None
    with pytest.raises(ValueError, match="masks without boxes were proposed at different points"):
        rank_and_choose(outputs, inputs, SelectionSettings(masks_follow_boxes=True))


@pytest.mark.parametrize("part", ["pixel_values", "image_features", "center_logits", "quality", "boxes"])
def test_numbers_that_are_not_finite_are_refused_by_the_name_of_their_part(part):
    boxes = torch.tensor([[[0.0, 0, 320, 320], [320, 320, 640, 640], [0, 0, 640, 640], [100, 100, 200, 200]]])
    tensors = {
        "pixel_values": torch.zeros(1, 3, 4, 4),
        "image_features": torch.zeros(1, 400, 2),
        "center_logits": torch.zeros(1, 400),
        "quality": torch.full((1, 4), 0.5),
        "boxes": boxes,
    }
    tensors[part].flatten()[0] = float("nan")
    found = proposals(((2, 2),), boxes=tensors["boxes"], quality=tensors["quality"])
    outputs = PbrecOutput(
        center_logits=tensors["center_logits"], image_features=PbrecImageFeatures(tensors["image_features"])
    )
    inputs = {"letterbox": WHOLE, "box_proposals": found, "pixel_values": tensors["pixel_values"]}
    with pytest.raises(ValueError, match=f"Not all numbers in .*{part}.* are finite"):
        rank_and_choose(outputs, inputs, SelectionSettings())


@pytest.mark.parametrize("wrong", [1.2, -0.1])
@pytest.mark.parametrize("kind", ["boxes", "masks"])
def test_a_quality_that_is_no_share_is_refused(kind, wrong):
    """A detector of one's own might give logits; scores would leave [0, 1]."""
    quality = torch.full((1, 16), 0.5)
    quality[0, 3] = wrong
    boxes = torch.tensor([0.0, 0, 640, 640]).expand(1, 16, 4)
    offered = proposals(((4, 4),), quality=quality, boxes=boxes)
    inputs = {"letterbox": WHOLE, {"boxes": "box_proposals", "masks": "mask_proposals"}[kind]: offered}
    with pytest.raises(ValueError, match=f"The quality of the proposed {kind} runs from .*{wrong}"):
        rank_and_choose(PbrecOutput(center_logits=torch.zeros(1, 16)), inputs, SelectionSettings())


def test_a_quality_above_1_by_rounding_gives_no_score_above_1():
    quality = torch.full((1, 16), 1.0005)
    boxes = torch.tensor([0.0, 0, 640, 640]).expand(1, 16, 4)
    offered = proposals(((4, 4),), quality=quality, boxes=boxes)
    outputs = PbrecOutput(center_logits=torch.full((1, 16), 100.0))
    group = rank_and_choose(outputs, {"letterbox": WHOLE, "box_proposals": offered}, SelectionSettings())["boxes"]
    assert group.score.item() == 1


def test_outputs_without_a_head_are_refused():
    with pytest.raises(ValueError, match="neither center_logits nor mass_logits"):
        rank_and_choose(
            PbrecOutput(), {"letterbox": WHOLE, "box_proposals": proposals(((2, 2),))}, SelectionSettings()
        )


PLACES = torch.tensor([[40, 80, 320, 640, 160, 0], [640, 640, 640, 640, 0, 0]])  # the first is enlarged eight times


def chosen(scores, boxes=None, masks=None):
    """Groups of one proposal per expression."""
    count = len(scores)
    values, points = torch.tensor(scores)[:, None], torch.zeros(count, 1, dtype=torch.int64)
    made = {"boxes": boxes, "masks": masks}
    return {
        kind: Group(values, points, torch.zeros(count, dtype=torch.int64), values[:, 0], **{kind: given[:, None]})
        for kind, given in made.items()
        if given is not None
    }


def asked(expressions=None, index=(0, 1)):
    return {
        "letterbox": PLACES,
        "image_index": torch.tensor(index),
        "expressions": expressions,
        "mask_proposals": masks(((2, 2),)),
    }


def test_answers_are_in_pixels_of_the_pictures():
    boxes = torch.tensor([[84.0, 172.0, 164.0, 250.0], [10.5, 20.0, 30.0, 41.0]])
    first, second = answers(chosen([0.5, 0.25], boxes=boxes), asked(["a dog", "a cat"]), 0.0)
    assert first["boxes"].tolist() == [[10.5, 1.5, 20.5, 11.25]] and second["boxes"].tolist() == [[10.5, 20, 30, 41]]
    assert first["scores"].tolist() == [0.5] and second["scores"].tolist() == [0.25]
    assert first["labels"].tolist() == [0] and first["labels"].dtype == torch.int64
    assert first["text_labels"] == ["a dog"] and second["text_labels"] == ["a cat"]
    assert (first["box_source"], first["mask_source"]) == ("detector", "box")
    # Without a mask detector, the mask is every pixel that the box touches.
    expected = torch.zeros(40, 80, dtype=torch.bool)
    expected[1:12, 10:21] = True
    assert torch.equal(first["masks"], expected[None, None])
    assert answers(chosen([0.5, 0.25], boxes=boxes), asked(), 0.0)[0]["text_labels"] == []


def test_a_score_at_the_threshold_passes():
    boxes = torch.tensor([[84.0, 172.0, 164.0, 250.0], [10.5, 20.0, 30.0, 41.0]])
    first, second = answers(chosen([0.5, 0.25], boxes=boxes), asked(["a dog", "a cat"]), 0.5)
    assert first["scores"].tolist() == [0.5]
    assert second["scores"].shape == second["labels"].shape == (0,) and second["text_labels"] == []
    assert second["boxes"].shape == (0, 4) and second["masks"].shape == (0, 1, 640, 640)
    assert second["masks"].dtype == torch.bool and second["box_source"] == "detector"
    unscored = answers(chosen([0.5, -torch.inf], boxes=boxes), asked(), 0.0)[1]
    assert len(unscored["scores"]) == 0


def test_an_answer_without_a_box_has_the_box_around_its_mask_and_an_empty_mask_is_none():
    quarter = torch.zeros(2, 4, 4)
    quarter[0, 2, 1:3] = 0.8  # rows 320 … 480 and columns 160 … 480 of the canvas, before interpolation
    for return_masks in (True, False):
        found, empty = answers(chosen([0.5, 0.25], masks=quarter), asked(), 0.0, 0.5, return_masks)
        place = Letterbox.of(PLACES[0])
        mask = place.mask_to_original(quarter[0], (640, 640), 0.5)
        rows, cols = mask.nonzero(as_tuple=True)
        expected = [cols.min().item(), rows.min().item(), cols.max().item() + 1, rows.max().item() + 1]
        assert found["boxes"].tolist() == [expected] and (found["box_source"], found["mask_source"]) == (
            "mask",
            "detector",
        )
        assert len(empty["scores"]) == 0 and empty["boxes"].shape == (0, 4)
        assert ("masks" in found) == ("masks" in empty) == return_masks
    found, empty = answers(chosen([0.5, 0.25], masks=quarter), asked(), 0.0)
    assert torch.equal(found["masks"][0, 0], mask) and empty["masks"].shape == (0, 1, 640, 640)


def test_a_box_with_an_empty_mask_is_an_answer():
    boxes = torch.tensor([[84.0, 172.0, 164.0, 250.0], [10.5, 20.0, 30.0, 41.0]])
    both = chosen([0.5, 0.25], boxes=boxes, masks=torch.zeros(2, 4, 4))
    first, second = answers(both, asked(), 0.0)
    assert len(first["boxes"]) == len(second["boxes"]) == 1 and not first["masks"].any()
    assert first["masks"].shape == (1, 1, 40, 80) and (first["box_source"], first["mask_source"]) == ("detector",) * 2
    assert "masks" not in answers(both, asked(), 0.0, return_masks=False)[0]


def test_the_score_of_an_answer_is_that_of_its_box():
    both = {
        "masks": chosen([0.1], masks=torch.ones(1, 4, 4))["masks"],
        "boxes": chosen([0.9], boxes=torch.tensor([[84.0, 172.0, 164.0, 250.0]]))["boxes"],
    }
    assert answers(both, asked(index=[0]), 0.5)[0]["scores"].tolist() == pytest.approx([0.9])
    del both["boxes"]
    assert answers(both, asked(index=[0]), 0.0)[0]["scores"].tolist() == pytest.approx([0.1])


def test_answers_fit_pictures_of_another_size():
    boxes = torch.tensor([[84.0, 172.0, 164.0, 250.0], [10.0, 20.0, 30.0, 41.0]])
    groups = chosen([0.5, 0.25], boxes=boxes)
    first, second = answers(groups, asked(), 0.0, target_sizes=[(80, 160), (64, 32)])
    assert first["boxes"].tolist() == [[21, 3, 41, 22.5]] and first["masks"].shape == (1, 1, 80, 160)
    torch.testing.assert_close(second["boxes"], torch.tensor([[0.5, 2.0, 1.5, 4.1]]))
    assert second["masks"].shape == (1, 1, 64, 32)
    smallest = answers(groups, asked(), 0.0, target_sizes=[(1, 1), (1, 2)])
    assert [answer["masks"].tolist() for answer in smallest] == [[[[[True]]]], [[[[True, False]]]]]
    for wrong in (None, 80, (80,), (80, None), (80, "wide"), (0, 160), (80.5, 160), (80, math.inf)):
        with pytest.raises(ValueError, match=r"target_sizes has the entry .*: give \(height, width\) in whole pixels"):
            answers(groups, asked(), 0.0, target_sizes=[(80, 160), wrong])
    for sizes in ([(80, 160)], [(80, 160)] * 3):
        with pytest.raises(ValueError, match=f"target_sizes has {len(sizes)} entries for 2 pictures"):
            answers(groups, asked(), 0.0, target_sizes=sizes)
