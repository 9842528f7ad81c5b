"""The bundled checkpoint answers as well as it did when it was bundled."""

import pytest
import torch
from places import SCENES
from torchvision.ops import box_iou

import pbrec_hf
from pbrec_hf.data.scenes.composed import ComposedScenes
from pbrec_hf.data.scenes.photographs import read_photographs

SEEDS = range(2_000_000, 2_000_016)


@pytest.fixture(scope="module")
def asked():
    """Composed scenes of sixteen seeds that no recipe trains on, with their expressions and boxes."""
    scenes = ComposedScenes(read_photographs(SCENES / "instances.json", SCENES / "images"))
    return [scenes.sample(seed) for seed in SEEDS]


def test_most_answers_on_composed_scenes_are_right(asked):

    grounder = pbrec_hf.Grounder()
    right, masks = [], []
    for scene in asked:
        texts = [expression.text for expression in scene.expressions]
        if not texts:
            continue
        answers = grounder(scene.image, texts).answers
        for expression, answer in zip(scene.expressions, answers, strict=True):
            (target,) = expression.targets
            item = scene.objects[target]
            right.append(box_iou(answer["boxes"], torch.tensor([item.box])).max().item() > 0.5)
            if right[-1] and item.mask is not None:
                mask, reference = answer["masks"][0, 0], torch.from_numpy(item.mask.copy())
                masks.append(((mask & reference).sum() / (mask | reference).sum()).item())
    assert len(right) >= 60
    assert sum(right) / len(right) > 0.65, sum(right) / len(right)
    assert sum(masks) / len(masks) > 0.5, sum(masks) / len(masks)
