"""Tiles: they cover the photograph, compete with the whole, and find what is too small for it."""

import numpy as np
import pytest
import torch
from checkpoints import save_tiny_checkpoint
from PIL import Image

from pbrec_hf.app.demo import demo_photographs
from pbrec_hf.geometry.letterbox import Letterbox
from pbrec_hf.inference.grounder import Grounder
from pbrec_hf.inference.tiles import View, tiled_answers, views_of

TEXTS = ["left dog", "the girl"]


@pytest.fixture(scope="module")
def grounder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    save_tiny_checkpoint(folder, masks=True)
    return Grounder(folder)


@pytest.fixture(scope="module")
def picture():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8))


@pytest.mark.parametrize("size", [(400, 300), (300, 400), (1000, 130), (401, 399), (4000, 3000)])
@pytest.mark.parametrize("tiles", [2, 3, 8])
def test_tiles_cover_the_photograph_and_overlap(size, tiles):
    width, height = size
    whole, *parts = views_of(width, height, tiles, 128)
    assert whole == View(0, 0, width, height) and parts
    seen = np.zeros((height, width), dtype=int)
    for view in parts:
        assert 0 <= view.left < view.right <= width and 0 <= view.top < view.bottom <= height
        seen[view.top : view.bottom, view.left : view.right] += 1
    assert seen.min() >= 1 and (seen > 1).mean() > 0.1
    along = {view.left if width >= height else view.top for view in parts}
    assert len(along) == min(tiles, -(-max(size) // 128))


def test_small_photographs_have_no_tiles():
    assert views_of(128, 90, 3, 128) == [View(0, 0, 128, 90)]
    for wrong in (0, 9, 2.0, True):
        with pytest.raises(ValueError, match=f"tiles={wrong!r}: give a number from 1 to 8"):
            views_of(500, 500, wrong, 128)


def iou(one, other):
    left, top = np.maximum(one[:2], other[:2])
    right, bottom = np.minimum(one[2:], other[2:])
    shared = max(right - left, 0) * max(bottom - top, 0)
    return shared / ((one[2] - one[0]) * (one[3] - one[1]) + (other[2] - other[0]) * (other[3] - other[1]) - shared)


def competing(grounder, picture, number):
    """Boxes in pixels of the photograph and their values, of all views; the cut-off ones left out."""
    found = []
    for view in views_of(*picture.size, 2, 128):
        part = picture.crop((view.left, view.top, view.right, view.bottom))
        one = grounder.on_canvas(part, TEXTS)
        letterbox = Letterbox.of(one.inputs["letterbox"][0])
        boxes = letterbox.boxes_to_original(one.inputs["box_proposals"].boxes[0]).numpy()
        for box, value in zip(boxes, one.groups["boxes"].ranking[number].tolist(), strict=True):
            edge = max(part.size) / 100
            cut = (
                (view.left > 0 and box[0] <= edge)
                or (view.top > 0 and box[1] <= edge)
                or (view.right < picture.width and box[2] >= part.width - edge)
                or (view.bottom < picture.height and box[3] >= part.height - edge)
            )
            if not cut:
                found.append((value, box + np.array([view.left, view.top] * 2)))
    return sorted(found, key=lambda one: -one[0])


def test_the_vote_decides_among_the_boxes_of_all_views(grounder, picture):
    for number, answer in enumerate(tiled_answers(grounder, picture, TEXTS, tiles=2)):
        best = competing(grounder, picture, number)
        votes = [sum(iou(one, other) for _, other in best[:12]) for _, one in best[:12]]
        winner = best[int(np.argmax(votes))][1]
        assert answer["boxes"][0].tolist() == pytest.approx(winner.tolist(), abs=1e-3)
        agreeing = max(value for value, box in best if iou(box, winner) >= 0.5)
        assert answer["scores"][0].item() == pytest.approx(agreeing, rel=1e-5)
        assert answer["masks"].shape == (1, 1, 300, 400) and answer["text_labels"] == [TEXTS[number]]


def test_several_answers_have_masks_of_their_own_views(grounder, picture):
    answers = list(tiled_answers(grounder, picture, TEXTS, 2, threshold=0.0055, referents="any"))
    assert max(len(answer["scores"]) for answer in answers) > 2
    for answer in answers:
        assert answer["scores"].tolist() == sorted(answer["scores"].tolist(), reverse=True)
        assert len(answer["masks"]) == len(answer["boxes"]) and answer["mask_source"] == "detector"
        pairs = torch.tensor([[iou(a, b) for b in answer["boxes"].tolist()] for a in np.array(answer["boxes"])])
        assert (pairs - torch.eye(len(pairs))).max() < 0.5
    bare = list(tiled_answers(grounder, picture, TEXTS, 2, threshold=0.0055, return_masks=False, referents="any"))
    assert all("masks" not in answer for answer in bare)
    assert all(torch.equal(one["boxes"], other["boxes"]) for one, other in zip(answers, bare, strict=True))


def test_without_tiles_the_whole_answers_alone(grounder, picture):
    expected = grounder(picture, TEXTS).answers
    for one, other in zip(tiled_answers(grounder, picture, TEXTS, tiles=1), expected, strict=True):
        assert torch.allclose(one["boxes"], other["boxes"], atol=1e-3) and torch.equal(one["scores"], other["scores"])


def test_the_bundled_checkpoint_finds_a_small_animal_in_a_large_photograph():
    (row,) = [row for row in demo_photographs() if "both giraffes" in row["expressions"]]
    animals = Image.open(row["image"])
    grounder = Grounder()
    expected = grounder(animals, ["giraffe on the right"]).answers[0]["boxes"][0] * 0.35 + torch.tensor([1500, 80] * 2)
    small = animals.resize((round(animals.width * 0.35), round(animals.height * 0.35)))
    picture = Image.new("RGB", (2000, 1500), (120, 140, 110))
    picture.paste(small, (1500, 80))
    found = next(iter(tiled_answers(grounder, picture, ["giraffe on the right"], tiles=4)))
    assert iou(found["boxes"][0].numpy(), expected.numpy()) > 0.5 and found["masks"][0].any()
