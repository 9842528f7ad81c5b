"""Checkpoint files that somebody else made -> tensors by key, without running anything that is in them.

safetensors are read directly. Pickled files (`.pth`, `.pt`) are opened by PyTorch's restricted reader
(`weights_only=True`) in a process of its own, which writes the tensors to a temporary safetensors file: whatever a
hostile file might do to the reader happens there.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

# Where training code puts the weights among other things.
CONTAINERS = ("model", "state_dict")
TIMEOUT_SECONDS = 600


def load_untrusted_state_dict(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by key, on the CPU.

    Args:
        path: `.safetensors`, or a file of `torch.save`: a state dict, or a dict that holds one under "model" or
            "state_dict". A leading `module.` of data-parallel training is removed from all keys.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged, holds no state dict, or holds objects other than tensors and plain data.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no file; give the path of a checkpoint")
    if path.suffix == ".safetensors":
        return _without_prefix(_load_safetensors(path))
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "weights.safetensors"
        command = [sys.executable, "-m", __name__, str(path.resolve()), str(target)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise ValueError(f"{path} could not be read within {TIMEOUT_SECONDS} s; it may be damaged") from error
        if done.returncode != 0:
            reason = done.stderr.strip().splitlines() or [f"the reader ended with code {done.returncode}"]
            raise ValueError(
                f"{path} is refused: {reason[-1]}. Only tensors and plain data are read; if you trust the file, save "
                "its state dict as safetensors and convert that"
            )
        return _without_prefix(_load_safetensors(target))


def _load_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is no readable safetensors file ({error}); fetch it again") from error


def _without_prefix(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    if not all(key.startswith("module.") for key in state_dict):
        return state_dict
    return {key.removeprefix("module."): value for key, value in state_dict.items()}


def _state_dict_in(content) -> dict[str, Tensor]:
    """The state dict that unpickled content is, or holds."""
    if not isinstance(content, dict):
        raise ValueError(f"it holds a {type(content).__name__} instead of a state dict")
    while inner := next((content[name] for name in CONTAINERS if isinstance(content.get(name), dict)), None):
        content = inner
    others = [key for key, value in content.items() if not (isinstance(key, str) and isinstance(value, Tensor))]
    if others or not content:
        raise ValueError(f"it holds no state dict: {others[:5]} are no tensors, nor is one under {CONTAINERS}")
    return content


def _resave(source: str, target: str) -> None:
    """In the reader's process: `source` by the restricted unpickler, its tensors to `target`."""
    # Training scripts store their options beside the weights; a Namespace holds data and runs nothing.
    with torch.serialization.safe_globals([argparse.Namespace]):
        content = torch.load(source, weights_only=True, map_location="cpu")
    # safetensors refuses tensors that share memory, and views.
    save_file({key: value.clone().contiguous() for key, value in _state_dict_in(content).items()}, target)


if __name__ == "__main__":
    try:
        _resave(*sys.argv[1:])
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
