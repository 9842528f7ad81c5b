"""The processor joins pictures, expressions and detectors, keeps all of them when saved, and answers in pixels."""

import copy
import json
import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from checkpoints import tiny_box_detector, tiny_mask_detector, tiny_model, tiny_processor
from PIL import Image

from pbrec_hf import PbrecProcessor


@pytest.fixture(scope="module")
def photographs():
    generator = np.random.default_rng(0)
    return [Image.fromarray(generator.integers(0, 256, (h, w, 3), dtype=np.uint8)) for h, w in ((90, 160), (200, 100))]


@pytest.fixture(scope="module")
def processor():
    return tiny_processor(box_detector=tiny_box_detector(), mask_detector=tiny_mask_detector())


@pytest.fixture(scope="module")
def model():
    return tiny_model()


def test_nested_expressions_become_one_flat_batch(processor, photographs):
    batch = processor(photographs, [["left dog", "red car"], ["the cat"]])
    assert batch["pixel_values"].shape == (2, 3, 128, 128) and batch["input_ids"].shape == (3, 4)
    assert batch["image_index"].tolist() == [0, 0, 1]
    assert batch["expressions"] == ["left dog", "red car", "the cat"]
    assert len(batch["box_proposals"]) == len(batch["mask_proposals"]) == 2


@pytest.mark.parametrize(
    ("several", "text", "index"),
    [
        (False, "left dog", [0]),
        (False, ["left dog", "red car"], [0, 0]),
        (True, ["left dog", "red car"], [0, 1]),
        (True, ["left dog", ["red car", "the cat"]], [0, 1, 1]),
    ],
)
def test_every_form_of_text(processor, photographs, several, text, index):
    images = photographs if several else photographs[0]
    assert processor(images, text, return_proposals=False)["image_index"].tolist() == index


@pytest.mark.parametrize(
    "stack", [np.stack, lambda pictures: torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)]
)
def test_stacked_pictures_are_several(processor, stack):
    pictures = [np.full((64, 80, 3), value, dtype=np.uint8) for value in (0, 255)]
    batch = processor(stack(pictures), ["left dog", "red car"])
    expected = processor(pictures, ["left dog", "red car"])
    assert torch.equal(batch["pixel_values"], expected["pixel_values"])
    assert batch["image_index"].tolist() == [0, 1]


@pytest.mark.parametrize("text", [["the cat", "girl"], [["the cat"], ["girl"]]])
def test_known_features_of_several_pictures_are_asked_each_for_its_own(processor, model, photographs, text):
    with torch.no_grad():
        inputs = processor(photographs, ["left dog", "red car"])
        known = model(**inputs).image_features
        asked = processor(text=text)
        outputs = model(**asked, image_features=known)
        whole = processor(photographs, ["the cat", "girl"])
        expected = model(**whole)
    torch.testing.assert_close(outputs.center_logits, expected.center_logits)
    answers = processor.post_process_referring_expression(outputs, {**inputs, **asked})
    for one, other in zip(answers, processor.post_process_referring_expression(expected, whole), strict=True):
        torch.testing.assert_close(one["boxes"], other["boxes"])
        assert one["masks"].shape == other["masks"].shape


def test_known_features_of_one_picture_are_asked_anything(processor, model, photographs):
    with torch.no_grad():
        inputs = processor(photographs[0], "left dog")
        asked = processor(text=["the cat", "girl", "red car"])
        outputs = model(**asked, image_features=model(**inputs).image_features)
    answers = processor.post_process_referring_expression(outputs, {**inputs, **asked})
    assert [answer["text_labels"] for answer in answers] == [["the cat"], ["girl"], ["red car"]]


def test_unknown_options_are_named(processor, photographs):
    with pytest.raises(TypeError, match=r"Unknown arguments pading: .*max_length.*padding.*resample"):
        processor(photographs[0], "dog", pading="max_length")


def test_options_of_the_parts_are_given_as_in_transformers(processor, photographs):
    plain = processor(photographs[0], "dog")
    assert plain["input_ids"].shape[1] < processor.max_text_length
    longest = processor.max_text_length
    for options in (
        {"padding": "max_length"},
        {"text_kwargs": {"padding": "max_length"}},
        {"padding": "max_length", "images_kwargs": {"size": {"longest_edge": 128}}},
        {"padding": "max_length", "common_kwargs": {"return_tensors": "pt"}},
    ):
        assert processor(photographs[0], "dog", **options)["input_ids"].shape[1] == longest
    with pytest.raises(ValueError, match="return_tensors='np'"):
        processor(photographs[0], "dog", common_kwargs={"return_tensors": "np"})
    inputs = processor(photographs[:2], ["dog", "cat"])
    assert set(inputs) == set(processor.model_input_names)


@torch.no_grad()
def test_answers_come_in_the_sizes_and_with_the_masks_that_are_asked_for(processor, model, photographs):
    inputs = processor(photographs, ["left dog", "red car"])
    outputs = model(**inputs)
    plain = processor.post_process_referring_expression(outputs, inputs)
    bare = processor.post_process_referring_expression(outputs, inputs, return_masks=False)
    twice = [(2 * image.height, 2 * image.width) for image in photographs]
    large = processor.post_process_referring_expression(outputs, inputs, target_sizes=twice)
    for image, one, other, double in zip(photographs, plain, bare, large, strict=True):
        assert "masks" not in other and torch.equal(one["boxes"], other["boxes"])
        assert one["masks"].shape[-2:] == (image.height, image.width)
        assert double["masks"].shape[-2:] == (2 * image.height, 2 * image.width)
        torch.testing.assert_close(double["boxes"], 2 * one["boxes"])
    with pytest.raises(ValueError, match="target_sizes has 1 entries for 2 pictures"):
        processor.post_process_referring_expression(outputs, inputs, target_sizes=twice[:1])


@torch.no_grad()
def test_further_expressions_are_asked_of_known_features(processor, model, photographs):
    inputs = processor(photographs, [["left dog"], ["red car"]])
    features = model(**inputs).image_features
    more = {**inputs, **processor(text=[["the cat", "girl"], ["dog"]]), "pixel_values": None}
    found = processor.post_process_referring_expression(model(**more, image_features=features), more)
    fresh = processor(photographs, [["the cat", "girl"], ["dog"]])
    expected = processor.post_process_referring_expression(model(**fresh), fresh)
    assert len(found) == 3
    assert all(torch.equal(one["boxes"], other["boxes"]) for one, other in zip(found, expected, strict=True))


@pytest.mark.parametrize("threshold", ["0.5", [0.5], float("nan"), 1.5, -1])
def test_a_threshold_is_a_share(processor, model, photographs, threshold):
    inputs = processor(photographs[0], "left dog")
    with torch.no_grad(), pytest.raises(ValueError, match=r"threshold=.*from 0 to 1"):
        processor.post_process_referring_expression(model(**inputs), inputs, threshold=threshold)


@pytest.mark.parametrize("expression", ["", "   ", None, 3, "\n", "\u200b", "\0"])
def test_an_expression_without_words_is_refused(processor, photographs, expression):
    with pytest.raises(ValueError, match="give a string of words"):
        processor(photographs[0], [expression])


@pytest.mark.parametrize("expression", ["dog \ud83d", "a\udc36", "\ude00dog"])
def test_half_of_a_surrogate_pair_is_no_expression(processor, photographs, expression):
    with pytest.raises(ValueError, match="half of a surrogate pair"):
        processor(photographs[0], ["left dog", expression])


@pytest.mark.parametrize("expression", ["🐶", "كلب", "狗", "[SEP] dog [CLS]", "dog\0car", "DOG"])
def test_odd_expressions_have_a_defined_result(processor, expression):
    batch = processor(text=expression)
    first, *inner, last = batch["input_ids"][0].tolist()
    assert (first, last) == (2, 3) and not {2, 3} & set(inner)


def test_numbers_that_do_not_fit_are_refused(processor, photographs):
    with pytest.raises(ValueError, match="3 entries in `text` for 2 pictures"):
        processor(photographs, ["a", "b", "c"])
    with pytest.raises(ValueError, match="Picture 1 has no expression"):
        processor(photographs, [["a"], []])
    with pytest.raises(ValueError, match="`images`, `text`, or both"):
        processor()


def test_words_that_are_not_read_are_told_and_not_answered_at_random(processor, photographs):
    inputs = processor(photographs[0], ["left dog", "left 狗", "狗"])
    logits = torch.zeros(3, processor.image_processor.size["longest_edge"] ** 2 // 32**2)
    outputs = SimpleNamespace(center_logits=logits, mass_logits=logits)
    answers = processor.post_process_referring_expression(outputs, inputs)
    assert [answer["unread"] for answer in answers] == [[], ["狗"], ["狗"]]
    assert [len(answer["scores"]) for answer in answers] == [1, 1, 0]


def test_known_words_are_saved_and_must_be_a_text(processor, tmp_path):
    processor.known_words = "zebras giraffes"
    processor.save_pretrained(tmp_path)
    loaded = PbrecProcessor.from_pretrained(tmp_path)
    assert loaded.known_words == "zebras giraffes"
    tokenizer = processor.tokenizer
    with pytest.raises(ValueError, match=r"known_words=\['zebras'\]: give words separated by spaces"):
        PbrecProcessor(processor.image_processor, tokenizer, known_words=["zebras"])


def test_a_cut_expression_is_reported(processor, caplog):
    logging.getLogger("transformers").propagate = True
    with caplog.at_level("WARNING"):
        batch = processor(text=["left dog", " ".join(["dog"] * 10_000)])
    assert batch["truncated"].tolist() == [False, True] and batch["input_ids"].shape == (2, 8)
    assert "10002 tokens; only the first 8" in caplog.text


def test_saved_and_loaded_with_both_detectors(processor, photographs, tmp_path):
    processor.save_pretrained(tmp_path)
    loaded = PbrecProcessor.from_pretrained(tmp_path)
    assert loaded.detectors == {"boxes": "pbrec_nanodet", "masks": "pbrec_solo"}
    assert not any(path.suffix in (".bin", ".pt", ".pkl") for path in tmp_path.rglob("*"))
    before, after = (p(photographs, ["left dog", "red car"]) for p in (processor, loaded))
    assert torch.equal(before["input_ids"], after["input_ids"])
    assert torch.equal(before["pixel_values"], after["pixel_values"])
    assert torch.equal(before["box_proposals"].boxes, after["box_proposals"].boxes)
    assert torch.equal(before["mask_proposals"].masks.features, after["mask_proposals"].masks.features)


def test_a_missing_detector_is_an_error_and_none_is_loaded_if_asked(processor, tmp_path):
    processor.save_pretrained(tmp_path)
    (tmp_path / "mask_detector" / "model.safetensors").unlink()
    with pytest.raises(OSError, match="mask_detector"):
        PbrecProcessor.from_pretrained(tmp_path)
    assert PbrecProcessor.from_pretrained(tmp_path, load_detectors=False).box_detector is None


def test_printing_does_not_copy_the_detectors(processor):
    assert processor.box_detector is not None and "NanoDet" not in repr(processor)


def test_answers_are_in_the_original_s_pixels(processor, model, photographs):
    inputs = processor(photographs, [["left dog", "red car"], ["the cat"]])
    with torch.no_grad():
        results = processor.post_process_referring_expression(model(**inputs), inputs)
    assert len(results) == 3
    for result, image in zip(results, (photographs[0], photographs[0], photographs[1]), strict=True):
        assert set(result) >= {"scores", "labels", "boxes", "masks", "text_labels"}
        left, top, right, bottom = result["boxes"][0].tolist()
        assert 0 <= left < right <= image.width and 0 <= top < bottom <= image.height
        assert result["masks"].shape == (1, 1, image.height, image.width) and result["masks"].dtype == torch.bool
        assert 0 <= result["scores"][0] <= 1
        assert (result["box_source"], result["mask_source"]) == ("detector", "detector")
    assert [result["text_labels"] for result in results] == [["left dog"], ["red car"], ["the cat"]]


def test_nothing_passes_a_high_threshold(processor, model, photographs):
    inputs = processor(photographs[0], "left dog")
    with torch.no_grad():
        (result,) = processor.post_process_referring_expression(model(**inputs), inputs, threshold=1.0)
    assert len(result["scores"]) == len(result["boxes"]) == len(result["masks"]) == 0


@pytest.mark.parametrize("kind", ["box_detector", "mask_detector"])
def test_one_detector_answers_both_tasks_and_says_so(model, photographs, kind):
    detector = tiny_box_detector() if kind == "box_detector" else tiny_mask_detector()
    processor = tiny_processor(**{kind: detector})
    inputs = processor(photographs[0], "left dog")
    with torch.no_grad():
        (result,) = processor.post_process_referring_expression(model(**inputs), inputs)
    if kind == "box_detector":
        left, top, right, bottom = result["boxes"][0].tolist()
        assert result["mask_source"] == "box"
        assert abs(result["masks"].sum().item() - (right - left) * (bottom - top)) <= (right - left + bottom - top) * 2
    else:
        assert result["box_source"] == "mask"
        rows, cols = result["masks"][0, 0].any(1).nonzero(), result["masks"][0, 0].any(0).nonzero()
        expected = [cols.min(), rows.min(), cols.max() + 1, rows.max() + 1]
        assert result["boxes"][0].tolist() == [float(value) for value in expected]


def test_without_a_detector_the_error_says_so(model, photographs):
    processor = tiny_processor()
    inputs = processor(photographs[0], "left dog")
    with torch.no_grad(), pytest.raises(ValueError, match="no proposals"):
        processor.post_process_referring_expression(model(**inputs), inputs)


def test_supervision_tells_merged_answers_apart(processor, model, photographs):
    import supervision

    texts = ["left dog", "red car"]
    inputs = processor(photographs[0], texts)
    with torch.no_grad():
        outputs = model(**inputs)
    results = processor.post_process_referring_expression(outputs, inputs, referents="any", threshold=0.0)
    several = [supervision.Detections.from_transformers(result, id2label=dict(enumerate(texts))) for result in results]
    merged = supervision.Detections.merge(several)
    counts = [len(result["scores"]) for result in results]
    assert min(counts) > 1 and merged.xyxy.shape == (sum(counts), 4) and merged.mask.shape == (sum(counts), 90, 160)
    assert merged.class_id.tolist() == [0] * counts[0] + [1] * counts[1]
    assert merged.data["class_name"].tolist() == [texts[0]] * counts[0] + [texts[1]] * counts[1]
    np.testing.assert_allclose(merged.xyxy[: counts[0]], results[0]["boxes"].numpy())


def test_labels_are_numbers_of_expressions_within_their_picture(processor, model, photographs):
    inputs = processor(photographs, [["left dog", "red car"], ["the cat"]])
    with torch.no_grad():
        outputs = model(**inputs)
        alone = processor(photographs[:1], ["left dog"])
        single = processor.post_process_referring_expression(model(**alone), alone, referents="any", threshold=0.0)
    results = processor.post_process_referring_expression(outputs, inputs)
    assert [result["labels"].tolist() for result in results] == [[0], [1], [0]]
    several = processor.post_process_referring_expression(outputs, inputs, referents="any", threshold=0.0)
    for result, one, number, text in zip(several, results, (0, 1, 0), ("left dog", "red car", "the cat"), strict=True):
        count = len(result["scores"])
        assert 1 < count <= 20 and result["labels"].tolist() == [number] * count
        assert result["text_labels"] == [text] * count and result["boxes"].shape == (count, 4)
        assert result["masks"].shape[:2] == (count, 1) and result["exists"] is None
        assert torch.equal(result["raw_scores"], result["scores"]) and (result["scores"].diff() <= 0).all()
        assert (result["boxes"] == one["boxes"]).all(dim=1).sum() == 1
    torch.testing.assert_close(single[0]["boxes"], several[0]["boxes"])
    few = processor.post_process_referring_expression(outputs, inputs, 3, 0.0, referents="any", return_masks=False)
    assert all("masks" not in result and len(result["boxes"]) for result in few)


LOW, HIGH = ({"raw": [0.0, 1.0], "probability": knots} for knots in ([0.0, 0.5], [0.5, 1.0]))
CALIBRATION = {
    "one": LOW, "any": HIGH, "exists": HIGH, "threshold": 0.55, "fitted_on": "a test", "answers": 5,
    "exists_threshold": 0.0,
}  # fmt: skip


def test_a_calibration_is_saved_with_the_processor_and_turns_scores_into_probabilities(
    processor, model, photographs, tmp_path
):
    processor.save_pretrained(tmp_path)
    assert "calibration" not in json.loads((tmp_path / "processor_config.json").read_text())
    inputs = processor(photographs[0], ["left dog", "red car"])
    with torch.no_grad():
        outputs = model(**inputs)
    raw = processor.post_process_referring_expression(outputs, inputs)
    with pytest.raises(ValueError, match='threshold="auto" is the threshold of the calibration'):
        processor.post_process_referring_expression(outputs, inputs, referents="any")
    for kept in (copy.deepcopy(processor), PbrecProcessor.from_pretrained(tmp_path, calibration=CALIBRATION)):
        kept.calibration = CALIBRATION
        kept.save_pretrained(tmp_path)
        for again in (kept, copy.deepcopy(kept), kept.without_detectors(), PbrecProcessor.from_pretrained(tmp_path)):
            assert again.calibration.to_dict() == again.to_dict()["calibration"] == CALIBRATION
        for answer, before in zip(kept.post_process_referring_expression(outputs, inputs), raw, strict=True):
            torch.testing.assert_close(answer["scores"], 0.5 * before["scores"])
            assert torch.equal(answer["raw_scores"], before["raw_scores"]) and torch.equal(
                answer["boxes"], before["boxes"]
            )
            assert answer["exists"] == pytest.approx(0.5 + 0.5 * before["scores"].item())
        for answer in kept.post_process_referring_expression(outputs, inputs, referents="any"):
            assert (answer["scores"] >= 0.55).all()
            torch.testing.assert_close(answer["scores"], 0.5 + 0.5 * answer["raw_scores"])
    assert processor.calibration is None
    with pytest.raises(ValueError, match="is no calibration"):
        processor.calibration = {"one": LOW}
    with pytest.raises(ValueError, match="is no calibration"):
        tiny_processor(calibration="yes")


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        ({"top_k": 0}, "top_k=0"),
        ({"ranking": "luck"}, "'score_times_quality', 'score'"),
        ({"level_weights": [-1.0]}, "level_weights"),
        ({"quality_power": 99}, "quality_power=99"),
        ({"quality_power": "1"}, "quality_power='1'"),
        ({"mask_threshold": True}, "mask_threshold=True"),
        ({"level_weights": 0.5}, "level_weights=0.5"),
        ({"candidates_only": "no"}, "candidates_only='no': give True or False"),
        ({"choice": "vote"}, "selection has the fields choice: those that are known are choose, top_k"),
        ("vote", "selection='vote': give a dict of choose, top_k"),
    ],
)
def test_settings_are_checked(selection, message):
    with pytest.raises(ValueError, match=message):
        tiny_processor(selection=selection)


@pytest.mark.parametrize("length", ["many", None, True, [512]])
def test_a_tokenizer_whose_longest_text_is_no_number_is_refused(processor, length):
    tokenizer = tiny_processor().tokenizer
    tokenizer.model_max_length = length
    with pytest.raises(ValueError, match="model_max_length="):
        PbrecProcessor(processor.image_processor, tokenizer)


@pytest.mark.parametrize("detectors", ["nanodet", 1e999, {"points": "nanodet"}])
def test_kinds_of_detectors_are_boxes_and_masks(detectors):
    with pytest.raises(ValueError, match=r"detectors=.*give a dict with model types for boxes and masks"):
        PbrecProcessor(tiny_processor().image_processor, tiny_processor().tokenizer, detectors=detectors)
