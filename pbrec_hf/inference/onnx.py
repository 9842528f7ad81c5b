"""ONNX graphs of a checkpoint, for runtimes without PyTorch.

`image_encoder.onnx` turns canvases into image features and, if the detectors have graphs (those of the bundled
checkpoint do), into proposals; `expression_scorer.onnx` scores any number of expressions against the features of any
number of pictures, so that a picture is encoded once. Canvases come from the same `PbrecImageProcessor`, whose
configuration is written beside the graphs. Needs `pip install 'pbrec_hf[onnx]'`.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..hub.writing import one_line_errors, replaced_file
from ..modeling_pbrec import PbrecForReferringExpression
from ..processing_pbrec import PbrecProcessor
from .parts import EXPRESSION_INPUTS, IMAGE_INPUTS, ExpressionPart, ImagePart, logits_names, tensors_of

IMAGE_ENCODER = "image_encoder.onnx"
EXPRESSION_SCORER = "expression_scorer.onnx"
_OPSET = 20


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
        ValueError: if the model is not in float32, or its backbone says that it has no graph.
    """
    _require_onnx()
    backbone = model.model.backbone
    if not getattr(backbone, "exportable", True):
        raise ValueError(
            f"A backbone of type {backbone.config.model_type!r} cannot be exported: how much it computes depends on "
            "the picture. Give a model on another backbone."
        )
    if model.dtype != torch.float32:
        raise ValueError(f"The model is in {model.dtype}: load it with dtype=torch.float32.")
    folder = Path(folder)
    image = ImagePart(model.eval(), processor).eval()
    size, points = model.config.image_size, model.config.grid[0] * model.config.grid[1]
    canvas = torch.zeros(2, 3, size, size), torch.ones(2, size, size, dtype=torch.int64)
    with torch.no_grad():
        names = list(tensors_of(*image.seen(*canvas)))
    # Each input a tensor of its own: one that is given twice would become one input.
    features, positions = (torch.zeros(2, points, model.config.d_model) for _ in range(2))
    input_ids, attention_mask = (torch.ones(3, 5, dtype=torch.int64) for _ in range(2))
    index = torch.tensor([0, 0, 1])
    scoring = features, positions, torch.ones(2, points, dtype=torch.bool), input_ids, attention_mask, index
    images, expressions = torch.export.Dim("images"), torch.export.Dim("expressions")
    tokens = torch.export.Dim("tokens", min=3, max=model.config.max_text_length)
    pictures, texts = {0: images}, {0: expressions, 1: tokens}
    _export(image, canvas, folder / IMAGE_ENCODER, IMAGE_INPUTS, names, (pictures, pictures))
    _export(
        ExpressionPart(model),
        scoring,
        folder / EXPRESSION_SCORER,
        EXPRESSION_INPUTS,
        logits_names(model.config),
        (pictures, pictures, pictures, texts, texts, {0: expressions}),
    )
    with one_line_errors(folder):
        processor.image_processor.save_pretrained(folder)
        processor.tokenizer.save_pretrained(folder)
    return [folder / IMAGE_ENCODER, folder / EXPRESSION_SCORER]


def _export(
    module: nn.Module,
    arguments: tuple[Tensor, ...],
    path: Path,
    inputs: tuple[str, ...],
    outputs: list[str],
    dynamic: tuple[dict[int, Any], ...],
) -> None:
    with torch.no_grad():
        program = torch.export.export(module.eval(), arguments, dynamic_shapes=dynamic, strict=False)
    with replaced_file(path) as partial:
        torch.onnx.export(
            program,
            (),
            partial,
            input_names=list(inputs),
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


__all__ = ["EXPRESSION_SCORER", "IMAGE_ENCODER", "export_onnx"]
