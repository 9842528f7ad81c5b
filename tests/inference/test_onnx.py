"""The exported graphs score what the model scores, for any number of images, expressions and words."""

import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from checkpoints import tiny_mask_detector, tiny_model, tiny_processor
from documents import blocks, commands
from PIL import Image
from transformers import AutoImageProcessor

from pbrec_hf import FcosDetector
from pbrec_hf.app.cli import main, parse
from pbrec_hf.detectors.fcos import FcosConfig
from pbrec_hf.inference import onnx
from pbrec_hf.inference.graph_files import open_graph
from pbrec_hf.inference.onnx import ANSWERS, EXPRESSION_SCORER, IMAGE_ENCODER, export_onnx

TEXTS = (["left dog"], ["the cat on the left", "red car", "the girl", "dog"])


def run(path, **inputs) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return session.run(None, {name: np.asarray(value) for name, value in inputs.items()})


PHOTO = np.random.default_rng(1).integers(0, 255, (50, 120, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A model with the detectors of the full size, and the folder of its graphs."""
    folder = tmp_path_factory.mktemp("graphs")
    torch.manual_seed(0)
    boxes = FcosDetector(FcosConfig(depth=18, neck_channels=32, tower_depth=1)).eval()
    model = tiny_model()
    processor = tiny_processor(box_detector=boxes, mask_detector=tiny_mask_detector())
    export_onnx(model, processor, folder)
    return model, processor, folder


def test_the_graphs_equal_the_model(exported, monkeypatch):
    model, processor, folder = exported
    # The pre-processing written beside the graphs is the processor's own.
    canvas = AutoImageProcessor.from_pretrained(folder)([PHOTO] * 3)
    for text in TEXTS:
        inputs = processor(PHOTO, text)
        assert torch.equal(inputs["pixel_values"][0], canvas["pixel_values"][2])
        with torch.no_grad():
            expected = model(**inputs)
        encoded = run(folder / IMAGE_ENCODER, pixel_values=canvas["pixel_values"], pixel_mask=canvas["pixel_mask"])
        features, positions, mask = (value[2:] for value in encoded[:3])
        np.testing.assert_allclose(features[0], expected.image_features.features[0], atol=1e-4)
        center, mass = run(
            folder / EXPRESSION_SCORER,
            features=features,
            positions=positions,
            mask=mask,
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            image_index=inputs["image_index"],
        )
        np.testing.assert_allclose(center, expected.center_logits, atol=1e-4)
        np.testing.assert_allclose(mass, expected.mass_logits, atol=1e-4)
    the_documented_use(folder, monkeypatch)


def the_documented_use(folder, monkeypatch):
    """docs/exporting.md, on these graphs under the name that it gives them."""
    exporting, _ = blocks("docs/exporting.md", "bash")  # the other one is run by runtime_cases.py
    ((program, *arguments),) = commands(exporting)
    options = parse(arguments)
    assert program == "pbrec-hf" and options.model
    monkeypatch.chdir(folder)
    options.destination.symlink_to(folder)
    Image.fromarray(PHOTO).save("photo.jpg")
    (code,) = blocks("docs/exporting.md", "python")
    names: dict = {}
    exec(compile(code.text, code.page, "exec"), names)
    assert [part.shape for part in names["logits"]] == [(2, 16)] * 2


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_detectors_and_vote_have_graphs(exported, runtime):
    model, processor, folder = exported
    inputs = processor([PHOTO, PHOTO[:, ::-1].copy()], [["left dog", "cat", "the girl"], ["red car"]])
    with torch.no_grad():
        outputs = model(**inputs)
    expected = processor.post_process_referring_expression(outputs, inputs)
    masks = processor.rank(outputs, inputs)["masks"].chosen("masks")
    found = {name: inputs[name].numpy() for name in ("input_ids", "attention_mask", "image_index")}
    found |= {name: inputs[name].numpy() for name in ("pixel_values", "pixel_mask", "letterbox")}
    for name in (IMAGE_ENCODER, EXPRESSION_SCORER, ANSWERS):
        found |= open_graph(folder / name, runtime)(found)
    for number, answer in enumerate(expected):
        np.testing.assert_allclose(found["boxes"][number], answer["boxes"][0], atol=1e-3)
        np.testing.assert_allclose(found["raw_scores"][number], answer["raw_scores"][0], atol=1e-5)
    np.testing.assert_allclose(found["masks"], masks, atol=1e-4)


def test_the_command_quantises_the_image_part(exported, tmp_path, monkeypatch, capsys):
    model, processor, folder = exported

    def copied(model, processor, destination):
        destination.mkdir()
        return [Path(shutil.copy(path, destination)) for path in sorted(folder.glob("*.onnx"))]

    monkeypatch.setattr(onnx, "export_onnx", copied)  # writing them again would take a minute
    model.save_pretrained(tmp_path / "checkpoint")
    processor.save_pretrained(tmp_path / "checkpoint")
    Image.fromarray(PHOTO).save(tmp_path / "photo.png")
    arguments = ["--model", str(tmp_path / "checkpoint"), "--int8", "onnx", "openvino", "--calibration", str(tmp_path)]
    assert main(["export", str(tmp_path / "graphs"), *arguments]) == 0
    *_, for_onnx, for_openvino = map(Path, capsys.readouterr().out.split())
    inputs = processor.image_processor(PHOTO)
    plain = run(folder / IMAGE_ENCODER, pixel_values=inputs["pixel_values"], pixel_mask=inputs["pixel_mask"])[0]
    for path, runtime in ((for_onnx, "onnx"), (for_openvino, "openvino")):
        assert path.stem == "image_encoder_int8"
        given = {name: inputs[name].numpy() for name in ("pixel_values", "pixel_mask")}
        found = open_graph(path, runtime)(given)["features"]
        assert 0 < np.abs(found - plain).mean() < 0.1 * np.abs(plain).mean()


def test_half_precision_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"dtype=torch\.float32"):
        export_onnx(tiny_model().bfloat16(), tiny_processor(), tmp_path)


def test_a_backbone_without_a_graph_is_refused_before_anything_is_written(tmp_path):
    model = tiny_model()
    model.model.backbone.exportable = False
    with pytest.raises(ValueError, match=r"'resnet' cannot be exported"):
        export_onnx(model, tiny_processor(), tmp_path / "out")
    assert not (tmp_path / "out").exists()
