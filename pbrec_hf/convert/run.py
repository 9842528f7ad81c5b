"""One door to all converters: a checkpoint file in, a folder for `from_pretrained` out, a report for the person.

The result is written only after it ran once with finite outputs.
"""

from collections.abc import Callable
from pathlib import Path

from torch import Tensor
from transformers import PreTrainedModel, ResNetBackbone, ResNetConfig

from ..hub.writing import replaced_folder
from .detr import PREFIX, convert_detr_backbone
from .fcos import VARIANTS, convert_original_fcos, convert_torchvision_fcos
from .loading import load_untrusted_state_dict
from .nanodet import convert_nanodet
from .pbrec import convert_pbrec
from .pbrec import verify as verify_pbrec
from .report import ConversionReport
from .resnet import resnet_shape
from .solo import convert_solo

Converted = tuple[PreTrainedModel, ConversionReport]


def _pbrec(weights: dict[str, Tensor]) -> Converted:
    model, report = convert_pbrec(weights)
    verify_pbrec(model)
    return model, report


def _detr_backbone(weights: dict[str, Tensor]) -> Converted:
    tensors, report = convert_detr_backbone(weights)
    shape = resnet_shape([key.removeprefix("detr.") for key in weights], PREFIX)
    backbone = ResNetBackbone(ResNetConfig(**shape, out_features=["stage4"]))
    backbone.load_state_dict({**backbone.state_dict(), **tensors})
    return backbone, report


_CONVERTERS: dict[str, Callable[..., Converted]] = {
    "pbrec": _pbrec,
    "fcos-torchvision": convert_torchvision_fcos,
    "fcos": convert_original_fcos,
    "solo": convert_solo,
    "nanodet": convert_nanodet,
    "detr-backbone": _detr_backbone,
}
KINDS = tuple(_CONVERTERS)
# What a kind needs beside its checkpoint.
_NEEDS = {"fcos": "variant", "nanodet": "param"}


def convert(
    kind: str, source: str | Path, destination: str | Path, variant: str | None = None, param: str | Path | None = None
) -> ConversionReport:
    """
    Convert a checkpoint and save the result.

    Args:
        kind: one of `KINDS`: released PBREC-MT, torchvision's or the original FCOS, SOLO, NanoDet, or the backbone of
            a DETR, with which a training starts.
        source: `.safetensors`, or a file of `torch.save`; nothing in it is run.
        destination: folder to write, new or empty.
        variant: of the original FCOS, "plain" or "improved".
        param: of NanoDet, ncnn's graph (`.param`).

    Raises:
        FileNotFoundError: no such file.
        FileExistsError: something is in `destination`.
        OSError: it cannot be written; nothing of it is left.
        ValueError: an unknown kind, an option that is missing or of another kind, or a checkpoint that is not of this
            kind; keys are named.
    """
    if kind not in KINDS:
        raise ValueError(f"kind={kind!r} is unknown: choose one of {', '.join(KINDS)}.")
    given = {"variant": variant, "param": param}
    for name, value in given.items():
        if (value is not None) != (_NEEDS.get(kind) == name):
            legal = f", one of {', '.join(VARIANTS)}" if name == "variant" else ""
            verb = "needs" if value is None else "takes no"
            raise ValueError(f"A conversion of kind {kind!r} {verb} {name}{legal}.")
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
        # The converters read shapes off a checkpoint: what lacks a key or a dimension fails there in any place.
        reason = " ".join(f"{type(error).__name__} {error}".split())[:300]
        raise ValueError(f"{source} is no whole checkpoint of kind {kind!r} ({reason}).") from error
    with replaced_folder(destination) as folder:
        model.save_pretrained(folder)
    return report


def _require_numbers(weights: dict[str, Tensor]) -> None:
    wrong = [
        f"{key} ({tensor.dtype})"
        for key, tensor in weights.items()
        if tensor.is_complex() or (key.endswith((".weight", ".bias")) and not tensor.is_floating_point())
    ]
    if wrong:
        raise ValueError(f"Weights must be floating-point numbers: {', '.join(wrong[:5])}.")
