import errno
import os
import resource

import pytest
import torch
from safetensors.torch import save_file

from pbrec_hf.hub.writing import CannotWriteError, one_line_errors, replaced_file, replaced_folder


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path):
    final = tmp_path / "last"
    with replaced_folder(final) as partial:
        (partial / "a").write_text("old")
    with pytest.raises(KeyError), replaced_folder(final) as partial:
        (partial / "a").write_text("new")
        raise KeyError
    assert (final / "a").read_text() == "old"
    with replaced_folder(final) as partial:
        (partial / "b").write_text("new")
    assert os.listdir(final) == ["b"]
    assert os.listdir(tmp_path) == ["last"]


def test_a_link_to_a_folder_stays_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "last").symlink_to(tmp_path / "disk")
    with replaced_folder(tmp_path / "last") as partial:
        (partial / "a").write_text("new")
    assert (tmp_path / "last").is_symlink() and (tmp_path / "disk" / "a").read_text() == "new"


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "scores.json"
    with replaced_file(path) as partial:
        partial.write_text("old")
        assert not path.exists()
    with pytest.raises(KeyError), replaced_file(path) as partial:
        partial.write_text("new")
        raise KeyError
    assert path.read_text() == "old"
    assert os.listdir(path.parent) == ["scores.json"]


def test_an_error_is_told_once_in_one_line(tmp_path):
    with pytest.raises(CannotWriteError) as caught, one_line_errors(tmp_path), replaced_file(tmp_path / "a"):
        raise OSError(errno.ENOSPC, "No space left on device")
    message = str(caught.value)
    assert message.count("Cannot write to") == 1 and "the disk is full" in message and "\n" not in message
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("write", ["torch", "safetensors", "text"])
@pytest.mark.parametrize("most", [0, 1000, 70_000])
def test_a_limit_on_the_size_of_files_is_told_in_one_line(tmp_path, write, most):
    values = {"a": torch.zeros(50_000)}
    writers = {
        "torch": lambda path: torch.save(values, path),
        "safetensors": lambda path: save_file(values, path),
        "text": lambda path: path.write_text("x" * 100_000),
    }
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        with (
            pytest.raises(CannotWriteError, match=r"Cannot write to .* limit on files.*ulimit -f") as caught,
            replaced_file(tmp_path / "a") as partial,
        ):
            writers[write](partial)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "\n" not in str(caught.value) and os.listdir(tmp_path) == []


def test_other_errors_of_torch_stay_as_they_are(tmp_path):
    with pytest.raises(RuntimeError, match="shapes"), one_line_errors(tmp_path):
        raise RuntimeError("shapes do not fit")
