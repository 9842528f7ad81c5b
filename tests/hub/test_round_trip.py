"""Model, processor and pipeline go up to a Hub and come back the same, by every option of `from_pretrained`."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from checkpoints import tiny_box_detector, tiny_mask_detector, tiny_model, tiny_processor
from hub_server import TOKEN
from huggingface_hub import ModelCard, constants
from transformers import AutoModel, AutoProcessor, pipeline

from pbrec_hf import PbrecForReferringExpression, PbrecProcessor

PHOTO = np.random.default_rng(0).integers(0, 255, (60, 90, 3), dtype=np.uint8)
TEXT = ["left dog", "red car"]


def same_tensors(a, b) -> bool:
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.fixture
def processor():
    return tiny_processor(box_detector=tiny_box_detector(), mask_detector=tiny_mask_detector())


@pytest.fixture
def published(hub, processor, tmp_path):
    """The id of a repository with a model, a processor and its detectors; the cache is empty."""
    tiny_model().push_to_hub("owner/tiny")
    processor.push_to_hub("owner/tiny")
    return "owner/tiny"


def answers(model, processor):
    inputs = processor(PHOTO, TEXT)
    with torch.no_grad():
        return processor.post_process_referring_expression(model(**inputs), inputs)


def test_model_and_processor_come_back_equal(published, processor, tmp_path):
    model = AutoModel.from_pretrained(published, cache_dir=tmp_path)
    loaded = AutoProcessor.from_pretrained(published, cache_dir=tmp_path)
    assert isinstance(model, PbrecForReferringExpression) and isinstance(loaded, PbrecProcessor)
    assert same_tensors(model, tiny_model())
    assert same_tensors(loaded.box_detector, processor.box_detector)
    assert same_tensors(loaded.mask_detector, processor.mask_detector)
    for before, after in zip(answers(tiny_model(), processor), answers(model, loaded), strict=True):
        assert torch.equal(before["boxes"], after["boxes"]) and torch.equal(before["masks"], after["masks"])


def test_the_processor_uploads_its_detectors_in_folders_of_their_own(hub, published):
    files = set(hub.files(published))
    assert {
        f"{kind}_detector/{file}" for kind in ("box", "mask") for file in ("config.json", "model.safetensors")
    } < files
    assert {"config.json", "model.safetensors", "processor_config.json", "tokenizer.json", "README.md"} < files


def test_a_pushed_pipeline_is_whole_and_needs_no_code_from_the_hub(hub, processor, tmp_path):
    task = "referring-expression"
    pipe = pipeline(task, model=tiny_model(), processor=processor)
    expected = pipe(PHOTO, TEXT)
    pipe.push_to_hub("owner/pipe")
    files = hub.files("owner/pipe")
    assert b"custom_pipelines" not in files["config.json"] and not any(path.endswith(".py") for path in files)
    loaded = pipeline(task, model="owner/pipe", model_kwargs={"cache_dir": tmp_path})
    assert loaded(PHOTO, TEXT) == expected


def test_a_card_that_is_there_is_kept(hub, published):
    card = ModelCard("---\nlicense: apache-2.0\n---\n# What it is")
    card.push_to_hub(published)
    tiny_model(1).push_to_hub(published)
    readme = hub.files(published)["README.md"].decode()
    assert "# What it is" in readme and "license: apache-2.0" in readme


def test_a_revision_is_a_branch_or_a_commit(hub, published, tmp_path):
    tiny_model(1).push_to_hub(published, revision="other")
    tiny_processor(box_detector=tiny_box_detector(1)).push_to_hub(published, revision="other")
    commit = hub.repos["model", published].at("other")[0]
    for revision in ("other", commit):
        model = AutoModel.from_pretrained(published, revision=revision, cache_dir=tmp_path)
        loaded = AutoProcessor.from_pretrained(published, revision=revision, cache_dir=tmp_path)
        assert same_tensors(model, tiny_model(1)) and same_tensors(loaded.box_detector, tiny_box_detector(1))
    assert same_tensors(AutoModel.from_pretrained(published, cache_dir=tmp_path), tiny_model())
    with pytest.raises(OSError, match="nowhere is not a valid git identifier"):
        AutoModel.from_pretrained(published, revision="nowhere", cache_dir=tmp_path)


def test_a_private_repository_opens_with_the_token_alone(hub, processor, tmp_path):
    tiny_model().push_to_hub("owner/secret", private=True)
    processor.push_to_hub("owner/secret", private=True)
    assert hub.repos["model", "owner/secret"].private
    for load in (AutoModel.from_pretrained, AutoProcessor.from_pretrained):
        with pytest.raises(OSError, match="owner/secret is not a local folder and is not a valid model identifier"):
            load("owner/secret", token=False, cache_dir=tmp_path)
    assert same_tensors(AutoModel.from_pretrained("owner/secret", token=TOKEN, cache_dir=tmp_path), tiny_model())
    loaded = AutoProcessor.from_pretrained("owner/secret", token=TOKEN, cache_dir=tmp_path)
    assert same_tensors(loaded.mask_detector, processor.mask_detector)


def test_what_is_cached_is_neither_fetched_again_nor_lost_when_asked_to_stay_local(hub, published, tmp_path):
    AutoModel.from_pretrained(published, cache_dir=tmp_path / "a")
    AutoProcessor.from_pretrained(published, cache_dir=tmp_path / "a")
    hub.log.clear()
    AutoModel.from_pretrained(published, cache_dir=tmp_path / "a")
    AutoProcessor.from_pretrained(published, cache_dir=tmp_path / "a")
    assert not [entry for entry in hub.log if entry[0] == "GET" and "/resolve/" in entry[1] and entry[2] == 200]
    hub.log.clear()
    AutoModel.from_pretrained(published, cache_dir=tmp_path / "a", local_files_only=True)
    loaded = AutoProcessor.from_pretrained(published, cache_dir=tmp_path / "a", local_files_only=True)
    assert loaded.box_detector is not None and not hub.log
    with pytest.raises(OSError, match=r"cached files|local_files_only"):
        AutoModel.from_pretrained(published, cache_dir=tmp_path / "b", local_files_only=True)
    # Where PEFT is installed, transformers asks for an adapter whatever it was told.
    assert not [entry for entry in hub.log if not entry[1].endswith("/adapter_config.json")]


def test_dtype_and_device_map(published, tmp_path):
    model = AutoModel.from_pretrained(published, dtype=torch.bfloat16, device_map="cpu", cache_dir=tmp_path)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    loaded = AutoProcessor.from_pretrained(published, cache_dir=tmp_path)
    assert loaded.box_detector.dtype == torch.float32
    inputs = loaded(PHOTO, TEXT)
    with torch.no_grad():
        expected = tiny_model().to(torch.bfloat16)(**inputs).center_logits
        assert torch.equal(model(**inputs).center_logits, expected)


def test_a_model_may_be_spread_over_devices_and_the_disk(published, tmp_path):
    places = dict.fromkeys(("model.backbone", "model.image_projection", "model.text_projection", "mass_head"), "cpu")
    places |= dict.fromkeys(("model.text_model", "model.fusion", "center_head"), "disk")
    model = AutoModel.from_pretrained(
        published, device_map=places, offload_folder=tmp_path / "offload", cache_dir=tmp_path / "cache"
    )
    assert {p.device.type for p in model.model.fusion.parameters()} == {"meta"}  # loaded layer by layer when it runs
    inputs = AutoProcessor.from_pretrained(published, cache_dir=tmp_path / "cache")(PHOTO, TEXT)
    with torch.no_grad():
        assert torch.equal(model(**inputs).center_logits, tiny_model()(**inputs).center_logits)


def test_a_processor_is_pushed_as_it_is_saved(hub, processor, tmp_path):
    processor.save_pretrained(tmp_path / "tiny", push_to_hub=True, repo_id="owner/pushed")
    assert "box_detector/model.safetensors" in hub.files("owner/pushed")
    loaded = PbrecProcessor.from_pretrained("owner/pushed", cache_dir=tmp_path / "cache")
    assert same_tensors(loaded.mask_detector, processor.mask_detector)
    with pytest.raises(TypeError, match="Unknown arguments repo_id: they are those of push_to_hub=True"):
        processor.save_pretrained(tmp_path / "again", repo_id="owner/pushed")


OFFLINE = """
import sys
import numpy as np, pbrec_hf
from transformers import AutoModel, pipeline
photo = np.zeros((60, 90, 3), dtype=np.uint8)
print(pipeline("referring-expression", model=sys.argv[1])(photo, "left dog")[0]["label"])
try:
    AutoModel.from_pretrained("owner/other")
except OSError as error:
    print("cached files" in str(error))
"""


def test_without_a_network_what_was_fetched_works(published, monkeypatch):
    AutoModel.from_pretrained(published)
    AutoProcessor.from_pretrained(published)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    done = subprocess.run([sys.executable, "-c", OFFLINE, published], capture_output=True, text=True)
    assert done.stdout.splitlines() == ["left dog", "True"], done.stderr
    assert not constants.HF_HUB_OFFLINE
