"""Detectors of torchvision propose what torchvision's own network answers for the canvas as its picture."""

import functools

import pytest
import torch
from checkpoints import tiny_model, tiny_processor
from detectors.base import DetectorTester, tensors_of
from huggingface_hub.errors import StrictDataclassError
from torch.nn.functional import interpolate
from torchvision.models import get_model, get_model_weights
from torchvision.models.detection.roi_heads import paste_masks_in_image
from without_package import answer_without_package

from pbrec_hf import PbrecImageProcessor, PbrecProcessor, TorchvisionDetector, TorchvisionDetectorConfig
from pbrec_hf.hub.publishing import write_checkpoint

SIDE = 128
SMALL = {"min_size": 96, "max_size": 128}
REGIONS = {"rpn_post_nms_top_n_test": 20}
FAMILIES = {
    "fasterrcnn_mobilenet_v3_large_320_fpn": SMALL | REGIONS,
    "maskrcnn_resnet50_fpn": SMALL | REGIONS,
    "retinanet_resnet50_fpn": SMALL,
    "fcos_resnet50_fpn": SMALL,
    "ssdlite320_mobilenet_v3_large": {"topk_candidates": 50},
}
SSDLITE = "ssdlite320_mobilenet_v3_large"
# Kernels depend on how loaded weights lie in memory: canvas pixels by which boxes may differ, of a canvas of 128.
ROUNDING = {"fasterrcnn_mobilenet_v3_large_320_fpn": 1e-3}
NAMES = TorchvisionDetectorConfig.names


def pictures() -> torch.Tensor:
    """uint8 (2, 3, SIDE, SIDE)."""
    coarse = torch.randint(0, 256, (2, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    return interpolate(coarse.float(), (SIDE, SIDE), mode="bilinear").to(torch.uint8)


@functools.cache
def canvases() -> torch.Tensor:
    return PbrecImageProcessor(size={"longest_edge": SIDE})(list(pictures()))["pixel_values"]


@functools.lru_cache(maxsize=2)  # drawing forty million numbers takes a second
def random_weights(name: str, classes: int) -> dict[str, torch.Tensor]:
    """As torchvision publishes them, but drawn; scores are far enough apart."""
    torch.manual_seed(0)
    with torch.device("meta"):
        shapes = get_model(name, weights=None, weights_backbone=None, num_classes=classes).state_dict()
    state = {}
    for key, value in shapes.items():
        if key.endswith("num_batches_tracked"):
            if "ssd" in name:  # the others' norms are frozen
                state[key] = torch.zeros((), dtype=torch.int64)
        elif value.ndim > 1:
            state[key] = torch.randn(value.shape) * (2 / value[0].numel()) ** 0.5
        elif key.endswith("bias"):
            state[key] = torch.randn(value.shape) * 0.1
        else:
            state[key] = torch.rand(value.shape) * 0.2 + 0.5  # of norms
    return state


@pytest.fixture
def published(monkeypatch):
    """Gives torchvision weights to publish."""

    def publish(name: str) -> None:
        state = random_weights(name, 91)
        member = get_model_weights(name)["COCO_V1"]
        monkeypatch.setattr(type(member), "get_state_dict", lambda self, **kwargs: state)

    return publish


def made(name: str, options: dict, classes: int = 6, **fields) -> TorchvisionDetector:
    """A detector with drawn weights."""
    names = {index: f"thing {index}" for index in range(classes)}
    given = {"id2label": names, "top_n": 12, "min_score": 0.005} | fields
    with torch.device("meta"):
        detector = TorchvisionDetector(TorchvisionDetectorConfig(name=name, options=options, **given))
    drawn = random_weights(name, len(given["id2label"]))
    detector.network.load_state_dict({key: value.clone() for key, value in drawn.items()}, assign=True)
    return detector.eval()


@pytest.mark.parametrize("name", FAMILIES)
def test_boxes_scores_and_masks_are_those_of_torchvision(name, published):
    options = FAMILIES[name]
    published(name)
    theirs = get_model(name, weights="COCO_V1", weights_backbone=None, **options).eval()
    head = getattr(theirs, "roi_heads", theirs)
    head.score_thresh, head.detections_per_img = 0.005, 12
    detector = TorchvisionDetector.from_torchvision(name, top_n=12, min_score=0.005, options=options)
    with torch.no_grad():
        expected = theirs([picture / 255 for picture in pictures()])
        found = detector.propose(canvases())
    assert found.num_points == 12
    for row, one in enumerate(expected):
        count = len(one["scores"])
        assert 0 < count <= 12
        assert found.valid[row].tolist() == [True] * count + [False] * (12 - count)
        order = one["scores"].argsort(descending=True, stable=True)
        torch.testing.assert_close(found.quality[row, :count], one["scores"][order], atol=1e-5, rtol=0)
        torch.testing.assert_close(found.boxes[row, :count] / SIDE, one["boxes"][order] / SIDE, atol=1e-5, rtol=0)
        assert torch.equal(found.labels[row, :count], one["labels"][order])
        assert ("masks" in one) == (found.masks is not None)
        if found.masks is not None:
            maps = found.masks.maps[row, :count]
            pasted = paste_masks_in_image(maps[:, None], found.boxes[row, :count], (SIDE, SIDE))
            torch.testing.assert_close(pasted, one["masks"][order], atol=1e-4, rtol=0)


class OfTorchvision(DetectorTester):
    multiple = None
    name: str

    def make(self, **fields):
        return made(self.name, FAMILIES[self.name], **fields)

    def class_logits(self, detector, pixels):
        return None


# The shared tests for every family, each in a class of its own, as pytest collects them.
for _name in FAMILIES:
    _fields = {"name": _name, "rounding": ROUNDING.get(_name, 1e-4)}
    globals()[f"Test_{_name}"] = type(f"Test_{_name}", (OfTorchvision,), _fields)


@functools.cache
def mask_rcnn() -> TorchvisionDetector:
    return made("maskrcnn_resnet50_fpn", FAMILIES["maskrcnn_resnet50_fpn"])


def test_mask_rcnn_is_saved_and_loaded_with_a_processor(tmp_path):
    detector = mask_rcnn()
    tiny_processor(box_detector=detector, mask_detector=detector).save_pretrained(tmp_path)
    found = PbrecProcessor.from_pretrained(tmp_path).propose(canvases()[:1])
    for proposals in found.values():
        for one, other in zip(tensors_of(proposals), tensors_of(detector.propose(canvases()[:1])), strict=True):
            assert torch.equal(one, other)


def test_a_folder_with_code_takes_it_along(tmp_path):
    tiny_model().save_pretrained(tmp_path / "plain")
    detector = made(SSDLITE, FAMILIES[SSDLITE])
    tiny_processor(box_detector=detector).save_pretrained(tmp_path / "plain")
    write_checkpoint(str(tmp_path / "plain"), tmp_path / "published", with_code=True)
    assert (tmp_path / "published" / "detectors_torchvision_models.py").is_file()
    assert answer_without_package(tmp_path / "published").startswith("[")


@pytest.mark.parametrize("name", NAMES)
def test_each_network_has_the_weights_of_torchvision(name):
    with torch.device("meta"):
        theirs = get_model(name, weights=None, weights_backbone=None).state_dict()
        ours = TorchvisionDetector(TorchvisionDetectorConfig(name=name)).network.state_dict()
    frozen = not name.endswith(("_v2", "vgg16", "ssdlite320_mobilenet_v3_large"))
    expected = {
        key: value.shape for key, value in theirs.items() if not (frozen and key.endswith("num_batches_tracked"))
    }
    assert {key: value.shape for key, value in ours.items()} == expected


def test_nothing_in_the_padding_is_valid():
    detector = made(SSDLITE, FAMILIES[SSDLITE])
    free = detector.propose(canvases())
    around = torch.zeros(2, SIDE, SIDE, dtype=torch.int64)
    for row, (x, y) in enumerate(free.points[:, 0].long().tolist()):
        around[row, max(y - 4, 0) : y + 5, max(x - 4, 0) : x + 5] = 1
    for shown in (around, 1 - around):
        found = detector.propose(canvases(), shown)
        x, y = found.points.long().clamp(max=SIDE - 1).unbind(-1)
        inside = shown[torch.arange(2)[:, None], y, x] == 1
        assert torch.equal(found.valid, inside & (found.quality > 0))
        assert int(found.valid.sum()) == int((free.valid & inside_of(free, shown)).sum())


def inside_of(proposals, shown):
    x, y = proposals.points.long().clamp(max=SIDE - 1).unbind(-1)
    return shown[torch.arange(len(proposals))[:, None], y, x] == 1


def test_masks_lie_in_their_boxes_and_stand_at_their_centroids():
    proposals = mask_rcnn().propose(canvases()[:1])
    boxes, points, maps = proposals.boxes[0], proposals.points[0], proposals.masks.maps[0]
    point = torch.arange(4)
    masks = proposals.masks.at(torch.zeros_like(point), point)
    assert masks.shape == (4, SIDE // 2, SIDE // 2)
    there = (maps > 0.5).flatten(1).any(dim=1)
    assert there.sum() > 5
    # The middles of the cells, in the box.
    cells = (torch.arange(28) + 0.5) / 28
    for box, spot, some in zip(boxes[there], points[there], maps[there] > 0.5, strict=True):
        rows, cols = some.nonzero().unbind(1)
        share = torch.stack((cells[cols].mean(), cells[rows].mean()))
        torch.testing.assert_close(spot, box[:2] + share * (box[2:] - box[:2]), atol=1e-3, rtol=0)


def test_a_canvas_without_anything_has_proposals_that_do_not_exist():
    detector = made(SSDLITE, FAMILIES[SSDLITE])
    detector.network.score_thresh = 1.0
    proposals = detector.propose(canvases())
    assert proposals.num_points == 12 and not proposals.valid.any() and (proposals.quality == 0).all()


def test_published_weights_bring_their_classes_and_settings(published):
    published("ssdlite320_mobilenet_v3_large")
    detector = TorchvisionDetector.from_torchvision("ssdlite320_mobilenet_v3_large", top_n=10, min_score=0.65)
    assert detector.config.id2label[1] == "person" and len(detector.config.id2label) == 91
    assert (detector.network.score_thresh, detector.network.detections_per_img) == (0.65, 10)
    assert not detector.training
    with pytest.raises(ValueError, match=r"name='yolo': give one of 'fasterrcnn_mobilenet"):
        TorchvisionDetector.from_torchvision("yolo")
    with pytest.raises(ValueError, match=r"weights='LVIS' is unknown to torchvision: choose one of \['COCO_V1'\]"):
        TorchvisionDetector.from_torchvision("ssdlite320_mobilenet_v3_large", weights="LVIS")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "yolo"}, "name='yolo': give one of 'fasterrcnn_mobilenet"),
        ({"options": {"min_sizes": 3}}, "options has min_sizes: give some of .*min_size.*rpn_nms_thresh"),
        ({"options": {"box_score_thresh": 0.1}}, "options has box_score_thresh.*`min_score`"),
        ({"name": "ssd300_vgg16", "options": {"min_size": 96}}, "options has min_size"),
        ({"name": "ssd300_vgg16", "frozen_norm_eps": 0.1}, "frozen_norm_eps=0.1.*only for fasterrcnn"),
        ({"frozen_norm_eps": 1.5}, "frozen_norm_eps=1.5"),
        ({"top_n": 0}, "top_n=0"),
    ],
)
def test_fields_are_checked(fields, message):
    with pytest.raises(StrictDataclassError, match=message):
        TorchvisionDetectorConfig(**fields)
