"""The ResNet of a DETR checkpoint initialises a transformers ResNet that computes the same."""

import pytest
import torch
from torch import nn
from torchvision.models import get_model
from torchvision.ops import FrozenBatchNorm2d
from transformers import ResNetBackbone, ResNetConfig

from pbrec_hf.convert.detr import convert_detr_backbone


def detr_state_dict(depth, prefix=""):
    """Seeded ResNet under DETR's names, and some of DETR's other keys; with the network itself."""
    torch.manual_seed(depth)
    resnet = get_model(f"resnet{depth}", weights=None, norm_layer=FrozenBatchNorm2d).eval()
    for module in resnet.modules():
        if isinstance(module, FrozenBatchNorm2d):
            module.running_var.uniform_(0.5, 1.5)
            module.weight.uniform_(0.2, 0.6)
    weights = {f"{prefix}backbone.0.body.{k}": v for k, v in resnet.state_dict().items() if not k.startswith("fc.")}
    for key in ("transformer.encoder.layers.0.linear1.weight", "class_embed.bias", "query_embed.weight"):
        weights[prefix + key] = torch.zeros(3)
    return weights, resnet


@pytest.mark.parametrize(("depth", "prefix"), [(101, ""), (18, "detr.")])
def test_the_backbone_computes_the_same(depth, prefix):
    weights, resnet = detr_state_dict(depth, prefix)
    converted, report = convert_detr_backbone(weights)
    assert sorted([*report.used, *report.dead]) == sorted(weights) and len(report.dead) == 3 and not report.missing
    shape = {"depths": [3, 4, 23, 3]} if depth == 101 else {"depths": [2, 2, 2, 2], "layer_type": "basic"}
    sizes = {} if depth == 101 else {"hidden_sizes": [64, 128, 256, 512]}
    backbone = ResNetBackbone(ResNetConfig(**shape, **sizes, out_features=["stage4"])).eval()
    missing, unexpected = backbone.load_state_dict(converted, strict=False)
    assert not unexpected and all(key.endswith("num_batches_tracked") for key in missing)
    canvas = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    stages = nn.Sequential(*list(resnet.children())[:-2])
    with torch.no_grad():
        torch.testing.assert_close(backbone(canvas).feature_maps[0], stages(canvas), rtol=1e-4, atol=1e-4)


def test_other_checkpoints_are_refused():
    weights, _ = detr_state_dict(18)
    with pytest.raises(ValueError, match="Unknown keys: surprise"):
        convert_detr_backbone({**weights, "surprise": torch.zeros(1)})
    with pytest.raises(ValueError, match="missing: embedder"):
        convert_detr_backbone({key: value for key, value in weights.items() if not key.endswith("body.conv1.weight")})
    with pytest.raises(ValueError, match="no ResNet"):
        convert_detr_backbone({"class_embed.bias": torch.zeros(1)})
