"""What a checkpoint sees and thinks of pictures and expressions, whichever runtime computes it."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from transformers.feature_extraction_utils import BatchFeature

from ..modeling_pbrec import PbrecOutput
from ..processing_pbrec import PbrecProcessor
from .compiling import compile_networks

Look = Callable[[BatchFeature], PbrecOutput]


def looking(
    model: Any,
    processor: PbrecProcessor,
    runtime: str = "torch",
    precision: str = "fp32",
    graphs: str | Path | None = None,
    compile: bool = False,
) -> Look:
    """
    A function that adds proposals to what the processor returned without them, and gives the outputs of the model.

    Args:
        model, processor: a [`PbrecForReferringExpression`] and its processor, of one checkpoint, prepared to answer.
        runtime, precision, compile: see `PRECISIONS` and `compile_networks`; checked by `require_runtime`.
        graphs: folder of the graphs; default: in the cache.
    """
    if runtime != "torch":
        return ByGraphs(_graphs()(model, processor, runtime, precision, graphs))
    if precision == "bf16":
        model.to(torch.bfloat16)
        processor.to(torch.bfloat16)
    if compile:
        compile_networks(model, processor)
    return ByTorch(model, processor)


class ByTorch:
    """The networks in torch, wherever they are; copied and pickled with them."""

    def __init__(self, model: Any, processor: PbrecProcessor):
        self.model, self.processor = model, processor

    def __call__(self, inputs: BatchFeature) -> PbrecOutput:
        """See `looking`."""
        asked: dict[str, Any] = {name: inputs.get(name) for name in ("expressions", "image_index")}
        inputs.update(self.processor.propose(inputs["pixel_values"], inputs["pixel_mask"], **asked))
        inputs.to(self.model.device)
        with torch.inference_mode():
            outputs: PbrecOutput = self.model(**inputs, skip_padding=True)
        return outputs


class ByGraphs:
    """The networks as graphs."""

    def __init__(self, graphs: Any):
        self.graphs = graphs

    def __call__(self, inputs: BatchFeature) -> PbrecOutput:
        """See `looking`."""
        outputs, proposals = self.graphs(inputs)
        inputs.update(proposals)
        found: PbrecOutput = outputs
        return found


def _graphs() -> Any:
    """The class `Graphs`; by its name, since exporters are slow to import and no part of the code that travels."""
    try:
        return import_module("pbrec_hf.inference.graphs").Graphs
    except ModuleNotFoundError as error:
        raise ImportError(f"{error.name} is not installed: runtimes other than torch need it.") from error


__all__ = ["ByGraphs", "ByTorch", "Look", "looking"]
