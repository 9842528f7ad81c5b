"""A checkpoint around another NanoDet: with the same one inside it answers as before, with another one it runs."""

import pytest
import torch
from small_checkpoints import detector, holding

from pbrec_hf.small.nanodet import NanoDetConfig, NanoDetDetector
from pbrec_hf.small.nanodet_masks import NanoDetMasksConfig, NanoDetMasksDetector
from pbrec_hf.training.small.transplant import LinearFit, transplanted_masks, transplanted_model


def masks_on(found):
    torch.manual_seed(5)
    sizes = {"channels": 8, "mask_channels": 4, "picture_channels": 4, "stacked_convs": 1, "norm_groups": 4}
    masks = NanoDetMasksDetector(NanoDetMasksConfig(detector_config=found.config, **sizes)).eval()
    masks.detector.load_state_dict(found.state_dict())
    torch.nn.init.normal_(masks.head.kernel_output.weight)
    return masks


@pytest.fixture(scope="module")
def canvases():
    return list(torch.randn(12, 3, 128, 128, generator=torch.Generator().manual_seed(1)))


def ask(model, canvas):
    ids = torch.tensor([[1, 5, 2]])
    with torch.no_grad():
        return model(pixel_values=canvas[None], input_ids=ids, attention_mask=torch.ones_like(ids)).center_logits


def test_the_same_detector_gives_the_same_answers(canvases):
    model = holding(detector())
    new = transplanted_model(model, detector(), canvases)
    assert torch.allclose(ask(new, canvases[0]), ask(model, canvases[0]), atol=2e-2)
    own = masks_on(detector())
    renewed = transplanted_masks(own, detector(), canvases)
    with torch.no_grad():
        one, other = own(canvases[0][None]), renewed(canvases[0][None])
    assert torch.allclose(one.features, other.features, atol=5e-2)
    assert torch.allclose(one.kernels, other.kernels, atol=5e-2)


def test_another_detector_keeps_the_named_columns(canvases):
    model, plus = holding(detector()), detector("ghost_pan", channels=12, seed=2)
    new = transplanted_model(model, plus, canvases)
    old_weight, weight = (m.model.image_projection.weight.flatten(1) for m in (model, new))
    assert torch.equal(weight[:, 12:], old_weight[:, 8:])
    assert new.config.backbone_config.channel_names[12:] == model.config.backbone_config.channel_names[8:]
    assert ask(new, canvases[0]).isfinite().all()
    renewed = transplanted_masks(masks_on(detector()), plus, canvases)
    proposals = renewed.propose(canvases[0][None])
    assert len(renewed.head.lateral) == 4 and proposals.masks is not None


def test_other_classes_are_told(canvases):
    other = NanoDetDetector(NanoDetConfig(trunk_config=detector().config.trunk, id2label={0: "dog", 1: "cow"}))
    with pytest.raises(ValueError, match="differ in their classes"):
        transplanted_model(holding(detector()), other, canvases)


def test_the_fit_recovers_a_linear_map():
    generator = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(3, 5, generator=generator), torch.randn(3, generator=generator)
    fit = LinearFit()
    for _ in range(4):
        given = torch.randn(50, 5, generator=generator)
        fit.add(given, given @ weight.T + bias)
    found, offset = fit.solve()
    assert torch.allclose(found, weight, atol=1e-2) and torch.allclose(offset, bias, atol=1e-2)
