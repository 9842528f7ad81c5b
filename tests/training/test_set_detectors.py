"""Training, its cache of proposals, and evaluation with detectors that propose sets of things."""

import pytest
from checkpoints import tiny_model, tiny_processor
from tiny_detectors import CLASSES, save_network
from training_data import tiny_config, write_data
from without_package import answer_without_package

from pbrec_hf import PbrecProcessor, PretrainedDetector
from pbrec_hf.detectors.references import DetectorReference
from pbrec_hf.hub.publishing import write_checkpoint
from pbrec_hf.training.build import load_rows
from pbrec_hf.training.evaluation import predict
from pbrec_hf.training.precompute import fill_caches
from pbrec_hf.training.proposal_cache import detector_hash, open_caches
from pbrec_hf.training.run import train
from pbrec_hf.training.scores import score


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """Conditional DETR and Mask2Former as their library saves them."""
    folder = tmp_path_factory.mktemp("networks")
    return {
        "boxes": save_network(folder / "conditional_detr", "detection", "conditional_detr"),
        "masks": save_network(folder / "mask2former", "segmentation", "mask2former"),
    }


@pytest.fixture(scope="module")
def processor(networks):
    return tiny_processor(
        box_detector=PretrainedDetector.wrap(networks["boxes"], top_n=20),
        mask_detector=PretrainedDetector.wrap(networks["masks"], top_n=6),
    )


@pytest.fixture(scope="module")
def checkpoint(processor, tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    tiny_model().save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"), pictures=4, expressions=2, masks=True)


def test_cached_proposals_answer_as_fresh_ones(processor, data, tmp_path):
    rows = load_rows(str(data))
    caches = open_caches(tmp_path, processor)
    assert fill_caches(caches, processor, rows) == 4
    assert {kind: len(cache) for kind, cache in caches.items()} == {"boxes": 4, "masks": 4}
    assert fill_caches(caches, processor, rows) == 0
    expected = predict(tiny_model(), processor, rows, batch_size=2)
    found = predict(tiny_model(), processor, rows, batch_size=3, caches=caches)
    for one, other in zip(found, expected, strict=True):
        assert one["boxes"][0] == pytest.approx(other["boxes"][0], abs=1e-2)
        assert one["scores"] == pytest.approx(other["scores"], abs=1e-5)
        assert one["masks"] == other["masks"]
    scores = score(found, rows)
    assert scores["count"] == 8
    assert scores["box_oracle@0.5"] >= scores["accuracy@0.5"] and scores["mask_oracle"] >= scores["mask_mean_iou"]


def test_the_cache_knows_the_image_processor_of_the_network(processor, networks):
    other = PretrainedDetector.wrap(networks["boxes"], top_n=20)
    one = detector_hash(processor.box_detector, processor.image_processor)
    assert detector_hash(other, processor.image_processor) == one
    other.processor.size = {"height": 64, "width": 64}
    assert detector_hash(other, processor.image_processor) != one


def test_training_validates_with_them(checkpoint, data, tmp_path):
    tasks = ["grounding"]
    train(tiny_config(checkpoint, data, tmp_path / "out", epochs=1, tasks=tasks, validation_data=str(data)))
    loaded = PbrecProcessor.from_pretrained(tmp_path / "out" / "last")
    assert loaded.box_detector.network.config.model_type == "conditional_detr"
    assert loaded.box_detector.config.id2label == CLASSES


def test_a_repository_of_a_network_serves_by_its_name(networks):
    reference = DetectorReference(str(networks["masks"]), settings={"top_n": 5, "min_score": 0.1})
    detector = reference.load({})
    assert isinstance(detector, PretrainedDetector)
    assert (detector.config.task, detector.config.top_n, detector.config.min_score) == ("segmentation", 5, 0.1)


def test_a_folder_with_code_takes_ours_along_and_none_of_the_librarys(checkpoint, tmp_path):
    write_checkpoint(str(checkpoint), tmp_path / "published", with_code=True)
    there = {path.name for path in (tmp_path / "published").glob("*.py")}
    assert {f"detectors_{name}.py" for name in ("pretrained", "set_predictions", "wrapped")} <= there
    assert not any("conditional_detr" in name or "mask2former" in name for name in there)
    assert answer_without_package(tmp_path / "published").startswith("[")
