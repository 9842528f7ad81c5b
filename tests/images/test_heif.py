"""HEIC: read upright with the plugin, named without it."""

import io
import sys

import numpy as np
import PIL.Image
import pillow_heif
import pytest

from pbrec_hf.images.reading import load_picture, load_pixels, picture_size


@pytest.fixture(scope="module")
def picture():
    """A red upper half over a blue one, 48 × 80, and its file."""
    pixels = np.zeros((48, 80, 3), dtype=np.uint8)
    pixels[:24, :, 0] = pixels[24:, :, 2] = 200
    buffer = io.BytesIO()
    pillow_heif.from_pillow(PIL.Image.fromarray(pixels)).save(buffer, quality=95)
    return pixels, buffer.getvalue()


@pytest.fixture
def unregistered(monkeypatch):
    """Pillow as it is before anybody registers the plugin."""
    PIL.Image.init()  # everything else is registered, and stays so
    for name in ("OPEN", "EXTENSION", "MIME"):
        monkeypatch.setattr(PIL.Image, name, {**getattr(PIL.Image, name)})
    monkeypatch.setattr(PIL.Image, "ID", [kind for kind in PIL.Image.ID if kind != "HEIF"])
    PIL.Image.OPEN.pop("HEIF", None)


def test_a_heic_picture_is_read_as_any(picture, unregistered, tmp_path):
    pixels, data = picture
    path = tmp_path / "photo.heic"
    path.write_bytes(data)
    for source in (path, str(path), data, {"bytes": data, "path": None}):
        found = load_pixels(source).permute(1, 2, 0).numpy()
        assert found.shape == pixels.shape and np.abs(found.astype(int) - pixels).mean() < 4
        assert np.array_equal(np.asarray(load_picture(source)), found) and picture_size(source) == (48, 80)


def test_without_the_plugin_it_is_named(picture, unregistered, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # an import of it fails
    path = tmp_path / "photo.heic"
    path.write_bytes(picture[1])
    for read in (load_picture, load_pixels, picture_size):
        with pytest.raises(ValueError, match=r"photo\.heic is a HEIC picture.*`pip install pillow-heif`"):
            read(path)
