"""The backbone with named channels: shapes, names, validation, saving, and independence of the batch."""

import copy

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError

from pbrec_hf.geometry.points import grid_points
from pbrec_hf.small.backbone import GroundingBackbone, GroundingBackboneConfig, most_central
from pbrec_hf.small.colors import COLOR_NAMES
from pbrec_hf.small.nanodet import NanoDetConfig
from pbrec_hf.small.nanodet_trunk import NanoDetTrunkConfig
from pbrec_hf.small.objects import SHAPE, place_objects


@pytest.fixture(scope="module")
def backbone():
    torch.manual_seed(0)
    trunk = NanoDetTrunkConfig(stem_channels=4, stage_channels=(8, 8, 8), stage_depths=(1, 1, 1), neck_channels=8)
    detector = NanoDetConfig(trunk_config=trunk, id2label={0: "dog", 1: "cat"})
    model = GroundingBackbone(GroundingBackboneConfig(detector_config=detector, stride=16)).eval()
    for head in model.detector.heads.values():  # some detections must exceed `min_score`
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
@pytest.mark.parametrize("ask", ["argument", "config"])
def test_hidden_states_are_returned_if_asked_for(backbone, pictures, ask):
    for model, count in ((backbone, 1), (backbone.detector.trunk, 3)):
        assert model(pictures).hidden_states is None
        model = copy.deepcopy(model)
        model.config.output_hidden_states = ask == "config"
        asked = {"output_hidden_states": True} if ask == "argument" else {}
        assert len(model(pictures, **asked).hidden_states) == count
        assert model(pictures, output_hidden_states=False).hidden_states is None


@torch.no_grad()
@pytest.mark.parametrize("places", [1, 2])
def test_a_picture_without_detections_has_a_map(backbone, pictures, places):
    config = GroundingBackboneConfig(
        detector_config=backbone.config.detector_config, stride=32, places=places, min_central=0.45
    )
    blind = GroundingBackbone(config).eval()
    blind.detector.load_state_dict(backbone.detector.state_dict())
    for head in blind.detector.heads.values():
        torch.nn.init.constant_(head.output.weight, 0)
        torch.nn.init.constant_(head.output.bias, -20.0)
    outputs = blind(pictures)
    (feature_map,), names = outputs.feature_maps, config.channel_names
    assert feature_map.isfinite().all() and not outputs.attended.any()
    assert not feature_map[:, names.index("object:dog") : names.index("shape:central") + 1].any()


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
def test_detections_at_other_scales_are_included(backbone, pictures):
    detector = NanoDetConfig(**{**backbone.config.detector_config.to_dict(), "scales": [0.5, 1.0]})
    model = GroundingBackbone(GroundingBackboneConfig(detector_config=detector, stride=16)).eval()
    model.detector.load_state_dict(backbone.detector.state_dict())
    both, alone = model(pictures).feature_maps[0], backbone(pictures).feature_maps[0]
    assert both.shape == alone.shape
    channels = [index for index, name in enumerate(model.config.channel_names) if name.startswith("class:")]
    more = both[:, channels] - alone[:, channels]
    assert more.min() > -1e-5 and more.max() > 1e-3


@torch.no_grad()
def test_the_most_central_sample_represents_a_cell(backbone, pictures):
    config = GroundingBackboneConfig(detector_config=backbone.config.detector_config, stride=32, places=2)
    model = GroundingBackbone(config).eval()
    model.detector.load_state_dict(backbone.detector.state_dict())
    output, fine = model(pictures), backbone(pictures)
    assert output.feature_maps[0].shape == (2, len(config.channel_names), 4, 5) and output.points.shape == (2, 20, 2)
    assert torch.equal(fine.points[1], grid_points(8, 10, 16))
    x, y = (output.points / 16).long().unbind(-1)
    centres = grid_points(4, 5, 32)
    assert ((output.points - centres).abs() == 8).all()  # one of the four samples of the cell
    assert len({tuple(shift) for shift in (output.points - centres).flatten(0, 1).tolist()}) > 1
    central = config.channel_names.index("shape:central")
    for image in range(2):
        column, row = x[image], y[image]
        assert torch.equal(output.feature_maps[0][image].flatten(1), fine.feature_maps[0][image][:, row, column])
        best = torch.nn.functional.max_pool2d(fine.feature_maps[0][image, central][None], 2)
        assert torch.equal(output.feature_maps[0][image, central], best[0])


@torch.no_grad()
def test_an_object_between_cell_centres_is_kept():
    boxes, weight = torch.tensor([[4.0, 4, 14, 14]]), torch.ones(1)
    shapes = {}
    for stride in (16, 32):
        points = grid_points(64 // stride, 64 // stride, stride)
        shapes[stride] = place_objects(boxes, weight, points, stride, (64, 64))[1]
    guessed = torch.zeros(2 + len(COLOR_NAMES), 16)
    guessed[1, [3, 13]] = 0.2
    at_points = torch.cat((guessed, shapes[16].T))[None]
    chosen = most_central(at_points, (4, 4), 2)
    assert chosen.tolist() == [[0, 3, 13, 10]]  # without an object, the highest class probabilities decide
    flipped = most_central(at_points.unflatten(2, (4, 4)).flip(3).flatten(2), (4, 4), 2)
    assert flipped.tolist() == [[0, 3, 8, 14]]
    central = SHAPE.index("central")
    assert shapes[16][0, central] > shapes[32][0, central]  # nearer to the object's centre than the cell centre


@torch.no_grad()
def test_points_far_from_objects_are_masked_out_of_attention(backbone, pictures):
    assert backbone(pictures).attended is None
    config = GroundingBackboneConfig(**backbone.config.to_dict() | {"min_central": 0.45})
    model = GroundingBackbone(config).eval()
    model.detector.load_state_dict(backbone.detector.state_dict())
    output = model(pictures)
    central = output.feature_maps[0][:, config.channel_names.index("shape:central")].flatten(1)
    assert torch.equal(output.attended, central > 0.45) and output.attended.any() and not output.attended.all()
    assert torch.equal(output.feature_maps[0], backbone(pictures).feature_maps[0])


@pytest.mark.parametrize(
    ("fields", "legal"),
    [
        ({"min_central": 1.5}, "[0, 1]"),
        ({"places": 3}, "[1, 2]"),
        ({"places": -1}, "[1, 2]"),
        ({"places": 0, "stride": 16}, "[1]"),
        ({"stride": 16, "places": 2}, "[1]"),
    ],
)
def test_illegal_settings_are_refused(fields, legal):
    with pytest.raises(StrictDataclassError) as error:
        GroundingBackboneConfig(**fields)
    name, value = next(iter(fields.items()))
    assert f"{name}={value}" in str(error.value) and legal in str(error.value)


@torch.no_grad()
def test_an_object_takes_the_class_probabilities_of_all_its_detections(backbone):
    boxes = torch.tensor([[0.0, 0, 100, 100], [2, 2, 100, 100], [200, 0, 300, 100]])
    scores = torch.tensor([[0.5, 0.0], [0.1, 0.4], [0.0, 0.9]])
    kept, probabilities, score = backbone._find(scores, boxes)
    assert torch.equal(kept, boxes[[2, 0]])
    assert torch.equal(probabilities, torch.tensor([[0.0, 0.9], [0.5, 0.4]]))
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


@torch.no_grad()
def test_classes_of_corners_reach_the_four_cells_around_them():
    trunk = NanoDetTrunkConfig(
        stem_channels=8, stage_channels=(8, 16, 16), stage_depths=(1, 1, 1), neck="ghost_pan", neck_channels=8
    )
    detector = NanoDetConfig(trunk_config=trunk, id2label={0: "dog", 1: "cat"}, points="corner")
    model = GroundingBackbone(GroundingBackboneConfig(detector_config=detector, stride=16)).eval()
    canvas = torch.zeros(1, 3, 128, 128)
    output = model.detector(canvas)
    output.scores = torch.zeros_like(output.scores)
    # The corner in row 3 and column 2 of the grid of stride 16, after the 16 × 16 of stride 8.
    output.scores[0, 256 + 3 * 8 + 2, 1] = 0.64
    (feature_map,) = model(canvas, detected=output).feature_maps
    seen = feature_map[0, model.config.channel_names.index("class:cat")]
    assert seen.nonzero().tolist() == [[2, 1], [2, 2], [3, 1], [3, 2]]
    assert torch.allclose(seen[2:4, 1:3], torch.tensor(0.8))  # as square root
