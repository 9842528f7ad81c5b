"""What a Label Studio project asks: its labelling interface and its tasks → expressions, controls and labels.

The interface is XML from another program: bounded in size, without entities. Knows nothing of pictures and answers.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from .studio_results import BRUSH, RECTANGLES

_MOST_BYTES = 2**20
_KINDS = {"RectangleLabels": RECTANGLES, "BrushLabels": BRUSH}
_TEXTS = ("expressions", "expression", "prompt")  # fields of a task that say what to find, before the labels do


@dataclass(frozen=True)
class Control:
    """
    A control of the interface that answers can be shown with.

    Attributes:
        name: of the control.
        picture: name of the picture that it is for.
        field: of a task's data, that holds the picture.
        kind: "rectanglelabels" or "brushlabels".
        labels: its labels → the expression that each asks for: its `hint`, or itself.
    """

    name: str
    picture: str
    field: str
    kind: str
    labels: Mapping[str, str]

    def label_of(self, expression: str) -> str | None:
        """
        The label of an expression's answers.

        The one that asks for it; the only one there is; or the only one that is among its words. Otherwise None.
        """
        asked = [label for label, text in self.labels.items() if expression in (label, text)]
        if asked or len(self.labels) == 1:
            return next(iter(asked or self.labels))
        words = _words(expression)
        within = [label for label in self.labels if _words(label) and f" {_words(label)} " in f" {words} "]
        return within[0] if len(within) == 1 else None


def controls_of(label_config: object) -> list[Control]:
    """
    The controls of an interface that can show boxes or masks.

    Raises:
        ValueError: no XML, or without such a control.
    """
    if not isinstance(label_config, str) or len(label_config) > _MOST_BYTES or "<!" in _without_comments(label_config):
        raise ValueError("The labelling interface is no XML without declarations of its own, of at most 1 MiB.")
    try:
        root = ElementTree.fromstring(label_config)
    except ElementTree.ParseError as error:
        raise ValueError(
            f"The labelling interface is no XML ({error}): correct it in the project's settings."
        ) from error
    fields = {tag.get("name"): (tag.get("value") or "").lstrip("$") for tag in root.iter("Image")}
    found = []
    for tag in root.iter():
        name, picture = tag.get("name"), tag.get("toName")
        if tag.tag in _KINDS and name and picture in fields:
            values = [(label.get("value"), label.get("hint")) for label in tag.iter("Label")]
            labels = {value: (hint or value).strip() for value, hint in values if value}
            found.append(Control(name, str(picture), fields[picture], _KINDS[tag.tag], labels))
    if not found:
        raise ValueError(
            "The labelling interface has no RectangleLabels or BrushLabels for an Image: add one of them."
        )
    return found


def expressions_of_task(task: Mapping[str, Any], context: Any, controls: list[Control]) -> list[str]:
    """
    What is asked of a task.

    What an annotator just typed into a TextArea; otherwise the task's field `expressions` (a list, or one a line),
    `expression` or `prompt`; otherwise every label.
    """
    typed = _typed(context)
    if typed:
        return typed
    data = task.get("data")
    for name in _TEXTS:
        value = data.get(name) if isinstance(data, Mapping) else None
        if value:
            return _listed(value)
    return list(dict.fromkeys(text for control in controls for text in control.labels.values()))


def _typed(context: Any) -> list[str]:
    result = context.get("result") if isinstance(context, Mapping) else None
    typed: list[str] = []
    for region in result if isinstance(result, list) else []:
        if (
            isinstance(region, Mapping)
            and region.get("type") == "textarea"
            and isinstance(region.get("value"), Mapping)
        ):
            typed += _listed(region["value"].get("text") or [])
    return typed


def _listed(value: Any) -> list[str]:
    texts = value.splitlines() if isinstance(value, str) else value if isinstance(value, list) else []
    return list(dict.fromkeys(text.strip() for text in texts if isinstance(text, str) and text.strip()))


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))


def _without_comments(text: str) -> str:
    return re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)


__all__ = ["Control", "controls_of", "expressions_of_task"]
