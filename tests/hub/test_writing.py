import errno
import os

import pytest

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
