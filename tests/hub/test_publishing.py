"""`pbrec-hf push` as docs/publishing.md tells it: a checkpoint, its card, its code and its Space reach the Hub."""

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from checkpoints import save_tiny_checkpoint
from huggingface_hub import HfApi, ModelCard, constants
from huggingface_hub.utils import httpx
from places import ROOT
from transformers import pipeline

from pbrec_hf.app.cli import main, parse
from pbrec_hf.hub.publishing import write_checkpoint

CARD = """
mine:
  summary: Finds my things.
  trained: true
  tasks: [grounding]
  data: My photographs.
  leakage: None of the test photographs.
  results:
    - {task: grounding, dataset: mine, dataset_name: My things, split: test, metric: accuracy, value: 55.5}
    - {task: grounding, dataset: "hub:me/things", dataset_name: U, split: test, metric: accuracy, value: 4.4, count: 7}
"""


@pytest.fixture(scope="module")
def push():
    def push(arguments):
        options = parse(["push", *arguments])
        return options.run(options)

    return push


@pytest.fixture
def checkpoint(tmp_path):
    save_tiny_checkpoint(tmp_path / "mine")
    (tmp_path / "card.yaml").write_text(CARD)
    return tmp_path / "mine"


def test_publish_your_own(push, hub, checkpoint, tmp_path, capsys):
    push(
        [str(checkpoint), "owner/mine", "--card", str(tmp_path / "card.yaml"), "--with_code", "--space", "owner/demo"]
    )
    files = hub.files("owner/mine")
    assert {"README.md", "modeling_pbrec.py", "box_detector/model.safetensors"} < set(files)
    assert b"me/things" in files[".eval_results/pbrec_hf.yaml"] and b"55.5" not in files[".eval_results/pbrec_hf.yaml"]
    assert [len(commits) for commits in hub.repos["model", "owner/mine"].branches.values()] == [
        2
    ]  # created, published
    card = ModelCard.load("owner/mine")
    assert card.data.eval_results[0].metric_value == 55.5 and 'model="owner/mine"' in card.text
    photo = np.zeros((40, 60, 3), dtype=np.uint8)
    (result,) = pipeline("referring-expression", model="owner/mine")(photo, "left dog")
    assert result["label"] == "left dog"
    space = hub.files("owner/demo", kind="space")
    assert {"app.py", "requirements.txt", "README.md", "pbrec_hf/app/serve.py", "pbrec_hf/__init__.py"} < set(space)
    assert b"'owner/mine'" in space["app.py"] and b"sdk: gradio" in space["README.md"]
    assert not any(path.startswith(("pbrec_hf/data/", "pbrec_hf/checkpoints/")) for path in space)
    assert "owner/mine/commit/" in capsys.readouterr().out


def test_a_branch_a_private_repository_and_a_folder_alone(push, hub, checkpoint, tmp_path):
    (checkpoint / "README.md").write_text("---\nlicense: mit\n---\n# Mine\n")
    push([str(checkpoint), "owner/mine", "--private", "--revision", "trial"])
    assert hub.repos["model", "owner/mine"].private
    assert hub.files("owner/mine", "trial")["README.md"].endswith(b"# Mine\n")
    assert "config.json" not in hub.files("owner/mine")
    hub.log.clear()
    push([str(checkpoint), "owner/other", "--folder", str(tmp_path / "out")])
    assert (tmp_path / "out" / "box_detector" / "config.json").is_file() and not hub.log


def test_the_documented_commands_work_as_written(push, hub, checkpoint, tmp_path, monkeypatch):
    page = (ROOT / "docs" / "publishing.md").read_text(encoding="utf-8")
    lines = re.findall(r"^pbrec-hf push (.*)$", page, re.M)
    commands = [shlex.split(line, comments=True) for line in lines]
    assert commands
    monkeypatch.chdir(tmp_path)
    for folder, repo, *options in commands:
        if not Path(folder).exists():
            shutil.copytree(checkpoint, folder)
        assert repo.endswith("/mine"), "the card of this test is called mine"
        push([folder, repo, *options])
        assert {"README.md", "model.safetensors", "box_detector/model.safetensors"} < set(hub.files(repo))


def test_a_run_s_folder_is_told_to_hold_checkpoints(push, hub, checkpoint, tmp_path):
    shutil.copytree(checkpoint, tmp_path / "run" / "best")
    with pytest.raises(ValueError, match=r"config\.json: give one of .*run/best"):
        push([str(tmp_path / "run"), "owner/mine", "--card", str(tmp_path / "card.yaml")])
    with pytest.raises(OSError, match=r"There is no folder .*/nowhere: correct the path"):
        push([str(tmp_path / "nowhere"), "owner/mine", "--card", str(tmp_path / "card.yaml")])
    assert not hub.repos


def test_nothing_is_published_without_a_card(push, hub, checkpoint, tmp_path):
    with pytest.raises(ValueError, match="give the card's data with --card"):
        push([str(checkpoint), "owner/mine"])
    with pytest.raises(ValueError, match="has no card 'yours', only mine"):
        push([str(checkpoint), "owner/yours", "--card", str(tmp_path / "card.yaml")])
    assert not hub.repos


def test_what_goes_wrong_is_one_line(checkpoint, tmp_path, monkeypatch, capsys):
    def refuse(*_, **__):
        raise httpx.ConnectError("[Errno 101] Network is unreachable")

    card = str(tmp_path / "card.yaml")
    assert main(["push", str(checkpoint), "owner/mine", "--card", str(tmp_path / "no.yaml")]) == 2
    monkeypatch.setattr(HfApi, "create_repo", refuse)
    assert main(["push", str(checkpoint), "owner/mine", "--card", card]) == 2
    first, second = capsys.readouterr().err.strip().splitlines()[-2:]
    assert "There is no file" in first and "no.yaml" in first
    assert "The Hub cannot be reached" in second and "unreachable" in second and "try again" in second


def test_without_a_network_nothing_is_loaded_first(checkpoint, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("pbrec_hf.hub.publishing.write_checkpoint", None)
    assert main(["push", str(checkpoint), "owner/mine", "--card", str(tmp_path / "card.yaml")]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("pbrec-hf: error: The Hub cannot be reached to publish owner/mine (")
    assert line.endswith("): check the network and try again.")


def test_a_folder_appears_whole_or_not_at_all(checkpoint, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError("no space today")

    monkeypatch.setattr("pbrec_hf.hub.publishing.write_code", fail)
    with pytest.raises(OSError, match="no space today"):
        write_checkpoint(str(checkpoint), tmp_path / "out" / "model", with_code=True)
    assert list((tmp_path / "out").iterdir()) == []
