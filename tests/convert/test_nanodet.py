"""The converted NanoDet computes what its ncnn graph says, node by node."""

import pytest
import torch
from places import FIXTURES
from safetensors.torch import save_file
from torch.nn import functional as F

from pbrec_hf.convert.nanodet import convert_nanodet, convert_nanodet_files

PARAM = (FIXTURES / "nanodet/nanodet-m.param").read_text()


def graph():
    """(kind, name, input blobs, output blobs, parameters) of every layer."""
    for line in PARAM.splitlines()[2:]:
        kind, name, inputs, outputs, *rest = line.split()
        blobs, parameters = rest[: int(inputs) + int(outputs)], rest[int(inputs) + int(outputs) :]
        values = dict(word.split("=") for word in parameters)
        yield kind, name, blobs[: int(inputs)], blobs[int(inputs) :], values


def seeded_weights():
    generator, weights = torch.Generator().manual_seed(11), {}
    for kind, name, _, _, values in graph():
        if kind.startswith("Convolution"):
            out, kernel = int(values["0"]), int(values["1"])
            fan_in = int(values["6"]) // out
            shape = (out, fan_in // kernel**2, kernel, kernel)
            weights[f"{name}.weight"] = torch.randn(shape, generator=generator) * (1.5 / fan_in) ** 0.5
            weights[f"{name}.bias"] = 0.1 * torch.randn(out, generator=generator)
    return weights


def run_graph(weights, image):
    """A plain interpreter of the layers that NanoDet-m uses: BGR image (1, 3, H, W) -> named output blobs."""
    blobs = {"input.1": image}
    for kind, name, inputs, outputs, values in graph():
        x = blobs.get(inputs[0]) if inputs else None
        number = {key: int(value) for key, value in values.items() if value.lstrip("-").isdigit()}
        if kind.startswith("Convolution"):
            x = F.conv2d(
                x,
                weights[f"{name}.weight"],
                weights[f"{name}.bias"],
                stride=number.get("3", 1),
                padding=number.get("4", 0),
                groups=number.get("7", 1),
            )
            results = [F.leaky_relu(x, float(values["-23310"].split(",")[1])) if number.get("9") == 2 else x]
        elif kind == "Pooling":
            results = [F.max_pool2d(x, number["1"], number["2"], number["3"])]
        elif kind == "Split":
            results = [x] * len(outputs)
        elif kind == "Concat":
            results = [torch.cat([blobs[blob] for blob in inputs], dim=1)]
        elif kind == "ShuffleChannel":
            results = [F.channel_shuffle(x, number["0"])]
        elif kind == "Slice":
            first = int(values["-23300"].split(",")[1])
            results = [x[:, :first], x[:, first:]]
        elif kind == "Interp":
            results = [F.interpolate(x, scale_factor=float(values["1"]), mode="bilinear", align_corners=False)]
        elif kind == "BinaryOp":
            results = [x + blobs[inputs[1]]]
        elif kind == "Sigmoid":
            results = [x.sigmoid()]
        elif kind == "Reshape":
            results = [x.reshape(number["1"], -1)]
        elif kind == "Permute":
            results = [x.T]
        else:
            assert kind == "Input", kind
            continue
        blobs.update(zip(outputs, results, strict=True))
    return blobs


def test_conversion_equals_the_graph():
    weights = seeded_weights()
    model, report = convert_nanodet(weights, PARAM)
    assert sorted(report.used) == sorted(weights) and not report.dead and not report.missing
    image = torch.randn(1, 3, 96, 128, generator=torch.Generator().manual_seed(1))
    blobs = run_graph(weights, image.flip(1))
    with torch.no_grad():
        outputs = model(image)
    for kind, ours in (("cls", outputs.class_logits.sigmoid()), ("dis", outputs.distance_logits.flatten(2))):
        expected = torch.cat([blobs[f"{kind}_pred_stride_{stride}"] for stride in (8, 16, 32)])
        assert expected.std() > 0.05
        torch.testing.assert_close(ours[0], expected, rtol=1e-4, atol=1e-4)


def test_conversion_from_files(tmp_path):
    save_file(seeded_weights(), tmp_path / "weights.safetensors")
    (tmp_path / "graph.param").write_text(PARAM)
    model, _ = convert_nanodet_files(tmp_path / "weights.safetensors", tmp_path / "graph.param")
    assert torch.equal(model.trunk.stem.conv.weight, seeded_weights()["Conv_0.weight"].flip(1))


@pytest.mark.parametrize(
    ("change", "param", "message"),
    [
        (lambda w: w.pop("Conv_0.weight"), PARAM, "missing: trunk.stem.conv.weight"),
        (lambda w: w.update(extra=torch.zeros(1)), PARAM, "Unknown keys: extra"),
        (lambda w: w["Conv_0.bias"].fill_(float("nan")), PARAM, "not finite"),
        (lambda w: None, "hello", "begins with 'hello'"),
        (lambda w: None, PARAM.replace("1.000000e-01", "2.000000e-01", 1), "trunk.stem.conv does not fit"),
        (lambda w: None, PARAM.replace("9=2", "9=3", 1), "activation 3"),
        (lambda w: None, "\n".join(PARAM.splitlines()[:-40]), "convolutions"),
    ],
)
def test_what_does_not_fit_is_refused(change, param, message):
    weights = seeded_weights()
    change(weights)
    with pytest.raises(ValueError, match=message):
        convert_nanodet(weights, param)
