"""Detectors beside the processor that they were saved with: in sub-folders of their own, or named from elsewhere."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .base import is_detector, load_detector
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
    source: str | os.PathLike[str],
    subfolder: str,
    named: str | Mapping[str, Any],
    options: Mapping[str, Any],
    others: Mapping[str, Any],
) -> tuple[Any, DetectorReference | None]:
    """
    Read a detector, and from where if the processor names it from elsewhere.

    Args:
        source: folder or Hub id of the processor.
        subfolder: of the detector.
        named: see `save_detector`.
        options: of `from_pretrained`; revisions are the processor's own.
        others: the processor's detectors by kind, as far as they are loaded.

    Raises:
        OSError: the detector cannot be read.
        ValueError: no detector is registered for the model type, or it is part of one that is not there.
    """
    if isinstance(named, Mapping):
        reference = DetectorReference.of(named)
        if reference.part_of is not None:
            whole = others.get(reference.part_of)
            if not is_detector(part := getattr(whole, "source", None)):
                raise ValueError(
                    f"The detector of {subfolder!r} is part of that of {reference.part_of!r}, which holds none: get "
                    "the folder again, or pass load_detectors=False."
                )
            return part, reference
        elsewhere = {name: value for name, value in options.items() if name not in ("revision", "code_revision")}
        return reference.load(elsewhere), reference
    return load_detector(source, subfolder, named, options), None


def load_saved_detectors(
    processor: Any,
    source: str | os.PathLike[str],
    folders: Mapping[str, str],
    subfolder: str,
    options: Mapping[str, Any],
) -> None:
    """
    Give a processor the detectors that its config speaks of.

    Args:
        processor: as it was read, without detectors.
        source: folder or Hub id that it was read from.
        folders: of each kind of detector.
        subfolder: of the processor within `source`, "" = none.
        options: see `load_saved_detector`.
    """
    for kind, named in sorted(processor.detectors.items(), key=lambda entry: _is_part(entry[1])):
        place = "/".join(filter(None, (subfolder, folders[kind])))
        loaded = load_saved_detector(source, place, named, options, processor.held_detectors)
        processor.replace_detector(kind, *loaded)


def parts_of(kind: str, detectors: Mapping[str, Any], held: Mapping[str, Any]) -> dict[str, str]:
    """
    Model types of the detectors that are part of another one, which is about to be replaced.

    Args:
        kind: of the one to be replaced.
        detectors: what the processor's config says, by kind.
        held: the detectors by kind.
    """
    return {
        other: held[other].config.model_type
        for other, named in detectors.items()
        if other in held and _is_part(named) and named["part_of"] == kind
    }


def _is_part(named: object) -> bool:
    """Whether what a processor's config says of a detector is that it is part of another one."""
    return isinstance(named, Mapping) and "part_of" in named


__all__ = ["load_saved_detector", "load_saved_detectors", "parts_of", "save_detector"]
