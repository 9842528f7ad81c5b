"""What is installed from a wheel, away from the repository, does everything that the package promises."""

import configparser
import os
import re
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest
from checkpoints import save_tiny_checkpoint
from places import ROOT
from training_data import write_data

import pbrec_hf

SHIPPED = ("hub_configs", "model_cards")


def run(*command, **options):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from the source distribution, so that this is complete, too; without network."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Runs a command where only the installed copy of the package can be imported."""
    target, elsewhere = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("elsewhere")
    uv = Path(sys.executable).with_name("uv")  # where an environment of uv has no pip
    pip = (
        [sys.executable, "-m", "pip", "install"] if find_spec("pip") else [uv, "pip", "install", "-p", sys.executable]
    )
    run(*pip, "--no-deps", "--target", target, wheel)
    environment = {**os.environ, "PYTHONPATH": str(target), "HF_HUB_OFFLINE": "1"}

    def run_there(*command):
        return run(*command, cwd=elsewhere, env=environment)

    return target, run_there


def packages():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    return setup["options"]["packages"].split()


def test_every_folder_with_modules_is_a_package():
    folders = {path.parent.relative_to(ROOT) for path in (ROOT / "pbrec_hf").rglob("*.py")}
    found = {".".join(folder.parts) for folder in folders} | {f"pbrec_hf.{name}" for name in SHIPPED}
    assert sorted(found) == packages()


def test_the_wheel_holds_every_file(wheel):
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    tree = {path.relative_to(ROOT).as_posix() for path in (ROOT / "pbrec_hf").rglob("*") if path.is_file()}
    shipped = {
        f"pbrec_hf/{path.relative_to(ROOT).as_posix()}"
        for name in SHIPPED
        for path in (ROOT / name).rglob("*")
        if path.suffix in (".json", ".yaml", ".md")
    }
    made_by_tools = re.compile(r"(^|/)(__pycache__|\.)")
    assert held == {name for name in tree if not made_by_tools.search(name)} | shipped


def test_the_installed_package_knows_itself_and_the_published_configurations(installed):
    target, run_there = installed
    assert run_there(next((target / "bin").glob("pbrec-hf*")), "--version") == f"pbrec-hf {pbrec_hf.__version__}\n"
    code = (
        "from pbrec_hf.hub.configs import config_folder, published_configs, recipe_file, shipped_folder\n"
        "print(len(published_configs()), config_folder('pbrec-refcoco'), recipe_file('pbrec-mt-refcoco'))\n"
        "print((shipped_folder('model_cards') / 'cards.yaml').is_file())"
    )
    configs = target / "pbrec_hf" / "hub_configs"
    expected = f"8 {configs / 'pbrec-refcoco'} {configs / 'pbrec-mt-refcoco' / 'training.yaml'}\nTrue\n"
    assert run_there(sys.executable, "-c", code) == expected


def test_the_installed_package_trains(installed, tmp_path):
    _, run_there = installed
    save_tiny_checkpoint(tmp_path / "tiny")
    data = write_data(tmp_path / "data", pictures=2, expressions=1)
    flags = ["--cpu", "--tasks", "grounding", "--epochs", "1", "--num_workers", "0", "--trackers", "none"]
    folders = ["--init", tmp_path / "tiny", "--data", data, "--output_dir", tmp_path / "run"]
    run_there(sys.executable, "-m", "pbrec_hf", "train", *flags, *folders)
    written = {path.relative_to(tmp_path / "run").as_posix() for path in Path(tmp_path / "run").rglob("*.*")}
    assert {
        "scores.json",
        "last/model.safetensors",
        "last/README.md",
        "checkpoints/step-00000001/manifest.json",
    } < written
