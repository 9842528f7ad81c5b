"""The exported graphs score what the model scores, for any number of images, expressions and words."""

import numpy as np
import onnxruntime
import pytest
import torch
from checkpoints import tiny_model, tiny_processor
from documents import blocks, commands
from PIL import Image
from transformers import AutoImageProcessor

from pbrec_hf.app.cli import parse
from pbrec_hf.inference.onnx import EXPRESSION_SCORER, IMAGE_ENCODER, export_onnx

TEXTS = (["left dog"], ["the cat on the left", "red car", "the girl", "dog"])


def run(path, **inputs) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return session.run(None, {name: np.asarray(value) for name, value in inputs.items()})


def test_the_graphs_equal_the_model(tmp_path, monkeypatch):
    model, processor = tiny_model(), tiny_processor()
    export_onnx(model, processor, tmp_path)
    photo = np.random.default_rng(1).integers(0, 255, (50, 120, 3), dtype=np.uint8)
    # The pre-processing written beside the graphs is the processor's own.
    canvas = AutoImageProcessor.from_pretrained(tmp_path)([photo] * 3)
    for text in TEXTS:
        inputs = processor(photo, text)
        assert torch.equal(inputs["pixel_values"][0], canvas["pixel_values"][2])
        with torch.no_grad():
            expected = model(**inputs)
        encoded = run(tmp_path / IMAGE_ENCODER, pixel_values=canvas["pixel_values"], pixel_mask=canvas["pixel_mask"])
        features, positions, mask = (value[2:] for value in encoded)
        np.testing.assert_allclose(features[0], expected.image_features.features[0], atol=1e-4)
        center, mass = run(
            tmp_path / EXPRESSION_SCORER,
            features=features,
            positions=positions,
            mask=mask,
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            image_index=inputs["image_index"],
        )
        np.testing.assert_allclose(center, expected.center_logits, atol=1e-4)
        np.testing.assert_allclose(mass, expected.mass_logits, atol=1e-4)
    the_documented_use(tmp_path, photo, monkeypatch)


def the_documented_use(folder, photo, monkeypatch):
    """docs/exporting.md, on these graphs under the name that it gives them."""
    exporting, _ = blocks("docs/exporting.md", "bash")  # the other one is run by runtime_cases.py
    ((program, *arguments),) = commands(exporting)
    options = parse(arguments)
    assert program == "pbrec-hf" and options.model
    monkeypatch.chdir(folder)
    options.destination.symlink_to(folder)
    Image.fromarray(photo).save("photo.jpg")
    (code,) = blocks("docs/exporting.md", "python")
    names: dict = {}
    exec(compile(code.text, code.page, "exec"), names)
    assert [part.shape for part in names["logits"]] == [(2, 16)] * 2


def test_half_precision_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"dtype=torch\.float32"):
        export_onnx(tiny_model().bfloat16(), tiny_processor(), tmp_path)


def test_a_backbone_without_a_graph_is_refused_before_anything_is_written(tmp_path):
    model = tiny_model()
    model.model.backbone.exportable = False
    with pytest.raises(ValueError, match=r"'resnet' cannot be exported"):
        export_onnx(model, tiny_processor(), tmp_path / "out")
    assert not (tmp_path / "out").exists()
