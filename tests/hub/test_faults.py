"""What goes wrong between a machine and the Hub: repaired, or one clear error, and never half a checkpoint."""

import time

import pytest
import torch
from checkpoints import tiny_box_detector, tiny_model, tiny_processor
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import _http
from transformers import AutoModel, AutoProcessor

from pbrec_hf.inference.grounder import Grounder

NAME = "owner/tiny"


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    """The pauses between attempts are left out."""
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    assert _http.time is time


@pytest.fixture
def published(hub):
    tiny_model().push_to_hub(NAME)
    tiny_processor(box_detector=tiny_box_detector()).push_to_hub(NAME)
    return hub


def equal(model, other) -> bool:
    return all(
        torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values(), strict=True)
    )


def test_a_missing_repository_is_named_with_the_remedy(hub, tmp_path):
    for load in (AutoModel.from_pretrained, AutoProcessor.from_pretrained):
        with pytest.raises(OSError, match="owner/nothing is not a local folder"):
            load("owner/nothing", cache_dir=tmp_path)
    with pytest.raises(OSError) as caught:
        Grounder("owner/nothing", cache_dir=tmp_path)
    assert "'owner/nothing'" in str(caught.value) and "\n" not in str(caught.value)


def test_a_gated_repository_says_whom_to_ask(published, tmp_path):
    published.repos["model", NAME].gated = True
    with pytest.raises(OSError, match=r"gated repo[\s\S]*ask its owners"):
        AutoModel.from_pretrained(NAME, token=False, cache_dir=tmp_path)
    assert AutoModel.from_pretrained(NAME, cache_dir=tmp_path) is not None


@pytest.mark.parametrize("how", ["error", "broken"])
def test_a_download_that_fails_once_is_repaired_or_refused_and_right_the_next_time(published, tmp_path, how):
    published.fail("model.safetensors", how)
    try:
        model = AutoModel.from_pretrained(NAME, cache_dir=tmp_path)
    except OSError as error:
        assert how == "error" and "500" in str(error.__cause__ or error)
        model = AutoModel.from_pretrained(NAME, cache_dir=tmp_path)
    assert equal(model, tiny_model())


def test_a_download_that_keeps_breaking_leaves_nothing_that_loads(published, tmp_path):
    published.fail("resolve", "broken", times=10**6)
    with pytest.raises(OSError):
        AutoModel.from_pretrained(NAME, cache_dir=tmp_path)
    published.faults.clear()
    published.fail("model.safetensors", "error", times=10**6)
    with pytest.raises(OSError):
        AutoModel.from_pretrained(NAME, cache_dir=tmp_path)
    with pytest.raises(OSError):
        AutoModel.from_pretrained(NAME, cache_dir=tmp_path, local_files_only=True)
    published.faults.clear()
    assert equal(AutoModel.from_pretrained(NAME, cache_dir=tmp_path), tiny_model())


def test_a_processor_whose_detector_does_not_arrive_is_no_processor(published, tmp_path):
    published.fail("box_detector/model.safetensors", "error", times=10**6)
    with pytest.raises(OSError):
        AutoProcessor.from_pretrained(NAME, cache_dir=tmp_path)
    assert AutoProcessor.from_pretrained(NAME, cache_dir=tmp_path, load_detectors=False).box_detector is None


@pytest.mark.parametrize("path", ["/_lfs/", "/preupload/", "info/lfs"])
def test_an_upload_that_fails_is_tried_again(hub, path):
    hub.fail(path, "error")
    try:
        tiny_model().push_to_hub(NAME)
    except HfHubHTTPError:
        # Not every call is repeated by the client; nothing may have been published then.
        assert "model.safetensors" not in hub.files(NAME)
        tiny_model().push_to_hub(NAME)
    assert "model.safetensors" in hub.files(NAME)


def test_an_upload_that_keeps_failing_publishes_nothing(hub):
    hub.fail("/commit/", "error", times=10**6)
    with pytest.raises(HfHubHTTPError, match="500"):
        tiny_processor(box_detector=tiny_box_detector()).push_to_hub(NAME)
    assert set(hub.files(NAME)) == {".gitattributes"}
