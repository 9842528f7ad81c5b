"""A checkpoint that learns to see postures: the fit, and the model that training goes on from."""

import pytest
import torch
from small_checkpoints import detector, holding

from pbrec_hf.small.postures import PostureHead, box_shapes, third_means
from pbrec_hf.training.small.postures import Persons, fill, fit, named_rightly, seeing_postures


def persons(count=240, noise=0.0):
    generator = torch.Generator().manual_seed(0)
    given = torch.randn(count, 12, generator=generator) * 3 + 1
    turned = noise > torch.rand(count, generator=generator)
    sits = ((given[:, 0] - given[:, 1] > 1) ^ turned).float()
    return Persons(given, sits, torch.arange(count) // 4)


def test_the_fit_names_postures_of_photographs_that_it_has_not_seen():
    sitting, standing = named_rightly(persons())
    assert sitting > 0.9 and standing > 0.9
    weight, _ = fit(persons())
    assert set(weight.abs().topk(2).indices.tolist()) == {0, 1}


def test_figures_of_noise_are_those_of_noise():
    sitting, standing = named_rightly(persons(noise=0.5))
    assert abs(sitting + standing - 1) < 0.2


def test_one_posture_alone_is_refused():
    with pytest.raises(ValueError, match="All 240 persons have the same posture"):
        fit(persons()._replace(sits=torch.ones(240)))


@torch.no_grad()
def test_a_filled_head_computes_what_was_fitted():
    generator = torch.Generator().manual_seed(3)
    head, canvas = PostureHead(4, 2), (64, 64)
    weight, bias = torch.randn(2 * 3 * 4 + 3, generator=generator), torch.tensor(0.3)
    fill(head, weight, bias)
    boxes = torch.tensor([[3.0, 5, 20, 60], [30, 10, 60, 33]])
    maps = [torch.randn(4, size, size, generator=generator) for size in (8, 4)]
    given = torch.cat((third_means(boxes, maps, canvas), box_shapes(boxes, canvas)), dim=1)
    torch.testing.assert_close(head(boxes, maps, canvas)[:, 0], (given @ weight + bias).sigmoid())


@torch.no_grad()
def test_a_trained_checkpoint_sees_postures_and_answers_as_before():
    model = holding(detector(classes={0: "dog", 1: "person"}))
    new = seeing_postures(model)
    names, before = (each.config.backbone_config.channel_names for each in (new, model))
    assert set(names) - set(before) == {"object:sitting", "object:standing"}
    canvas = torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(1))
    ids = torch.tensor([[1, 5, 2]])
    one, other = (
        each(pixel_values=canvas, input_ids=ids, attention_mask=torch.ones_like(ids)).center_logits
        for each in (new, model)
    )
    torch.testing.assert_close(one, other)
