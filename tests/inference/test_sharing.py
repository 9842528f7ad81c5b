"""One look at a canvas serves backbone, boxes and masks, and changes nothing in the answers."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from checkpoints import save_tiny_checkpoint
from PIL import Image
from places import SCENES
from transformers import pipeline

from pbrec_hf import Grounder, PbrecForReferringExpression, PbrecProcessor, bundled_checkpoint, share_detector


def looks(detector) -> int:
    """How often a canvas is looked at: in several sizes, as it is and mirrored."""
    return len(detector.config.scales) * (1 + detector.config.mirrored)


def load():
    model = PbrecForReferringExpression.from_pretrained(bundled_checkpoint()).eval()
    return model, PbrecProcessor.from_pretrained(bundled_checkpoint())


def answers(model, processor, size=None):
    photograph = Image.open(SCENES / "images" / "giraffes.jpg")
    photograph = photograph if size is None else photograph.resize(size)
    inputs = processor(photograph, ["the giraffe on the left", "second giraffe"])
    with torch.inference_mode():
        return processor.post_process_referring_expression(model(**inputs), inputs)


def count_looks(detector) -> list[int]:
    """Forward passes of the trunk, counted from now on."""
    calls = []
    detector.trunk.register_forward_hook(lambda *_: calls.append(1))
    return calls


def test_the_trunk_runs_once_and_answers_stay_the_same():
    plain, fast = load(), load()
    assert share_detector(*fast)
    calls = count_looks(fast[0].model.backbone.detector)
    for size in (None, (300, 200), None):  # another picture in between must not be taken for the first
        for expected, found in zip(answers(*plain, size), answers(*fast, size), strict=True):
            torch.testing.assert_close(found["boxes"], expected["boxes"], atol=1e-2, rtol=1e-4)
            assert (expected["masks"] != found["masks"]).float().mean() < 1e-3
    assert len(calls) == 3 * looks(fast[0].model.backbone.detector)


def test_what_is_shared_can_be_saved(tmp_path):
    model, processor = load()
    share_detector(model, processor)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    again = PbrecForReferringExpression.from_pretrained(tmp_path), PbrecProcessor.from_pretrained(tmp_path)
    for expected, found in zip(answers(model, processor), answers(*again), strict=True):
        torch.testing.assert_close(found["boxes"], expected["boxes"], atol=1e-2, rtol=1e-4)


@torch.no_grad()
def test_nothing_is_remembered_so_threads_get_answers_of_their_own():
    model, processor = load()
    share_detector(model, processor)
    canvases = [torch.rand(1, 3, 64, 64) for _ in range(4)]
    expected = [processor.propose(canvas)["box_proposals"].quality for canvas in canvases]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda i: processor.propose(canvases[i % 4])["box_proposals"].quality, range(40)))
    assert all(torch.equal(quality, expected[i % 4]) for i, quality in enumerate(found))


def test_a_cast_keeps_what_is_shared():
    model, processor = load()
    share_detector(model, processor)
    detector = model.to(torch.bfloat16).model.backbone.detector
    calls = count_looks(detector)
    assert len(answers(model, processor)) == 2
    assert len(calls) == looks(detector)


def test_different_weights_are_not_shared():
    model, processor = load()
    with torch.no_grad():
        next(processor.box_detector.parameters()).add_(1.0)
        next(processor.mask_detector.detector.parameters()).add_(1.0)
    assert not share_detector(model, processor)
    assert processor.box_detector is not model.model.backbone.detector


def test_different_settings_are_not_shared():
    model, processor = load()
    processor.box_detector.config.candidate_nms_iou = 0.3
    processor.mask_detector.detector.config.mirrored = False
    assert not share_detector(model, processor)


@pytest.mark.parametrize("file", ["tokenizer.json", "tokenizer_config.json"])
def test_a_tokenizer_that_the_model_does_not_know_is_refused_before_it_answers(tmp_path, file):
    save_tiny_checkpoint(tmp_path)
    content = json.loads((tmp_path / file).read_text())
    if file == "tokenizer.json":
        content["model"]["vocab"]["horse"] = 14
    else:
        content["cls_token"] = "[ALL]"
    (tmp_path / file).write_text(json.dumps(content))
    with pytest.raises(ValueError, match="tokens up to number 14, but the model's text encoder knows 14"):
        Grounder(tmp_path)
    with pytest.raises(ValueError, match="the model's text encoder knows 14"):
        pipeline("referring-expression", model=str(tmp_path))


def test_a_processor_that_reads_more_tokens_than_the_model_is_refused(tmp_path):
    save_tiny_checkpoint(tmp_path)
    path = tmp_path / "processor_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "max_text_length": 65}))
    with pytest.raises(
        ValueError, match="reads up to 65 tokens of an expression, but the model's text encoder at most"
    ):
        Grounder(tmp_path)
