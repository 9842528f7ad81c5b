"""Label Studio: `label-studio/tasks.json` with predictions to import, and `label-studio/config.xml` for the project.

A photograph of this disk is named as Label Studio's server of local files knows it, with the whole disk as its root;
`--image_prefix` puts another address before its name.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from ....hub.writing import replaced_folder
from ....images.sources import ADDRESSES
from ....version import __version__
from ...drawing import COLORS
from ..labelled import Labelled
from ..studio_results import BRUSH, RECTANGLES, regions
from . import Add, Options

LOCAL_FILES = "/data/local-files/?d="


@contextmanager
def tasks(options: Options) -> Iterator[Add]:
    """See the module."""
    labels: dict[str, None] = {}
    with replaced_folder(options.out / "label-studio") as folder:
        with open(folder / "tasks.json", "w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
            file.write("[")
            separator = "\n"

            def add(labelled: Labelled) -> None:
                nonlocal separator
                for entry in labelled.entries:
                    labels.setdefault(entry["expression"])
                file.write(separator + json.dumps(task(labelled, options.image_prefix), ensure_ascii=False))
                separator = ",\n"

            yield add
            file.write("\n]\n")
        (folder / "config.xml").write_text(config(list(labels)), encoding="utf-8")


def task(labelled: Labelled, image_prefix: str | None) -> dict[str, object]:
    """The task of a photograph with one prediction."""
    size = (labelled.height, labelled.width)
    result, scores = [], []
    for entry in labelled.entries:
        result += regions(entry, size, ("label", "image"), RECTANGLES)
        if "masks" in entry:
            result += regions(entry, size, ("brush", "image"), BRUSH)
        scores += entry["scores"]
    prediction = {
        "model_version": f"pbrec_hf {__version__}",
        "score": round(sum(scores) / len(scores), 6) if scores else 0.0,
        "result": result,
    }
    return {"data": {"image": address(labelled, image_prefix)}, "predictions": [prediction]}


def address(labelled: Labelled, image_prefix: str | None) -> str:
    """Where Label Studio finds a photograph."""
    name = labelled.photograph.name
    if image_prefix is None and name.startswith(ADDRESSES):
        return name
    if image_prefix is not None:
        return image_prefix + quote(labelled.file)
    return LOCAL_FILES + quote(name.lstrip("/"))


def config(labels: list[str]) -> str:
    """A labelling interface with a rectangle and a brush for every expression."""
    lines = ["<View>", '  <Image name="image" value="$image" zoom="true"/>']
    for tag, name in (("RectangleLabels", "label"), ("BrushLabels", "brush")):
        lines.append(f'  <{tag} name="{name}" toName="image">')
        lines += [
            f"    <Label value={quoteattr(label)} background={quoteattr(COLORS[number % len(COLORS)])}/>"
            for number, label in enumerate(labels)
        ]
        lines.append(f"  </{tag}>")
    return "\n".join([*lines, "</View>", ""])


__all__ = ["address", "config", "task", "tasks"]
