"""The backbone with named channels: shapes, names, validation, saving, and independence of the batch."""

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError

from pbrec_hf.backbone_grounding import GroundingBackbone, GroundingBackboneConfig
from pbrec_hf.backbone_nanodet import NanoDetTrunkConfig
from pbrec_hf.detection_nanodet import NanoDetConfig


@pytest.fixture(scope="module")
def backbone():
    torch.manual_seed(0)
    trunk = NanoDetTrunkConfig(stem_channels=4, stage_channels=(8, 8, 8), stage_depths=(1, 1, 1), neck_channels=8)
    detector = NanoDetConfig(trunk_config=trunk, id2label={0: "dog", 1: "cat"})
    model = GroundingBackbone(GroundingBackboneConfig(detector_config=detector, stride=16)).eval()
    for head in model.detector.heads.values():  # so that some detections pass the least score
        torch.nn.init.normal_(head.output.weight, std=0.5)
        torch.nn.init.constant_(head.output.bias, -2.0)
    return model


@pytest.fixture(scope="module")
def pictures():
    return torch.randn(2, 3, 128, 160, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_every_channel_has_a_name(backbone, pictures):
    (feature_map,) = backbone(pictures).feature_maps
    names = backbone.config.channel_names
    assert feature_map.shape == (2, len(names), 8, 10)
    assert backbone.channels == [len(names)]
    assert len(set(names)) == len(names)
    found = feature_map[:, names.index("shape:found")]
    assert found.max() == 1


@torch.no_grad()
def test_the_map_may_be_coarser(backbone, pictures):
    config = GroundingBackboneConfig(detector_config=backbone.config.detector_config, stride=32)
    coarse = GroundingBackbone(config).eval()
    coarse.detector.load_state_dict(backbone.detector.state_dict())
    (feature_map,), names = coarse(pictures).feature_maps, config.channel_names
    assert feature_map.shape == (2, len(names), 4, 5)
    fine = backbone(pictures).feature_maps[0]
    for name in ("class:dog", "class:cat"):  # the best of the cells that a coarse one covers
        channel = names.index(name)
        assert torch.allclose(feature_map[:, channel], torch.nn.functional.max_pool2d(fine[:, channel], 2))


@torch.no_grad()
def test_an_object_is_seen_with_the_eyes_of_all_its_detections(backbone):
    boxes = torch.tensor([[0.0, 0, 100, 100], [2, 2, 100, 100], [200, 0, 300, 100]])
    scores = torch.tensor([[0.5, 0.0], [0.1, 0.4], [0.0, 0.9]])
    kept, seen, score = backbone._find(scores, boxes)
    assert torch.equal(kept, boxes[[2, 0]])
    assert torch.equal(seen, torch.tensor([[0.0, 0.9], [0.5, 0.4]]))
    assert torch.equal(score, torch.tensor([0.9, 0.5]))


@torch.no_grad()
def test_a_batch_equals_single_pictures(backbone, pictures):
    together = backbone(pictures).feature_maps[0]
    alone = torch.cat([backbone(picture[None]).feature_maps[0] for picture in pictures])
    assert torch.allclose(together, alone, atol=1e-5)


@torch.no_grad()
def test_saved_and_loaded_it_is_the_same(backbone, pictures, tmp_path):
    backbone.save_pretrained(tmp_path)
    loaded = GroundingBackbone.from_pretrained(tmp_path)
    assert loaded.config.channel_names == backbone.config.channel_names
    assert torch.equal(loaded(pictures).feature_maps[0], backbone(pictures).feature_maps[0])


def test_gradients_reach_the_neck(backbone, pictures):
    backbone(pictures).feature_maps[0].sum().backward()
    assert backbone.detector.trunk.stem.conv.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    "field",
    [
        {"nms_iou": 1.5},
        {"min_score": 0.5, "sure_score": 0.4},
        {"max_objects": 0},
        {"stride": 8},
        {"same_object_iou": 2},
    ],
)
def test_wrong_numbers_are_refused(field):
    with pytest.raises(StrictDataclassError, match=next(iter(field)).replace("min_score", "score")):
        GroundingBackboneConfig(**field)
