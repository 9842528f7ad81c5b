"""Converting and making Spaces from a shell."""

import torch
from torchvision.models import resnet18

from pbrec_hf.app.cli import main


def test_convert_prints_used_dead_and_missing_keys(tmp_path, capsys):
    body = resnet18().state_dict()
    weights = {f"backbone.0.body.{key}": value for key, value in body.items() if not key.startswith("fc.")}
    torch.save({"model": {**weights, "class_embed.weight": torch.zeros(3, 4)}}, tmp_path / "detr.pth")
    assert main(["convert", "detr-backbone", str(tmp_path / "detr.pth"), str(tmp_path / "out")]) == 0
    output = capsys.readouterr().out
    assert "100 keys used, 21 dead, 0 missing" in output and "dead: class_embed.weight" in output
    assert (tmp_path / "out" / "model.safetensors").is_file()


def test_errors_are_one_line_and_status_2(tmp_path, capsys):
    assert main(["convert", "fcos", str(tmp_path / "none.pth"), str(tmp_path / "out"), "--variant", "plain"]) == 2
    (tmp_path / "weights.pth").touch()
    assert main(["convert", "yolo", str(tmp_path / "weights.pth"), str(tmp_path / "out")]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert "none.pth" in first and "choose one of pbrec" in second


def test_a_space_is_a_folder_that_brings_the_package_along(tmp_path):
    assert main(["space", "me/mine", str(tmp_path / "space")]) == 0
    names = {str(path.relative_to(tmp_path / "space")) for path in (tmp_path / "space").rglob("*.*")}
    assert {
        "app.py",
        "README.md",
        "requirements.txt",
        "pbrec_hf/app/serve.py",
        "pbrec_hf/assets/model_card.md",
    } < names
    assert not any(name.startswith(("pbrec_hf/data", "pbrec_hf/training", "pbrec_hf/hub_configs")) for name in names)
    compile((tmp_path / "space" / "app.py").read_text(), "app.py", "exec")
