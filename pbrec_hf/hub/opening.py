"""Why a checkpoint cannot be loaded: the file that is damaged or missing, in one line.

A damaged file makes the libraries that read it raise nearly anything: `KeyError: 'added_tokens'`, "'list' object has
no attribute 'get'", a bare `Exception`. `clear_errors` turns all of it into one error that names the folder, the file
and the remedy. The search for the file begins when loading has failed: it costs nothing otherwise. Knows nothing of
this package's classes; what the Auto classes know is enough.
"""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import HfApi, try_to_load_from_cache
from huggingface_hub.errors import HFValidationError, StrictDataclassError
from huggingface_hub.utils import httpx
from safetensors import safe_open
from tokenizers import Tokenizer

from .reaching import hub_options

_JSON = (
    "config.json", "processor_config.json", "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json",
    "special_tokens_map.json", "model.safetensors.index.json",
)  # fmt: skip
_NOT_THE_FILES = (ImportError, MemoryError, torch.OutOfMemoryError)  # what the machine lacks, not the checkpoint


class CheckpointError(OSError):
    """A checkpoint cannot be loaded; the message fits on one line and names the folder, the file and the remedy."""


@contextmanager
def opening(source: str | PathLike[str]) -> Iterator[dict[str, Any]]:
    """
    A block that loads a checkpoint: as `clear_errors`, and without waiting for a Hub that is out of reach.

    Args:
        source: folder or Hub id of the checkpoint.

    Yields:
        Further arguments of `from_pretrained`.

    Raises:
        ConnectionError: the Hub does not answer, and nothing of the id is on this machine.
        OSError, ValueError: see `clear_errors`.
    """
    options = hub_options(str(source))
    with clear_errors(source):
        yield options


@contextmanager
def clear_errors(source: str | PathLike[str], files_alone: bool = False) -> Iterator[None]:
    """
    Whatever fails while a checkpoint is loaded in this block becomes one clear error. Blocks may be nested.

    Args:
        source: folder or Hub id of the checkpoint.
        files_alone: leave errors as they are for which no file is to blame, such as a mistyped argument.

    Raises:
        CheckpointError: it is not there, incomplete or damaged; an `OSError`.
        ValueError: its files can be read, but do not fit together or hold a value that is not legal.
    """
    try:
        yield
    except (CheckpointError, *_NOT_THE_FILES):
        raise
    except Exception as error:
        told = _told(str(source), error, files_alone)
        if told is error:
            raise
        raise told from error


def one_line(error: BaseException) -> str:
    """The message of an error without line breaks, and with its type where it says little by itself."""
    text = " ".join(str(error).split())
    if type(error) is Exception or isinstance(error, (OSError, ValueError, StrictDataclassError)):
        return text or type(error).__name__
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _told(source: str, error: Exception, files_alone: bool) -> Exception:
    folder = _folder(source)
    if folder is not None:
        if damage := _damage(folder):
            return CheckpointError(
                f"The checkpoint {source} cannot be loaded: {damage}. Get this file again, or save it anew."
            )
        if isinstance(error, ValueError) and source in str(error):
            return error  # weights that do not fit their config, told with their names
        # A tokenizer that is not there is told as one that cannot be converted.
        lacking = isinstance(error, OSError) or "tokenizer" in str(error)
        if lacking and (missing := _missing(source, folder)):
            return CheckpointError(f"The checkpoint {source} cannot be loaded: {missing}")
        if (refused := _refused(folder)) is not None:
            name, refusal = refused
            kind = ValueError if isinstance(refusal, (ValueError, StrictDataclassError)) else CheckpointError
            return kind(
                f"The checkpoint {source} cannot be loaded: {name}: {one_line(refusal).rstrip('.')}. Correct this "
                "file, or get it again."
            )
    if files_alone:
        return error
    reason = one_line(error).rstrip(".")
    if isinstance(error, (ValueError, StrictDataclassError)) and not isinstance(error, HFValidationError):
        return ValueError(f"The checkpoint {source} cannot be loaded: {reason}.")
    if folder is not None:
        return CheckpointError(f"The checkpoint {source} cannot be loaded: {reason}. Get it again, or save it anew.")
    return CheckpointError(
        f"No checkpoint can be loaded from {source!r} ({reason}): give a folder made by `save_pretrained`, or the id "
        "of a model on the Hub that this machine can reach."
    )


def _folder(source: str) -> Path | None:
    """Where the files of a folder or a Hub id lie on this machine; None if they do not."""
    if Path(source).is_dir():
        return Path(source)
    try:
        found = try_to_load_from_cache(source, "config.json")
    except HFValidationError:
        return None
    return Path(found).parent if isinstance(found, str) else None


def _parts(folder: Path) -> list[Path]:
    """The folder and those of its detectors."""
    return [folder, *sorted(path.parent for path in folder.glob("*/config.json"))]


def _damage(folder: Path) -> str | None:
    """The first file that is not what its name says, and why."""
    readers: list[tuple[Path, Callable[[Path], Any]]] = []
    for part in _parts(folder):
        readers += [(part / name, _require_object) for name in _JSON if (part / name).is_file()]
        readers += [(path, _require_weights) for path in sorted(part.glob("*.safetensors"))]
    if (folder / "tokenizer.json").is_file():
        readers.append((folder / "tokenizer.json", lambda path: Tokenizer.from_file(str(path))))
    for path, read in readers:
        try:
            read(path)
        except RecursionError:
            return f"{path.relative_to(folder)} is damaged (nested too deeply)"
        except Exception as error:  # `tokenizers` raises bare ones
            return f"{path.relative_to(folder)} is damaged ({one_line(error)})"
    return None


def _require_object(path: Path) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError("no object in braces")


def _require_weights(path: Path) -> None:
    with safe_open(path, framework="pt") as file:
        file.keys()


def _missing(source: str, folder: Path) -> str | None:
    """What a whole checkpoint has and this one lacks, by the names under which this package saves it."""
    try:
        # Of a repository, this machine has only what was asked for so far.
        names = os.listdir(folder) if Path(source).is_dir() else HfApi().list_repo_files(source)
    except (OSError, httpx.TransportError):
        return None
    there = set(names)
    if "training.yaml" in there and "model.safetensors" not in there:
        return (
            "it is a recipe, with a config and neither weights nor a tokenizer. Train it (`pbrec-hf train --config "
            f"{folder.name} …`), or convert the weights (`pbrec-hf convert pbrec FILE OUT --tokenizer "
            "google-bert/bert-base-uncased`)."
        )
    model = [name for name in ("config.json", "model.safetensors") if name not in there]
    if any(name.endswith((".safetensors", ".bin")) for name in there):
        model = [name for name in model if name == "config.json"]  # several files, or a variant
    processor = [name for name in ("processor_config.json", "tokenizer.json") if name not in there]
    if "processor_config.json" in processor and "preprocessor_config.json" in there:
        processor.remove("processor_config.json")  # as transformers 4 wrote it
    if "tokenizer.json" in processor and "vocab.txt" in there:
        processor.remove("tokenizer.json")
    if model:
        inside = [str(path) for path in _parts(folder)[1:]]
        remedy = f"give one of {', '.join(inside)}" if len(model) == 2 and inside else "save the model there"
        return f"it has no {' and no '.join(model)}; {remedy}."
    if not processor and "preprocessor_config.json" not in there:
        described = json.loads((folder / "processor_config.json").read_text(encoding="utf-8"))
        if "image_processor" not in described:
            return "its processor_config.json has no field image_processor: get this file again."
    if processor:
        return f"it has no {' and no '.join(processor)}; save the processor there, too: processor.save_pretrained(…)."
    return None


def _refused(folder: Path) -> tuple[str, Exception] | None:
    """The first file whose values the class that reads it refuses, and its error."""
    from transformers import AutoConfig, AutoImageProcessor, AutoTokenizer

    readers: list[tuple[Path, Callable[..., Any]]] = [
        (part / "config.json", AutoConfig.from_pretrained)
        for part in _parts(folder)
        if (part / "config.json").is_file()
    ]
    # A detector alone has neither.
    if any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json")):
        readers.append((folder / "tokenizer_config.json or tokenizer.json", AutoTokenizer.from_pretrained))
    if (folder / "processor_config.json").is_file():
        readers.append((folder / "processor_config.json", AutoImageProcessor.from_pretrained))
    for path, read in readers:
        try:
            read(str(path.parent), local_files_only=True)
        except Exception as error:
            return str(path.relative_to(folder)), error
    return None


__all__ = ["CheckpointError", "clear_errors", "one_line", "opening"]
