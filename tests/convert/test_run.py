"""The door to the converters: right arguments for each kind, and a folder that loads."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from torchvision.models import resnet18
from transformers import ResNetBackbone

from pbrec_hf.convert.run import KINDS, convert


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("yolo", {}, "choose one of pbrec, fcos-torchvision"),
        ("fcos", {}, "'fcos' needs variant, one of plain, improved"),
        ("pbrec", {"variant": "plain"}, "'pbrec' takes no variant"),
        ("nanodet", {}, "'nanodet' needs param"),
    ],
)
def test_wrong_arguments_are_told_with_the_legal_ones(tmp_path, kind, options, message):
    with pytest.raises(ValueError, match=message):
        convert(kind, tmp_path / "weights.safetensors", tmp_path / "out", **options)


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_of_something_else_leaves_no_folder(tmp_path, kind):
    save_file({"some.weight": torch.zeros(2)}, tmp_path / "weights.safetensors")
    (tmp_path / "graph.param").write_text("7767517\n0 0\n")
    options = {"fcos": {"variant": "plain"}, "nanodet": {"param": tmp_path / "graph.param"}}.get(kind, {})
    with pytest.raises(ValueError):
        convert(kind, tmp_path / "weights.safetensors", tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_the_backbone_of_a_detr_becomes_a_folder_that_loads(tmp_path):
    body = resnet18().state_dict()
    weights = {f"backbone.0.body.{key}": value for key, value in body.items() if not key.startswith("fc.")}
    torch.save({"model": {**weights, "class_embed.weight": torch.zeros(3, 4)}}, tmp_path / "detr.pth")
    report = convert("detr-backbone", tmp_path / "detr.pth", tmp_path / "out")
    assert "class_embed.weight" in report.dead and not report.missing
    loaded = ResNetBackbone.from_pretrained(tmp_path / "out", out_features=["stage4"])
    assert torch.equal(loaded.state_dict()["embedder.embedder.convolution.weight"], body["conv1.weight"])
    assert load_file(tmp_path / "out" / "model.safetensors").keys() <= loaded.state_dict().keys()
