"""NanoDet-m from ncnn's graph (`.param`) and its weights as safetensors named by graph node → `NanoDetDetector`.

The graph is checked: every convolution must have the kernel, stride, groups and activation of the module that takes
its weights. BatchNorm is folded already. NanoDet sees BGR with ImageNet's mean and deviation in 0 … 255; that is the
package's own normalisation with the channels reversed, so reversing the input channels of the stem is exact.
"""

from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor, nn

from ..small.nanodet import NanoDetConfig, NanoDetDetector
from ..small.nanodet_trunk import STAGE_NAMES, ConvAct
from .report import ConversionReport
from .verification import verify_forward

STEM = "trunk.stem.conv.weight"
MAGIC = "7767517"
CONVOLUTIONS = ("Convolution", "ConvolutionDepthWise")
# Parameter ids of ncnn's convolution layers.
OUT_CHANNELS, KERNEL, STRIDE, GROUPS, ACTIVATION, SLOPE = "0", "1", "3", "7", "9", "-23310"
LEAKY_RELU = 2


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


def read_convolutions(param: str) -> list[Node]:
    """
    The convolutions of an ncnn graph, in the order in which they are computed.

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
    nodes = []
    for line in lines[2:]:
        words = line.split()
        if not words or words[0] not in CONVOLUTIONS:
            continue
        inputs, outputs = int(words[2]), int(words[3])
        values = dict(word.split("=", 1) for word in words[4 + inputs + outputs :])
        activation = int(values.get(ACTIVATION, 0))
        if activation not in (0, LEAKY_RELU):
            raise ValueError(
                f"{words[1]} has activation {activation}: give a graph with none (0) and leaky ReLUs (2) alone."
            )
        nodes.append(
            Node(
                name=words[1],
                out_channels=int(values[OUT_CHANNELS]),
                kernel=int(values.get(KERNEL, 1)),
                stride=int(values.get(STRIDE, 1)),
                groups=int(values.get(GROUPS, 1)),
                slope=float(values[SLOPE].split(",")[1]) if activation == LEAKY_RELU else None,
            )
        )
    return nodes


def convert_nanodet(
    state_dict: dict[str, Tensor], param: str, config: NanoDetConfig | None = None
) -> tuple[NanoDetDetector, ConversionReport]:
    """
    The detector with ncnn's weights, and what became of every key.

    Args:
        state_dict: `<node>.weight` and `<node>.bias` of every convolution.
        param: text of the `.param` file.
        config: sizes, by default NanoDet-m's.

    Raises:
        ValueError: graph, weights and config do not fit together.
    """
    model = NanoDetDetector(config or NanoDetConfig()).eval()
    nodes, modules = read_convolutions(param), _in_graph_order(model)
    if len(nodes) != len(modules):
        raise ValueError(
            f"The graph has {len(nodes)} convolutions, the configured detector {len(modules)}: give the config (stage "
            "depths, tower_depth) of the network that was exported."
        )
    report = ConversionReport()
    weights: dict[str, Tensor] = {}
    for node, (name, conv, slope) in zip(nodes, modules, strict=True):
        ours = Node(node.name, conv.out_channels, conv.kernel_size[0], conv.stride[0], conv.groups, slope)
        if node != ours:
            raise ValueError(f"{name} does not fit the graph, which has {node} for {ours}: give the network's config.")
        for kind in ("weight", "bias"):
            source, target = f"{node.name}.{kind}", f"{name}.{kind}"
            if source in state_dict:
                report.used.append(source)
                weights[target] = state_dict[source].float()
    report.missing = sorted(set(model.state_dict()) - set(weights))
    report.require_complete(state_dict)
    weights[STEM] = weights[STEM].flip(1)
    model.load_state_dict(weights)
    verify_forward(model)
    return model, report


def convert_nanodet_files(weights: str | Path, param: str | Path) -> tuple[NanoDetDetector, ConversionReport]:
    """`convert_nanodet` on files: weights as safetensors, the graph as ncnn's plain text."""
    return convert_nanodet(load_file(weights), Path(param).read_text())


def _in_graph_order(model: NanoDetDetector) -> list[tuple[str, nn.Conv2d, float | None]]:
    """(name, convolution, slope) in ncnn's order: trunk (left branches first), neck, heads from fine to coarse."""
    slopes = {f"{name}.conv": m.negative_slope for name, m in model.named_modules() if isinstance(m, ConvAct)}
    order = {prefix: i for i, prefix in enumerate(["trunk", *(f"heads.{stage}" for stage in STAGE_NAMES)])}
    convolutions = [(name, m, slopes.get(name)) for name, m in model.named_modules() if isinstance(m, nn.Conv2d)]
    return sorted(convolutions, key=lambda item: next(i for prefix, i in order.items() if item[0].startswith(prefix)))
