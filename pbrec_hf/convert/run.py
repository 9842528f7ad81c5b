"""The entry to all converters: a checkpoint file in, a folder for `from_pretrained` and a report out.

The result is written only after it ran once with finite outputs.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor
from transformers import AutoTokenizer, PreTrainedModel

from ..hub.opening import opening
from ..hub.writing import replaced_folder
from ..image_processing_pbrec import PbrecImageProcessor
from ..modeling_pbrec import PbrecForReferringExpression
from ..processing_pbrec import PbrecProcessor
from ..training.build import add_detectors
from .detr import build_detr_backbone
from .fcos import VARIANTS, convert_original_fcos, convert_torchvision_fcos
from .loading import load_untrusted_state_dict
from .nanodet import convert_nanodet
from .pbrec import convert_pbrec
from .pbrec import verify as verify_pbrec
from .report import ConversionReport
from .solo import convert_solo

Converted = tuple[PreTrainedModel, ConversionReport]


def _pbrec(weights: Mapping[str, Tensor]) -> Converted:
    model, report = convert_pbrec(weights)
    verify_pbrec(model)
    return model, report


_CONVERTERS: dict[str, Callable[..., Converted]] = {
    "pbrec": _pbrec,
    "fcos-torchvision": convert_torchvision_fcos,
    "fcos": convert_original_fcos,
    "solo": convert_solo,
    "nanodet": convert_nanodet,
    "detr-backbone": build_detr_backbone,
}
KINDS = tuple(_CONVERTERS)
# The argument that a kind needs beside its checkpoint.
_NEEDS = {"fcos": "variant", "nanodet": "param"}


def convert(
    kind: str,
    source: str | Path,
    destination: str | Path,
    variant: str | None = None,
    param: str | Path | None = None,
    tokenizer: str | None = None,
    box_detector: str | None = None,
    mask_detector: str | None = None,
) -> ConversionReport:
    """
    Convert a checkpoint and save the result.

    Args:
        kind: one of `KINDS`: released PBREC-MT, torchvision's or the original FCOS, SOLO, NanoDet, or the backbone of
            a DETR, from which a training starts.
        source: `.safetensors`, or a file of `torch.save`; nothing in it is run.
        destination: folder to write, new or empty.
        variant: of the original FCOS, "plain" or "improved".
        param: of NanoDet, ncnn's graph (`.param`).
        tokenizer: of PBREC, folder or Hub id of the tokenizer that its text encoder was trained with. With it the
            folder gets a processor and answers; without it, it holds the model alone, from which a training starts.
        box_detector, mask_detector: of PBREC with a tokenizer, folders or Hub ids of the processor's detectors.

    Returns:
        What became of every key.

    Raises:
        FileNotFoundError: there is no such file.
        FileExistsError: `destination` holds something.
        OSError: `destination` cannot be written; nothing of it is left.
        ValueError: the kind is unknown, an argument is missing or superfluous, or the checkpoint is not of this
            kind; keys are named.
    """
    if kind not in KINDS:
        raise ValueError(f"kind={kind!r} is unknown: choose one of {', '.join(KINDS)}.")
    parts = {"tokenizer": tokenizer, "box_detector": box_detector, "mask_detector": mask_detector}
    for name in (name for name, value in parts.items() if value is not None):
        if kind != "pbrec":
            raise ValueError(f"A conversion of kind {kind!r} takes no {name}: leave it out.")
        if tokenizer is None:
            raise ValueError(f"{name} is part of a processor, which needs a tokenizer: give that, too.")
    given = {"variant": variant, "param": param}
    for name, value in given.items():
        if (value is not None) != (_NEEDS.get(kind) == name):
            legal = f", one of {', '.join(VARIANTS)}" if name == "variant" else ""
            verb = "needs" if value is None else "takes no"
            remedy = "give it" if value is None else "leave it out"
            raise ValueError(f"A conversion of kind {kind!r} {verb} {name}{legal}: {remedy}.")
    arguments = [variant] if variant is not None else []
    if param is not None:
        arguments.append(Path(param).read_text(encoding="utf-8"))
    destination = Path(destination)
    if destination.is_file() or (destination.is_dir() and any(destination.iterdir())):
        raise FileExistsError(f"{destination} exists: give a folder that is new or empty.")
    weights = load_untrusted_state_dict(source)
    _require_numbers(weights)
    try:
        model, report = _CONVERTERS[kind](weights, *arguments)
    except (KeyError, IndexError, RuntimeError) as error:
        # The converters read sizes off the tensors, so a missing key or dimension may fail anywhere in them.
        reason = " ".join(f"{type(error).__name__} {error}".split())[:300]
        raise ValueError(
            f"{source} is not a complete checkpoint of kind {kind!r} ({reason}): give another kind, or fetch it again."
        ) from error
    processor = None if tokenizer is None else _processor(model, tokenizer, box_detector, mask_detector)
    with replaced_folder(destination) as folder:
        model.save_pretrained(folder)
        if processor is not None:
            processor.save_pretrained(folder)
    return report


def _processor(
    model: PreTrainedModel, tokenizer: str, box_detector: str | None, mask_detector: str | None
) -> PbrecProcessor:
    assert isinstance(model, PbrecForReferringExpression)  # of kind pbrec
    config = model.config
    with opening(tokenizer) as options:
        words = AutoTokenizer.from_pretrained(tokenizer, **options)
    known: int = config.text_config.vocab_size  # type: ignore[union-attr]  # a config once loaded
    if len(words) > known:
        raise ValueError(
            f"The tokenizer {tokenizer} has {len(words)} tokens, the model's text encoder {known}: give the tokenizer "
            "that it was trained with."
        )
    images = PbrecImageProcessor(size={"longest_edge": config.image_size})
    processor = PbrecProcessor(images, words, max_text_length=config.max_text_length)
    return add_detectors(processor, box_detector, mask_detector)


def _require_numbers(weights: dict[str, Tensor]) -> None:
    wrong = [
        f"{key} ({tensor.dtype})"
        for key, tensor in weights.items()
        if tensor.is_complex() or (key.endswith((".weight", ".bias")) and not tensor.is_floating_point())
    ]
    if wrong:
        raise ValueError(
            f"Weights must be floating-point numbers: {', '.join(wrong[:5])}. Give a checkpoint that is not quantised."
        )
