"""Folders to publish: a checkpoint with its card, the same with its code, and a Space that demonstrates it.

What is written here is loaded strictly first: a damaged checkpoint is not published. Uploading is a matter of
huggingface_hub (see scripts/push_to_hub.py).
"""

import shutil
from pathlib import Path

from ..modeling_pbrec import PbrecForReferringExpression
from ..processing_pbrec import PbrecProcessor
from .remote_code import PIPELINE, write_code
from .writing import replaced_folder

TASK = "referring-expression"
_PACKAGE = Path(__file__).parents[1]
_SPACE_REQUIREMENTS = ("torch>=2.10", "torchvision>=0.25", "transformers>=5.23,<6", "pillow>=11", "pycocotools>=2.0.8")
_APP = '''"""Finds in a photograph what sentences mean. Generated with the model; see README.md."""

import os

from pbrec_hf.inference.grounder import Grounder
from pbrec_hf.app.serve import build_page, launch

page = build_page(Grounder(os.environ.get("MODEL", {model!r})))
launch(page)
'''
_SPACE_CARD = """---
title: {title}
emoji: 📍
colorFrom: yellow
colorTo: blue
sdk: gradio
sdk_version: {gradio}
app_file: app.py
license: apache-2.0
models:
- {model}
---
A photograph and some sentences in; boxes, masks and the reasons for them out. The model is
[{model}](https://huggingface.co/{model}); another one is taken from the variable `MODEL` of this Space.
"""


def write_checkpoint(source: str, destination: str | Path, with_code: bool = False, card: str | None = None) -> None:
    """
    Write a whole checkpoint (model, processor, detectors) to `destination`.

    Args:
        source: folder or Hub id.
        destination: a folder that does not exist yet, or is empty.
        with_code: also the modules that `trust_remote_code=True` runs where this package is not installed.
        card: text of README.md.

    Raises:
        FileExistsError: `destination` holds something.
        OSError, ValueError: `source` is no whole checkpoint.
    """
    destination = Path(destination)
    if destination.exists() and any(destination.iterdir()):
        raise FileExistsError(f"{destination} is not empty: name a new folder.")
    model = PbrecForReferringExpression.from_pretrained(source)
    processor = PbrecProcessor.from_pretrained(source)
    if not processor.detectors:
        raise ValueError(f"The processor of {source} has no detector: without proposals there are no answers.")
    if with_code:
        model.config.custom_pipelines = {TASK: {"impl": PIPELINE, "pt": ["AutoModel"]}}
    with replaced_folder(destination) as folder:
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
        if with_code:
            write_code(folder, model, processor)
        if card is not None:
            (folder / "README.md").write_text(card, encoding="utf-8")


def write_space(model: str, destination: str | Path, title: str = "Referring expressions") -> None:
    """
    Write a Gradio Space that demonstrates a model; it brings this package along and needs nothing else.

    Args:
        model: Hub id of the model, or a folder's path for a trial on this machine.
        destination: a folder that does not exist yet.

    Raises:
        FileExistsError: `destination` exists.
    """
    destination = Path(destination)
    if destination.exists():
        raise FileExistsError(f"{destination} exists: give a folder that does not, or delete it first.")
    unneeded = shutil.ignore_patterns("__pycache__", "checkpoints", "convert", "data", "metrics", "training")
    card = _SPACE_CARD.format(title=title, model=model, gradio=_gradio_version())
    with replaced_folder(destination) as folder:
        shutil.copytree(_PACKAGE, folder / "pbrec_hf", ignore=unneeded)
        (folder / "app.py").write_text(_APP.format(model=model), encoding="utf-8")
        (folder / "requirements.txt").write_text("\n".join(_SPACE_REQUIREMENTS) + "\n", encoding="utf-8")
        (folder / "README.md").write_text(card, encoding="utf-8")


def _gradio_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("gradio")
    except PackageNotFoundError:
        return "6.0.0"


__all__ = ["TASK", "write_checkpoint", "write_space"]
