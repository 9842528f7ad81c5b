"""Converted FCOS checkpoints, torchvision's and the original's, compute what their own networks compute."""

import pytest
import torch
from torch.nn import functional as F
from torchvision.models import resnet18
from torchvision.models.detection import FCOS
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from pbrec_hf.convert.fcos import convert_original_fcos, convert_torchvision_fcos

MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
STD = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
BLOCKS_R101 = (3, 4, 23, 3)


def original_state_dict(blocks=BLOCKS_R101, classes=80):
    """Seeded weights in the key layout of the original FCOS with a bottleneck ResNet."""
    generator, weights = torch.Generator().manual_seed(7), {}

    def conv(name, out, inner, kernel, bias=True, gain=2.0):
        std = (gain / (inner * kernel**2)) ** 0.5
        weights[f"{name}.weight"] = std * torch.randn(out, inner, kernel, kernel, generator=generator)
        if bias:
            weights[f"{name}.bias"] = 0.1 * torch.randn(out, generator=generator)

    def norm(name, channels, scale=1.0):
        weights[f"{name}.weight"] = scale * (1 + 0.1 * torch.randn(channels, generator=generator))
        weights[f"{name}.bias"] = 0.1 * torch.randn(channels, generator=generator)

    def batch_norm(name, channels, scale=1.0):
        norm(name, channels, scale)
        weights[f"{name}.running_mean"] = 0.1 * torch.randn(channels, generator=generator)
        weights[f"{name}.running_var"] = 0.5 + torch.rand(channels, generator=generator)

    body = "backbone.body."
    conv(f"{body}stem.conv1", 64, 3, 7, bias=False)
    weights[f"{body}stem.conv1.weight"] /= 60  # pixels are 0 … 255 here
    batch_norm(f"{body}stem.bn1", 64)
    inner = 64
    for stage, count in enumerate(blocks, 1):
        width = 32 * 2**stage
        for block in range(count):
            name = f"{body}layer{stage}.{block}."
            for number, (a, b, kernel) in enumerate(((inner, width, 1), (width, width, 3), (width, 4 * width, 1)), 1):
                conv(f"{name}conv{number}", b, a, kernel, bias=False)
                batch_norm(f"{name}bn{number}", b, 0.25 if number == 3 else 1.0)
            if block == 0:
                conv(f"{name}downsample.0", 4 * width, inner, 1, bias=False)
                batch_norm(f"{name}downsample.1", 4 * width)
            inner = 4 * width
    for level, width in ((2, 512), (3, 1024), (4, 2048)):
        conv(f"backbone.fpn.fpn_inner{level}", 256, width, 1)
        conv(f"backbone.fpn.fpn_layer{level}", 256, 256, 3)
    for level in (6, 7):
        conv(f"backbone.fpn.top_blocks.p{level}", 256, 256, 3)
    for tower in ("cls_tower", "bbox_tower"):
        for index in range(0, 12, 3):
            conv(f"rpn.head.{tower}.{index}", 256, 256, 3)
            norm(f"rpn.head.{tower}.{index + 1}", 256)
    for name, out in (("cls_logits", classes), ("bbox_pred", 4), ("centerness", 1)):
        conv(f"rpn.head.{name}", out, 256, 3, gain=0.5)
    for level in range(5):
        weights[f"rpn.head.scales.{level}.scale"] = torch.tensor([1.0 + 0.2 * level])
    return weights


def run_original(weights, pixels, variant, blocks=BLOCKS_R101):
    """P5 of the original FCOS, written out: pixels (I, 3, H, W) BGR 0 … 255."""

    def conv(x, name, stride=1, padding=0):
        return F.conv2d(x, weights[f"{name}.weight"], weights.get(f"{name}.bias"), stride, padding)

    def batch_norm(x, name):
        part = {
            key: weights[f"{name}.{key}"][:, None, None] for key in ("weight", "bias", "running_mean", "running_var")
        }
        return (x - part["running_mean"]) * part["weight"] * part["running_var"].rsqrt() + part["bias"]

    x = pixels - torch.tensor([102.9801, 115.9465, 122.7717])[:, None, None]
    x = batch_norm(conv(x, "backbone.body.stem.conv1", 2, 3), "backbone.body.stem.bn1").relu()
    x = F.max_pool2d(x, 3, 2, 1)
    for stage, count in enumerate(blocks, 1):
        for block in range(count):
            name, stride = f"backbone.body.layer{stage}.{block}.", 2 if stage > 1 and block == 0 else 1
            y = batch_norm(conv(x, f"{name}conv1", stride), f"{name}bn1").relu()
            y = batch_norm(conv(y, f"{name}conv2", 1, 1), f"{name}bn2").relu()
            y = batch_norm(conv(y, f"{name}conv3"), f"{name}bn3")
            if block == 0:
                x = batch_norm(conv(x, f"{name}downsample.0", stride), f"{name}downsample.1")
            x = (x + y).relu()
    p5 = conv(conv(x, "backbone.fpn.fpn_inner4"), "backbone.fpn.fpn_layer4", 1, 1)
    towers = {}
    for tower in ("cls_tower", "bbox_tower"):
        y = p5
        for index in range(0, 12, 3):
            norm = f"rpn.head.{tower}.{index + 1}"
            y = conv(y, f"rpn.head.{tower}.{index}", 1, 1)
            y = F.group_norm(y, 32, weights[f"{norm}.weight"], weights[f"{norm}.bias"]).relu()
        towers[tower] = y
    raw = weights["rpn.head.scales.2.scale"] * conv(towers["bbox_tower"], "rpn.head.bbox_pred", 1, 1)
    distances = raw.exp() if variant == "plain" else raw.relu() * 32
    centerness = conv(towers["cls_tower" if variant == "plain" else "bbox_tower"], "rpn.head.centerness", 1, 1)
    return conv(towers["cls_tower"], "rpn.head.cls_logits", 1, 1), distances, centerness


@pytest.mark.parametrize("variant", ["plain", "improved"])
def test_original_r101_converts_exactly(variant):
    weights = original_state_dict()
    model, report = convert_original_fcos({f"module.{key}": value for key, value in weights.items()}, variant)
    assert len(report.used) + len(report.dead) == len(weights) and not report.missing
    assert report.dead["module.rpn.head.scales.0.scale"] == "scales of the other levels"
    assert model.config.depth == 101 and model.config.id2label[79] == "toothbrush" and model.config.points == "center"
    canvas = torch.randn(1, 3, 96, 128, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        outputs = model(canvas)
        expected = run_original(weights, ((canvas * STD + MEAN) * 255).flip(1), variant)
    ours = (outputs.class_logits, outputs.distances, outputs.centerness_logits[..., None])
    for got, wanted in zip(ours, expected, strict=True):
        assert wanted.std() > 0.1
        torch.testing.assert_close(got, wanted.flatten(2).transpose(1, 2), rtol=1e-5, atol=1e-4)


def torchvision_fcos(classes):
    torch.manual_seed(0)
    layers = {"layer2": "0", "layer3": "1", "layer4": "2"}
    backbone = BackboneWithFPN(resnet18(), layers, [128, 256, 512], 256, LastLevelP6P7(256, 256))
    return FCOS(backbone, num_classes=classes).eval()


@pytest.mark.parametrize("classes", [91, 5])
def test_torchvision_converts_with_every_key_accounted_for(classes):
    whole = torchvision_fcos(classes)
    model, report = convert_torchvision_fcos(whole.state_dict())
    assert sorted([*report.used, *report.dead]) == sorted(whole.state_dict()) and not report.missing
    assert report.dead["backbone.fpn.extra_blocks.p6.weight"] == "P6 and P7: not computed"
    assert model.config.depth == 18 and model.config.num_labels == classes
    canvas = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        p5 = list(whole.backbone(canvas).values())[2]
        torch.testing.assert_close(model(canvas).class_logits, whole.head.classification_head([p5]), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("backbone.fpn.inner_blocks.2.0.bias"), "missing: lateral.bias"),
        (lambda w: w.update({"backbone.body.fc.weight": torch.zeros(1)}), "Unknown keys: backbone.body.fc.weight"),
        (lambda w: w.update({"surprise": torch.zeros(1)}), "surprise"),
        (lambda w: w["backbone.body.conv1.weight"].fill_(float("inf")), "not finite"),
        (lambda w: w.clear(), "no ResNet"),
    ],
)
def test_other_torchvision_layouts_are_refused(change, message):
    weights = {key: value.clone() for key, value in torchvision_fcos(91).state_dict().items()}
    change(weights)
    with pytest.raises(ValueError, match=message):
        convert_torchvision_fcos(weights)


def test_other_original_layouts_are_refused():
    weights = original_state_dict((3, 4, 6, 3))
    with pytest.raises(ValueError, match="variant='fast' is unknown"):
        convert_original_fcos(weights, "fast")
    with pytest.raises(ValueError, match="Unknown keys: surprise"):
        convert_original_fcos({**weights, "surprise": torch.zeros(1)}, "plain")
    with pytest.raises(ValueError, match=r"or no rpn\.head\.scales"):
        convert_original_fcos({key: value for key, value in weights.items() if "scales" not in key}, "plain")
