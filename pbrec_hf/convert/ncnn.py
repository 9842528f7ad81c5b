"""ncnn's plain-text graphs (`.param`): their convolutions, in the order in which the outputs need them.

That order depends on how the layers are connected and not on how the file lists them, which differs from exporter to
exporter. Nothing here knows detectors.
"""

import re
from dataclasses import dataclass

MAGIC = "7767517"
_CONVOLUTIONS = ("Convolution", "ConvolutionDepthWise")
# Parameter ids of ncnn's convolution layers.
_OUT_CHANNELS, _KERNEL, _STRIDE, _GROUPS, _ACTIVATION, _SLOPE = "0", "1", "3", "7", "9", "-23310"
_LEAKY_RELU = 2


@dataclass(frozen=True)
class Node:
    """
    One convolution of the graph.

    Attributes:
        name: of the node, which its weights have, too.
        out_channels, kernel, stride, groups: of the convolution.
        slope: of the leaky ReLU behind it; None = no activation.
    """

    name: str
    out_channels: int
    kernel: int
    stride: int
    groups: int
    slope: float | None


@dataclass(frozen=True)
class _Layer:
    kind: str
    name: str
    inputs: list[str]
    outputs: list[str]
    values: dict[str, str]


def read_convolutions(param: str) -> list[Node]:
    """
    The convolutions of an ncnn graph: of each output, from the finest stride on, those that it needs, inputs first.

    An output is a blob that no layer reads; the number at the end of its name is its stride.

    Args:
        param: text of the `.param` file.

    Raises:
        ValueError: no ncnn graph, or a convolution with an activation other than a leaky ReLU.
    """
    lines = param.split("\n")
    if lines[0].strip() != MAGIC:
        raise ValueError(
            f"The graph begins with {lines[0][:20]!r} instead of {MAGIC}: give ncnn's plain-text .param file."
        )
    layers = [_layer(line) for line in lines[2:] if line.strip()]
    return [_node(layer) for layer in _in_order(layers) if layer.kind in _CONVOLUTIONS]


def _layer(line: str) -> _Layer:
    try:
        kind, name, inputs, outputs, *rest = line.split()
        first, last = int(inputs), int(inputs) + int(outputs)
        values = dict(word.split("=", 1) for word in rest[last:])
    except ValueError as error:
        raise ValueError(f"{line[:60]!r} is no layer of an ncnn graph: give the file as it was exported.") from error
    return _Layer(kind, name, rest[:first], rest[first:last], values)


def _in_order(layers: list[_Layer]) -> list[_Layer]:
    """Layers that the outputs need, each after those that it reads."""
    makers = {blob: layer for layer in layers for blob in layer.outputs}
    read = {blob for layer in layers for blob in layer.inputs}
    ordered: dict[str, _Layer] = {}
    seen: set[str] = set()
    waiting = sorted((blob for blob in makers if blob not in read), key=_stride, reverse=True)
    while waiting:
        blob = waiting.pop()
        layer = makers.get(blob)
        if layer is None or layer.name in ordered:
            continue
        if layer.name in seen:  # what it reads came before
            ordered[layer.name] = layer
        else:
            seen.add(layer.name)
            waiting += [blob, *reversed(layer.inputs)]
    return list(ordered.values())


def _stride(blob: str) -> tuple[int, str]:
    number = re.search(r"\d+$", blob)
    return (int(number[0]) if number else 0), blob


def _node(layer: _Layer) -> Node:
    values = layer.values
    activation = int(values.get(_ACTIVATION, 0))
    if activation not in (0, _LEAKY_RELU):
        raise ValueError(
            f"{layer.name} has activation {activation}: give a graph with none (0) and leaky ReLUs (2) alone."
        )
    return Node(
        name=layer.name,
        out_channels=int(values[_OUT_CHANNELS]),
        kernel=int(values.get(_KERNEL, 1)),
        stride=int(values.get(_STRIDE, 1)),
        groups=int(values.get(_GROUPS, 1)),
        slope=float(values[_SLOPE].split(",")[1]) if activation == _LEAKY_RELU else None,
    )


__all__ = ["MAGIC", "Node", "read_convolutions"]
