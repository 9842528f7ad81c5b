"""Checkpoints of others are read without running what is in them."""

import argparse
import collections
import os
import pathlib
import pickle
import subprocess
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from pbrec_hf.convert.loading import load_untrusted_state_dict

WEIGHTS = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.ones(1, dtype=torch.int64)}


class Canary:
    """Unpickling it leaves a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def check(state_dict):
    assert set(state_dict) == set(WEIGHTS)
    assert all(torch.equal(state_dict[key], value) for key, value in WEIGHTS.items())


def test_a_state_dict_among_other_things_of_a_training(tmp_path):
    base = torch.arange(12.0)
    views = {"a.weight": base[:6].view(2, 3), "strided": base[::2], "b": WEIGHTS["b"]}  # share memory
    content = {"model": {f"module.{key}": value for key, value in views.items()}, "epoch": 3}
    torch.save({**content, "args": argparse.Namespace(lr=0.1)}, tmp_path / "training.pth")
    loaded = load_untrusted_state_dict(tmp_path / "training.pth")
    assert torch.equal(loaded.pop("strided"), base[::2])
    check(loaded)


@pytest.mark.parametrize(
    "extra",
    [
        np.float64(0.7),
        np.arange(3),
        collections.defaultdict(list, losses=[0.5]),
        argparse.Namespace(out=pathlib.Path("runs")),
        None,
    ],
    ids=["number of NumPy", "array", "defaultdict", "path", "nothing"],
)
def test_harmless_things_beside_the_weights_are_passed_over(tmp_path, extra):
    torch.save({"model": WEIGHTS, "extra": extra}, tmp_path / "training.pth")
    check(load_untrusted_state_dict(tmp_path / "training.pth"))


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_prefixes_of_compiled_and_parallel_models_are_removed(tmp_path, prefix):
    save_file({prefix + key: value for key, value in WEIGHTS.items()}, tmp_path / "weights.safetensors")
    check(load_untrusted_state_dict(tmp_path / "weights.safetensors"))


def test_files_that_would_never_end_or_grow_are_refused(tmp_path):
    ring = {"epoch": 3}
    ring["model"] = ring
    torch.save(ring, tmp_path / "ring.pth")
    with pytest.raises(ValueError, match="a dict that holds itself"):
        load_untrusted_state_dict(tmp_path / "ring.pth")
    torch.save({"a.weight": torch.zeros(1).expand(10**9)}, tmp_path / "wide.pth")
    with pytest.raises(ValueError, match=r"a\.weight claims 1000000000 values, more than the file holds"):
        load_untrusted_state_dict(tmp_path / "wide.pth")


def test_a_small_file_of_many_copies_is_refused(tmp_path):
    """Each key names the same numbers, and safetensors would hold a copy for each."""
    weight = torch.zeros(2**18)
    torch.save({f"layer.{number}.weight": weight for number in range(1000)}, tmp_path / "copies.pth")
    with pytest.raises(ValueError, match="its tensors are 1048576000 bytes, but the file has"):
        load_untrusted_state_dict(tmp_path / "copies.pth")


def test_an_archive_that_grows_is_refused(tmp_path):
    torch.save({"weight": torch.zeros(2**22)}, tmp_path / "plain.pth")
    with (
        zipfile.ZipFile(tmp_path / "plain.pth") as plain,
        zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for name in plain.namelist():
            bomb.writestr(name, plain.read(name))
    with pytest.raises(ValueError, match=r"it unpacks to .* bytes, but the file has"):
        load_untrusted_state_dict(tmp_path / "bomb.pth")


def test_safetensors(tmp_path):
    save_file(WEIGHTS, tmp_path / "weights.safetensors")
    check(load_untrusted_state_dict(tmp_path / "weights.safetensors"))


@pytest.mark.parametrize("legacy", [False, True])
def test_a_hostile_pickle_is_refused_and_nothing_runs(tmp_path, legacy):
    canary, path = tmp_path / "canary", tmp_path / "hostile.pth"
    content = {"model": WEIGHTS, "extra": Canary(canary)}
    if legacy:
        path.write_bytes(pickle.dumps(content["extra"]))
    else:
        torch.save(content, path)
    with pytest.raises(ValueError, match="is refused: UnpicklingError") as error:
        load_untrusted_state_dict(path)
    assert not canary.exists()
    assert "weights_only" not in str(error.value) and "\x1b" not in str(error.value)


def test_an_empty_file_is_told(tmp_path):
    (tmp_path / "empty.pth").touch()
    with pytest.raises(ValueError, match="empty or cut off"):
        load_untrusted_state_dict(tmp_path / "empty.pth")


def test_files_without_a_state_dict_are_refused(tmp_path):
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ValueError, match="holds a list instead of a state dict"):
        load_untrusted_state_dict(tmp_path / "list.pth")
    (tmp_path / "text.safetensors").write_text("no weights")
    with pytest.raises(ValueError, match="not a readable safetensors file"):
        load_untrusted_state_dict(tmp_path / "text.safetensors")
    with pytest.raises(FileNotFoundError, match="is not a file"):
        load_untrusted_state_dict(tmp_path / "absent.pth")


def test_a_full_disk_of_temporary_files_is_no_fault_of_the_file(tmp_path, monkeypatch):
    torch.save({"model": {"a": torch.zeros(2)}}, tmp_path / "sound.pth")
    reason = (
        "safetensors_rust.SafetensorError: Error while serializing: I/O error: No space left on device (os error 28)"
    )
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess((), 1, "", f"…\n{reason}\n"))
    with pytest.raises(OSError, match=r"Cannot write to .*: the disk is full"):
        load_untrusted_state_dict(tmp_path / "sound.pth")
