"""ONNX of the comprehension stage's two parts, for runtimes without PyTorch.

`image_encoder.onnx` turns canvases into image features; `expression_scorer.onnx` scores any number of expressions
against one image's features, so that a picture is encoded once. Detectors and selection are not exported. Canvases
come from the same `PbrecImageProcessor`, whose configuration is written beside the graphs.
Needs `pip install 'pbrec_hf[onnx]'`.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..configuration_pbrec import PbrecConfig
from ..hub.writing import one_line_errors, replaced_file
from ..modeling_pbrec import PbrecForReferringExpression, PbrecImageFeatures
from ..processing_pbrec import PbrecProcessor

IMAGE_ENCODER = "image_encoder.onnx"
EXPRESSION_SCORER = "expression_scorer.onnx"
_OPSET = 20


class ImageEncoder(nn.Module):
    """pixel_values (I, 3, S, S), pixel_mask (I, S, S) → features, positions (I, P, D), attention mask bool (I, P)."""

    def __init__(self, model: PbrecForReferringExpression):
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor, pixel_mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        encoded = self.model.get_image_features(pixel_values, pixel_mask)
        return encoded.features, encoded.positions, encoded.attention_mask


class ExpressionScorer(nn.Module):
    """features, positions (1, P, D), mask (1, P), input_ids, attention_mask (E, L) → logits (E, P) of each head."""

    def __init__(self, model: PbrecForReferringExpression):
        super().__init__()
        self.model = model

    def forward(
        self, features: Tensor, positions: Tensor, mask: Tensor, input_ids: Tensor, attention_mask: Tensor
    ) -> tuple[Tensor, ...]:
        image = PbrecImageFeatures(features, positions, mask)
        index = torch.zeros_like(input_ids[:, 0])
        outputs = self.model(
            input_ids=input_ids, attention_mask=attention_mask, image_features=image, image_index=index
        )
        return tuple(logits for logits in (outputs.center_logits, outputs.mass_logits) if logits is not None)


def logits_names(config: PbrecConfig) -> list[str]:
    """Names of the scorer's outputs."""
    heads = {"grounding": "center_logits", "segmentation": "mass_logits"}
    return [name for task, name in heads.items() if task in config.tasks]


def export_onnx(model: PbrecForReferringExpression, processor: PbrecProcessor, folder: str | Path) -> list[Path]:
    """
    Write both graphs, and the processor that makes their inputs (without its detectors).

    Args:
        model: in float32.
        processor: of the same checkpoint.
        folder: is made if it does not exist.

    Returns:
        The paths of the graphs.

    Raises:
        ImportError: without the extra `onnx`.
        ValueError: if the model is not in float32, or its backbone tells of objects, whose number a graph cannot know.
    """
    _require_onnx()
    backbone = model.model.backbone
    if not getattr(backbone, "exportable", True):
        raise ValueError(
            f"A backbone of type {backbone.config.model_type!r}, as the bundled checkpoint has, cannot be exported: "
            "how much it computes depends on the objects it finds. Give a model on another backbone."
        )
    if model.dtype != torch.float32:
        raise ValueError(f"The model is in {model.dtype}: load it with dtype=torch.float32.")
    folder = Path(folder)
    model = model.eval()
    size, points = model.config.image_size, model.config.grid[0] * model.config.grid[1]
    canvas = torch.zeros(2, 3, size, size, dtype=model.dtype), torch.ones(2, size, size, dtype=torch.int64)
    # Each input a tensor of its own: one that is given twice would become one input.
    features, positions = (torch.zeros(1, points, model.config.d_model, dtype=model.dtype) for _ in range(2))
    input_ids, attention_mask = (torch.ones(3, 5, dtype=torch.int64) for _ in range(2))
    scoring = features, positions, torch.ones(1, points, dtype=torch.bool), input_ids, attention_mask
    images, expressions = torch.export.Dim("images"), torch.export.Dim("expressions")
    tokens = torch.export.Dim("tokens", min=3, max=model.config.max_text_length)
    texts = {0: expressions, 1: tokens}
    _export(
        ImageEncoder(model),
        canvas,
        folder / IMAGE_ENCODER,
        ["pixel_values", "pixel_mask"],
        ["features", "positions", "mask"],
        ({0: images}, {0: images}),
    )
    _export(
        ExpressionScorer(model),
        scoring,
        folder / EXPRESSION_SCORER,
        ["features", "positions", "mask", "input_ids", "attention_mask"],
        logits_names(model.config),
        (None, None, None, texts, texts),
    )
    with one_line_errors(folder):
        processor.image_processor.save_pretrained(folder)
        processor.tokenizer.save_pretrained(folder)
    return [folder / IMAGE_ENCODER, folder / EXPRESSION_SCORER]


def _export(
    module: nn.Module,
    arguments: tuple[Tensor, ...],
    path: Path,
    inputs: list[str],
    outputs: list[str],
    dynamic: tuple[dict[int, Any] | None, ...],
) -> None:
    with torch.no_grad():
        program = torch.export.export(module.eval(), arguments, dynamic_shapes=dynamic, strict=False)
    with replaced_file(path) as partial:
        torch.onnx.export(
            program,
            (),
            partial,
            input_names=inputs,
            output_names=outputs,
            opset_version=_OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )


def _require_onnx() -> None:
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(f"{error.name} is not installed: pip install 'pbrec_hf[onnx]'.") from error


__all__ = ["EXPRESSION_SCORER", "IMAGE_ENCODER", "export_onnx", "logits_names"]
