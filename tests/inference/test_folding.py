"""Folded models answer as the plain ones do, and refuse what they can no longer do."""

import copy

import pytest
import torch
from checkpoints import tiny_model
from torchvision.ops import FrozenBatchNorm2d

from pbrec_hf.detectors.fcos import FcosConfig, FcosDetector
from pbrec_hf.inference import folding
from pbrec_hf.inference.folding import optimize_for_inference
from pbrec_hf.layers import fused_convolutions
from pbrec_hf.layers.residual_blocks import fused_block


def with_random_norms(model):
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, FrozenBatchNorm2d):
            for tensor in (module.weight, module.running_var):
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
            for tensor in (module.bias, module.running_mean):
                tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.1)
    return model


def test_a_folded_model_gives_the_same_scores():
    model = with_random_norms(tiny_model())
    folded = optimize_for_inference(copy.deepcopy(model))
    assert not any(isinstance(module, FrozenBatchNorm2d) for module in folded.modules())
    inputs = {"pixel_values": torch.randn(2, 3, 128, 128), "input_ids": torch.randint(5, 14, (2, 6))}
    with torch.no_grad():
        torch.testing.assert_close(folded(**inputs).center_logits, model(**inputs).center_logits, atol=1e-4, rtol=0)


def test_a_folded_detector_gives_the_same_boxes():
    detector = with_random_norms(FcosDetector(FcosConfig(depth=18)).eval())
    folded = optimize_for_inference(copy.deepcopy(detector))
    assert not any(isinstance(module, FrozenBatchNorm2d) for module in folded.modules())
    pixels = torch.randn(1, 3, 128, 128)
    torch.testing.assert_close(folded.propose(pixels).boxes, detector.propose(pixels).boxes, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("depth", [18, 50])
def test_fused_blocks_compute_what_the_plain_ones_do(fused, depth, monkeypatch):
    from torchvision.models import resnet18, resnet50
    from transformers import ResNetBackbone, ResNetConfig

    monkeypatch.setattr(fused_convolutions, "_works", lambda: fused)
    kind = {18: "basic", 50: "bottleneck"}[depth]
    config = ResNetConfig(depths=[1, 2, 1, 1], embedding_size=8, hidden_sizes=[16, 16, 24, 32], layer_type=kind)
    theirs = {18: resnet18, 50: resnet50}[depth](norm_layer=FrozenBatchNorm2d)
    pixels = torch.randn(2, 3, 64, 64)
    for model, output in (
        (ResNetBackbone(config), lambda found: found.feature_maps[-1]),
        (theirs, lambda found: found),
    ):
        expected = output(model.eval()(pixels))
        for parent in list(model.modules()):
            folding._fold_children(parent)
        blocks = [
            (p, n, fused_block(c)) for p in list(model.modules()) for n, c in p.named_children() if fused_block(c)
        ]
        assert len(blocks) == (5 if model is not theirs else {18: 8, 50: 16}[depth])
        for parent, name, block in blocks:
            setattr(parent, name, block)
        with torch.no_grad():
            torch.testing.assert_close(output(model(pixels)), expected, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(output(model(pixels)), expected, atol=1e-4, rtol=1e-4)  # with gradients


def test_operators_that_fail_or_compute_something_else_are_not_used(monkeypatch):
    class Wrong:
        """oneDNN's operators as another version might have them."""

        def __init__(self, error=None):
            self.error = error

        def __call__(self, features, weight, bias, padding, *rest):
            if self.error:
                raise self.error
            return torch.nn.functional.conv2d(features, weight, bias, padding=padding)  # without the ReLU

        def binary(self, features, other, *arguments):
            return self(features, *arguments)

    for operators in (Wrong(), Wrong(RuntimeError("unknown")), Wrong(TypeError("arguments"))):
        monkeypatch.setattr(fused_convolutions, "_pointwise", lambda operators=operators: operators)
        assert not fused_convolutions._works.__wrapped__()


def test_trying_the_operators_leaves_the_random_state_alone():
    state = torch.random.get_rng_state()
    fused_convolutions._works.__wrapped__()
    assert torch.equal(torch.random.get_rng_state(), state)


def test_blocks_with_norms_of_their_own_stay():
    from torchvision.models import resnet18

    assert fused_block(resnet18().layer1[0]) is None
    assert fused_block(torch.nn.Conv2d(3, 3, 1)) is None


def test_a_folded_model_is_not_trained_or_saved(tmp_path):
    with pytest.raises(ValueError, match=r"model\.eval"):
        optimize_for_inference(tiny_model().train())
    with pytest.raises(ValueError, match="load it again to save"):
        optimize_for_inference(tiny_model()).save_pretrained(tmp_path)
