"""ncnn graphs in tests: a plain interpreter of their layers, seeded weights, and a writer of NanoDet-Plus' graph."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

Layer = tuple[str, str, list[str], list[str], dict[str, str]]


def layers_of(param: str) -> Iterator[Layer]:
    """(kind, name, input blobs, output blobs, parameters) of every layer."""
    for line in param.splitlines()[2:]:
        kind, name, inputs, outputs, *rest = line.split()
        blobs, parameters = rest[: int(inputs) + int(outputs)], rest[int(inputs) + int(outputs) :]
        values = dict(word.split("=") for word in parameters)
        yield kind, name, blobs[: int(inputs)], blobs[int(inputs) :], values


def seeded_weights(param: str, seed: int = 11) -> dict[str, Tensor]:
    """Weights and biases of every convolution, by node."""
    generator, weights = torch.Generator().manual_seed(seed), {}
    for kind, name, _, _, values in layers_of(param):
        if kind.startswith("Convolution"):
            out, kernel = int(values["0"]), int(values["1"])
            fan_in = int(values["6"]) // out
            shape = (out, fan_in // kernel**2, kernel, kernel)
            weights[f"{name}.weight"] = torch.randn(shape, generator=generator) * (1.5 / fan_in) ** 0.5
            weights[f"{name}.bias"] = 0.1 * torch.randn(out, generator=generator)
    return weights


def run_graph(param: str, weights: dict[str, Tensor], image: Tensor) -> dict[str, Tensor]:
    """The blobs for a BGR image (1, 3, H, W); of NanoDet-m's outputs, those of its graph have no batch."""
    blobs: dict[str, Tensor] = {}
    for kind, name, inputs, outputs, values in layers_of(param):
        x = blobs[inputs[0]] if inputs else image
        number = {key: int(value) for key, value in values.items() if value.lstrip("-").isdigit()}
        if kind == "Input":
            results = [x]
        elif kind.startswith("Convolution"):
            kernels, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
            stride, padding, groups = number.get("3", 1), number.get("4", 0), number.get("7", 1)
            x = F.conv2d(x, kernels, bias, stride=stride, padding=padding, groups=groups)
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
            first = x.shape[1] // 2 if first == -233 else first  # ncnn's "the same for all that have none"
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
            # 1: height and width of a map without channels; 3: channels to the end.
            results = [x.T if number["0"] == 1 else x.permute(0, 2, 3, 1)]
        else:
            raise AssertionError(f"{kind} is not known")
        blobs.update(zip(outputs, results, strict=True))
    return blobs


def plus_graph(stem: int, stages: tuple[int, int, int], neck: int, classes: int) -> str:
    """
    The graph of NanoDet-Plus, as the exporter of its published files lists it: heads from coarse to fine.

    Args:
        stem: channels after the stem.
        stages: channels of the three ShuffleNet stages.
        neck: channels of the neck.
        classes: number of classes.
    """
    graph = _Graph()
    x = graph.conv("data", 3, stem, 3, stride=2)
    (x,) = graph.add("Pooling", [x], 1, {0: 0, 1: 3, 2: 2, 3: 1})
    width, trunk = stem, []
    for out, depth in zip(stages, (4, 8, 4), strict=True):
        x = graph.stage(x, width, out, depth)
        width = out
        trunk.append(x)
    reduced = {}
    for level in (2, 1, 0):
        reduced[level] = graph.conv(trunk[level], stages[level], neck, 1)
    high = {2: reduced[2]}
    for level in (1, 0):
        (larger,) = graph.add("Interp", [high[level + 1]], 1, {0: 2, 1: 2.0, 2: 2.0, 6: 0})
        high[level] = graph.ghost(graph.cat(larger, reduced[level]), 2 * neck, neck)
    maps = [high[0]]
    for level in (1, 2):
        maps.append(graph.ghost(graph.cat(graph.separable(maps[-1], neck, stride=2), high[level]), 2 * neck, neck))
    from_trunk, from_neck = (graph.separable(blob, neck, stride=2) for blob in (reduced[2], maps[-1]))
    maps.append(graph.sum(from_trunk, from_neck))
    for stride, features in reversed(list(zip((8, 16, 32, 64), maps, strict=True))):
        x = graph.separable(graph.separable(features, neck), neck)
        x = graph.conv(x, neck, classes + 32, 1, active=False)
        scores, distances = graph.add("Slice", [x], 2, {-23300: f"2,{classes},-233", 1: 0})
        graph.add("Sigmoid", [scores], 0, {}, f"cls{stride}")
        graph.add("Permute", [distances], 0, {0: 3}, f"dis{stride}")
    return graph.text()


class _Graph:
    """Lines of a graph; blobs are numbered."""

    def __init__(self) -> None:
        self.lines = ["Input data 0 1 data"]
        self.blobs = 0

    def add(self, kind: str, inputs: list[str], outputs: int, values: dict[int, Any], *named: str) -> list[str]:
        """A layer with so many new blobs as outputs, beside those that are `named`."""
        made = [f"b{self.blobs + index}" for index in range(outputs)] + list(named)
        self.blobs += outputs
        parameters = " ".join(f"{key}={value}" for key, value in values.items())
        counts = f"{len(inputs)} {len(made)}"
        self.lines.append(f"{kind} node_{len(self.lines)} {counts} {' '.join(inputs + made)} {parameters}".rstrip())
        return made

    def conv(
        self, x: str, into: int, out: int, kernel: int, active: bool = True, stride: int = 1, groups: int = 1
    ) -> str:
        weights = out * (into // groups) * kernel**2
        values: dict[int, Any] = {0: out, 1: kernel, 3: stride, 4: kernel // 2, 5: 1, 6: weights}
        values |= {7: groups} if groups > 1 else {}
        values |= {9: 2, -23310: "1,1.000000e-01"} if active else {}
        return self.add("ConvolutionDepthWise" if groups > 1 else "Convolution", [x], 1, values)[0]

    def cat(self, *inputs: str) -> str:
        return self.add("Concat", list(inputs), 1, {0: 0})[0]

    def sum(self, *inputs: str) -> str:
        return self.add("BinaryOp", list(inputs), 1, {0: 0})[0]

    def separable(self, x: str, channels: int, stride: int = 1) -> str:
        return self.conv(self.conv(x, channels, channels, 5, stride=stride, groups=channels), channels, channels, 1)

    def stage(self, x: str, into: int, out: int, depth: int) -> str:
        half = out // 2
        for index in range(depth):
            kept, changed, width, stride = x, x, into, 2
            if index:
                kept, changed = self.add("Slice", [x], 2, {-23300: "2,-233,-233", 1: 0})
                width, stride = half, 1
            else:
                kept = self.conv(x, into, into, 3, False, stride=2, groups=into)
            inner = self.conv(changed, width, half, 1)
            if not index:  # as listed: the right branch begins before the left one ends
                kept = self.conv(kept, into, half, 1)
            inner = self.conv(self.conv(inner, half, half, 3, False, stride=stride, groups=half), half, half, 1)
            (x,) = self.add("ShuffleChannel", [self.cat(kept, inner)], 1, {0: 2, 1: 0})
        return x

    def ghost(self, x: str, into: int, out: int) -> str:
        half, inner = out // 2, x
        for width, active in ((into, True), (out, False)):
            primary = self.conv(inner, width, half, 1, active)
            inner = self.cat(primary, self.conv(primary, half, half, 3, active, groups=half))
        shortcut = self.conv(self.conv(x, into, into, 5, False, groups=into), into, out, 1, False)
        return self.sum(inner, shortcut)

    def text(self) -> str:
        return "\n".join(["7767517", f"{len(self.lines)} {self.blobs}", *self.lines, ""])
