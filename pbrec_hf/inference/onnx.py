"""ONNX graphs of a checkpoint, for runtimes without PyTorch.

`letterbox.onnx` lays a picture onto its canvas. `image_encoder.onnx` turns canvases into image features and, if the
detectors have graphs (those of the bundled checkpoint do), into proposals; `expression_scorer.onnx` scores any number
of expressions against the features of any number of pictures, so that a picture is encoded once; `answers.onnx` finds
the answers by scores and proposals. Needs `pip install 'pbrec_hf[onnx]'`.
"""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers.image_utils import PILImageResampling

from ..configuration_pbrec import PbrecConfig
from ..hub.writing import one_line_errors, replaced_file
from ..modeling_pbrec import PbrecForReferringExpression
from ..processing_pbrec import PbrecProcessor
from .answer_part import AnswerPart
from .canvas_part import CanvasPart
from .parts import EXPRESSION_INPUTS, IMAGE_INPUTS, ExpressionPart, ImagePart, logits_names, tensors_of

LETTERBOX = "letterbox.onnx"
IMAGE_ENCODER = "image_encoder.onnx"
EXPRESSION_SCORER = "expression_scorer.onnx"
ANSWERS = "answers.onnx"
_OPSET = 20
_LONGEST = 65535  # pixels of a picture's side


def export_onnx(model: PbrecForReferringExpression, processor: PbrecProcessor, folder: str | Path) -> list[Path]:
    """
    Write all that answers without torch: the networks' graphs, those of the letterbox and of the answers where they
    have any, and the processor (without its detectors), whose tokenizer cuts and pads.

    Args:
        model: in float32.
        processor: of the same checkpoint.
        folder: is made if it does not exist.

    Returns:
        The paths of the graphs, in the order of their use.

    Raises:
        ImportError, ValueError: as `export_networks`.
    """
    folder = Path(folder)
    paths = export_networks(model, processor, folder)
    images = processor.image_processor
    if images.do_resize and images.resample == PILImageResampling.BILINEAR:
        _export_letterbox(CanvasPart(images), folder / LETTERBOX)
        paths.insert(0, folder / LETTERBOX)
    image = ImagePart(model, processor)
    if "boxes" in image.kinds:
        _export_answers(image, model.config, processor, folder / ANSWERS)
        paths.append(folder / ANSWERS)
    with one_line_errors(folder):
        images.save_pretrained(folder)
        processor.tokenizer.save_pretrained(folder)
        words = Tokenizer.from_str(processor.tokenizer.backend_tokenizer.to_str())
        words.enable_truncation(processor.max_text_length)
        words.enable_padding(pad_id=processor.tokenizer.pad_token_id, pad_token=processor.tokenizer.pad_token)
        words.save(str(folder / "tokenizer.json"))
    return paths


def export_networks(model: PbrecForReferringExpression, processor: PbrecProcessor, folder: Path) -> list[Path]:
    """
    Write the graphs of the networks.

    Args:
        model, processor, folder: see `export_onnx`.

    Returns:
        Their paths.

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
    image = ImagePart(model.eval(), processor)
    points = model.config.grid[0] * model.config.grid[1]
    canvas = _canvases(model.config)
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
    return [folder / IMAGE_ENCODER, folder / EXPRESSION_SCORER]


def _export_letterbox(part: CanvasPart, path: Path) -> None:
    sides = {axis: torch.export.Dim(name, min=1, max=_LONGEST) for axis, name in enumerate(("height", "width"))}
    picture = torch.zeros(50, 60, 3, dtype=torch.uint8)
    _export(part, (picture,), path, ("picture",), [*IMAGE_INPUTS, "letterbox"], (sides,))


def _export_answers(image: ImagePart, config: PbrecConfig, processor: PbrecProcessor, path: Path) -> None:
    with torch.no_grad():
        features, templates = image.seen(*_canvases(config))
    seen = tensors_of(features, templates)
    for name in ("features", "positions"):
        del seen[name]
    part = AnswerPart(config, processor, templates, list(seen))
    images, expressions = torch.export.Dim("images"), torch.export.Dim("expressions")
    points = config.grid[0] * config.grid[1]
    scores = [torch.zeros(3, points) for _ in logits_names(config)]
    letterbox = torch.tensor([[60, 80, 60, 80, 0, 0]] * 2)
    given = (*scores, torch.tensor([0, 0, 1]), letterbox, *seen.values())
    dynamic = ({0: expressions},) * (len(scores) + 1) + ({0: images},) * (len(seen) + 1)
    _export(part, given, path, tuple(part.input_names), part.output_names, (dynamic,))


def _canvases(config: PbrecConfig) -> tuple[Tensor, Tensor]:
    """Two empty canvases and their masks."""
    size = config.image_size
    return torch.zeros(2, 3, size, size), torch.ones(2, size, size, dtype=torch.int64)


def _export(
    module: nn.Module,
    arguments: tuple[Tensor, ...],
    path: Path,
    inputs: tuple[str, ...],
    outputs: list[str],
    dynamic: tuple[Any, ...],
) -> None:
    with torch.no_grad():
        program = torch.export.export(module.eval(), arguments, dynamic_shapes=dynamic, strict=False)
    graph: Any = torch.onnx.export(
        program,
        (),
        input_names=list(inputs),
        output_names=outputs,
        opset_version=_OPSET,
        dynamo=True,
        optimize=False,
        verbose=False,
    )
    _simplify(graph.model)
    with replaced_file(path) as partial:
        graph.save(partial, external_data=False)


def _simplify(graph: Any) -> None:
    # What the exporter's own optimiser does besides, matching patterns of nodes, takes a third of an export, and the
    # runtimes do it again: their answers and times are the same without. Equal initialisers are not merged, as it
    # does: onnxruntime's quantiser gives the copies of a shared bias names that other values have.
    from onnx_ir.passes import Sequential, common
    from onnxscript.optimizer import fold_constants

    common.InlinePass()(graph)
    fold_constants(graph)
    Sequential(
        common.RemoveUnusedNodesPass(),
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.LiftSubgraphInitializersToMainGraphPass(),
        common.CommonSubexpressionEliminationPass(),
        common.OutputFixPass(),
        common.NameFixPass(),
    )(graph)


def _require_onnx() -> None:
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(f"{error.name} is not installed: pip install 'pbrec_hf[onnx]'.") from error


__all__ = ["ANSWERS", "EXPRESSION_SCORER", "IMAGE_ENCODER", "LETTERBOX", "export_networks", "export_onnx"]
