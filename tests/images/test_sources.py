"""Paths as people and programs write them: the home folder as ~, and file:// addresses."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from pbrec_hf.data.own_data import load_own_data
from pbrec_hf.images.reading import load_picture, load_pixels, picture_size
from pbrec_hf.images.sources import local_path, require_there


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home folder with `my photo.png`, which is returned as an array."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    PIL.Image.fromarray(pixels).save(tmp_path / "my photo.png")
    return tmp_path, pixels


def test_a_picture_is_read_by_every_name_of_its_path(home):
    folder, pixels = home
    path = folder / "my photo.png"
    names = ("~/my photo.png", Path("~/my photo.png"), path.as_uri(), f"file://{path}", f"FILE://localhost{path}")
    for name in names:
        assert np.array_equal(load_pixels(name).permute(1, 2, 0).numpy(), pixels)
        assert picture_size({"path": name, "bytes": None}) == (20, 30) and load_picture(name).size == (30, 20)
        require_there(str(name))


def test_names_with_marks_of_addresses_are_understood_quoted_or_not(home):
    folder, _ = home
    path = folder / "50% #1?.png"
    path.write_bytes((folder / "my photo.png").read_bytes())
    assert picture_size(path.as_uri()) == (20, 30)
    assert local_path(f"file://{folder}/a #1?.png") == f"{folder}/a #1?.png"


def test_a_file_that_begins_with_a_tilde_is_itself(home, monkeypatch):
    folder, _ = home
    monkeypatch.chdir(folder)
    Path("~").mkdir()
    PIL.Image.new("RGB", (8, 9)).save("~/my photo.png")
    assert picture_size("~/my photo.png") == (9, 8)


@pytest.mark.parametrize("address", ["file://elsewhere/photo.png", "file://", "file:///"])
def test_an_address_of_no_file_here_says_how_to_write_one(address):
    with pytest.raises(ValueError, match=f"{address} is no file of this machine: write file:///folder/photo.jpg"):
        load_pixels(address)


def test_a_missing_one_is_named_as_it_was_given(home):
    with pytest.raises(FileNotFoundError, match=r"No picture at .*other\.png: check the path"):
        load_picture("~/other.png")


def test_tables_of_own_data_take_them_too(home):
    folder, _ = home
    table = folder / "rows.jsonl"
    rows = [
        f'{{"image": "{name}", "expression": "dog", "bbox": [1, 1, 9, 9]}}'
        for name in ("~/my photo.png", (folder / "my photo.png").as_uri())
    ]
    table.write_text("\n".join(rows))
    assert load_own_data(table)["width"] == [30, 30]
    with pytest.raises(ValueError, match=r"leads out of|no such file"):
        load_own_data(table, image_dir=folder)
