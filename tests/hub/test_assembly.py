"""Detectors by reference or by value: named with their revision, carried, offline, and told where they are missing."""

import json

import numpy as np
import pytest
import torch
from checkpoints import save_tiny_checkpoint, tiny_box_detector, tiny_mask_detector
from huggingface_hub import HfApi, constants
from open_vocabularies import tiny_network

from pbrec_hf import PbrecProcessor
from pbrec_hf.app.cli import main
from pbrec_hf.detectors.references import DetectorReference
from pbrec_hf.hub.assembly import assemble

PHOTO = np.random.default_rng(0).integers(0, 255, (60, 90, 3), dtype=np.uint8)


@pytest.fixture
def checkpoint(tmp_path):
    save_tiny_checkpoint(tmp_path / "checkpoint")
    return str(tmp_path / "checkpoint")


@pytest.fixture
def published(hub):
    """A repository of a box detector with two commits, and the first of them."""
    tiny_box_detector(seed=5).push_to_hub("owner/boxes")
    first = HfApi().model_info("owner/boxes").sha
    tiny_box_detector(seed=6).push_to_hub("owner/boxes")
    return first


def weights(detector):
    return torch.cat([value.flatten().float() for value in detector.state_dict().values()])


def test_a_detector_of_the_hub_is_named_and_loaded_at_its_revision(checkpoint, published, tmp_path):
    done = assemble(checkpoint, tmp_path / "out", box_detector=f"owner/boxes@{published}")
    assert done == {"boxes": f"named from owner/boxes@{published}"}
    config = json.loads((tmp_path / "out" / "processor_config.json").read_text())
    assert config["detectors"] == {"boxes": {"repo_id": "owner/boxes", "revision": published}}
    assert not (tmp_path / "out" / "box_detector").exists()
    loaded = PbrecProcessor.from_pretrained(tmp_path / "out")
    assert torch.equal(weights(loaded.box_detector), weights(tiny_box_detector(seed=5)))
    loaded.save_pretrained(tmp_path / "again")
    assert (tmp_path / "again" / "processor_config.json").read_text() == (
        tmp_path / "out" / "processor_config.json"
    ).read_text()


def test_without_a_revision_it_is_the_newest(checkpoint, published, tmp_path):
    assemble(checkpoint, tmp_path / "out", box_detector="owner/boxes")
    loaded = PbrecProcessor.from_pretrained(tmp_path / "out")
    assert torch.equal(weights(loaded.box_detector), weights(tiny_box_detector(seed=6)))


@pytest.mark.parametrize("by", ["carry", "folder"])
def test_a_copy_needs_nobody(checkpoint, published, tmp_path, monkeypatch, by):
    source = f"owner/boxes@{published}"
    if by == "folder":
        source = str(tmp_path / "boxes")
        tiny_box_detector(seed=5).save_pretrained(source)
    done = assemble(checkpoint, tmp_path / "out", source, str(_saved_masks(tmp_path)), carry=by == "carry")
    assert done["boxes"].startswith("copied") and done["masks"].startswith("copied")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    loaded = PbrecProcessor.from_pretrained(tmp_path / "out")
    assert torch.equal(weights(loaded.box_detector), weights(tiny_box_detector(seed=5)))
    assert torch.equal(weights(loaded.mask_detector), weights(tiny_mask_detector()))


def _saved_masks(folder):
    tiny_mask_detector().save_pretrained(folder / "masks")
    return folder / "masks"


def test_what_was_fetched_is_there_without_a_network(checkpoint, published, tmp_path, monkeypatch):
    assemble(checkpoint, tmp_path / "out", box_detector=f"owner/boxes@{published}")
    online = PbrecProcessor.from_pretrained(tmp_path / "out", cache_dir=tmp_path / "cache")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    offline = PbrecProcessor.from_pretrained(tmp_path / "out", cache_dir=tmp_path / "cache")
    assert torch.equal(weights(offline.box_detector), weights(online.box_detector))
    with pytest.raises(OSError, match="owner/boxes"):
        PbrecProcessor.from_pretrained(tmp_path / "out", cache_dir=tmp_path / "empty")


@pytest.mark.parametrize(
    ("detectors", "message"),
    [
        ({"boxes": {"repo": "owner/boxes"}}, "names no detector: give a dict of repo_id, revision, settings"),
        ({"boxes": {"repo_id": ""}}, "repo_id='': give the id of a detector"),
        ({"boxes": {"repo_id": "owner/boxes", "revision": 3}}, "revision=3: give a branch"),
        ({"boxes": {"repo_id": "owner/boxes", "settings": {"top_n": 3}}}, "settings of its own"),
    ],
)
def test_damaged_references_are_told(checkpoint, published, tmp_path, detectors, message):
    assemble(checkpoint, tmp_path / "out", box_detector="owner/boxes")
    path = tmp_path / "out" / "processor_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "detectors": detectors}))
    with pytest.raises(ValueError, match=message):
        PbrecProcessor.from_pretrained(tmp_path / "out")


def test_a_network_that_proposes_nothing_is_refused(checkpoint, tmp_path):
    text = tmp_path / "checkpoint"  # a whole PBREC is no detector
    with pytest.raises(ValueError, match="proposes nothing"):
        assemble(checkpoint, tmp_path / "out", box_detector=str(text))
    assert not (tmp_path / "out").exists()


def test_ids_revisions_and_folders_are_told_apart(tmp_path):
    (tmp_path / "a@b").mkdir()
    assert DetectorReference.parse("org/name") == DetectorReference("org/name")
    assert DetectorReference.parse("org/name@main") == DetectorReference("org/name", "main")
    assert DetectorReference.parse(str(tmp_path / "a@b")) == DetectorReference(str(tmp_path / "a@b"))


def test_from_a_shell(checkpoint, published, tmp_path, capsys):
    command = ["assemble", str(tmp_path / "out"), "--model", checkpoint]
    assert main([*command, "--box_detector", f"owner/boxes@{published}"]) == 0
    assert f"boxes: named from owner/boxes@{published}" in capsys.readouterr().out
    assert main(command) == 2
    assert "Give --box_detector, --mask_detector or both" in capsys.readouterr().err
    assert main([*command, "--box_detector", "owner/boxes"]) == 2
    assert "is not empty: name a new folder" in capsys.readouterr().err


def test_settings_of_a_detector_are_named_with_it(checkpoint, hub, tmp_path):
    for part in tiny_network("grounding-dino"):
        part.save_pretrained(tmp_path / "dino")
    HfApi().create_repo("owner/dino")
    HfApi().upload_folder(repo_id="owner/dino", folder_path=tmp_path / "dino")
    command = ["assemble", str(tmp_path / "out"), "--model", checkpoint, "--box_detector", "owner/dino"]
    assert main([*command, "--box_settings", "ask=expression", "top_n=3"]) == 0
    config = json.loads((tmp_path / "out" / "processor_config.json").read_text())
    expected = {"repo_id": "owner/dino", "settings": {"ask": "expression", "top_n": 3}}
    assert config["detectors"]["boxes"] == expected
    detector = PbrecProcessor.from_pretrained(tmp_path / "out").box_detector
    assert detector.asks_expressions and detector.config.top_n == 3
    assert main([*command, "--box_settings", "top_n"]) == 2
