"""Judges files of weights by their headers, before memory is allocated for a single number.

A damaged or hostile config can describe a model of any size; what the file holds is bounded by the file's size.
"""

from collections.abc import Iterable, Mapping

import torch
from safetensors import safe_open
from torch import Tensor

# How safetensors names types of numbers: F32, BF16, I64, U8, C64; BOOL apart.
_KINDS = {"F": "floating-point", "B": "floating-point", "I": "integer", "U": "integer", "C": "complex"}
# A model may hold more numbers than its file: tied weights are stored once, and code fills constants.
_MOST_PER_STORED, _SMALL = 2, 10**6


def read_headers(files: Iterable[str]) -> dict[str, tuple[tuple[int, ...], str]]:
    """
    Shape and type of each tensor, without its numbers.

    Args:
        files: safetensors files; others are passed over.

    Returns:
        {name: (shape, type as safetensors writes it, such as "F32")}.

    Raises:
        SafetensorError: a header is damaged.
    """
    found = {}
    for path in files:
        if path.endswith(".safetensors"):
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118  # no mapping
                    part = file.get_slice(name)
                    found[name] = (tuple(part.get_shape()), part.get_dtype())
    return found


def misfits(
    headers: Mapping[str, tuple[tuple[int, ...], str]], tensors: Mapping[str, Tensor], shapes: bool
) -> dict[str, list[str]]:
    """
    What would not load into these tensors, by kind of trouble; names that only one side has are judged elsewhere.

    Args:
        headers: as `read_headers` gives them.
        tensors: of the model, by name; on any device, "meta" included.
        shapes: whether other shapes are trouble.
    """
    troubles: dict[str, list[str]] = {"of another shape": [], "of another kind": []}
    for name in sorted(headers.keys() & tensors.keys()):
        (shape, dtype), tensor = headers[name], tensors[name]
        if shapes and shape != tuple(tensor.shape):
            troubles["of another shape"].append(f"{name} {shape} instead of {tuple(tensor.shape)}")
        if _kind_of_type(dtype) != _kind(tensor.dtype):
            troubles["of another kind"].append(f"{name} {dtype} instead of {str(tensor.dtype).partition('.')[2]}")
    return {trouble: names for trouble, names in troubles.items() if names}


def numbers(headers: Mapping[str, tuple[tuple[int, ...], str]]) -> int:
    """How many numbers the files hold."""
    return sum(torch.Size(shape).numel() for shape, _ in headers.values())


def is_too_large(tensors: Mapping[str, Tensor], stored: int) -> bool:
    """Whether a model needs far more numbers than `stored`, so that most of it would be missing."""
    return sum(tensor.numel() for tensor in tensors.values()) > _MOST_PER_STORED * stored + _SMALL


def _kind_of_type(name: str) -> str:
    return "boolean" if name == "BOOL" else _KINDS.get(name[:1], name)


def _kind(dtype: torch.dtype) -> str:
    if dtype == torch.bool:
        return "boolean"
    return _KINDS["F" if dtype.is_floating_point else "C" if dtype.is_complex else "I"]


__all__ = ["is_too_large", "misfits", "numbers", "read_headers"]
