import errno
import json
import os

import pytest
import torch
from accelerate import Accelerator

from pbrec_hf.training.checkpoints import CheckpointFolder


@pytest.fixture
def setting(tmp_path):
    accelerator = Accelerator(cpu=True)
    model = accelerator.prepare(torch.nn.Linear(2, 1))
    return CheckpointFolder(tmp_path / "checkpoints", accelerator, keep=3), model


def save(folder: CheckpointFolder, model, steps) -> None:
    for step in steps:
        with torch.no_grad():
            model.weight.fill_(step)
        folder.save({"step": step, "epoch": 0})


def test_the_last_one_comes_back(setting):
    folder, model = setting
    assert folder.last() is None
    save(folder, model, [1, 2, 3, 4])
    assert sorted(os.listdir(folder.folder)) == ["step-00000002", "step-00000003", "step-00000004"]
    model.weight.data.zero_()
    checkpoint = folder.last()
    folder.load(checkpoint)
    assert checkpoint.position == {"step": 4, "epoch": 0}
    assert (model.weight == 4).all()


def test_a_run_that_starts_again_deletes_what_another_saved_later(setting):
    folder, model = setting
    folder.keep = 1
    save(folder, model, [8, 9])
    save(folder, model, [2])
    assert os.listdir(folder.folder) == ["step-00000002"]
    folder.amend(folder.last().path, {"step": 2, "epoch": 1})
    checkpoint = folder.last()
    folder.load(checkpoint)
    assert checkpoint.position == {"step": 2, "epoch": 1} and (model.weight == 2).all()


@pytest.mark.parametrize("damage", ["cut", "changed", "missing", "no manifest", "broken manifest", "half written"])
def test_a_damaged_one_is_passed_over(setting, damage, caplog):
    folder, model = setting
    save(folder, model, [1, 2])
    newest = folder.folder / "step-00000002"
    weights, manifest = newest / "model.safetensors", newest / "manifest.json"
    if damage == "cut":
        weights.write_bytes(weights.read_bytes()[:-1])
    elif damage == "changed":
        weights.write_bytes(weights.read_bytes()[:-1] + b"\x55")
    elif damage == "missing":
        weights.unlink()
    elif damage == "no manifest":
        manifest.unlink()
    elif damage == "broken manifest":
        manifest.write_text(json.dumps({"files": 3}))
    else:
        newest.rename(folder.folder / "step-00000002.partial")
    assert folder.last().position["step"] == 1
    save(folder, model, [2])
    assert folder.last().position["step"] == 2


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("PytorchStreamWriter: No space left on device")],
)
def test_a_full_disk_is_one_clear_line(setting, monkeypatch, error):
    folder, model = setting
    save(folder, model, [1])

    def fail(path):
        raise error

    monkeypatch.setattr(folder.accelerator, "save_state", fail)
    with pytest.raises(OSError, match="the disk is full") as caught:
        save(folder, model, [2])
    assert "\n" not in str(caught.value)
    assert folder.last().position["step"] == 1


def test_another_error_stays_itself(setting, monkeypatch):
    folder, model = setting
    monkeypatch.setattr(folder.accelerator, "save_state", lambda path: torch.zeros(2) @ torch.zeros(3))
    with pytest.raises(RuntimeError, match="size"):
        save(folder, model, [1])
