"""Undone mends of writing and of programs: locks, rules of other systems, encodings of the output."""

import importlib.machinery
import os
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from .base import Undo, replaced


def _crowd() -> tuple[Any, str, Any]:
    from pbrec_hf.training import run

    return run, "_alone_in", lambda folder: nullcontext()


def _writers() -> tuple[Any, str, Any]:
    """What torch and safetensors say of a file that is cut short is passed on."""
    from pbrec_hf.hub import writing

    real = writing._told
    return writing, "_told", lambda error, folder: real(error, folder) if isinstance(error, OSError) else None


def _read_only_flush(owner: str) -> Any:
    """Files are flushed by descriptors that may only read."""

    def flush(path: str | Path) -> None:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    return lambda: (importlib.import_module(owner), "flush", flush)


def _import_resource() -> tuple[Any, str, Any]:
    """A module of the trainer imports `resource`, as it did; nothing is compiled anew but this one."""
    real = importlib.machinery.SourceFileLoader.get_code

    def get_code(self: Any, name: str) -> Any:
        if name.endswith("pbrec_hf.training.trainer"):
            source = b"import resource\n" + Path(self.path).read_bytes()
            return compile(source, self.path, "exec", dont_inherit=True)
        return real(self, name)

    return importlib.machinery.SourceFileLoader, "get_code", get_code


def _strict_output() -> tuple[Any, str, Any]:
    from pbrec_hf.app import ending

    return ending, "io", SimpleNamespace(TextIOWrapper=())


UNDOS: dict[str, Undo] = {
    "D7 one folder": replaced("training", _crowd),
    "D7 size of files": replaced("training", _writers),
    "windows_fsync": replaced(
        "conventions", _read_only_flush("pbrec_hf.hub.writing"), _read_only_flush("pbrec_hf.training.checkpoints")
    ),
    "windows_resource": replaced("conventions", _import_resource),
    "cp1252_stdout": replaced("conventions", _strict_output),
}
