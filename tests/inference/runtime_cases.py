"""Every runtime answers as torch does, in every precision that is exact; eight bits answer alike."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from checkpoints import tiny_box_detector, tiny_model, tiny_processor
from PIL import Image
from tokenizers import Tokenizer

from pbrec_hf import Grounder
from pbrec_hf.app.options import PHOTOGRAPHS
from pbrec_hf.app.service.answering import Answering, Asked
from pbrec_hf.app.service.limits import Limits
from pbrec_hf.inference.graph_files import open_graph
from pbrec_hf.inference.graphs import Graphs
from pbrec_hf.inference.onnx import ANSWERS, EXPRESSION_SCORER, IMAGE_ENCODER, LETTERBOX, export_onnx
from pbrec_hf.inference.quantization import quantized

SCRIPT = Path(__file__).parents[2] / "scripts/answer_without_torch.py"
PHOTO = PHOTOGRAPHS / "images/giraffes.jpg"
# Resizing, sums of products and exponentials are the runtimes' own; logits reach from -15 to 10.
LOGITS = {"onnx": 5e-4, "openvino": 1e-1}
EXPRESSIONS = [
    f"the {word} on the left" for word in ("giraffe", "tree", "man", "dog", "sky", "fence", "grass", "bird")
]


@pytest.fixture(scope="session")
def graphs(tmp_path_factory):
    """Graphs of the bundled checkpoint, written once."""
    folder = tmp_path_factory.mktemp("graphs")
    plain = Grounder()
    export_onnx(plain.model, plain.processor, folder)
    return plain, folder


@pytest.fixture(params=["onnx", "openvino"])
def runtime(request):
    return request.param


def assert_same_logits(runtime, outputs, expected, pictures):
    """Within the picture: positions in its padding, which nothing reads, are sines of huge angles."""
    inside = expected.image_features.mask[pictures]
    for name in ("center_logits", "mass_logits"):
        torch.testing.assert_close(outputs[name][inside], expected[name][inside], atol=LOGITS[runtime], rtol=1e-4)


def overlap(one, other):
    left, top = np.maximum(one[:2], other[:2])
    right, bottom = np.minimum(one[2:], other[2:])
    shared = max(right - left, 0) * max(bottom - top, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return shared / (sum(areas) - shared)


def test_a_runtime_answers_as_torch_does(graphs, runtime):
    plain, folder = graphs
    grounder = Grounder(runtime=runtime, graphs=folder)
    for referents in ("one", "any"):
        expected = plain(PHOTO, EXPRESSIONS, referents=referents)
        found = grounder(PHOTO, EXPRESSIONS, referents=referents)
        assert_same_logits(runtime, found.outputs, expected.outputs, [0] * len(EXPRESSIONS))
        for one, other in zip(found.answers, expected.answers, strict=True):
            torch.testing.assert_close(one["scores"], other["scores"], atol=LOGITS[runtime], rtol=1e-4)
            torch.testing.assert_close(one["boxes"], other["boxes"], atol=1e-2, rtol=1e-4)
            assert (one["masks"] != other["masks"]).float().mean() < 1e-4 if len(one["masks"]) else True


def test_graphs_alone_answer_from_pixels_to_pixels(graphs, runtime):
    plain, folder = graphs
    picture = np.asarray(Image.open(PHOTO).convert("RGB"))
    tokens = Tokenizer.from_file(str(folder / "tokenizer.json")).encode_batch(EXPRESSIONS)
    found = {
        "picture": picture,
        "input_ids": np.array([token.ids for token in tokens]),
        "attention_mask": np.array([token.attention_mask for token in tokens]),
        "image_index": np.zeros(len(tokens), dtype=np.int64),
    }
    for name in (LETTERBOX, IMAGE_ENCODER, EXPRESSION_SCORER, ANSWERS):
        found |= open_graph(folder / name, runtime)(found)
    expected = plain(picture, EXPRESSIONS)
    for name in ("pixel_values", "pixel_mask", "letterbox"):
        np.testing.assert_allclose(found[name], expected.inputs[name], atol=1e-4)
    for number, answer in enumerate(expected.answers):
        np.testing.assert_allclose(found["boxes"][number], answer["boxes"][0], atol=1e-2, rtol=1e-4)
        np.testing.assert_allclose(found["scores"][number], answer["scores"][0], atol=LOGITS[runtime], rtol=1e-3)
        np.testing.assert_allclose(found["exists"][number], answer["exists"], atol=LOGITS[runtime], rtol=1e-3)
    masks = expected.groups["masks"].chosen("masks")
    np.testing.assert_allclose(found["masks"], masks, atol=2e-2)


def test_an_answer_needs_no_torch(graphs):
    """The script in which whoever deploys the graphs begins; torch and this package are out of its reach."""
    plain, folder = graphs
    blocked = "import runpy, sys\nfor name in ('torch', 'transformers', 'pbrec_hf'):\n    sys.modules[name] = None\n"
    program = f"{blocked}del sys.argv[0]\nrunpy.run_path(sys.argv[0], run_name='__main__')"
    arguments = [str(SCRIPT), str(folder), str(PHOTO), *EXPRESSIONS[:2]]
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for line, answer in zip(done.stdout.splitlines(), plain(PHOTO, EXPRESSIONS[:2]).answers, strict=True):
        text = answer["text_labels"][0]
        box = [round(value) for value in answer["boxes"][0].tolist()]
        assert line == f"{text}: score {answer['scores'][0]:.2f}, box {box}"


def test_several_pictures_at_once_are_seen_as_each_alone(graphs, runtime):
    plain, folder = graphs
    paths = [str(path) for path in sorted((PHOTOGRAPHS / "images").glob("*.jpg"))[:3]]
    inputs = plain.processor(paths, [EXPRESSIONS[:2], EXPRESSIONS[2:3], EXPRESSIONS[3:5]], return_proposals=False)
    outputs, proposals = Graphs(plain.model, plain.processor, runtime, folder=folder)(inputs)
    found = plain.processor.propose(inputs["pixel_values"], inputs["pixel_mask"])
    with torch.no_grad():
        expected = plain.model(**inputs)
    assert_same_logits(runtime, outputs, expected, inputs["image_index"])
    assert torch.equal(proposals["box_proposals"].candidates, found["box_proposals"].candidates)
    torch.testing.assert_close(
        proposals["mask_proposals"].masks.features, found["mask_proposals"].masks.features, atol=1e-3, rtol=1e-3
    )


def test_a_service_answers_by_graphs(graphs, runtime):
    plain, folder = graphs
    photographs = [path.read_bytes() for path in sorted(PHOTO.parent.glob("*.jpg"))[:2]]
    told = []
    for grounder in (plain, Grounder(runtime=runtime, graphs=folder)):
        answering = Answering(grounder, Limits())
        told.append(answering.answer([answering.read(each, EXPRESSIONS[:2], Asked()) for each in photographs]))
    for one, other in zip(*told, strict=True):
        assert (one["width"], one["height"]) == (other["width"], other["height"])
        for mine, torchs in zip(one["results"], other["results"], strict=True):
            assert mine["expression"] == torchs["expression"]
            for found, expected in zip(mine["answers"], torchs["answers"], strict=True):
                np.testing.assert_allclose(found["box"], expected["box"], atol=1e-1)


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_fewer_bits_answer_alike(graphs, runtime, precision):
    if (runtime, precision) == ("onnx", "bf16"):
        with pytest.raises(ValueError, match=r"'bf16' with runtime='onnx': give one of 'fp32', 'int8'"):
            Grounder(runtime=runtime, precision=precision)
        return
    plain, folder = graphs
    expected = plain(PHOTO, EXPRESSIONS[:1]).answers[0]["boxes"][0]
    found = Grounder(runtime=runtime, precision=precision, graphs=folder)(PHOTO, EXPRESSIONS[:1])
    assert overlap(found.answers[0]["boxes"][0].numpy(), expected.numpy()) > {"bf16": 0.8, "int8": 0.99}[precision]


class Canvases:
    """A processor whose canvases are all alike."""

    @staticmethod
    def image_processor(photograph):
        return {"pixel_values": torch.rand(1, 3, 8, 8), "pixel_mask": torch.ones(1, 8, 8)}


class Convolutions(torch.nn.Module):
    """Of every kind; `rectified` and `taps` are for eight bits."""

    def __init__(self):
        super().__init__()
        self.first = torch.nn.Conv2d(3, 4, 3)
        self.depthwise = torch.nn.Conv2d(4, 4, 3, groups=4)
        self.leaky, self.rectified = torch.nn.Conv2d(4, 4, 1), torch.nn.Conv2d(4, 5, 1)
        self.taps = torch.nn.Conv2d(5, 6, 3)

    def forward(self, pixel_values, pixel_mask):
        found = self.depthwise(self.first(pixel_values)).sinh()
        found = self.leaky(torch.nn.functional.leaky_relu(found)).sinh()
        return self.taps(self.rectified(found.relu()).sinh()) * pixel_mask.mean()


def write_graph(path):
    canvas = Canvases.image_processor(None)
    torch.onnx.export(Convolutions().eval(), kwargs=canvas, f=path, dynamo=True, external_data=False, verbose=False)
    return canvas


def test_an_interrupted_quantization_is_made_again(tmp_path, monkeypatch):
    canvas, path = write_graph(tmp_path / "graph.onnx"), tmp_path / "graph.onnx"
    replace = os.replace

    def stopped(source, target):
        if target.suffix == ".xml":
            raise KeyboardInterrupt
        replace(source, target)

    def names():
        return {each.name for each in tmp_path.iterdir()}

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "replace", stopped)
        quantized(path, "openvino", Canvases)
    assert names() == {"graph.onnx", "graph_int8.bin"}
    made = quantized(path, "openvino", Canvases)
    assert names() == {"graph.onnx", "graph_int8.bin", "graph_int8.xml"}
    assert re.findall(r'element_type="i8" shape="([^"]*)"', made.read_text()) == ["5, 4, 1, 1", "6, 5, 3, 3"]
    assert open_graph(made, "openvino")({name: value.numpy() for name, value in canvas.items()})
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):  # new ranges beside the old ones
        patch.setattr(os, "replace", stopped)
        quantized(path, "openvino", Canvases, [PHOTO])
    assert not made.exists()


def test_a_graph_that_was_written_again_is_quantised_again(tmp_path):
    canvas, path = Canvases.image_processor(None), tmp_path / "graph.onnx"
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        write_graph(path)
        made = quantized(path, "onnx", Canvases)
        assert quantized(path, "onnx", Canvases) == made
        found += open_graph(made, "onnx")({name: value.numpy() for name, value in canvas.items()}).values()
    assert not np.allclose(*found)
    graph = onnx.load(made).graph
    weights = {node.input[1] for node in graph.node if node.op_type == "Conv"}
    assert {name.split(".")[0] for name in weights if "Dequantize" in name} == {"rectified", "taps"}


@pytest.fixture(scope="session")
def half_exported(tmp_path_factory):
    """A model whose detector has no graph, and the folder for its graphs, which the first runtime writes."""
    detector = tiny_box_detector()
    detector.exportable = False
    return tiny_model().eval(), tiny_processor(box_detector=detector), tmp_path_factory.mktemp("half")


def test_a_model_whose_detectors_have_no_graphs_runs_these_in_torch(half_exported, runtime):
    model, processor, folder = half_exported
    inputs = processor(Image.new("RGB", (60, 40), "red"), ["left dog", "cat"], return_proposals=False)
    outputs, proposals = Graphs(model, processor, runtime, folder=folder)(inputs)
    with torch.no_grad():
        expected = model(**inputs)
    torch.testing.assert_close(outputs.center_logits, expected.center_logits, atol=LOGITS[runtime], rtol=1e-4)
    alone = processor.propose(inputs["pixel_values"], inputs["pixel_mask"])["box_proposals"]
    torch.testing.assert_close(proposals["box_proposals"].boxes, alone.boxes)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"runtime": "tflite"}, r"runtime='tflite': give one of 'torch', 'onnx', 'openvino'"),
        ({"precision": "int8"}, r"precision='int8' with runtime='torch': give one of 'fp32', 'bf16'"),
        ({"runtime": "onnx", "device": "cuda"}, r"runs on the CPU: leave out device='cuda'"),
    ],
)
def test_what_does_not_go_together_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Grounder(**arguments)
