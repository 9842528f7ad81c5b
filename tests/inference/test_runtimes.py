"""The cases of runtime_cases.py, in a process of their own."""

import subprocess
import sys
from pathlib import Path

CASES = Path(__file__).with_name("runtime_cases.py")


def test_every_runtime_answers_as_torch_does():
    """OpenVINO leaves threads behind, and nncf changes to torch: later tests that fork should not meet them."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(CASES)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=CASES.parents[2])
    assert done.returncode == 0, done.stdout[-5000:]
    assert " passed" in done.stdout and "skipped" not in done.stdout
