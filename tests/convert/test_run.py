"""The door to the converters: right arguments for each kind, and a folder that loads."""

import pytest
import torch
from checkpoints import tiny_box_detector, tiny_processor
from PIL import Image
from released_checkpoint import reduced_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torchvision.models import resnet18
from transformers import ResNetBackbone, pipeline

from pbrec_hf import PbrecConfig, PbrecForReferringExpression, PbrecProcessor
from pbrec_hf.convert import run
from pbrec_hf.convert.pbrec import convert_pbrec
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


@pytest.fixture
def detr(tmp_path):
    """Weights of a small DETR backbone, and a function that converts them after a change."""
    body = resnet18().state_dict()
    weights = {f"backbone.0.body.{key}": value for key, value in body.items() if not key.startswith("fc.")}

    def attempt(**changes):
        torch.save({"state_dict": {"model": weights | changes}}, tmp_path / "detr.pth")
        return convert("detr-backbone", tmp_path / "detr.pth", tmp_path / "out")

    return weights, attempt


CONV = "backbone.0.body.layer2.0.conv1.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weight: weight[:5], "is not a complete checkpoint of kind 'detr-backbone'"),
        (lambda weight: weight[0, 0, 0, 0], "is not a complete checkpoint"),
        (lambda weight: weight.to(torch.complex64), f"floating-point numbers: {CONV} .torch.complex64"),
        (lambda weight: (weight * 10).to(torch.int8), "floating-point numbers"),
    ],
)
def test_damaged_weights_are_told_in_one_line(detr, tmp_path, change, message):
    weights, attempt = detr
    with pytest.raises(ValueError, match=message) as error:
        attempt(**{CONV: change(weights[CONV])})
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()


def test_what_is_there_is_not_overwritten(detr, tmp_path):
    _, attempt = detr
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "config.json").write_text("mine")
    with pytest.raises(FileExistsError, match="new or empty"):
        attempt()
    (tmp_path / "out" / "config.json").unlink()
    attempt()
    assert (tmp_path / "out" / "model.safetensors").is_file()
    (tmp_path / "out").rename(tmp_path / "moved")
    (tmp_path / "out").touch()
    with pytest.raises(FileExistsError):
        attempt()
    assert (tmp_path / "out").read_bytes() == b""


def test_a_folder_that_cannot_be_written_whole_is_not_left(detr, tmp_path, monkeypatch):
    _, attempt = detr

    def fail(self, folder):
        (folder / "config.json").write_text("{}")
        raise SafetensorError("No space left on device")

    monkeypatch.setattr(ResNetBackbone, "save_pretrained", fail)
    with pytest.raises(OSError, match=r"Cannot write to .* the disk is full"):
        attempt()
    assert [path.name for path in tmp_path.iterdir()] == ["detr.pth"]


@pytest.fixture
def released(tmp_path, monkeypatch):
    """A file in the released layout, of the reduced network, and a tokenizer's folder of its vocabulary."""
    heads = {"num_attention_heads": 4, "text_attention_heads": 4}  # not to be read off its small tensors
    monkeypatch.setitem(run._CONVERTERS, "pbrec", lambda weights: convert_pbrec(weights, **heads))
    save_file(reduced_state_dict(), tmp_path / "released.safetensors")
    tiny_processor().tokenizer.save_pretrained(tmp_path / "words")
    return tmp_path / "released.safetensors"


def test_a_released_checkpoint_with_tokenizer_and_detector_answers(released, tmp_path):
    side = convert_pbrec(load_file(released), num_attention_heads=4, text_attention_heads=4)[0].config.image_size
    tiny_box_detector().save_pretrained(tmp_path / "boxes")
    convert("pbrec", released, tmp_path / "out", tokenizer=f"{tmp_path}/words", box_detector=f"{tmp_path}/boxes")
    processor = PbrecProcessor.from_pretrained(tmp_path / "out")
    assert processor.image_processor.size["longest_edge"] == side and processor.settings.choose == "vote"
    assert processor.max_text_length == PbrecConfig.from_pretrained(tmp_path / "out").max_text_length
    (answer,) = pipeline("referring-expression", model=str(tmp_path / "out"))(Image.new("RGB", (60, 40)), "left dog")
    assert answer["label"] == "left dog" and 0 <= answer["score"] <= 1


def test_without_a_tokenizer_there_is_the_model_alone(released, tmp_path):
    convert("pbrec", released, tmp_path / "out")
    assert PbrecForReferringExpression.from_pretrained(tmp_path / "out").num_parameters() > 0
    assert not (tmp_path / "out" / "processor_config.json").exists()


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("solo", {"tokenizer": "words"}, "'solo' takes no tokenizer"),
        ("pbrec", {"box_detector": "boxes"}, "box_detector is part of a processor, which needs a tokenizer"),
    ],
)
def test_parts_of_a_processor_belong_to_pbrec_alone(released, tmp_path, kind, options, message):
    with pytest.raises(ValueError, match=message):
        convert(kind, released, tmp_path / "out", **options)


def test_a_tokenizer_of_another_vocabulary_is_refused(released, tmp_path):
    larger = tiny_processor().tokenizer
    larger.add_tokens([f"word{number}" for number in range(300)])
    larger.save_pretrained(tmp_path / "other")
    with pytest.raises(ValueError, match=r"has \d+ tokens, the model's text encoder 200"):
        convert("pbrec", released, tmp_path / "out", tokenizer=str(tmp_path / "other"))
