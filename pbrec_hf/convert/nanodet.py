"""NanoDet-m or NanoDet-Plus from ncnn's graph (`.param`) and its weights as safetensors named by graph node.

Sizes are read off the graph, and the graph is checked: every convolution must have the kernel, stride, groups and
activation of the module that takes its weights. BatchNorm is folded already. NanoDet sees BGR with ImageNet's mean and
deviation in 0 … 255; that is the package's own normalisation with the channels reversed, so reversing the input
channels of the stem is exact.
"""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ..small.nanodet import NanoDetConfig, NanoDetDetector
from ..small.nanodet_trunk import NanoDetTrunkConfig
from ..small.shufflenet import ConvAct
from .labels import labels_of
from .ncnn import Node, read_convolutions
from .report import ConversionReport
from .verification import verify_forward

STEM = "trunk.stem.conv.weight"
# Which modules need which others, in the order of `read_convolutions`.
_ORDER = {
    "pan": (
        *("trunk.stem", "trunk.stage2", "trunk.neck.lateral.stride8"),
        *("trunk.stage3", "trunk.neck.lateral.stride16", "trunk.stage4", "trunk.neck.lateral.stride32"),
        *("heads.stride8", "heads.stride16", "heads.stride32"),
    ),
    "ghost_pan": (
        *("trunk.stem", "trunk.stage2", "trunk.stage3", "trunk.stage4", "trunk.neck.reduce.stride32"),
        *("trunk.neck.reduce.stride16", "trunk.neck.top_down.stride16"),
        *("trunk.neck.reduce.stride8", "trunk.neck.top_down.stride8", "heads.stride8"),
        *("trunk.neck.down.stride16", "trunk.neck.bottom_up.stride16", "heads.stride16"),
        *("trunk.neck.down.stride32", "trunk.neck.bottom_up.stride32", "heads.stride32"),
        *("trunk.neck.extra_from_trunk", "trunk.neck.extra_from_neck", "heads.stride64"),
    ),
}
# The heads that belong to a neck.
_HEADS: dict[str, dict[str, Any]] = {"pan": {}, "ghost_pan": {"tower_kernel": 5, "points": "corner"}}


def convert_nanodet(
    state_dict: dict[str, Tensor], param: str, config: NanoDetConfig | None = None
) -> tuple[NanoDetDetector, ConversionReport]:
    """
    The detector with ncnn's weights, and what became of every key.

    Args:
        state_dict: `<node>.weight` and `<node>.bias` of every convolution.
        param: text of the `.param` file.
        config: of the detector; None = NanoDet-m or NanoDet-Plus, whichever has as many convolutions, with the sizes
            of the graph.

    Raises:
        ValueError: graph, weights and config do not fit together.
    """
    nodes = read_convolutions(param)
    model = NanoDetDetector(config or _config_of(nodes)).eval()
    modules = _in_graph_order(model)
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


def _config_of(nodes: list[Node]) -> NanoDetConfig:
    """The config of the kind of NanoDet that has as many convolutions, with the sizes of the graph."""
    found: dict[int, str] = {}
    for neck in _ORDER:
        config = NanoDetConfig(trunk_config=NanoDetTrunkConfig(neck=neck), **_HEADS[neck])
        with torch.device("meta"):
            modules = _in_graph_order(NanoDetDetector(config))
        if len(modules) == len(nodes):
            break
        found[len(modules)] = neck
    else:
        raise ValueError(
            f"The graph has {len(nodes)} convolutions, NanoDet-m and NanoDet-Plus {' and '.join(map(str, found))}: "
            "give the graph of one of these, or the config of the network that was exported."
        )
    width = {name: node.out_channels for node, (name, _, _) in zip(nodes, modules, strict=True)}
    classes = width["heads.stride8.output"] - 4 * config.num_bins
    if classes < 1:
        raise ValueError(
            f"The graph's heads have {width['heads.stride8.output']} channels, but {config.num_bins} bins for each of "
            "four sides and a class need more: give the config of the network that was exported."
        )
    sizes: dict[str, Any] = {
        "stem_channels": width["trunk.stem.conv"],
        "stage_channels": [
            2 * width[f"trunk.{stage}.block0.branch_right.pointwise_out.conv"]
            for stage in ("stage2", "stage3", "stage4")
        ],
        "neck_channels": width["heads.stride8.tower.pointwise0.conv"],
    }
    trunk = NanoDetTrunkConfig(neck=neck, **sizes)
    return NanoDetConfig(trunk_config=trunk, **_HEADS[neck], **labels_of(classes))


def _in_graph_order(model: NanoDetDetector) -> list[tuple[str, nn.Conv2d, float | None]]:
    """(name, convolution, slope) in the order of `read_convolutions`."""
    slopes = {f"{name}.conv": m.negative_slope for name, m in model.named_modules() if isinstance(m, ConvAct)}
    prefixes = _ORDER[model.config.trunk.neck]

    def place(name: str) -> int:
        return next(i for i, prefix in enumerate(prefixes) if f"{name}.".startswith(f"{prefix}."))

    convolutions = [(name, m, slopes.get(name)) for name, m in model.named_modules() if isinstance(m, nn.Conv2d)]
    return sorted(convolutions, key=lambda item: place(item[0]))


__all__ = ["convert_nanodet", "convert_nanodet_files"]
