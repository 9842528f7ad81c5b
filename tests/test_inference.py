"""Folded models answer as the plain ones do, and refuse what they can no longer do."""

import copy

import pytest
import torch
from checkpoints import tiny_model
from torchvision.ops import FrozenBatchNorm2d

from pbrec_hf.detection_fcos import FcosConfig, FcosDetector
from pbrec_hf.inference_pbrec import optimize_for_inference


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


def test_a_folded_model_is_not_trained_or_saved(tmp_path):
    with pytest.raises(ValueError, match=r"model\.eval"):
        optimize_for_inference(tiny_model().train())
    with pytest.raises(ValueError, match="load it again to save"):
        optimize_for_inference(tiny_model()).save_pretrained(tmp_path)
