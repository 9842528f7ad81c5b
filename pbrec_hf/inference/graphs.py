"""A checkpoint whose networks run as graphs, in the place of its model and its detectors.

Graphs are written once per checkpoint, into transformers' cache or a folder of one's own, and read from there
afterwards.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub import constants
from torch import Tensor

from ..geometry.image_index import image_of_each
from ..geometry.proposals import Proposals
from ..modeling_pbrec import PbrecForReferringExpression, PbrecImageFeatures, PbrecOutput
from ..processing_pbrec import PbrecProcessor
from ..selection.choose import PROPOSALS
from ..version import __version__
from .digests import add_weights
from .graph_files import open_graph
from .onnx import EXPRESSION_SCORER, IMAGE_ENCODER, export_networks
from .parts import ImagePart, seen_from
from .quantization import quantized
from .runtimes import require_runtime

_FORM = 2  # of what graphs take and give; another form needs graphs of its own
_AT_ONCE = 8  # expressions; more at a time leave the processor's cache


class Graphs:
    """
    Args:
        model: in float32, on a CPU, in evaluation mode.
        processor: of the same checkpoint; a detector that has no graph runs in torch.
        runtime: "onnx" or "openvino".
        precision: "fp32", "bf16" (openvino) or "int8": the image part, calibrated on the package's photographs.
        folder: where graphs are, or will be; default: a folder of the cache that belongs to these weights.

    Raises:
        ImportError: the runtime is not installed.
        ValueError: the runtime does not compute in this precision, or the backbone has no graph.
    """

    def __init__(
        self,
        model: PbrecForReferringExpression,
        processor: PbrecProcessor,
        runtime: str,
        precision: str = "fp32",
        folder: str | Path | None = None,
    ):
        require_runtime(runtime, precision)
        self._processor = processor
        folder = _cached(model, processor) if folder is None else Path(folder)
        paths = [folder / IMAGE_ENCODER, folder / EXPRESSION_SCORER]
        if not all(path.is_file() for path in paths):
            export_networks(model, processor, folder)
        image = quantized(paths[0], runtime, processor) if precision == "int8" else paths[0]
        self._image = open_graph(image, runtime, precision)
        self._expressions = open_graph(paths[1], runtime, precision)
        part = ImagePart(model, processor)
        side = model.config.image_size
        with torch.no_grad():
            _, self._templates = part.seen(torch.zeros(1, 3, side, side), torch.ones(1, side, side))

    def see(self, pixel_values: Tensor, pixel_mask: Tensor) -> tuple[PbrecImageFeatures, dict[str, Proposals]]:
        """Image features, and the proposals that have graphs, of canvases (I, 3, S, S) and their masks (I, S, S)."""
        arrays = {"pixel_values": pixel_values.numpy(), "pixel_mask": pixel_mask.numpy()}
        found = {name: torch.from_numpy(np.array(value)) for name, value in self._image(arrays).items()}
        return seen_from(found, self._templates)

    def score(self, features: PbrecImageFeatures, inputs: Mapping[str, Any]) -> PbrecOutput:
        """
        Logits of expressions.

        Args:
            features: of I pictures.
            inputs: input_ids and attention_mask (E, L), and image_index (E,), of the processor.
        """
        tokens = {name: inputs[name].numpy() for name in ("input_ids", "attention_mask")}
        count = len(tokens["input_ids"])
        index = image_of_each(inputs.get("image_index"), count, len(features.features)).numpy()
        seen = {
            "features": features.features.numpy(),
            "positions": features.positions.numpy(),
            "mask": features.attention_mask.numpy(),
        }
        parts = []
        for start in range(0, count, _AT_ONCE):
            some = slice(start, start + _AT_ONCE)
            asked = {name: values[some] for name, values in tokens.items()}
            parts.append(self._expressions({**seen, **asked, "image_index": index[some]}))
        logits: dict[str, Any] = {
            name: torch.from_numpy(np.concatenate([part[name] for part in parts]))
            for name in ("center_logits", "mass_logits")
            if name in parts[0]
        }
        return PbrecOutput(**logits, image_features=features)

    def __call__(self, inputs: Mapping[str, Any]) -> tuple[PbrecOutput, dict[str, Any]]:
        """
        Outputs of the model, and proposals under the names that the processor gives them.

        Args:
            inputs: what the processor returned for pictures and expressions, without proposals.
        """
        features, proposals = self.see(inputs["pixel_values"], inputs["pixel_mask"])
        found: dict[str, Any] = {PROPOSALS[kind]: value for kind, value in proposals.items()}
        rest = [kind for kind in self._processor.held_detectors if kind not in proposals]
        if rest:
            asked = {name: inputs.get(name) for name in ("expressions", "image_index")}
            found |= self._processor.propose(inputs["pixel_values"], inputs["pixel_mask"], rest, **asked)
            found.pop("detected", None)
        return self.score(features, inputs), found


def _cached(model: PbrecForReferringExpression, processor: PbrecProcessor) -> Path:
    """A folder of the cache for graphs of exactly these weights."""
    digest = hashlib.sha256(f"{__version__} {torch.__version__} {_FORM}".encode())
    for network in (model, *processor.held_detectors.values()):
        digest.update(json.dumps(network.config.to_dict(), sort_keys=True, default=str).encode())
        add_weights(digest, network)
    return Path(constants.HF_HOME) / "pbrec_hf" / "graphs" / digest.hexdigest()[:16]


__all__ = ["Graphs"]
