"""Pages of the reference, written anew for each build: public names, rooms and modules, the command line.

Docstrings are rendered by mkdocstrings, which reads the code without running it.
"""

import argparse
import ast
import re
from pathlib import Path

import pbrec_hf
from pbrec_hf.app.cli import VERBS, command

PACKAGE = Path(pbrec_hf.__file__).parent
ROOMS = (
    "comprehension", "detectors", "selection", "images", "layers", "geometry", "small", "inference", "hub", "data",
    "training", "metrics", "convert", "app",
)  # fmt: skip
EXPLAINED = ("comprehension", "selection", "geometry")  # rooms that are shown with their code: the paper's own
NAV = [
    {"Public names": "reference/index.md"},
    {"Command line": "reference/command_line.md"},
    {"The root": "reference/root.md"},
    *({f"{room}/": f"reference/{room}.md"} for room in ROOMS),
]


def reference_pages() -> dict[str, str]:
    """The text of each page, by its path in the site."""
    pages = {"reference/index.md": _public(), "reference/command_line.md": _command_line()}
    pages["reference/root.md"] = _room("The root", sorted(PACKAGE.glob("*.py")))
    for room in ROOMS:
        pages[f"reference/{room}.md"] = _room(f"{room}/", sorted((PACKAGE / room).rglob("*.py")))
    return pages


def _dotted(path: Path) -> str:
    name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    return name.removesuffix(".__init__")


def _public() -> str:
    rows = [
        f"| [`{name}`][pbrec_hf.{module}.{name}] | {_said(PACKAGE.joinpath(*module.split('.')), name)} |"
        for name, module in sorted(pbrec_hf._PUBLIC.items(), key=lambda pair: pair[0].lower())
    ]
    return "\n".join(
        [
            "# Public names",
            "`from pbrec_hf import …` gives these. [What is public](../releasing.md#what-is-public) says what may "
            "change and what may not.\n",
            "| name | what it is |",
            "|---|---|",
            *rows,
        ]
    )


def _said(path: Path, name: str) -> str:
    """The first sentence of a docstring: of the name, or of its module if that one only lists fields."""
    file = path.with_suffix(".py") if path.with_suffix(".py").exists() else path / "__init__.py"
    module = ast.parse(file.read_text(encoding="utf-8"))
    node = next(node for node in module.body if getattr(node, "name", None) == name)
    for text in (ast.get_docstring(node), ast.get_docstring(module)):
        if text and not text.startswith(("Args:", "Attributes:")) and "see the module docstring" not in text:
            paragraph = " ".join(text.split("\n\n")[0].split())
            sentence = re.split(r"(?<=[.])\s", paragraph)[0].removesuffix(":")
            return re.sub(r"\[(`[^`]+`)\]", r"\1", sentence).replace("|", "\\|")
    return ""


def _room(title: str, files: list[Path]) -> str:
    parts = [f"# {title}\n"]
    for path in files:
        if ast.parse(path.read_text(encoding="utf-8")).body[1:] or path.name == "__init__.py":
            source = "\n    options: {show_source: true}" if path.parts[-2] in EXPLAINED else ""
            parts.append(f"::: {_dotted(path)}{source}\n")
    return "\n".join(parts)


def _command_line() -> str:
    parts = ["# Command line\n", "`pbrec-hf VERB --help` says the same. `python -m pbrec_hf` is the same command.\n"]
    for verb in VERBS:
        commands = argparse.ArgumentParser(prog="pbrec-hf").add_subparsers()
        command(verb).add(commands)
        parts.append(f"## {verb}\n```text\n{commands.choices[verb].format_help().strip()}\n```\n")
    return "\n".join(parts)
