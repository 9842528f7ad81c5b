"""The image cannot be built in a test; what can be checked is that its lines fit this package."""

import json
import re
import shlex
import subprocess
import sys
import zipfile
from configparser import ConfigParser
from fnmatch import fnmatch
from shutil import copytree, ignore_patterns

from packaging.requirements import Requirement
from places import ROOT

from pbrec_hf.app.cli import parse

LINES = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()


def instructions(name):
    return [line.split(maxsplit=1)[1].strip() for line in LINES if line.startswith(f"{name} ")]


def test_it_installs_extras_that_there_are_and_versions_that_are_allowed():
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    installed = [word for line in instructions("RUN") if "pip install" in line for word in shlex.split(line)]
    (extras,) = (re.fullmatch(r"/source\[(.*)\]", word)[1].split(",") for word in installed if "/source[" in word)
    assert {"serve", "mcp"} <= set(extras) <= set(setup["options.extras_require"])
    required = [Requirement(line) for line in setup["options"]["install_requires"].split()]
    torch = [Requirement(word) for word in installed if word.startswith("torch")]
    assert torch == [one for one in required if one.name in ("torch", "torchvision")]


def test_it_starts_the_service_where_others_reach_it_and_asks_for_its_health():
    (entry,), (port,), (health,) = instructions("ENTRYPOINT"), instructions("EXPOSE"), instructions("HEALTHCHECK")
    name, *arguments = json.loads(entry)
    options = parse(arguments)
    assert name == "pbrec-hf" and options.host == "0.0.0.0"
    assert options.port is None and port == "7860"  # the default
    assert f"127.0.0.1:{port}/health" in health
    assert "pbrec" in instructions("USER")


def test_what_docker_sees_of_the_checkout_is_enough_for_the_wheel(tmp_path):
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    source = tmp_path / "source"
    source.mkdir()
    for name in kept:
        if (ROOT / name).is_dir():
            copytree(ROOT / name, source / name, ignore=ignore_patterns("__pycache__"))
        else:
            (source / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for pattern in (
        "pbrec_hf/app/service/application.py",
        "pbrec_hf/checkpoints/*.safetensors",
        "pbrec_hf/assets/*.jpg",
    ):
        assert any(fnmatch(name, pattern) for name in names), pattern
