"""Open-vocabulary detectors: equal to their library's own processor, network and post-processing, and well-behaved."""

import json
import logging

import numpy as np
import pytest
import torch
from checkpoints import tiny_model, tiny_processor
from detectors.base import DetectorTester, tensors_of
from huggingface_hub.errors import StrictDataclassError
from open_vocabularies import FAMILIES, tiny_detector, tiny_network
from PIL import Image
from promptable import tiny_prompted
from torchvision.transforms.v2 import functional as tvF
from training_data import write_data
from transformers import AutoModel, pipeline
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from without_package import answer_without_package

from pbrec_hf import OpenVocabularyConfig, OpenVocabularyDetector, PbrecImageProcessor, PbrecProcessor
from pbrec_hf.detectors.references import open_detector
from pbrec_hf.detectors.wrapped import as_pictures, best_boxes
from pbrec_hf.hub.publishing import write_checkpoint
from pbrec_hf.inference.folding import optimize_for_inference
from pbrec_hf.training.build import load_rows
from pbrec_hf.training.evaluation import predict
from pbrec_hf.training.precompute import fill_caches
from pbrec_hf.training.proposal_cache import detector_hash, open_caches
from pbrec_hf.training.scores import score

SIDE = 128
EXPRESSIONS = ["the red dog", "cat", "girl on the left"]
INDEX = torch.tensor([0, 0, 1])


class _Tester(DetectorTester):
    multiple = None
    family = ""

    def make(self, **fields):
        return tiny_detector(self.family, **{"top_n": 8, **fields})

    def class_logits(self, detector, pixels):
        return None


class TestGroundingDino(_Tester):
    family = "grounding-dino"


class TestMMGroundingDino(_Tester):
    family = "mm-grounding-dino"


class TestOwlv2(_Tester):
    family = "owlv2"


class TestOmDetTurbo(_Tester):
    family = "omdet-turbo"


@pytest.fixture(scope="module")
def pictures():
    """Two canvases as uint8 pixels."""
    return list(torch.randint(0, 256, (2, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(2)).to(torch.uint8))


@pytest.fixture(scope="module")
def canvases(pictures):
    """The same, normalised."""
    return tvF.normalize(torch.stack(pictures) / 255, IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)


def of_the_library(family, network, processor, picture, phrases):
    """Boxes as shares of the canvas, scores and labels of one picture, in descending order of the scores."""
    size = [(SIDE, SIDE)]
    if family == "omdet-turbo":
        inputs = processor(images=picture, text=phrases, return_tensors="pt")
        output = network(**inputs)
        (found,) = processor.post_process_grounded_object_detection(
            output, threshold=-1, nms_threshold=1.0, target_sizes=size
        )
    else:
        words = {"padding": True} if "dino" in family else {"padding": "max_length", "max_length": 16}
        inputs = processor(images=picture, text=[phrases], return_tensors="pt", **words)
        output = network(**inputs)
        (found,) = processor.post_process_grounded_object_detection(output, threshold=-1, target_sizes=size)
    order = found["scores"].sort(descending=True, stable=True).indices
    boxes = found["boxes"][order].clamp(0, SIDE) / SIDE
    return boxes, found["scores"][order], [found["labels"][place] for place in order]


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_asked_with_words_it_finds_what_its_library_finds(family, pictures, canvases):
    network, processor = tiny_network(family)
    found = tiny_detector(family, ask="expression", rows_per_pass=2).propose(
        canvases, expressions=EXPRESSIONS, image_index=INDEX
    )
    assert found.per_expression and len(found) == 3 and found.canvas == (SIDE, SIDE)
    for row, (said, picture) in enumerate(zip(EXPRESSIONS, INDEX.tolist(), strict=True)):
        boxes, scores, _ = of_the_library(family, network, processor, pictures[picture], [said])
        torch.testing.assert_close(found.quality[row], scores, atol=1e-5, rtol=0)
        torch.testing.assert_close(found.boxes[row] / SIDE, boxes, atol=1e-5, rtol=0)
    assert not torch.allclose(found.quality[0], found.quality[1], atol=1e-4)  # words matter


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_asked_for_classes_it_finds_what_its_library_finds(family, pictures, canvases):
    network, processor = tiny_network(family)
    classes = ["dog", "red car", "girl"]
    found = tiny_detector(family, id2label=dict(enumerate(classes))).propose(canvases)
    assert not found.per_expression and len(found) == 2
    for row, picture in enumerate(pictures):
        boxes, scores, labels = of_the_library(family, network, processor, picture, classes)
        torch.testing.assert_close(found.quality[row], scores, atol=1e-5, rtol=0)
        torch.testing.assert_close(found.boxes[row] / SIDE, boxes, atol=1e-5, rtol=0)
        if "dino" not in family:  # whose library tells words, not classes
            assert found.labels[row].tolist() == [int(label) for label in labels]
    assert set(found.labels.unique().tolist()) <= {0, 1, 2}


@torch.no_grad()
def test_the_class_of_a_box_is_the_one_whose_words_fit_best(pictures, canvases):
    network, processor = tiny_network("grounding-dino")
    found = tiny_detector()(canvases[:1], [["dog", "red car", "girl"]], torch.tensor([0]))
    output = network(**processor(images=pictures[0], text="dog. red car. girl.", return_tensors="pt"))
    # [CLS] dog . red car . girl . [SEP]
    scores = torch.stack([output.logits[0][:, tokens].amax(-1) for tokens in ([1], [3, 4], [6])], dim=-1)
    assert torch.equal(found.labels[0], scores.argmax(-1))
    assert len(set(found.labels[0].tolist())) > 1


@pytest.mark.parametrize("family", FAMILIES)
def test_a_picture_is_encoded_once_for_all_its_expressions(family, canvases):
    detector = tiny_detector(family, ask="expression")
    name = {"omdet-turbo": "vision_backbone", "owlv2": "owlv2.vision_model"}.get(family, "model.backbone.conv_encoder")
    seen = []
    detector.network.get_submodule(name).register_forward_hook(lambda _, inputs, output: seen.append(output))
    detector.propose(canvases, expressions=EXPRESSIONS * 2, image_index=INDEX.repeat(2))
    (output,) = seen
    maps = output[0]
    while not isinstance(maps, torch.Tensor):
        maps = maps[0]
    assert len(maps) == (6 if family == "omdet-turbo" else 2)  # the hook of OmDet-Turbo's own module comes first


@pytest.mark.parametrize("family", FAMILIES)
def test_torchs_default_type_changes_nothing(family, canvases):
    detector = tiny_detector(family)
    before = detector.propose(canvases)
    torch.set_default_dtype(torch.float64)
    try:
        after = detector.propose(canvases)
    finally:
        torch.set_default_dtype(torch.float32)
    torch.testing.assert_close(after.quality, before.quality, atol=1e-5, rtol=0)
    torch.testing.assert_close(after.boxes, before.boxes, atol=1e-3, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_prepared_to_answer_it_finds_the_same(family, canvases):
    detector = tiny_detector(family)
    before = detector.propose(canvases)
    after = optimize_for_inference(detector).propose(canvases)
    torch.testing.assert_close(after.quality, before.quality, atol=1e-4, rtol=0)
    torch.testing.assert_close(after.boxes, before.boxes, atol=1e-2, rtol=0)


def test_a_canvas_gives_back_its_pixels(pictures):
    processor = PbrecImageProcessor(size={"longest_edge": SIDE})
    canvas = processor(pictures[0])["pixel_values"]
    assert torch.equal(as_pictures(canvas)[0], pictures[0])
    (padded,) = as_pictures(processor(pictures[0][:, :64])["pixel_values"])
    assert torch.equal(padded[:, 32:96], pictures[0][:, :64])
    assert padded[:, 0, 0].tolist() == [round(255 * share) for share in IMAGENET_DEFAULT_MEAN]


def test_boxes_in_the_padding_are_not_valid():
    mask = torch.zeros(1, SIDE, SIDE, dtype=torch.int64)
    mask[:, 32:96] = 1
    boxes = torch.tensor([[[0.0, 0, 20, 20], [0, 20, 20, 70], [100, 90, 140, 110], [-9, 40, 9, 60], [0, 0, 9, 300]]])
    scores = torch.tensor([[0.9, 0.2, 0.8, 0.5, 0.04]])
    found = best_boxes((SIDE, SIDE), boxes, scores, pixel_mask=mask, top_n=4, min_score=0.05)
    assert found.boxes[0].tolist() == [[0, 40, 9, 60], [0, 20, 20, 70], [0, 0, 20, 20], [100, 90, 128, 110]]
    assert found.quality[0].tolist() == pytest.approx([0.5, 0.2, 0.9, 0.8])
    assert found.valid[0].tolist() == [True, True, False, False]
    assert found.points[0, 0].tolist() == [4.5, 50]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_thin_picture_has_proposals_inside_of_it_alone(family):
    inputs = PbrecImageProcessor(size={"longest_edge": SIDE})(np.full((16, 256, 3), 99, np.uint8))
    found = tiny_detector(family).propose(inputs["pixel_values"], inputs["pixel_mask"])
    centres = found.points[0][found.valid[0]]
    assert found.num_points >= 1 and ((centres[:, 1] >= 60) & (centres[:, 1] < 68)).all()


def test_it_wraps_a_repository_of_transformers(canvases, tmp_path):
    network, processor = tiny_network("grounding-dino")
    network.save_pretrained(tmp_path / "theirs")
    processor.save_pretrained(tmp_path / "theirs")
    detector = OpenVocabularyDetector.wrap(tmp_path / "theirs", classes=["dog", "red car"], top_n=5, prompt="the {}")
    assert detector.config.id2label == {0: "dog", 1: "red car"} and not detector.training
    ours = tiny_detector(id2label={0: "dog", 1: "red car"}, top_n=5, prompt="the {}")
    for one, other in zip(tensors_of(detector.propose(canvases)), tensors_of(ours.propose(canvases)), strict=True):
        assert torch.equal(one, other)
    asking = open_detector(str(tmp_path / "theirs"), {"ask": "expression", "top_n": 5}, {"local_files_only": True})
    assert isinstance(asking, OpenVocabularyDetector) and asking.asks_expressions
    detector.save_pretrained(tmp_path / "ours")
    assert AutoModel.from_pretrained(tmp_path / "ours").propose(canvases).num_points == 5
    (tmp_path / "theirs" / "model.safetensors").unlink()
    with pytest.raises(OSError, match=r"model\.safetensors"):
        OpenVocabularyDetector.wrap(tmp_path / "theirs")
    with pytest.raises(OSError, match="There is no folder"):
        OpenVocabularyDetector.wrap(tmp_path / "nowhere")


def test_incomplete_weights_of_a_repository_are_refused(tmp_path):
    network, processor = tiny_network("owlv2")
    del network.box_head
    network.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"missing: box_head\.dense0\.bias"):
        OpenVocabularyDetector.wrap(tmp_path)


def test_bad_fields_are_refused():
    with pytest.raises(StrictDataclassError, match="ask='words': give one of 'classes', 'expression'"):
        tiny_detector(ask="words")
    with pytest.raises(StrictDataclassError, match=r"prompt='a photo': write \{\}"):
        tiny_detector(prompt="a photo")
    with pytest.raises(StrictDataclassError, match="top_n=0: give a number from 1"):
        tiny_detector(top_n=0)
    with pytest.raises(StrictDataclassError, match="type 'detr': give an open-vocabulary detector of"):
        OpenVocabularyConfig(network_config={"model_type": "detr"})


def test_what_it_cannot_read_is_told(canvases, caplog):
    with pytest.raises(ValueError, match=r"The classes 'dog\. dog\..* have 602 tokens, but this detector reads 256"):
        tiny_detector(id2label=dict.fromkeys(range(300), "dog")).propose(canvases)
    with pytest.raises(ValueError, match=r"have 32 tokens, but this detector reads 16"):
        tiny_detector("owlv2", id2label={0: "a" * 30}).propose(canvases)
    with caplog.at_level(logging.WARNING, logger="transformers"):
        tiny_detector("owlv2", ask="expression").propose(canvases, expressions=["a" * 30, "b"])
    assert "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'… has 32 tokens; the open-vocabulary detector reads only" in caplog.text
    with pytest.raises(ValueError, match=r'asked with words \(ask="expression"\): give `expressions`'):
        tiny_detector(ask="expression").propose(canvases)
    with pytest.raises(ValueError, match="has no processor: give it"):
        OpenVocabularyDetector(tiny_detector().config).propose(canvases)


PHOTOS = [Image.fromarray(np.random.default_rng(seed).integers(0, 255, (60, 90, 3), np.uint8)) for seed in range(2)]


@pytest.mark.parametrize("family", FAMILIES)
def test_pictures_with_several_expressions_are_answered_as_one_by_one(family):
    processor = tiny_processor(box_detector=tiny_detector(family, ask="expression", top_n=8))
    pipe = pipeline("referring-expression", model=tiny_model(), processor=processor)
    asked = [{"image": PHOTOS[0], "text": EXPRESSIONS[:2]}, {"image": PHOTOS[1], "text": EXPRESSIONS}]
    together = pipe(asked, batch_size=2)
    for row, answers in zip(asked, together, strict=True):
        for said, (answer,) in zip(row["text"], answers, strict=True):
            (alone,) = pipe(row["image"], said)
            assert answer["score"] == pytest.approx(alone["score"], abs=1e-5)
            assert answer["box"] == pytest.approx(alone["box"], abs=1e-2)


def test_the_processor_takes_it_along(tmp_path):
    processor = tiny_processor(box_detector=tiny_detector(ask="expression", top_n=8))
    processor.save_pretrained(tmp_path)
    files = {path.name for path in (tmp_path / "box_detector").iterdir()}
    assert {"config.json", "model.safetensors", "processor_config.json", "tokenizer.json"} <= files
    assert json.loads((tmp_path / "processor_config.json").read_text())["detectors"] == {
        "boxes": "pbrec_open_vocabulary"
    }
    loaded = PbrecProcessor.from_pretrained(tmp_path)
    texts = [EXPRESSIONS[:2], EXPRESSIONS[2:]]
    one, other = (some(PHOTOS, texts)["box_proposals"] for some in (processor, loaded))
    assert one.per_expression and len(one) == 3
    for before, after in zip(tensors_of(one), tensors_of(other), strict=True):
        assert torch.equal(before, after)


@pytest.fixture(scope="module")
def asking():
    """A processor whose boxes are found for expressions."""
    return tiny_processor(box_detector=tiny_detector(ask="expression", top_n=8))


def test_two_expressions_on_one_picture_have_rows_of_their_own_in_the_cache(asking, tmp_path):
    rows = load_rows(str(write_data(tmp_path / "data", pictures=3, expressions=2)))
    expected = predict(tiny_model(), asking, rows, batch_size=2)
    assert fill_caches(open_caches(tmp_path / "cache", asking), asking, rows, batch_size=2) == 3
    caches = open_caches(tmp_path / "cache", asking)
    assert len(caches["boxes"]) == 6
    found = predict(tiny_model(), asking, rows, batch_size=3, caches=caches)
    for one, other in zip(found, expected, strict=True):
        assert one["boxes"][0] == pytest.approx(other["boxes"][0], abs=1e-2)
        assert one["scores"] == pytest.approx(other["scores"], abs=1e-5)
        assert one["box_oracles"] == pytest.approx(other["box_oracles"], abs=1e-4)
    assert score(found, rows)["count"] == 6
    assert fill_caches(caches, asking, rows) == 0


def test_the_cache_knows_the_processor(asking, tmp_path):
    other = tiny_processor(box_detector=tiny_detector(ask="expression", top_n=8))
    one = detector_hash(asking.box_detector, asking.image_processor)
    assert detector_hash(other.box_detector, other.image_processor) == one
    other.box_detector.processor.image_processor.size = {"shortest_edge": 64, "longest_edge": 64}
    assert detector_hash(other.box_detector, other.image_processor) != one


def test_a_folder_with_code_takes_it_along(asking, tmp_path):
    tiny_model().save_pretrained(tmp_path / "plain")
    processor = tiny_processor(box_detector=asking.box_detector, mask_detector=tiny_prompted())
    processor.save_pretrained(tmp_path / "plain")
    write_checkpoint(str(tmp_path / "plain"), tmp_path / "published", with_code=True)
    there = {path.name for path in (tmp_path / "published").glob("*.py")}
    assert {
        f"detectors_{name}.py" for name in ("open_vocabulary", "prompted_masks", "vocabularies", "wrapped")
    } <= there
    assert answer_without_package(tmp_path / "published").startswith("[")
