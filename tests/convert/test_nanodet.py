"""The converted NanoDet computes what its ncnn graph says, node by node."""

import pytest
import torch
from ncnn_graphs import plus_graph, run_graph, seeded_weights
from places import FIXTURES
from safetensors.torch import save_file
from transformers import AutoModel

from pbrec_hf.convert.nanodet import convert_nanodet, convert_nanodet_files
from pbrec_hf.convert.ncnn import read_convolutions
from pbrec_hf.convert.run import convert

PARAM = (FIXTURES / "nanodet/nanodet-m.param").read_text()
PLUS = plus_graph(stem=8, stages=(16, 24, 32), neck=12, classes=5)


def test_conversion_equals_the_graph():
    weights = seeded_weights(PARAM)
    model, report = convert_nanodet(weights, PARAM)
    assert sorted(report.used) == sorted(weights) and not report.dead and not report.missing
    image = torch.randn(1, 3, 96, 128, generator=torch.Generator().manual_seed(1))
    blobs = run_graph(PARAM, weights, image.flip(1))
    with torch.no_grad():
        outputs = model(image)
    for kind, ours in (("cls", outputs.class_logits.sigmoid()), ("dis", outputs.distance_logits.flatten(2))):
        expected = torch.cat([blobs[f"{kind}_pred_stride_{stride}"] for stride in (8, 16, 32)])
        assert expected.std() > 0.05
        torch.testing.assert_close(ours[0], expected, rtol=1e-4, atol=1e-4)


def test_conversion_of_nanodet_plus_equals_the_graph():
    weights = seeded_weights(PLUS)
    model, report = convert_nanodet(weights, PLUS)
    assert sorted(report.used) == sorted(weights) and not report.dead and not report.missing
    config = model.config
    assert (config.tower_kernel, config.points, config.num_labels, config.trunk.neck) == (5, "corner", 5, "ghost_pan")
    assert (config.trunk.stem_channels, config.trunk.stage_channels, config.trunk.neck_channels) == (
        8,
        [16, 24, 32],
        12,
    )
    image = torch.randn(1, 3, 96, 128, generator=torch.Generator().manual_seed(1))  # three rows of 32, two of 64
    blobs = run_graph(PLUS, weights, image.flip(1))
    with torch.no_grad():
        outputs = model(image)
    scores = torch.cat([blobs[f"cls{stride}"].flatten(2).transpose(1, 2) for stride in (8, 16, 32, 64)], dim=1)
    distances = torch.cat([blobs[f"dis{stride}"].flatten(1, 2) for stride in (8, 16, 32, 64)], dim=1)
    assert scores.std() > 0.05 and distances.std() > 0.05
    torch.testing.assert_close(outputs.scores, scores, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(outputs.distance_logits.flatten(2), distances, rtol=1e-4, atol=1e-4)


def test_the_order_in_a_file_does_not_matter():
    head, counts, *lines = PLUS.splitlines()
    mixed = [lines[index] for index in torch.randperm(len(lines), generator=torch.Generator().manual_seed(2))]
    assert read_convolutions("\n".join([head, counts, *mixed])) == read_convolutions(PLUS)


def test_the_verb_writes_a_folder_of_nanodet_plus(tmp_path):
    weights = {name: tensor.half() for name, tensor in seeded_weights(PLUS).items()}  # as published
    save_file(weights, tmp_path / "weights.safetensors")
    (tmp_path / "graph.param").write_text(PLUS)
    convert("nanodet", tmp_path / "weights.safetensors", tmp_path / "out", param=tmp_path / "graph.param")
    loaded = AutoModel.from_pretrained(tmp_path / "out")
    assert loaded.config.trunk.strides == (8, 16, 32, 64) and loaded.dtype == torch.float32
    expected, _ = convert_nanodet(weights, PLUS)
    assert all(torch.equal(value, expected.state_dict()[name]) for name, value in loaded.state_dict().items())


def test_conversion_from_files(tmp_path):
    weights = seeded_weights(PARAM)
    save_file(weights, tmp_path / "weights.safetensors")
    (tmp_path / "graph.param").write_text(PARAM)
    model, _ = convert_nanodet_files(tmp_path / "weights.safetensors", tmp_path / "graph.param")
    assert torch.equal(model.trunk.stem.conv.weight, weights["Conv_0.weight"].flip(1))


@pytest.mark.parametrize(
    ("change", "param", "message"),
    [
        (lambda w: w.pop("Conv_0.weight"), PARAM, "missing: trunk.stem.conv.weight"),
        (lambda w: w.update(extra=torch.zeros(1)), PARAM, "Unknown keys: extra"),
        (lambda w: w["Conv_0.bias"].fill_(float("nan")), PARAM, "not finite"),
        (lambda w: None, "hello", "begins with 'hello'"),
        (lambda w: None, PARAM.replace("1.000000e-01", "2.000000e-01", 1), "trunk.stem.conv does not fit"),
        (lambda w: None, PARAM.replace("9=2", "9=3", 1), "activation 3"),
        (lambda w: None, "\n".join(PARAM.splitlines()[:-40]), "convolutions, NanoDet-m and NanoDet-Plus 73 and 110"),
        (lambda w: None, PARAM.replace("0=112", "0=32"), "have 32 channels, but 8 bins"),
        (lambda w: None, PARAM + "Convolution Conv_1 one\n", "'Convolution Conv_1 one' is no layer"),
    ],
)
def test_what_does_not_fit_is_refused(change, param, message):
    weights = seeded_weights(PARAM)
    change(weights)
    with pytest.raises(ValueError, match=message):
        convert_nanodet(weights, param)
