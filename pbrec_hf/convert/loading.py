"""Checkpoint files that somebody else made → tensors by key, without running anything that is in them.

safetensors are read directly. Pickled files (`.pth`, `.pt`) are opened by PyTorch's restricted reader
(`weights_only=True`) in a process of its own, which writes the tensors to a temporary safetensors file: whatever a
hostile file might do to the reader happens there, with memory and time in proportion to the file.
"""

import argparse
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..hub.writing import one_line_errors

# Where training code puts the weights among other things.
CONTAINERS = ("model", "state_dict")
# What data-parallel training and torch.compile put before every key.
PREFIXES = ("module.", "_orig_mod.")
# Limits of the reader's process: for itself, and by the size of the file.
_SECONDS, _BYTES_PER_SECOND = 120, 4 * 2**20
_MEMORY, _MEMORY_PER_BYTE = 4 * 2**30, 6
# Weights that are tied are stored once, and an archive of weights is hardly ever compressed.
_MOST_COPIES = 4
_SMALL = 2**20


def load_untrusted_state_dict(path: str | Path) -> dict[str, Tensor]:
    """
    The tensors of a checkpoint by key, on the CPU.

    Args:
        path: `.safetensors`, or a file of `torch.save`: a state dict, or a dict that holds one under "model" or
            "state_dict". `module.` and `_orig_mod.`, which data-parallel training and torch.compile put before all
            keys, are removed.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: the disk of temporary files is full.
        ValueError: the file is damaged, holds no state dict, or holds objects other than tensors and plain data.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file: give the path of a checkpoint.")
    if path.suffix == ".safetensors":
        return _without_prefixes(_load_safetensors(path))
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "weights.safetensors"
        command = [sys.executable, "-m", __name__, str(path.resolve()), str(target)]
        try:
            seconds = _SECONDS + path.stat().st_size // _BYTES_PER_SECOND
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=seconds)
        except subprocess.TimeoutExpired as error:
            raise ValueError(
                f"{path} could not be read within {seconds} s: it may be damaged, so fetch it again."
            ) from error
        if done.returncode != 0:
            reason = done.stderr.strip().splitlines() or [f"the reader ended with code {done.returncode}"]
            if "I/O error" in reason[-1]:  # of safetensors, for the temporary file
                with one_line_errors(folder):
                    raise OSError(reason[-1])
            raise ValueError(
                f"{path} is refused: {reason[-1]}. Only tensors and plain data are read; if you trust the file, save "
                "its state dict as safetensors and convert that."
            )
        return _without_prefixes(_load_safetensors(target))


def _load_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is not a readable safetensors file ({error}): fetch it again.") from error


def _without_prefixes(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    while prefix := next((p for p in PREFIXES if state_dict and all(key.startswith(p) for key in state_dict)), None):
        state_dict = {key.removeprefix(prefix): value for key, value in state_dict.items()}
    return state_dict


def _state_dict_in(content: Any) -> dict[str, Tensor]:
    """The state dict that unpickled content is, or holds."""
    if not isinstance(content, dict):
        raise ValueError(f"it holds a {type(content).__name__} instead of a state dict")
    passed = [id(content)]
    while inner := next((content[name] for name in CONTAINERS if isinstance(content.get(name), dict)), None):
        if id(inner) in passed:
            raise ValueError("it holds a dict that holds itself")
        passed.append(id(inner))
        content = inner
    others = [key for key, value in content.items() if not (isinstance(key, str) and isinstance(value, Tensor))]
    if others or not content:
        raise ValueError(f"it holds no state dict: {others[:5]} are not tensors, and there is none under {CONTAINERS}")
    return content


def _copied(state_dict: Mapping[str, Tensor], size: int) -> dict[str, Tensor]:
    """The tensors of a file of `size` bytes without shared memory and views, which safetensors refuses."""
    for key, value in state_dict.items():
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise ValueError(f"{key} claims {value.numel()} values, more than the file holds")
    claimed = sum(value.numel() * value.element_size() for value in state_dict.values())
    if claimed > _MOST_COPIES * size + _SMALL:
        raise ValueError(f"its tensors are {claimed} bytes, but the file has {size}: it repeats the same numbers")
    return {key: value.clone().contiguous() for key, value in state_dict.items()}


def _resave(source: str, target: str) -> None:
    size = os.path.getsize(source)
    _require_archive_of(source, size)
    _limit_memory(_MEMORY + _MEMORY_PER_BYTE * size)
    with torch.serialization.safe_globals(_plain_data()):
        content = torch.load(source, weights_only=True, map_location="cpu")
    save_file(_copied(_state_dict_in(content), size), target)


def _require_archive_of(source: str, size: int) -> None:
    """torch's archives are not compressed; one that unpacks to far more than its size is no archive of weights."""
    if not zipfile.is_zipfile(source):
        return
    with zipfile.ZipFile(source) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
    if unpacked > _MOST_COPIES * size + _SMALL:
        raise ValueError(f"it unpacks to {unpacked} bytes, but the file has {size}")


def _limit_memory(most: int) -> None:
    try:
        import resource  # not on Windows, where the limit of time alone holds
    except ImportError:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def _plain_data() -> list[type | Callable[..., Any] | tuple[type | Callable[..., Any], str]]:
    """What training code stores beside the weights, and what holds data and runs nothing."""
    # What pickles of NumPy call.
    scalar: Any = np.float64(0).__reduce__()[0]
    array: Any = np.zeros(1).__reduce__()[0]
    dtypes = {type(np.dtype(kind)) for kind in np.typecodes["All"] if kind != "O"}
    paths = [
        (getattr(pathlib, f"Pure{kind}Path"), f"{module}.{kind}Path")
        for kind in ("Posix", "Windows")
        for module in ("pathlib", "pathlib._local")
    ]
    numpy_names = [
        (function, f"numpy.{core}.multiarray.{name}")
        for core in ("core", "_core")
        for function, name in ((scalar, "scalar"), (array, "_reconstruct"))
    ]
    plain = [argparse.Namespace, dict, float, int, list, set, str, tuple, np.dtype, np.ndarray]
    return [*plain, (_without_default, "collections.defaultdict"), *dtypes, *paths, *numpy_names]


def _without_default(*_: object) -> dict[Any, Any]:
    """In place of `collections.defaultdict`, which the restricted reader does not fill."""
    return {}


def main(source: str, target: str) -> None:
    """
    What the reader's process does: read `source` with the restricted unpickler, write its tensors to `target`.

    Raises:
        SystemExit: with the reason, in one line.
    """
    try:
        _resave(source, target)
    except EOFError:
        sys.exit("it is empty or cut off")
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        if reason.startswith("UnpicklingError"):
            # PyTorch's own text goes on to recommend reading the file without restrictions.
            asked = re.search(r"GLOBAL ([\w.]+)", str(error))
            wants = f", such as {asked[1]}" if asked else ", or is damaged"
            reason = f"UnpicklingError: it holds more than tensors and plain data{wants}"
        sys.exit(reason)


if __name__ == "__main__":
    main(*sys.argv[1:])
