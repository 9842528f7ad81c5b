"""What several tests of the application ask."""

import pytest
from checkpoints import save_tiny_checkpoint


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A folder with a tiny checkpoint that proposes boxes and masks."""
    folder = tmp_path_factory.mktemp("checkpoint")
    save_tiny_checkpoint(folder, masks=True)
    return str(folder)
