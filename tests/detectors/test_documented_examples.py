"""The code of docs/detectors.md runs, with tiny networks under the names that it fetches from the Hub."""

import re
import shlex

import numpy as np
import promptable
import pytest
from huggingface_hub import HfApi
from PIL import Image
from places import ROOT
from tiny_detectors import save_network

from pbrec_hf.app.cli import parse
from pbrec_hf.small.nanodet import NanoDetConfig, NanoDetDetector
from pbrec_hf.small.nanodet_trunk import NanoDetTrunkConfig

TEXT = (ROOT / "docs" / "detectors.md").read_text(encoding="utf-8")
PARTS = re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:]


def blocks(language: str, part: int) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PARTS[part], flags=re.DOTALL)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with photographs, in which the code runs."""
    (tmp_path / "photos").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    for path in ("photo.jpg", "photos/a.jpg", "photos/b.jpg"):
        Image.fromarray(pixels).save(tmp_path / path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_detector_of_one_s_own(place):
    names = {"__name__": "color_cells"}
    define, use = blocks("python", 0)
    exec(compile(define, "docs/detectors.md", "exec"), names)
    exec(compile(use, "docs/detectors.md", "exec"), names)
    assert type(names["pipe"].processor.box_detector) is names["ColorDetector"]


def test_rt_detr_and_sam(place, hub):
    save_network(place / "rt_detr", "detection", "rt_detr_v2")
    for part in promptable.tiny_network("sam2"):
        part.save_pretrained(place / "sam")
    for repo, folder in (("PekingU/rtdetr_v2_r50vd", "rt_detr"), ("facebook/sam2.1-hiera-tiny", "sam")):
        HfApi().create_repo(repo)
        HfApi().upload_folder(repo_id=repo, folder_path=place / folder)
    (code,) = blocks("python", 1)
    names: dict = {}
    exec(compile(code, "docs/detectors.md", "exec"), names)
    assert len(names["rows"]) == 2
    masks = sorted((place / "photos").glob("*.mask.png"))
    assert [path.name for path in masks] == ["a.mask.png", "b.mask.png"]
    assert {Image.open(path).size for path in masks} == {(90, 60)}
    assert {path.name for path in (place / "with-rt-detr-and-sam").iterdir()} >= {"box_detector", "mask_detector"}


def test_nanodet_plus(place):
    trunk = {"stem_channels": 8, "stage_channels": [8, 8, 8], "stage_depths": [1, 1, 1], "neck_channels": 8}
    config = NanoDetConfig(trunk_config=NanoDetTrunkConfig(neck="ghost_pan", **trunk), tower_kernel=5, points="corner")
    NanoDetDetector(config).save_pretrained(place / "plus")
    (code,) = blocks("python", 3)
    names: dict = {}
    exec(compile(code, "docs/detectors.md", "exec"), names)
    saved = NanoDetDetector.from_pretrained(place / "with-plus-at-416" / "box_detector").config
    assert (saved.scales, saved.candidate_min_quality, saved.points) == ([0.8125], 0.15, "corner")
    (block,) = blocks("bash", 3)
    convert, assemble = (parse(shlex.split(line)[1:]) for line in block.splitlines())
    assert convert.kind == "nanodet" and convert.param and assemble.box_detector == str(convert.destination)


def test_the_commands_are_understood():
    (block,) = blocks("bash", 2)
    lines = [line for line in block.replace("\\\n", " ").splitlines() if line.strip()]
    assert len(lines) == 3
    for line in lines:
        options = parse(shlex.split(line, comments=True)[1:])
        assert options.detectors and (options.data or options.dataset)
