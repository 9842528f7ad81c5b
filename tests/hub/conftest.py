"""Sound checkpoints, to be damaged in copies."""

import shutil

import pytest
from checkpoints import save_tiny_checkpoint


@pytest.fixture(scope="session")
def sound(tmp_path_factory):
    """A tiny checkpoint with both detectors; not to be changed."""
    folder = tmp_path_factory.mktemp("sound")
    save_tiny_checkpoint(folder, masks=True)
    return folder


@pytest.fixture
def folder(sound, tmp_path):
    """A copy of it."""
    return shutil.copytree(sound, tmp_path / "checkpoint")
