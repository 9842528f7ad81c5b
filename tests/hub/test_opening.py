"""A checkpoint that cannot be loaded is told in one line, with the file that is damaged or missing."""

import json
import shutil
import time

import pytest
import torch
from checkpoints import tiny_model, tiny_processor
from huggingface_hub import constants
from places import SCENES

from pbrec_hf import Grounder, PbrecForReferringExpression
from pbrec_hf.app.cli import main
from pbrec_hf.hub import reaching
from pbrec_hf.hub.opening import CheckpointError, clear_errors
from pbrec_hf.hub.publishing import write_checkpoint
from pbrec_hf.training.build import load_model_and_processor
from pbrec_hf.training.config import TrainingConfig

JSONS = (
    "config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "box_detector/config.json",
    "mask_detector/config.json",
)
WEIGHTS = ("model.safetensors", "box_detector/model.safetensors", "mask_detector/model.safetensors")


def told(folder, kind=OSError) -> str:
    with pytest.raises(kind) as caught:
        Grounder(folder)
    message = str(caught.value)
    assert "\n" not in message and str(folder) in message
    return message


@pytest.mark.parametrize("name", JSONS)
@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: b"\xff\xfe" + data,
        lambda data: b"[]",
        lambda data: b"null",
        lambda data: b'{"a":' * 10**5,
    ],
    ids=["empty", "half", "no UTF-8", "a list", "null", "deep"],
)
def test_a_damaged_json_file_is_named(folder, name, damage):
    (folder / name).write_bytes(damage((folder / name).read_bytes()))
    assert f"cannot be loaded: {name} is damaged (" in told(folder, CheckpointError)


@pytest.mark.parametrize("name", WEIGHTS)
def test_damaged_weights_are_named(folder, name):
    (folder / name).write_bytes((folder / name).read_bytes()[:-1])
    assert f"cannot be loaded: {name} is damaged (" in told(folder, CheckpointError)


@pytest.mark.parametrize(
    ("name", "fields", "kind", "reason"),
    [
        ("config.json", {"hidden_act": None}, ValueError, ": config.json: .*'hidden_act' expected str"),
        ("config.json", {"model_type": []}, OSError, ": config.json: "),
        ("mask_detector/config.json", {"id2label": "x"}, OSError, ": mask_detector/config.json: AttributeError: "),
        ("box_detector/config.json", {"num_bins": -1}, ValueError, ": box_detector/config.json: .*num_bins=-1: give"),
        ("processor_config.json", {"image_processor": "x"}, OSError, ": processor_config.json: "),
        ("tokenizer_config.json", {"do_lower_case": []}, OSError, ": tokenizer_config.json or tokenizer.json: "),
        ("tokenizer.json", {"model": "x"}, OSError, ": tokenizer.json is damaged"),
        ("tokenizer.json", {"added_tokens": 7}, OSError, ": tokenizer.json is damaged"),
    ],
)
def test_values_that_no_class_takes_are_told_with_their_file(folder, name, fields, kind, reason):
    content = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps(content | fields))
    with pytest.raises(kind, match=f"{folder} cannot be loaded{reason}"):
        Grounder(folder)


def test_missing_files_are_told_by_the_names_this_package_writes(folder, tmp_path):
    tiny_model().save_pretrained(tmp_path / "model")
    assert "has no processor_config.json and no tokenizer.json; save the processor there" in told(tmp_path / "model")
    tiny_processor().save_pretrained(tmp_path / "processor")
    assert "has no config.json and no model.safetensors; save the model there" in told(tmp_path / "processor")
    shutil.copytree(folder, tmp_path / "run" / "best")
    assert f"give one of {tmp_path / 'run' / 'best'}" in told(tmp_path / "run")
    (folder / "processor_config.json").write_text("{}")
    assert "its processor_config.json has no field image_processor" in told(folder)


@pytest.mark.parametrize("load", ["ground", "train", "evaluate", "precompute", "publish"])
def test_whoever_loads_tells_the_file(folder, tmp_path, load, capsys):
    (folder / "tokenizer.json").write_text("{}")
    picture, source = str(SCENES / "demo.json"), str(folder)
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"image": "a.png", "expression": "dog", "bbox": [0, 0, 9, 9]}\n')
    if load == "train":
        with pytest.raises(CheckpointError, match=r"tokenizer\.json is damaged"):
            load_model_and_processor(TrainingConfig(init=source, data=str(rows)))
    elif load == "publish":
        with pytest.raises(CheckpointError, match=r"tokenizer\.json is damaged"):
            write_checkpoint(source, tmp_path / "out")
    else:
        picture = next(str(path) for path in (SCENES / "images").iterdir())
        arguments = {
            "ground": [picture, "dog", "--model", source],
            "evaluate": [source, "--cpu", "--data", str(rows), "--output_dir", str(tmp_path / "out")],
            "precompute": [source, "--cpu", "--data", str(rows), "--out", str(tmp_path / "out")],
        }[load]
        assert main([load, *arguments]) == 2
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert error.startswith(
            f"pbrec-hf: error: The checkpoint {folder} cannot be loaded: tokenizer.json is damaged"
        )


def test_what_the_machine_lacks_is_no_fault_of_the_checkpoint(sound):
    for error in (ImportError("no timm"), MemoryError()):
        with pytest.raises(type(error)) as caught, clear_errors(sound):
            raise error
        assert caught.value is error


def test_a_hub_out_of_reach_is_told_at_once(hub, sound, monkeypatch):
    """Its client repeats requests for half a minute; what was fetched before is used without it."""
    tiny_model().push_to_hub("owner/fetched")
    with pytest.raises(OSError, match=r"owner/fetched.* has no processor_config\.json"):
        Grounder("owner/fetched")
    tiny_processor().push_to_hub("owner/fetched")
    Grounder("owner/fetched")

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    start = time.monotonic()
    with pytest.raises(ConnectionError, match="cannot be reached to fetch owner/new, which is no folder either"):
        Grounder("owner/new")
    assert reaching.hub_options("owner/fetched") == {"local_files_only": True}
    Grounder("owner/fetched")
    assert time.monotonic() - start < 5
    assert reaching.hub_options(str(sound)) == {}


def test_a_mistyped_argument_is_no_fault_of_the_files(sound):
    with pytest.raises(TypeError, match="treshold"):
        PbrecForReferringExpression.from_pretrained(sound, treshold=1)
    with pytest.raises(RuntimeError, match="meta device"), torch.device("meta"):
        PbrecForReferringExpression.from_pretrained(sound)
