"""The command of docs/refcoco.md for many GPUs runs as it is printed, on small stand-ins for data and weights."""

import shutil
import subprocess

import pytest
import torch
from checkpoints import tiny_model, tiny_processor
from documents import blocks, commands
from places import ROOT
from refer_folders import write_refer_folder
from torchvision.models import get_model, get_model_weights

from pbrec_hf import PbrecForReferringExpression, PbrecProcessor
from pbrec_hf.training.config import read_yaml

RECIPE = "pbrec-mt-refcoco"
NETWORKS = (
    "fcos_resnet50_fpn",
    "maskrcnn_resnet50_fpn",
)  # full-size, as torchvision has no smaller ones of these names


def printed_command() -> list[str]:
    (command,) = (
        command
        for block in blocks("docs/refcoco.md", "bash")
        for command in commands(block)
        if command[0] == "accelerate"
    )
    return command


@pytest.fixture
def place(tmp_path, hub):
    """A folder with what the command names, and the Hub with the weights that the recipe names."""
    write_refer_folder(tmp_path / "data", "refcoco/unc")
    (tmp_path / "data" / "images").rename(tmp_path / "photographs")
    (tmp_path / "data" / "images").mkdir()
    (tmp_path / "photographs").rename(tmp_path / "data" / "images" / "train2014")
    (tmp_path / "hub_configs" / "accelerate").mkdir(parents=True)
    shutil.copy(ROOT / "hub_configs/accelerate/multi_cpu.yaml", tmp_path / "hub_configs/accelerate/multi_gpu.yaml")
    recipe = read_yaml(ROOT / "hub_configs" / RECIPE / "training.yaml")
    model = tiny_model()
    processor = tiny_processor()
    # A folder of one's own of this name wins over the published configuration.
    model.config.save_pretrained(tmp_path / RECIPE)
    processor.image_processor.save_pretrained(tmp_path / RECIPE)
    model.model.backbone.push_to_hub(recipe["backbone_checkpoint"])
    model.model.text_model.push_to_hub(recipe["text_checkpoint"])
    processor.tokenizer.push_to_hub(recipe["text_checkpoint"])
    weights = tmp_path / "torch" / "hub" / "checkpoints"
    weights.mkdir(parents=True)
    for name in NETWORKS:
        published = get_model_weights(name)["COCO_V1"]
        network = get_model(name, weights=None, weights_backbone=None, num_classes=len(published.meta["categories"]))
        torch.save(network.state_dict(), weights / published.url.rsplit("/", 1)[1])
    return tmp_path


def test_the_printed_command_trains_with_the_published_recipe(place, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(place / "torch"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    # The data are ten photographs, and fifteen epochs of two full-size detectors would be long for a test.
    command = [*printed_command(), "--cpu", "--no_check_counts", "--epochs", "1", "--num_workers", "1"]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    (best,) = place.glob("runs/*/best")
    processor = PbrecProcessor.from_pretrained(best)
    assert processor.detectors == {"boxes": "pbrec_fcos", "masks": "pbrec_torchvision"}
    assert PbrecForReferringExpression.from_pretrained(best).config.tasks == ["grounding", "segmentation"]
