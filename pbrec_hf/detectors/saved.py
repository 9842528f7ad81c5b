"""Detectors beside the processor that they were saved with: in sub-folders of their own, or named from elsewhere."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .base import load_detector
from .references import DetectorReference


def save_detector(
    detector: Any, named: str | Mapping[str, Any], directory: Path, subfolder: str, **options: Any
) -> None:
    """
    Write a detector, unless the processor names it from elsewhere.

    Args:
        detector: of a processor.
        named: what the processor's config says of it: a model type, or a [`DetectorReference`] as a dict.
        directory: of the processor.
        subfolder: of the detector.
        options: of its `save_pretrained`.
    """
    folder = directory / subfolder
    if isinstance(named, Mapping):
        shutil.rmtree(folder, ignore_errors=True)  # of an earlier save
        return
    detector.save_pretrained(folder, **options)
    # Code of one's own (`register_for_auto_class`) is looked for beside the processor.
    for module in folder.glob("*.py"):
        shutil.copyfile(module, directory / module.name)


def load_saved_detector(
    source: str | os.PathLike[str], subfolder: str, named: str | Mapping[str, Any], options: Mapping[str, Any]
) -> tuple[Any, DetectorReference | None]:
    """
    Read a detector, and from where if the processor names it from elsewhere.

    Args:
        source: folder or Hub id of the processor.
        subfolder: of the detector.
        named: see `save_detector`.
        options: of `from_pretrained`; revisions are the processor's own.

    Raises:
        OSError: the detector cannot be read.
        ValueError: no detector is registered for the model type.
    """
    if isinstance(named, Mapping):
        reference = DetectorReference.of(named)
        elsewhere = {name: value for name, value in options.items() if name not in ("revision", "code_revision")}
        return reference.load(elsewhere), reference
    return load_detector(source, subfolder, named, options), None


__all__ = ["load_saved_detector", "save_detector"]
