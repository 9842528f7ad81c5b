"""What several tests of data need."""

import pytest
from PIL import Image


@pytest.fixture
def folder(tmp_path):
    """A folder with two pictures of 64x48 pixels, a.jpg and b.jpg."""
    for name in ("a.jpg", "b.jpg"):
        Image.new("RGB", (64, 48), "green").save(tmp_path / name)
    return tmp_path
