"""Checkpoints of a run that survive being killed: written aside, described by a manifest, renamed when complete.

A checkpoint is a folder `step-00000123` with whatever `Accelerator.save_state` writes and a `manifest.json` with the
SHA-256 of every file and the position in the run. A folder without a manifest, or with a file that differs from it, is
damaged and skipped. Knows nothing of models.
"""

import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from transformers.utils import logging

from ..hub.writing import PARTIAL, flush, one_line_errors, replaced_file
from ..inference.digests import file_sha256

logger = logging.get_logger(__name__)

_MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Checkpoint:
    """
    A complete checkpoint.

    Attributes:
        path: its folder.
        position: in the run, as it was saved.
    """

    path: Path
    position: dict[str, Any]


class CheckpointFolder:
    """
    The checkpoints of one run.

    Args:
        folder: of all checkpoints.
        accelerator: saves and restores the state; several processes act together.
        keep: number of checkpoints that are kept.
    """

    def __init__(self, folder: str | Path, accelerator: Accelerator, keep: int = 2):
        self.folder, self.accelerator, self.keep = Path(folder), accelerator, keep

    def save(self, position: dict[str, Any]) -> Path:
        """
        Save the accelerator's state. All processes must call it, between optimiser steps.

        Checkpoints of this step and of later ones are of an earlier run, and are deleted.

        Args:
            position: plain values, among them "step"; `last` returns them.

        Returns:
            The folder of the checkpoint.

        Raises:
            OSError: it cannot be written, in one line.
        """
        name = f"step-{position['step']:08}"
        partial, final = self.folder / (name + PARTIAL), self.folder / name
        with one_line_errors(self.folder):
            if self.accelerator.is_main_process:
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir(parents=True)
            self.accelerator.wait_for_everyone()
            self.accelerator.save_state(str(partial))
            self.accelerator.wait_for_everyone()
            if self.accelerator.is_main_process:
                write_manifest(partial, {"position": position})
                self._delete(path for path in self._newest_first() if path.name >= name)  # of an earlier run
                os.replace(partial, final)
                self._delete(self._newest_first()[self.keep :])
        self.accelerator.wait_for_everyone()
        return final

    def amend(self, path: Path, position: dict[str, Any]) -> None:
        """Update the stored position; leave the weights. All processes must call it."""
        if self.accelerator.is_main_process:
            manifest = json.loads((path / _MANIFEST).read_text(encoding="utf-8"))
            _write_json(path / _MANIFEST, manifest | {"position": position})
        self.accelerator.wait_for_everyone()

    def last(self) -> Checkpoint | None:
        """The last complete checkpoint, the same on every process; damaged ones are reported and skipped."""
        found: list[Checkpoint | None] = [None]
        if self.accelerator.is_main_process:
            found = [next((entry for path in self._newest_first() if (entry := _read(path))), None)]
        last: Checkpoint | None = broadcast_object_list(found)[0]
        return last

    def load(self, checkpoint: Checkpoint) -> None:
        """Restore the accelerator's state from `checkpoint`."""
        self.accelerator.load_state(str(checkpoint.path))
        self.accelerator.wait_for_everyone()

    def _newest_first(self) -> list[Path]:
        paths = self.folder.glob("step-*") if self.folder.is_dir() else ()
        return sorted((path for path in paths if path.suffix != PARTIAL), reverse=True)

    @staticmethod
    def _delete(paths: Iterable[Path]) -> None:
        for path in paths:
            # Without its manifest it no longer counts as a checkpoint, even if the deletion is interrupted.
            (path / _MANIFEST).unlink(missing_ok=True)
            shutil.rmtree(path, ignore_errors=True)


def write_manifest(folder: Path, values: dict[str, Any]) -> None:
    """Write `manifest.json`: `values` and the SHA-256 of every file, all of which are on the disk before it is."""
    files = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        files[path.relative_to(folder).as_posix()] = file_sha256(path)
        flush(path)
    _write_json(folder / _MANIFEST, {**values, "files": files})


def _write_json(path: Path, values: dict[str, Any]) -> None:
    with replaced_file(path) as partial:
        partial.write_text(json.dumps(values, indent=1), encoding="utf-8")


def _read(path: Path) -> Checkpoint | None:
    try:
        manifest = json.loads((path / _MANIFEST).read_text(encoding="utf-8"))
        for name, digest in manifest["files"].items():
            if file_sha256(path / name) != digest:
                raise ValueError(f"{name} differs from what was written")
        return Checkpoint(path, manifest["position"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        logger.warning(f"Checkpoint {path} is damaged ({error}) and is skipped.")
        return None
