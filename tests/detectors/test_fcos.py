"""FCOS at P5: the outputs equal those of the full torchvision model at any depth, and the config checks itself."""

from urllib.error import URLError

import pytest
import torch
from detectors.base import DetectorTester
from torchvision.models import get_model
from torchvision.models.detection import FCOS, FCOS_ResNet50_FPN_Weights
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import FrozenBatchNorm2d, clip_boxes_to_image
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from pbrec_hf.detectors.coco_classes import TORCHVISION_COCO_CLASSES
from pbrec_hf.detectors.fcos import FcosConfig, FcosDetector, torchvision_names


class TestFcos(DetectorTester):
    def make(self, **fields):
        return FcosDetector(FcosConfig(depth=18, neck_channels=32, tower_depth=1, **fields))


def whole_fcos(depth):
    """torchvision's whole FCOS with a ResNet of any depth; seeded, with BatchNorm statistics that matter."""
    torch.manual_seed(depth)
    resnet = get_model(f"resnet{depth}", weights=None, norm_layer=FrozenBatchNorm2d)
    widths = [resnet.fc.in_features // 4, resnet.fc.in_features // 2, resnet.fc.in_features]
    layers = {"layer2": "0", "layer3": "1", "layer4": "2"}
    model = FCOS(BackboneWithFPN(resnet, layers, widths, 256, LastLevelP6P7(256, 256)), num_classes=91).eval()
    for module in model.modules():
        if isinstance(module, FrozenBatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
            module.weight.uniform_(0.2, 0.6)
    for layer in (model.head.regression_head.bbox_reg, model.head.classification_head.cls_logits):
        torch.nn.init.normal_(layer.weight, std=0.05)
    return model


def reduced(whole, depth, **config):
    names, _ = torchvision_names(whole.state_dict())
    model = FcosDetector(FcosConfig(depth=depth, **config)).eval()
    model.load_state_dict({name: whole.state_dict()[key] for key, name in names.items()})
    return model


@pytest.fixture(scope="module")
def whole():
    return whole_fcos(18)


@pytest.fixture(scope="module")
def canvases():
    return torch.randn(2, 3, 128, 160, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("depth", [18, 50])
def test_p5_equals_the_full_torchvision_model(depth, canvases):
    whole = whole_fcos(depth)
    with torch.no_grad():
        maps = list(whole.backbone(canvases).values())
        head = whole.head(maps)
        outputs = reduced(whole, depth)(canvases)
    start = sum(m.shape[-2] * m.shape[-1] for m in maps[:2])
    level = slice(start, start + 4 * 5)
    assert head["bbox_regression"][:, level].std() > 0.01
    torch.testing.assert_close(outputs.class_logits, head["cls_logits"][:, level], rtol=0, atol=1e-5)
    torch.testing.assert_close(outputs.distances, head["bbox_regression"][:, level] * 32, rtol=0, atol=1e-5 * 32)
    torch.testing.assert_close(outputs.centerness_logits, head["bbox_ctrness"][:, level, 0], rtol=0, atol=1e-5)


def test_boxes_equal_torchvisions_decoding(whole, canvases):
    with torch.no_grad():
        maps = list(whole.backbone(canvases).values())
        head = whole.head(maps)
        anchors = whole.anchor_generator(ImageList(canvases, [(128, 160)] * 2), maps)[0]
        boxes = whole.box_coder.decode(head["bbox_regression"], torch.stack([anchors, anchors]))
    start = sum(m.shape[-2] * m.shape[-1] for m in maps[:2])
    proposals = reduced(whole, 18).propose(canvases)
    expected = clip_boxes_to_image(boxes[:, start : start + 20], (128, 160))
    torch.testing.assert_close(proposals.boxes, expected, rtol=0, atol=1e-3)
    assert proposals.grids == ((4, 5),) and proposals.canvas == (128, 160) and proposals.candidates is None
    assert torch.equal(proposals.labels, head["cls_logits"][:, start : start + 20].argmax(-1))
    torch.testing.assert_close(proposals.quality, head["bbox_ctrness"][:, start : start + 20, 0].sigmoid())


def test_points_at_the_cell_centres_shift_boxes_by_half_a_cell(whole, canvases):
    corner = reduced(whole, 18).propose(canvases).boxes
    center = reduced(whole, 18, points="center").propose(canvases).boxes
    inside = (corner > 0).all(-1) & (corner[..., 2] < 144) & (corner[..., 3] < 112)
    assert inside.any()
    torch.testing.assert_close(center[inside], corner[inside] + 16)


def test_saved_and_loaded_detector_is_bit_equal(whole, canvases, tmp_path):
    detector = reduced(whole, 18)
    detector.save_pretrained(tmp_path)
    loaded = FcosDetector.from_pretrained(tmp_path)
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in detector.state_dict().items())
    assert loaded.config.id2label == dict(enumerate(TORCHVISION_COCO_CLASSES))
    assert torch.equal(loaded.propose(canvases).boxes, detector.propose(canvases).boxes)


def test_every_key_of_torchvision_is_accounted_for(whole):
    keys = list(whole.state_dict())
    names, unused = torchvision_names(keys)
    assert sorted([*names, *unused]) == sorted(keys) and not set(names) & set(unused)
    with pytest.raises(ValueError, match="surprise"):
        torchvision_names(["surprise.weight"])


def test_torchvisions_weights_load(monkeypatch):
    whole = whole_fcos(50)
    monkeypatch.setattr(FCOS_ResNet50_FPN_Weights, "get_state_dict", lambda self, **kwargs: whole.state_dict())
    detector = FcosDetector.from_torchvision("COCO_V1")
    assert torch.equal(detector.lateral.weight, whole.backbone.fpn.inner_blocks[2][0].weight)
    assert detector.config.id2label[1] == "person" and not detector.training


def test_without_a_network_the_error_names_the_remedy(monkeypatch):
    def offline(self, **kwargs):
        raise URLError("no network")

    monkeypatch.setattr(FCOS_ResNet50_FPN_Weights, "get_state_dict", offline)
    with pytest.raises(OSError, match=r"fcos_resnet50_fpn_coco-.*put it into .*checkpoints"):
        FcosDetector.from_torchvision()
    with pytest.raises(ValueError, match=r"unknown to torchvision: choose one of \['COCO_V1'"):
        FcosDetector.from_torchvision("LVIS")


def test_a_canvas_that_is_not_a_multiple_of_32_is_refused(whole):
    with pytest.raises(ValueError, match="multiples of 32"):
        reduced(whole, 18).propose(torch.zeros(1, 3, 100, 96))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"depth": 77}, "depth=77"),
        ({"points": "middle"}, "points='middle'"),
        ({"distance_activation": "tanh"}, "distance_activation"),
        ({"centerness_tower": "both"}, "centerness_tower"),
        ({"depth": 18, "stride_in_1x1": True}, "needs bottlenecks"),
        ({"batch_norm_eps": -1.0}, "batch_norm_eps"),
        ({"pixel_offset": [0.0, 1.0]}, "three finite numbers"),
        ({"neck_channels": 100}, "multiple of 32"),
        ({"tower_depth": 10**9}, "tower_depth"),
    ],
)
def test_the_config_validates_itself(fields, message):
    with pytest.raises(Exception, match=message):
        FcosConfig(**fields)
