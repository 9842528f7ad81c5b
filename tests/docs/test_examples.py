"""Every code block of the README and of the site's pages runs, in the order of its page.

Python runs as it stands; commands as `page_commands.py` says; rows and settings are read. The folder in which they run
is that of `conftest.py`, with photographs, rows and tiny checkpoints under the names that pages use.
"""

import contextlib
import json
import sys
from functools import partialmethod
from types import SimpleNamespace
from xml.etree import ElementTree

import httpx
import page_commands
import pytest
import supervision as sv
import torch
import yaml
from documents import Block, blocks, commands, pages
from places import ROOT, TESTS
from served import served

from pbrec_hf.app.service.limits import Limits
from pbrec_hf.app.service.run import build_all
from pbrec_hf.app.service.service import Service
from pbrec_hf.data.own_data import load_own_data
from pbrec_hf.hub import bundled
from pbrec_hf.inference.grounder import Grounder

# Pages whose code has a test of its own, which looks closer.
ELSEWHERE = {
    "docs/data.md": "data/test_documented_data.py",
    "docs/detectors.md": "detectors/test_documented_examples.py",
    "docs/exporting.md": "inference/test_onnx.py",
    "docs/publishing.md": "hub/test_publishing.py",
}
# Blocks that need data of others, and the tests that ask for the same of small stand-ins.
STAND_INS = {
    "load_refcoco(": "data/refer/test_refcoco.py",
    "load_hub_set(": "data/hub_sets",
    "with_soft_targets(splits": "data/test_soft_targets.py",
}
# What is for readers alone.
DRAWN = ("", "text", "bibtex")
README = "README.md"


@pytest.mark.parametrize("page", [page for page in pages() if page not in ELSEWHERE and blocks(page)])
def test_the_code_of_a_page_runs(page, place, monkeypatch):
    if page != README:  # whose answers are the bundled checkpoint's own
        monkeypatch.setattr(bundled, "__file__", str(place / "pbrec_hf" / "hub" / "bundled.py"))
    also = {block.text for other in pages() if other != README for block in blocks(other, "bash")}
    names = {"__name__": "page"}
    for block in blocks(page):
        with _told(block):
            if block.language == "python":
                _run_python(block, names)
            elif block.language == "bash" and not (page == README and block.text in also):
                for command in commands(block):
                    page_commands.run(command, monkeypatch)
            elif block.language not in ("python", "bash", *DRAWN):
                READ[block.language](block, place)


def _run_python(block: Block, names: dict) -> None:
    if any(call in block.text for call in STAND_INS):
        compile(block.text, block.page, "exec")
        return
    lines = "\n" * (block.line - 1)  # so that errors name the line of the page
    exec(compile(lines + block.text, str(ROOT / block.page), "exec"), names)


def _json(block: Block, place) -> None:
    if '"expression"' not in block.text or '"results"' in block.text:
        json.loads(block.text)
        return
    (place / "block.jsonl").write_text(block.text)
    assert len(load_own_data(place / "block.jsonl")) == len(block.text.splitlines())


READ = {
    "json": _json,
    "yaml": lambda block, place: yaml.safe_load(block.text),
    "xml": lambda block, place: ElementTree.fromstring(block.text),
}


@contextlib.contextmanager
def _told(block: Block):
    try:
        yield
    except BaseException as error:
        error.add_note(f"{block.page}:{block.line}")
        raise


@pytest.fixture(autouse=True)
def cheaper(place, monkeypatch):
    """What takes minutes, a window or a library that is not needed otherwise."""
    # The graph is traced as ever, but its kernels are not written in C++.
    compiled = partialmethod(torch.nn.Module.compile, backend="aot_eager")
    monkeypatch.setattr(torch.nn.Module, "compile", compiled)
    fiftyone = SimpleNamespace(
        Sample=lambda filepath: {}, Detection=dict, Detections=lambda detections: detections,
        Dataset=lambda name: SimpleNamespace(add_samples=list), launch_app=lambda dataset: None,
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "fiftyone", fiftyone)
    with sv.VideoSink(str(place / "in.mp4"), sv.VideoInfo(width=96, height=64, fps=5, total_frames=1)) as video:
        video.write_frame(torch.zeros(64, 96, 3, dtype=torch.uint8).numpy())


@pytest.fixture(autouse=True)
def service(place, tiny, request, monkeypatch):
    """What docs/serving.md asks."""
    if "serving" not in request.node.name:
        yield
        return
    answering = Service(Grounder(tiny), Limits(), "tiny")
    with served(build_all(answering, page=False)) as address:
        monkeypatch.setattr(page_commands, "SERVED", address)
        post = httpx.post
        monkeypatch.setattr(
            httpx, "post", lambda url, **given: post(url.replace("http://127.0.0.1:7860", address), **given)
        )
        yield


def test_what_is_tested_elsewhere_is():
    for page, test in ELSEWHERE.items():
        assert page.removeprefix("docs/") in (TESTS / test).read_text(encoding="utf-8")
    assert all((TESTS / test).exists() for test in STAND_INS.values())


def test_every_language_is_known():
    known = {"python", "bash", *READ, *DRAWN}
    assert {block.language for page in pages() for block in blocks(page)} <= known
