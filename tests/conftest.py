"""No test reaches the network: whatever asks for the Hub gets the one on loopback, with a cache of this run alone.

This runs before any test module imports huggingface_hub, which reads the environment once.
"""

import atexit
import os
import shutil
import tempfile

import pytest
from hub_server import TOKEN, HubServer

_HUB = HubServer().__enter__()
_HOME = tempfile.mkdtemp(prefix="pbrec-hf-tests-")
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)
os.environ.update(
    HF_ENDPOINT=_HUB.url, HF_HOME=_HOME, HF_TOKEN=TOKEN, HF_HUB_DISABLE_XET="1", HF_HUB_DISABLE_TELEMETRY="1"
)
if "PYTEST_XDIST_WORKER" in os.environ:  # a process to a core: more threads are in each other's way
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture
def hub():
    """The Hub on loopback, empty; the environment's token is its owner's."""
    _HUB.reset()
    yield _HUB
    _HUB.reset()
