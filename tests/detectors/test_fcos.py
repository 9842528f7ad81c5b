"""FCOS at P5: the outputs equal those of the full torchvision model at any depth, and the config checks itself."""

import math
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
    torch.testing.assert_close(outputs.class_logits, head["cls_logits"][:, level], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(outputs.distances, head["bbox_regression"][:, level] * 32, rtol=1e-5, atol=1e-5 * 32)
    torch.testing.assert_close(outputs.centerness_logits, head["bbox_ctrness"][:, level, 0], rtol=1e-5, atol=1e-5)


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
        ({"tower_depth": 17}, "tower_depth=17: give a number from 1 to 16"),
        ({"tower_depth": 0}, "tower_depth=0"),
        ({"neck_channels": 0}, "neck_channels=0"),
        ({"neck_channels": 4128}, "neck_channels=4128"),
        ({"batch_norm_eps": 1}, "batch_norm_eps=1: give"),
        ({"pixel_offset": [0.0, 1.0, float("inf")]}, "three finite numbers"),
        ({"pixel_offset": [0.0, 1.0, 2.0, 3.0]}, "three finite numbers"),
        ({"depth": 34, "stride_in_1x1": True}, "needs bottlenecks"),
    ],
)
def test_the_config_validates_itself(fields, message):
    with pytest.raises(Exception, match=message):
        FcosConfig(**fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"depth": 34},
        {"depth": 50, "stride_in_1x1": True},
        {"depth": 152},
        {"tower_depth": 1, "neck_channels": 32, "batch_norm_eps": 0},
        {"tower_depth": 16, "neck_channels": 4096, "batch_norm_eps": 0.99},
    ],
)
def test_the_ends_of_the_limits_are_legal(fields):
    config = FcosConfig(**fields)
    assert {name: getattr(config, name) for name in fields} == fields


def test_the_defaults_are_those_of_torchvisions_fcos():
    config = FcosConfig()
    assert (config.depth, config.neck_channels, config.tower_depth, config.batch_norm_eps) == (50, 256, 4, 1e-5)
    assert (config.distance_activation, config.centerness_tower, config.points) == ("relu", "regression", "corner")
    assert config.pixel_offset == [0.0, 0.0, 0.0] and config.stride_in_1x1 is False
    assert len(config.class_names) == 91


@pytest.fixture(scope="module")
def tiny():
    """The same weights with other options."""

    def make(**options):
        torch.manual_seed(0)
        model = FcosDetector(FcosConfig(depth=18, neck_channels=32, tower_depth=2, num_labels=3, **options)).eval()
        torch.nn.init.normal_(model.distance_output.weight, std=0.1)
        torch.nn.init.normal_(model.centerness_output.weight, std=0.1)
        return model

    return make


@torch.no_grad()
def test_options_of_the_original_network(tiny, canvases):
    plain = tiny()
    offset = [0.5, -0.25, 1.0]
    moved = plain(canvases + torch.tensor(offset)[:, None, None])
    found = tiny(pixel_offset=offset)(canvases)
    torch.testing.assert_close(found.class_logits, moved.class_logits)
    assert not torch.allclose(found.class_logits, plain(canvases).class_logits)
    p5 = plain.smooth(plain.lateral(plain.body(canvases)))
    raw = plain.distance_output(plain.regression_tower(p5)).flatten(2).transpose(1, 2)
    assert (raw < 0).any() and (raw > 0).any()
    torch.testing.assert_close(plain(canvases).distances, raw.clamp(min=0) * 32)
    torch.testing.assert_close(tiny(distance_activation="exp")(canvases).distances, raw.exp())
    for name, tower in (("regression", plain.regression_tower), ("classification", plain.classification_tower)):
        expected = plain.centerness_output(tower(p5)).flatten(1)
        torch.testing.assert_close(tiny(centerness_tower=name)(canvases).centerness_logits, expected)


def test_the_stride_of_a_bottleneck_may_be_in_its_first_convolution():
    with torch.device("meta"):
        caffe, torchvisions = (FcosDetector(FcosConfig(depth=50, stride_in_1x1=first)).body for first in (True, False))
    for body, strides in ((caffe, [2, 1]), (torchvisions, [1, 2])):
        for name in ("layer2", "layer3", "layer4"):
            first, second = body.get_submodule(name)[:2]
            assert [first.conv1.stride[0], first.conv2.stride[0]] == strides
            assert second.conv1.stride == second.conv2.stride == (1, 1)
        assert body.layer1[0].conv1.stride == body.layer1[0].conv2.stride == (1, 1)


@pytest.mark.parametrize(("depth", "width"), [(18, 512), (34, 512), (50, 2048), (101, 2048)])
def test_the_lateral_convolution_fits_every_depth(depth, width):
    with torch.device("meta"):
        model = FcosDetector(FcosConfig(depth=depth, neck_channels=64, tower_depth=3))
    assert model.lateral.weight.shape == (64, width, 1, 1)
    assert model.body(torch.zeros(1, 3, 64, 32, device="meta")).shape == (1, width, 2, 1)
    assert [type(layer).__name__ for layer in model.regression_tower] == ["Conv2d", "GroupNorm", "ReLU"] * 3
    assert model.classification_tower[0].weight.shape == (64, 64, 3, 3)


def test_weights_start_as_in_the_sources():
    torch.manual_seed(0)
    model = FcosDetector(FcosConfig(depth=18, neck_channels=256, tower_depth=1))
    # He et al. for the trunk, by fan-out; Kaiming-uniform with a = 1 for the pyramid; 0.01 for the outputs.
    assert model.body.layer4[0].conv1.weight.std().item() == pytest.approx((2 / (512 * 9)) ** 0.5, rel=0.02)
    for conv, inner in ((model.lateral, 512), (model.smooth, 256 * 9)):
        bound = (3 / inner) ** 0.5
        assert 0.98 * bound < conv.weight.abs().max() <= bound
    for output in (model.class_output, model.distance_output, model.centerness_output):
        assert output.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert torch.allclose(model.class_output.bias, torch.tensor(-math.log(99)))


def test_weights_that_p5_does_not_need_are_named_with_the_reason():
    names, unused = torchvision_names(
        [
            "backbone.body.layer1.0.conv1.weight",
            "backbone.fpn.inner_blocks.2.0.weight",
            "head.regression_head.bbox_ctrness.bias",
            "backbone.fpn.inner_blocks.1.0.weight",
            "backbone.fpn.extra_blocks.p6.weight",
            "backbone.body.bn1.num_batches_tracked",
        ]
    )
    assert names == {
        "backbone.body.layer1.0.conv1.weight": "body.layer1.0.conv1.weight",
        "backbone.fpn.inner_blocks.2.0.weight": "lateral.weight",
        "head.regression_head.bbox_ctrness.bias": "centerness_output.bias",
    }
    assert unused == {
        "backbone.fpn.inner_blocks.1.0.weight": "laterals of C3 and C4: not used by P5",
        "backbone.fpn.extra_blocks.p6.weight": "P6 and P7: not computed",
        "backbone.body.bn1.num_batches_tracked": "counter of BatchNorm, which is frozen",
    }
