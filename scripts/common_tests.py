"""transformers' own common tests, run on the classes of this package.

    python scripts/common_tests.py                      # all of them, and a table per class
    python scripts/common_tests.py -k "TestFcos and save_load"   # arguments are those of pytest
    python scripts/common_tests.py --sdist transformers-5.24.0.tar.gz

The tests are no part of an installed transformers: the source distribution of the same version has them, which pip
fetches from its package index. Adapters are in `scripts/common/`; `scripts/common/inapplicable.py` says which tests do
not apply, and why. Needs `pip install -e '.[dev]'`, some minutes, and no network but for pip.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from common.sources import fetch, unpack

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sdist", type=Path, help="the source distribution, if it has been downloaded already")
    options, arguments = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as work:
        sources = unpack(options.sdist or fetch(Path(work)), Path(work, "sources"))
        return run(sources, arguments)


def run(sources: Path, arguments: list[str]) -> int:
    """The exit status of pytest with the adapters, and with the tests in `sources`."""
    # The `tests` of transformers are a package; the ones of this repository, which is none, give way to it.
    places = [sources, ROOT, ROOT / "scripts", ROOT / "tests", ROOT / "tests" / "support", sources / "utils"]
    inherited = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([*map(str, places), *filter(None, inherited)]),
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    command = [sys.executable, "-m", "pytest", "-c", os.devnull, "--rootdir", str(ROOT / "scripts" / "common")]
    command += ["--import-mode=importlib", "-p", "no:cacheprovider", "-p", "common.plugin", "-q", "--tb=short"]
    return subprocess.run([*command, *arguments, str(ROOT / "scripts" / "common")], env=environment).returncode


if __name__ == "__main__":
    raise SystemExit(main())
