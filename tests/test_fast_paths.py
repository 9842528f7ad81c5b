"""Every shortcut of answering gives what the plain arithmetic gives.

Shortcuts are taken without gradients on a CPU; with gradients, the same networks compute plainly.
"""

import itertools

import pytest
import torch
from torchvision.ops import roi_align

from pbrec_hf import Grounder
from pbrec_hf.app.options import PHOTOGRAPHS
from pbrec_hf.modeling_pbrec import HIDDEN
from pbrec_hf.small.objects import part_colors

EXPRESSIONS = [f"the {word} on the left" for word in ("giraffe", "tree", "man", "dog", "sky", "fence")]


@pytest.fixture(scope="module")
def grounder():
    return Grounder()


@pytest.fixture(scope="module")
def inputs(grounder):
    return grounder.processor(str(PHOTOGRAPHS / "images/giraffes.jpg"), EXPRESSIONS)


def test_logits_without_gradients_equal_those_with(grounder, inputs):
    inputs = {name: value for name, value in inputs.items() if name != "detected"}
    with torch.no_grad():
        fast = grounder.model(**inputs)
    plain = grounder.model(**inputs)
    for name in ("center_logits", "mass_logits"):
        torch.testing.assert_close(fast[name], plain[name].detach(), atol=1e-4, rtol=1e-4)
    assert plain.image_features.attended.sum() < 128  # most keys were left out


def test_expressions_scored_together_equal_each_alone(grounder, inputs):
    with torch.no_grad():
        outputs = grounder.model(**inputs)
        for number in range(len(EXPRESSIONS)):
            alone = grounder.model(
                input_ids=inputs["input_ids"][[number]],
                attention_mask=inputs["attention_mask"][[number]],
                image_features=outputs.image_features,
            )
            torch.testing.assert_close(outputs.center_logits[number], alone.center_logits[0], atol=1e-4, rtol=1e-4)


def test_answers_are_the_same_without_the_points_of_the_padding(grounder, inputs):
    with torch.no_grad():
        plain, fast = (grounder.model(**inputs, skip_padding=skip) for skip in (False, True))
    near = plain.image_features.near[0]
    assert near.sum() == 192  # of 256
    for name in ("center_logits", "mass_logits"):
        torch.testing.assert_close(fast[name][:, near], plain[name][:, near], atol=1e-4, rtol=1e-4)
        assert (fast[name][:, ~near] == HIDDEN).all() and (plain[name][:, ~near] != HIDDEN).all()
    answers = [
        grounder.processor.post_process_referring_expression(outputs, inputs, referents=referents)
        for outputs, referents in itertools.product((plain, fast), ("one", "any"))
    ]
    for one, other in zip(answers[0] + answers[1], answers[2] + answers[3], strict=True):
        assert torch.equal(one["boxes"], other["boxes"]) and torch.equal(one["masks"], other["masks"])
        torch.testing.assert_close(one["scores"], other["scores"], atol=1e-4, rtol=1e-4)


def test_colours_of_parts_are_those_of_roi_align():
    generator = torch.Generator().manual_seed(0)
    colors = torch.rand(11, 32, 24, generator=generator)
    corners = torch.rand(9, 2, 2, generator=generator).sort(1).values * torch.tensor([96.0, 128.0])
    boxes = corners.flatten(1)
    whole = part_colors(boxes, colors, (128, 96))[:, :11]
    left, top, right, bottom = boxes.unbind(-1)
    width, height = right - left, bottom - top
    inner = torch.stack((left + 0.2 * width, top + 0.15 * height, right - 0.2 * width, top + 0.85 * height), -1)
    expected = roi_align(colors[None], [inner], 4, 0.25, sampling_ratio=2, aligned=True).mean((2, 3))
    torch.testing.assert_close(whole, expected, atol=1e-5, rtol=1e-5)
