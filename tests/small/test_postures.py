"""The posture head: what it computes, in which channels it ends up, and that graphs compute the same."""

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from small_checkpoints import detector

from pbrec_hf.small.backbone import GroundingBackbone, GroundingBackboneConfig
from pbrec_hf.small.postures import POSTURES, PostureHead, box_shapes, third_means

CANVAS = (64, 96)


@pytest.fixture(scope="module")
def backbone():
    found = detector(classes={0: "person", 1: "cat"})
    fewer = {"min_score": 0.35, "sure_score": 0.6}  # objects than there are slots
    config = GroundingBackboneConfig(detector_config=found.config, stride=16, postures=True, **fewer)
    model = GroundingBackbone(config).eval()
    model.detector.load_state_dict(found.state_dict())
    return model


@pytest.fixture(scope="module")
def pictures():
    return torch.randn(2, 3, 128, 160, generator=torch.Generator().manual_seed(1))


def drawn(*leading):
    generator = torch.Generator().manual_seed(2)
    corner = torch.rand(*leading, 5, 2, generator=generator) * 40
    boxes = torch.cat((corner, corner + 4 + 16 * torch.rand(*leading, 5, 2, generator=generator)), dim=-1)
    maps = [torch.randn(*leading, 6, CANVAS[0] // s, CANVAS[1] // s, generator=generator) for s in (8, 16)]
    return boxes, maps


@torch.no_grad()
def test_it_is_linear_in_the_means_of_thirds_and_the_shape():
    head, (boxes, maps) = PostureHead(6, 2), drawn()
    weight = torch.cat([conv.weight.flatten() for conv in head.thirds] + [head.shape.weight[0]])
    given = torch.cat((third_means(boxes, maps, CANVAS), box_shapes(boxes, CANVAS)), dim=1)
    found = head(boxes, maps, CANVAS)
    torch.testing.assert_close(found[:, 0], (given @ weight + head.shape.bias).sigmoid())
    torch.testing.assert_close(found.sum(1), torch.ones(5))


@torch.no_grad()
def test_several_pictures_are_each_as_alone():
    head, (boxes, maps) = PostureHead(6, 2), drawn(3)
    together = head(boxes, maps, CANVAS)
    for number in range(3):
        alone = head(boxes[number], [level[number] for level in maps], CANVAS)
        torch.testing.assert_close(together[number], alone)


@torch.no_grad()
def test_each_third_reads_its_own_rows():
    head = PostureHead(1, 1)
    for part in head.parameters():
        part.zero_()
    head.thirds[0].weight[2] = 1  # of the lower third
    rows = torch.zeros(1, 24, 8)
    rows[:, 16:] = 3.0
    low, high = head(torch.tensor([[0.0, 0, 32, 96], [0.0, 0, 32, 48]]), [rows], (96, 32))[:, 0].logit()
    assert low > 2.5 and high == 0


@torch.no_grad()
def test_persons_have_channels_for_their_postures(backbone, pictures):
    output = backbone(pictures)
    names = backbone.config.channel_names
    assert output.feature_maps[0].shape[1] == len(names) == backbone.channels[0]
    without = GroundingBackboneConfig(detector_config=backbone.config.detector, stride=16)
    assert len(without.channel_names) == len(names) - len(POSTURES)
    planes = output.feature_maps[0][:, [names.index(f"object:{name}") for name in POSTURES]]
    person = output.feature_maps[0][:, names.index("object:person")]
    torch.testing.assert_close(planes.sum(1), person)  # shares of what is a person
    assert (person > 0.3).any() and (planes[:, 0] != planes[:, 1]).any()


@torch.no_grad()
def test_graphs_compute_the_same(backbone, pictures, monkeypatch):
    expected = backbone(pictures).feature_maps[0]
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    torch.testing.assert_close(backbone(pictures).feature_maps[0], expected, atol=1e-5, rtol=1e-5)


def test_it_is_saved_and_trains_with_nothing(backbone, tmp_path):
    backbone.save_pretrained(tmp_path)
    loaded = GroundingBackbone.from_pretrained(tmp_path)
    for name, value in backbone.posture_head.state_dict().items():
        assert torch.equal(loaded.posture_head.state_dict()[name], value)
    assert not any(part.requires_grad for part in backbone.posture_head.parameters())


def test_a_detector_without_persons_is_refused():
    with pytest.raises(StrictDataclassError, match="postures=True needs a class 'person'"):
        GroundingBackboneConfig(detector_config=detector(classes={0: "dog"}).config, postures=True)


@torch.no_grad()
def test_boxes_are_not_rounded_where_weights_are_halves():
    head, (boxes, maps) = PostureHead(6, 2).bfloat16(), drawn()
    maps = [level.bfloat16() for level in maps]
    found = head(boxes, maps, CANVAS)
    assert found.dtype == torch.float32
    expected = head.float()(boxes, [level.float() for level in maps], CANVAS)
    torch.testing.assert_close(found, expected, atol=5e-3, rtol=0)
