"""A Gradio Space that demonstrates a model: a folder that brings this package along and needs no other repository."""

import re
import shutil
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from .writing import replaced_folder

_PACKAGE = Path(__file__).parents[1]
_UNNEEDED = (
    "__pycache__", "checkpoints", "convert", "data", "hub_configs", "metrics", "model_cards", "training",
)  # fmt: skip
_REQUIREMENTS = ("torch", "torchvision", "transformers", "pillow", "pycocotools")  # the others come with Gradio
_APP = '''"""Finds in a photograph what sentences mean. Generated with the model; see README.md."""

import os

from pbrec_hf.app.serve import build_page, launch
from pbrec_hf.inference.grounder import Grounder

page = build_page(Grounder(os.environ.get("MODEL", {model!r})))
launch(page)
'''
_CARD = """---
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
[{model}](https://huggingface.co/{model}); the variable `MODEL` of this Space selects another one.
"""


def write_space(model: str, destination: str | Path, title: str = "Referring expressions") -> None:
    """
    Write the folder of a Space.

    Args:
        model: Hub id of the model, or a folder's path for a trial on this machine.
        destination: a folder that does not exist yet.
        title: of the page.

    Raises:
        FileExistsError: `destination` exists.
        OSError: it cannot be written.
    """
    destination = Path(destination)
    if destination.exists():
        raise FileExistsError(f"{destination} exists: give a folder that does not, or delete it first.")
    card = _CARD.format(title=title, model=model, gradio=_gradio_version())
    with replaced_folder(destination) as folder:
        shutil.copytree(_PACKAGE, folder / "pbrec_hf", ignore=shutil.ignore_patterns(*_UNNEEDED))
        (folder / "app.py").write_text(_APP.format(model=model), encoding="utf-8")
        (folder / "requirements.txt").write_text("\n".join(_requirements()) + "\n", encoding="utf-8")
        (folder / "README.md").write_text(card, encoding="utf-8")


def _requirements() -> list[str]:
    """What the page needs, with the versions that this package allows."""
    try:
        ours = requires("pbrec_hf") or []
    except PackageNotFoundError:  # run from a copy that is not installed
        ours = []
    stated = {re.split(r"[^\w.-]", line)[0].lower(): line for line in ours if ";" not in line}
    return [stated.get(name, name) for name in _REQUIREMENTS]


def _gradio_version() -> str:
    try:
        return version("gradio")
    except PackageNotFoundError:
        return "6.29.1"


__all__ = ["write_space"]
