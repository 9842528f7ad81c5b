"""Detectors of transformers propose what their own library answers for the canvas as its picture."""

import functools
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import tiny_model, tiny_processor
from detectors.base import DetectorTester
from huggingface_hub import HfApi
from huggingface_hub.errors import StrictDataclassError
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny_detectors import CLASSES, DETECTION, SEGMENTATION, save_network
from torch.nn.functional import interpolate
from transformers import (
    AutoImageProcessor,
    AutoModelForInstanceSegmentation,
    AutoModelForObjectDetection,
    AutoModelForUniversalSegmentation,
    DetrConfig,
    RfDetrConfig,
    ViTConfig,
    pipeline,
)
from transformers.models.detr.image_processing_detr import compute_segments

from pbrec_hf import PbrecImageProcessor, PretrainedDetector, PretrainedDetectorConfig

SIDE = 128
PADDING = (124, 116, 104)  # the mean colour


@functools.cache
def folder(task: str, family: str) -> Path:
    """The network as its library saves it."""
    return save_network(Path(tempfile.mkdtemp(prefix=f"{family}-")), task, family)


@functools.cache
def canvases() -> tuple[list[Image.Image], torch.Tensor, torch.Tensor]:
    """Two letterboxed canvases: as pictures, as the image processor makes them, and where the pictures are."""
    generator = np.random.default_rng(0)
    pictures, canvases = [], []
    for height, width in ((80, SIDE), (SIDE, 64)):
        coarse = generator.integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8)
        picture = np.asarray(Image.fromarray(coarse).resize((width, height)))
        canvas = np.full((SIDE, SIDE, 3), PADDING, dtype=np.uint8)
        top, left = (SIDE - height) // 2, (SIDE - width) // 2
        canvas[top : top + height, left : left + width] = picture
        pictures.append(picture)
        canvases.append(Image.fromarray(canvas))
    inputs = PbrecImageProcessor(size={"longest_edge": SIDE})(pictures)
    return canvases, inputs["pixel_values"], inputs["pixel_mask"]


@torch.no_grad()
def of_the_library(auto, source: Path):
    """The library's image processor, and its network's output for the canvases."""
    processor, network = AutoImageProcessor.from_pretrained(source), auto.from_pretrained(source).eval()
    return processor, network(**processor(canvases()[0], return_tensors="pt"))


@pytest.mark.parametrize("family", DETECTION)
def test_boxes_and_scores_are_those_of_the_library(family):
    source = folder("detection", family)
    processor, output = of_the_library(AutoModelForObjectDetection, source)
    expected = processor.post_process_object_detection(output, threshold=0.0, target_sizes=[(SIDE, SIDE)] * 2)
    found = PretrainedDetector.wrap(source, top_n=10).propose(canvases()[1])
    assert found.num_points == 10 and found.valid.all()
    for row, one in enumerate(expected):
        order = one["scores"].argsort(descending=True)[:10]
        torch.testing.assert_close(found.quality[row], one["scores"][order], atol=1e-5, rtol=0)
        boxes = one["boxes"][order].clamp(0, SIDE)
        torch.testing.assert_close(found.boxes[row] / SIDE, boxes / SIDE, atol=1e-5, rtol=0)
        assert torch.equal(found.labels[row], one["labels"][order])
        assert torch.equal(found.points[row], (found.boxes[row, :, :2] + found.boxes[row, :, 2:]) / 2)


@pytest.mark.parametrize("family", [name for name in SEGMENTATION if name != "detr"])
def test_masks_and_scores_are_those_of_the_library(family):
    source = folder("segmentation", family)
    auto = AutoModelForUniversalSegmentation if family == "mask2former" else AutoModelForInstanceSegmentation
    processor, output = of_the_library(auto, source)
    expected = processor.post_process_instance_segmentation(
        output, threshold=0.0, target_sizes=[(SIDE, SIDE)] * 2, return_binary_maps=True
    )
    found = PretrainedDetector.wrap(source).propose(canvases()[1])
    for row, one in enumerate(expected):
        scores = torch.tensor([segment["score"] for segment in one["segments_info"]])
        order = scores.argsort(descending=True)
        valid = found.valid[row].nonzero().squeeze(1)
        assert len(valid) == len(scores) > 5
        torch.testing.assert_close(found.quality[row, valid], scores[order], atol=1e-5, rtol=0)
        assert found.labels[row, valid].tolist() == [one["segments_info"][index]["label_id"] for index in order]
        maps = (found.masks.at(torch.full_like(valid, row), valid) > 0.5).float()
        maps = interpolate(maps[None], (SIDE, SIDE), mode="nearest")[0]
        assert torch.equal(maps.bool(), one["segmentation"][order].bool())
        assert 0 < maps.mean() < 1


def test_the_segments_of_detr_are_made_of_these_masks_and_scores():
    source = folder("segmentation", "detr")
    processor, output = of_the_library(AutoModelForUniversalSegmentation, source)
    loose = {"mask_threshold": 0.05, "overlap_mask_area_threshold": 0.0}
    expected = processor.post_process_instance_segmentation(
        output, threshold=0.0, target_sizes=[(SIDE, SIDE)] * 2, **loose
    )
    boxes = processor.post_process_object_detection(output, threshold=0.0, target_sizes=[(SIDE, SIDE)] * 2)
    found = PretrainedDetector.wrap(source).propose(canvases()[1])
    assert sum(len(one["segments_info"]) for one in expected) > 2
    for row, one in enumerate(expected):
        assert found.valid[row].all()
        order = boxes[row]["scores"].argsort(descending=True)
        torch.testing.assert_close(found.boxes[row], boxes[row]["boxes"][order].clamp(0, SIDE), atol=1e-3, rtol=0)
        # The library leaves out queries that are rather nothing than something.
        kept = (output.logits[row].argmax(dim=-1) < len(CLASSES))[order].nonzero().squeeze(1)
        masks = found.masks.at(torch.full_like(kept, row), kept)
        made, segments = compute_segments(
            masks,
            found.quality[row, kept],
            found.labels[row, kept],
            label_ids_to_fuse=set(),
            target_size=(SIDE, SIDE),
            **loose,
        )
        ours = {(one["label_id"], round(one["score"], 5)): made == one["id"] for one in segments}
        theirs = {
            (each["label_id"], round(each["score"], 5)): one["segmentation"] == each["id"]
            for each in one["segments_info"]
        }
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize(
    ("task", "family"),
    [*(("detection", name) for name in DETECTION), *(("segmentation", name) for name in SEGMENTATION)],
)
def test_nothing_in_the_padding_is_valid(task, family):
    _, pixel_values, pixel_mask = canvases()
    detector = PretrainedDetector.wrap(folder(task, family))
    free = detector.propose(pixel_values)
    # Where the best of each picture stands, and everywhere else: one of the two is padding.
    around = torch.zeros_like(pixel_mask)
    for row, (x, y) in enumerate(free.points[:, 0].long().tolist()):
        around[row, max(y - 4, 0) : y + 5, max(x - 4, 0) : x + 5] = 1
    for shown in (around, 1 - around, pixel_mask):
        found = detector.propose(pixel_values, shown)
        x, y = found.points.long().clamp(max=SIDE - 1).unbind(-1)
        assert torch.equal(found.valid, shown[torch.arange(2)[:, None], y, x] == 1)
        assert (found.valid.long().diff(dim=1) <= 0).all()  # the valid ones first
        assert found.valid[:, 0].all() or shown is not around
    assert not detector.propose(pixel_values, torch.zeros_like(pixel_mask)).valid.any()


class OfTransformers(DetectorTester):
    """A network that its library saved, wrapped."""

    multiple = None
    task: str
    family: str

    def make(self, **fields):
        return PretrainedDetector.wrap(folder(self.task, self.family), **fields)

    def with_classes(self, names):
        with tempfile.TemporaryDirectory() as place:
            return PretrainedDetector.wrap(save_network(Path(place), self.task, self.family, classes=names))

    def class_logits(self, detector, pixels):
        return None


# The shared tests for every family, each in a class of its own, as pytest collects them.
for _task, _families in (("detection", DETECTION), ("segmentation", SEGMENTATION)):
    for _family in _families:
        _name = f"Test_{_task}_{_family}"
        globals()[_name] = type(_name, (OfTransformers,), {"task": _task, "family": _family})


def test_parameters_that_only_a_constructor_sets_are_defined_when_a_checkpoint_lacks_them(tmp_path):
    """YOLOS's library leaves its tokens and positions as the memory happens to be."""
    PretrainedDetector.wrap(folder("detection", "yolos")).save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    lacking = {name for name in weights if "token" in name or "position" in name}
    assert len(lacking) >= 3
    left = {name: value for name, value in weights.items() if name not in lacking}
    save_file(left, tmp_path / "model.safetensors", metadata={"format": "pt"})
    loaded = PretrainedDetector.from_pretrained(tmp_path, strict=False).state_dict()
    assert all(loaded[name].isfinite().all() and loaded[name].abs().max() < 1 for name in lacking)
    assert all(loaded[name].eq(0).all() for name in lacking if "detection_tokens" in name or "mid_" in name)


def test_the_best_that_score_enough_are_proposed():
    _, pixel_values, _ = canvases()
    source = folder("detection", "conditional_detr")
    everything = PretrainedDetector.wrap(source).propose(pixel_values).quality
    cut = float(everything[0, 4])
    found = PretrainedDetector.wrap(source, top_n=7, min_score=cut).propose(pixel_values)
    assert torch.equal(found.quality, everything[:, :7])
    assert torch.equal(found.valid, everything[:, :7] >= cut) and found.valid[0].sum() == 5


def test_a_network_is_wrapped_for_what_it_was_saved_for():
    for task, family in (("detection", "rf_detr"), ("segmentation", "rf_detr"), ("segmentation", "detr")):
        detector = PretrainedDetector.wrap(folder(task, family))
        assert detector.config.task == task
        assert detector.config.id2label == CLASSES
        assert (detector.propose(torch.zeros(1, 3, SIDE, SIDE)).masks is None) == (task == "detection")


def test_a_config_alone_says_the_task():
    network = RfDetrConfig()
    made = {
        task: PretrainedDetectorConfig(network_config=network, task=task) for task in ("detection", "segmentation")
    }
    assert made["detection"].network_config.architectures == ["RfDetrForObjectDetection"]
    assert made["segmentation"].network_config.architectures == ["RfDetrForInstanceSegmentation"]
    assert network.architectures is None
    assert PretrainedDetectorConfig(network_config=network).task == "detection"


def test_a_hub_id_and_a_revision_name_a_network(hub):
    api = HfApi()
    api.create_repo("owner/detector")
    first = api.upload_folder(repo_id="owner/detector", folder_path=folder("detection", "yolos")).oid
    api.upload_folder(repo_id="owner/detector", folder_path=folder("detection", "detr"))
    pinned = PretrainedDetector.wrap("owner/detector", revision=first)
    assert pinned.network.config.model_type == "yolos"
    assert type(pinned.processor).__name__ == "YolosImageProcessor"
    assert PretrainedDetector.wrap("owner/detector").network.config.model_type == "detr"


def test_an_argument_that_nobody_knows_is_refused():
    with pytest.raises(TypeError, match=r"Unknown arguments topn: give some of id2label, min_score, task, top_n, or"):
        PretrainedDetector.wrap(folder("detection", "detr"), topn=5)


def test_a_processor_with_it_answers(tmp_path):
    detector = PretrainedDetector.wrap(folder("segmentation", "rf_detr"))
    tiny_model().save_pretrained(tmp_path)
    tiny_processor(box_detector=detector, mask_detector=detector).save_pretrained(tmp_path)
    pipe = pipeline("referring-expression", model=str(tmp_path))
    held = pipe.processor.held_detectors
    assert {kind: type(one) for kind, one in held.items()} == dict.fromkeys(("boxes", "masks"), PretrainedDetector)
    assert held["boxes"].processor.to_dict() == detector.processor.to_dict()
    (answer,) = pipe(canvases()[0][0], "the dog", return_masks=True)
    assert 0 <= answer["score"] <= 1 and answer["mask"].size == (SIDE, SIDE)


def test_weights_that_are_missing_are_an_error(tmp_path):
    source = save_network(tmp_path, "detection", "detr")
    weights = load_file(source / "model.safetensors")
    name = "class_labels_classifier.weight"
    save_file({key: value for key, value in weights.items() if key != name}, source / "model.safetensors")
    with pytest.raises(ValueError, match=rf"missing: {name}"):
        PretrainedDetector.wrap(source)


def test_fields_are_checked():
    with pytest.raises(ValueError, match=r"task='segmentation'.*'rt_detr'.*detr, mask2former, maskformer, rf_detr"):
        PretrainedDetectorConfig(task="segmentation")
    with pytest.raises(ValueError, match=r"task='detection'.*'vit'.*yolos"):
        PretrainedDetectorConfig(network_config=ViTConfig())
    with pytest.raises(StrictDataclassError, match="give one of 'detection', 'segmentation'"):
        PretrainedDetectorConfig(task="panoptic")
    with pytest.raises(StrictDataclassError, match=r"id2label names 1 classes, but the network has 2"):
        PretrainedDetectorConfig(network_config=DetrConfig(num_labels=2), id2label={0: "thing"})
    with pytest.raises(StrictDataclassError, match="top_n=0"):
        PretrainedDetectorConfig(top_n=0)


def test_a_network_that_gives_no_numbers_is_an_error():
    detector = PretrainedDetector.wrap(folder("detection", "yolos"))
    torch.nn.init.constant_(detector.network.class_labels_classifier.layers[0].weight, torch.nan)
    with pytest.raises(ValueError, match="no numbers"):
        detector.propose(canvases()[1])
