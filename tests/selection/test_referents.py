"""As many answers as there are: equal to an oracle that takes them one by one, and to the paper's where one is."""

import dataclasses
import itertools

import pytest
import torch
from repeated_selection import mask_in_box, mask_pixels, pixels, repeated_selection

from pbrec_hf.geometry.proposals import Proposals
from pbrec_hf.geometry.proposed_masks import DenseMasks
from pbrec_hf.geometry.requested_masks import RequestedMasks
from pbrec_hf.modeling_pbrec import PbrecOutput
from pbrec_hf.selection import follow, overlaps, referents
from pbrec_hf.selection.answers import answers
from pbrec_hf.selection.calibration import Calibration, Limits, ScoreMap
from pbrec_hf.selection.choose import rank_and_choose
from pbrec_hf.selection.referents import any_referents, only_referent
from pbrec_hf.selection.settings import SelectionSettings

SIDE = 64
LETTERBOX = torch.tensor([[32, 64, 32, 64, 16, 0], [64, 64, 64, 64, 0, 0]])  # the first has padding
INDEX = torch.tensor([0, 0, 1, 1])


def things(seed, per_picture=5, copies=7):
    """Boxes (2, 64, 4) around a few things in each picture, some of each, and some anywhere; whole pixels."""
    generator = torch.Generator().manual_seed(seed)
    middles = torch.rand(2, per_picture, 2, generator=generator) * SIDE
    half = torch.rand(2, per_picture, 2, generator=generator) * 12 + 4
    alike = torch.cat((middles - half, middles + half), dim=2).repeat_interleave(copies, dim=1)
    alike = alike + torch.randn(alike.shape, generator=generator) * 1.5
    low = torch.rand(2, 64 - alike.shape[1], 2, generator=generator) * 50
    others = torch.cat((low, low + torch.rand(low.shape, generator=generator) * 30 + 1), dim=2)
    boxes = torch.cat((alike, others), dim=1).round().clamp(0, SIDE)
    return boxes[:, torch.randperm(64, generator=generator)]


def drawn(boxes):
    """Masks (…, SIDE, SIDE) as logits: boxes without their corners."""
    middle = torch.arange(SIDE) + 0.5
    low, high = boxes[..., :2, None], boxes[..., 2:, None]
    inside = (middle >= low) & (middle < high)
    x, y = inside[..., 0, :], inside[..., 1, :]
    away = [
        ((middle - (low[..., axis, :] + high[..., axis, :]) / 2) / (high - low)[..., axis, :].clamp(min=1)).abs()
        for axis in (0, 1)
    ]
    corner = away[0][..., None, :] + away[1][..., :, None] > 0.9
    return torch.where(x[..., None, :] & y[..., :, None] & ~corner, 5.0, -5.0)


def offered(seed, free=False, ragged=False, per_expression=False, mirrored=False, **fields):
    generator = torch.Generator().manual_seed(100 + seed)
    boxes = things(seed)
    if mirrored:  # other points: the same things in another order
        boxes = boxes.flip(1)
    quality = torch.rand(2, 64, generator=generator)
    found = {"boxes": boxes, "quality": quality, "candidates": quality > 0.2, **fields}
    if "masks" in found:
        found["masks"] = DenseMasks(drawn(boxes))
    if ragged:
        found["valid"] = torch.rand(2, 64, generator=generator) > 0.3
    canvas = (SIDE, SIDE)
    proposals = Proposals.at_boxes(canvas, **found) if free else Proposals(((8, 8),), canvas, **found)
    return dataclasses.replace(proposals[INDEX], per_expression=True) if per_expression else proposals


def asked(seed, **fields):
    generator = torch.Generator().manual_seed(200 + seed)
    logits = torch.randn(2, len(INDEX), 64, generator=generator) * 2
    outputs = PbrecOutput(center_logits=logits[0], mass_logits=logits[1])
    return outputs, {"letterbox": LETTERBOX, "image_index": INDEX, **fields}


def oracle(groups, inputs, settings, threshold):
    """[(score, proposal)] of each expression."""
    kind = "boxes" if "boxes" in groups else "masks"
    group, proposals = groups[kind], inputs["box_proposals" if kind == "boxes" else "mask_proposals"]
    rows = proposals.rows_of(INDEX).tolist()
    found = []
    for number, row in enumerate(rows):
        if kind == "boxes":
            shapes = [pixels(box, SIDE) for box in proposals.boxes[row]]
        else:
            shapes = [mask_pixels(mask) for mask in proposals.masks.logits[row].sigmoid()]
        values = group.ranking[number].tolist()
        if settings.several_quality_power is not None:
            power = settings.several_quality_power - settings.quality_power
            values = (group.ranking[number] * proposals.quality[row] ** power).tolist()
        found.append(
            repeated_selection(
                shapes,
                values,
                group.chosen("points")[number].item(),
                group.score[number].item(),
                settings,
                threshold,
                None if group.fits is None else group.fits[number].tolist(),
            )
        )
    return found


POINTS = [{}, {"free": True}, {"free": True, "ragged": True}, {"free": True, "ragged": True, "per_expression": True}]
STRICT = {"several_quality_power": 2.0, "part_covered": 0.6, "part_value": 0.8, "least_share": 0.3}
AS_ONE = [{}, {"choose": "fit"}, {"top_k": 3, "candidates_only": True}, {"max_referents": 2, "top_k": 1}]
CHOICES = [*AS_ONE, STRICT, {"choose": "fit", **STRICT}]


@pytest.mark.parametrize(
    ("kind", "points", "choice", "threshold"),
    [
        (kind, POINTS[some], CHOICES[choice], (0.0, 0.3)[(some + choice) % 2])
        for kind, some, choice in itertools.product(["boxes", "masks"], range(len(POINTS)), range(len(CHOICES)))
    ],
)
def test_the_repeated_selection_equals_going_through_it_one_by_one(kind, points, choice, threshold):
    several = 0
    for seed in range(3):
        masks = {"masks": None} if kind == "masks" else {}
        proposals = offered(seed, **points, **masks)
        outputs, inputs = asked(seed, **{"box_proposals" if kind == "boxes" else "mask_proposals": proposals})
        settings = SelectionSettings(**choice)
        groups = rank_and_choose(outputs, inputs, settings)
        found = any_referents(groups, inputs, settings, Limits(threshold))
        expected = oracle(groups, inputs, settings, threshold)
        assert found.expression.tolist() == [e for e, one in enumerate(expected) for _ in one]
        assert found.raw_scores.tolist() == [score for one in expected for score, _ in one]
        assert torch.equal(found.scores, found.raw_scores) and found.exists is None
        shown = [(e, place) for e, one in enumerate(expected) for _, place in one]
        rows = proposals.rows_of(INDEX)
        for number, (expression, place) in enumerate(shown):
            if kind == "boxes":
                assert torch.equal(found.boxes[number], proposals.boxes[rows[expression], place])
            else:
                assert torch.equal(found.masks[number], proposals.masks.logits[rows[expression], place].sigmoid())
        several += sum(len(one) > 1 for one in expected)
    assert several > 3


@pytest.mark.parametrize("choice", [*AS_ONE, {"masks_follow_boxes": True}])
def test_the_answer_of_one_is_among_those_of_any_and_alone_where_nothing_else_counts(choice):
    settings = SelectionSettings(**choice)
    proposals = offered(1, free=True, masks=None)
    outputs, inputs = asked(1, box_proposals=dataclasses.replace(proposals, masks=None), mask_proposals=proposals)
    groups = rank_and_choose(outputs, inputs, settings)
    one, several = only_referent(groups), any_referents(groups, inputs, settings)
    assert one.expression.tolist() == [0, 1, 2, 3]
    for number in range(4):
        members = several.expression == number
        same = (several.boxes[members] == one.boxes[number]).all(dim=1)
        assert same.sum() == 1 and several.raw_scores[members][same].item() == one.raw_scores[number].item()
    # With one round at most, everything is the paper's.
    alone = any_referents(groups, inputs, SelectionSettings(**{**choice, "max_referents": 1}))
    for field in ("expression", "scores", "raw_scores", "boxes", "masks"):
        assert torch.equal(getattr(alone, field), getattr(one, field)), field
    for mine, paper in zip(answers(alone, inputs), answers(one, inputs), strict=True):
        assert torch.equal(mine["boxes"], paper["boxes"]) and torch.equal(mine["masks"], paper["masks"])


@pytest.mark.parametrize("free", [False, True])
def test_masks_that_are_ranked_apart_are_matched_with_boxes_but_for_an_only_answer(free, monkeypatch):
    monkeypatch.setattr(follow, "_NUMBERS_AT_ONCE", 3 * 12 * SIDE * SIDE)
    single = plural = 0
    for seed, (top_k, threshold) in itertools.product(range(4), ((12, 0.0), (12, 0.45), (1, 0.8))):
        settings = SelectionSettings(top_k=top_k)
        boxes, masks = offered(seed, free=free), offered(seed, free=True, ragged=True, mirrored=True, masks=None)
        outputs, inputs = asked(seed, box_proposals=boxes, mask_proposals=masks)
        groups = rank_and_choose(outputs, inputs, settings)
        found = any_referents(groups, inputs, settings, Limits(threshold))
        paper = only_referent(groups)
        for number, expression in enumerate(found.expression.tolist()):
            own = (found.expression == expression).sum() == 1
            if own and torch.equal(found.boxes[number], paper.boxes[expression]):
                assert torch.equal(found.masks[number], paper.masks[expression])
                single += 1
                continue
            picture = INDEX[expression]
            every, values = masks.masks.logits[picture].sigmoid(), groups["masks"].ranking[expression].tolist()
            expected = mask_in_box(found.boxes[number], masks.points[picture], values, every, settings.top_k)
            assert torch.equal(found.masks[number], every[expected])
            plural += 1
    assert single >= 3 and plural > 20


def test_masks_in_no_box_are_the_nearest():
    boxes = torch.tensor([[0.0, 0, 4, 4], [50, 50, 60, 60]])
    masks = Proposals(
        (),
        (SIDE, SIDE),
        masks=DenseMasks(drawn(torch.tensor([[[20.0, 20, 30, 30], [2, 2, 12, 12], [40, 40, 52, 52]]]))),
        points=torch.tensor([[[25.0, 25], [7, 7], [46, 46]]]),
    )
    values = torch.tensor([[0.9, 0.1, 0.5], [0.9, 0.1, -torch.inf]])
    made = follow.masks_in_boxes(boxes, values, masks, torch.zeros(2, dtype=torch.int64), 1)
    assert torch.equal(made, masks.masks.logits[0, [1, 0]].sigmoid())


@pytest.mark.parametrize("same_points", [True, False])
def test_masks_follow_every_box(same_points):
    settings = SelectionSettings(masks_follow_boxes=True)
    boxes = offered(2)
    masks = offered(2, free=not same_points, mirrored=not same_points, masks=None)
    outputs, inputs = asked(2, box_proposals=boxes, mask_proposals=masks)
    found = any_referents(rank_and_choose(outputs, inputs, settings), inputs, settings)
    assert len(found.expression) > 8
    for number, expression in enumerate(found.expression.tolist()):
        # Boxes are of whole pixels, so a mask is cropped at pixels, and drawn inside of its box anyway.
        picture = INDEX[expression]
        (places,) = (masks.boxes[picture] == found.boxes[number]).all(dim=1).nonzero(as_tuple=True)
        inside = drawn(found.boxes[number]) > 0
        expected = torch.where(inside, masks.masks.logits[picture, places[0]].sigmoid(), 0.0)
        assert torch.equal(found.masks[number] > 0.5, expected > 0.5)
        left, top, right, bottom = found.boxes[number].int().tolist()
        outside = found.masks[number].clone()
        outside[top:bottom, left:right] = 0
        assert not outside.any()


def test_a_network_makes_the_masks_of_all_boxes_at_once_and_only_if_somebody_wants_them():
    prompts = []

    def make(seen, boxes):
        prompts.append(boxes)
        return drawn(boxes).sigmoid() * seen

    masks = RequestedMasks(torch.zeros(2, 3, SIDE, SIDE), lambda canvas: 0.99, make)
    outputs, inputs = asked(0, box_proposals=offered(0), mask_proposals=masks)
    settings = SelectionSettings()
    groups = rank_and_choose(outputs, inputs, settings, make_masks=False)
    without = any_referents(groups, inputs, settings, Limits(0.2), make_masks=False)
    assert without.masks is None and not prompts
    found = any_referents(groups, inputs, settings, Limits(0.2))
    assert len(prompts) == 2 and found.mask_source == "prompt"  # once for each picture
    assert torch.equal(found.masks, drawn(found.boxes).sigmoid() * 0.99)
    nothing = any_referents(groups, inputs, settings, Limits(1.0))
    assert nothing.masks.shape == (0, SIDE, SIDE) and len(prompts) == 2
    for answer in answers(nothing, inputs):
        assert answer["boxes"].shape == (0, 4) and answer["mask_source"] == "prompt"


@pytest.mark.parametrize("settings", [{}, {"choose": "fit"}, {"masks_follow_boxes": True}])
def test_raising_the_threshold_only_takes_answers_away_and_the_order_is_that_of_the_scores(settings):
    settings = SelectionSettings(**settings)
    proposals = offered(3, masks=None)
    outputs, inputs = asked(3, box_proposals=dataclasses.replace(proposals, masks=None), mask_proposals=proposals)
    groups = rank_and_choose(outputs, inputs, settings)
    everything = None
    counts = []
    for threshold in torch.linspace(0, 1, 21).tolist():
        found = any_referents(groups, inputs, settings, Limits(threshold))
        triples = [
            (number, score, tuple(box))
            for number, score, box in zip(
                found.expression.tolist(), found.scores.tolist(), found.boxes.tolist(), strict=True
            )
        ]
        everything = triples if everything is None else everything
        assert triples == [one for one in everything if one[1] >= threshold]
        assert triples == sorted(triples, key=lambda one: (one[0], -one[1]))
        counts.append(len(triples))
    assert counts[0] > 12 and counts[-1] == 0 and len(set(counts)) > 5
    most = [number for number, _, _ in everything]
    capped = any_referents(groups, inputs, dataclasses.replace(settings, max_referents=3)).expression.tolist()
    assert capped == sorted(number for number in range(4) for _ in range(min(3, most.count(number))))


def test_two_things_are_two_answers_and_parts_are_none():
    left, right = [4.0, 4, 24, 44], [34.0, 4, 60, 44]
    part, child, both = [5.0, 5, 15, 20], [6.0, 24, 20, 40], [4.0, 4, 60, 44]
    boxes = torch.tensor([[left, right, part, child, both]])
    values = torch.tensor([[0.9, 0.8, 0.4, 0.5, 0.1]])
    found = Proposals.at_boxes((SIDE, SIDE), boxes, quality=values)
    inputs = {"letterbox": LETTERBOX[1:], "box_proposals": found}
    outputs = PbrecOutput(center_logits=torch.full((1, 64), 20.0))
    settings = SelectionSettings(top_k=1)
    groups = rank_and_choose(outputs, inputs, settings)
    # The part scores less than half of what covers it; the child does not.
    assert (settings.part_covered, settings.part_value) == (0.9, 0.5)
    assert any_referents(groups, inputs, settings, Limits(0.3)).boxes.tolist() == [left, right, child]
    assert any_referents(groups, inputs, settings, Limits(0.6)).boxes.tolist() == [left, right]


def test_where_nothing_was_proposed_there_is_no_answer():
    nothing = dataclasses.replace(offered(0, free=True, masks=None), valid=torch.zeros(2, 64, dtype=torch.bool))
    for settings in (SelectionSettings(), SelectionSettings(choose="fit"), SelectionSettings(masks_follow_boxes=True)):
        for kinds in (("box",), ("mask",), ("box", "mask")):
            outputs, inputs = asked(0, **{f"{kind}_proposals": nothing for kind in kinds})
            groups = rank_and_choose(outputs, inputs, settings)
            for found in (only_referent(groups), any_referents(groups, inputs, settings)):
                assert len(found.expression) == len(found.scores) == 0
                assert [len(answer["masks"]) for answer in answers(found, inputs)] == [0, 0, 0, 0]
    outputs, inputs = asked(0, box_proposals=offered(0)[:0], letterbox=LETTERBOX[:0], image_index=INDEX[:0])
    outputs = PbrecOutput(center_logits=outputs.center_logits[:0])
    groups = rank_and_choose(outputs, inputs, SelectionSettings())
    assert answers(any_referents(groups, inputs, SelectionSettings()), inputs) == []


def test_candidates_are_the_best_and_the_answer_of_the_fit(monkeypatch):
    outputs, inputs = asked(4, box_proposals=offered(4))
    for settings in (SelectionSettings(top_k=2), SelectionSettings(choose="fit", top_k=2)):
        groups = rank_and_choose(outputs, inputs, settings)
        everything = any_referents(groups, inputs, settings, Limits(0.3))
        monkeypatch.setitem(referents.CANDIDATES, "boxes", 3)
        few = any_referents(groups, inputs, settings)
        monkeypatch.undo()
        assert 4 <= len(few.expression) <= 12 and len(few.expression) < len(everything.expression)
        paper = only_referent(groups)
        for number in range(4):
            assert (few.boxes[few.expression == number] == paper.boxes[number]).all(dim=1).any()


def test_masks_are_compared_some_expressions_at_a_time(monkeypatch):
    outputs, inputs = asked(5, mask_proposals=offered(5, masks=None))
    groups = rank_and_choose(outputs, inputs, SelectionSettings())
    expected = any_referents(groups, inputs, SelectionSettings(), Limits(0.2))
    for numbers in (1, 2 * 64 * SIDE * SIDE):
        monkeypatch.setattr(overlaps, "_NUMBERS_AT_ONCE", numbers)
        found = any_referents(groups, inputs, SelectionSettings(), Limits(0.2))
        assert torch.equal(found.masks, expected.masks) and torch.equal(found.scores, expected.scores)


def test_scores_are_calibrated_and_the_threshold_is_of_them():
    line = ScoreMap((0.0, 1.0), (0.2, 1.0))
    calibration = Calibration(ScoreMap((0, 1), (0.1, 0.9)), line, ScoreMap((0, 1), (0, 0.5)), 0.5, "a test", 9)
    outputs, inputs = asked(6, box_proposals=offered(6))
    groups = rank_and_choose(outputs, inputs, SelectionSettings())
    raw = any_referents(groups, inputs, SelectionSettings(), Limits(0.375))
    found = any_referents(groups, inputs, SelectionSettings(), Limits(0.5), calibration)
    assert torch.equal(found.raw_scores, raw.raw_scores) and len(raw.scores) > 4
    torch.testing.assert_close(found.scores, 0.2 + 0.8 * raw.scores)
    torch.testing.assert_close(found.exists, 0.5 * groups["boxes"].score)
    one = only_referent(groups, Limits(0.3), calibration)
    kept = 0.1 + 0.8 * groups["boxes"].score >= 0.3
    torch.testing.assert_close(one.scores, (0.1 + 0.8 * groups["boxes"].score)[kept])
    assert torch.equal(one.exists, found.exists) and len(one.scores) > 0


def test_there_are_answers_only_where_something_exists():
    same = ScoreMap((0.0, 1.0), (0.0, 1.0))
    calibration = Calibration(same, same, ScoreMap((0, 1), (0, 0.5)), 0.0, "a test", 9)
    outputs, inputs = asked(6, box_proposals=offered(6))
    groups = rank_and_choose(outputs, inputs, SelectionSettings())
    best = groups["boxes"].score
    gate = (best.max() + best.min()).item() / 4
    kept = (best / 2 >= gate).nonzero()[:, 0].tolist()
    for found in (
        only_referent(groups, Limits(0.0, gate), calibration),
        any_referents(groups, inputs, SelectionSettings(), Limits(0.0, gate), calibration),
    ):
        assert sorted(set(found.expression.tolist())) == kept and 0 < len(kept) < len(INDEX)
