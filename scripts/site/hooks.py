"""Hooks of `mkdocs build`: pages from files of the repository, and links between them.

The pages in `docs/` link to files of the repository as everything there does, so that they can be read without the
site, too. Here a link to a file that the site shows becomes one to its page, a link to a module one to its reference
(`module.py#name` to that of a name), and a link to any other file its text alone. A link to nothing is a warning.
"""

import logging
import posixpath
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))  # mkdocs loads this file alone

from scripts.site.reference import NAV, reference_pages  # noqa: E402

LOG = logging.getLogger("mkdocs.hooks.pbrec_hf")
CARDS = sorted(path.stem for path in (ROOT / "model_cards").glob("*.md"))
PHOTOGRAPHS = "pbrec_hf/assets/photographs/images"
# Files of the repository that are pages or pictures of the site, and where; those of docs/ are there already.
SHOWN = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    **{f"model_cards/{name}.md": f"cards/{name}.md" for name in CARDS},
    **{f"model_cards/{path.name}": f"cards/{path.name}" for path in (ROOT / "model_cards").glob("*.[jp][pn]g")},
    **{f"{PHOTOGRAPHS}/{path.name}": f"photographs/{path.name}" for path in (ROOT / PHOTOGRAPHS).glob("*.jpg")},
}
# Picture mark, label, target, anchor; the label may hold brackets.
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^)\s#]*)(#[^)\s]*)?\)")
_BEGINS = (r"\|", r"- ", r"\d+\. ")  # of tables and lists
_CODE = re.compile(r"(^ *```.*?^ *```)", re.DOTALL | re.MULTILINE)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """The parts of the navigation that follow from files."""
    cards = [{name: f"cards/{name}.md"} for name in CARDS]
    for part in config.nav or []:
        if "Reference" in part:
            part["Reference"] = NAV
        for entry in part.get("Project", ()):
            if "Cards" in entry:
                entry["Cards"] = cards
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages and pictures from elsewhere in the repository, and the reference."""
    for source, shown in SHOWN.items():
        files.append(File.generated(config, shown, abs_src_path=str(ROOT / source)))
    for page, text in reference_pages().items():
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Links to files of the repository become links within the site."""
    place = page.file.src_uri
    source = next((name for name, shown in SHOWN.items() if shown == place), f"docs/{place}")
    parts = _CODE.split(_spaced(markdown))
    return "".join(part if number % 2 else _linked(part, source, place) for number, part in enumerate(parts))


def _spaced(text: str) -> str:
    """With what Python-Markdown asks beside others: empty lines before tables and lists, items indented by 4."""
    lines: list[str] = []
    fenced, before = False, ""
    for line in text.split("\n"):
        fence = line.startswith("```")
        if not fenced and not fence:
            line = f" {line}" if re.match(r" {3}\S", line) or line.startswith("     ") else line
            begins = [kind for kind in _BEGINS if re.match(kind, line) and not re.match(kind, before)]
            if begins and before.strip() and not before.startswith(" "):
                lines.append("")
        fenced ^= fence
        lines.append(line)
        before = line
    return "\n".join(lines)


def on_page_content(html: str, page: Page, files: Files, **_: Any) -> str:
    """Links of notebooks, which mkdocs takes for finished pages."""
    if not page.file.src_uri.endswith(".ipynb"):
        return html

    def link(match: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(page.file.src_uri), match[1]))
        if (file := files.get_file_from_path(path)) is None:
            LOG.warning(f"docs/{page.file.src_uri} links to {match[1]}, which is not there.")
            return match[0]
        return f'href="{file.url_relative_to(page.file)}"'

    return re.sub(r'href="([^":#]+\.(?:md|ipynb))"', link, html)


def _linked(text: str, source: str, place: str) -> str:
    def link(match: re.Match[str]) -> str:
        mark, label, target, anchor = match[1], match[2], match[3], match[4] or ""
        if not target or ":" in target or place.startswith("reference/"):
            return match[0]
        file = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        if file.startswith("pbrec_hf/") and file.endswith(".py"):
            module = file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
            return f"[{label}][{module}{anchor.replace('#', '.')}]"
        if file in SHOWN or file.startswith("docs/"):
            shown = SHOWN.get(file, file.removeprefix("docs/"))
            return f"{mark}[{label}]({posixpath.relpath(shown, posixpath.dirname(place))}{anchor})"
        if not (ROOT / file).exists():
            LOG.warning(f"{source} links to {file}, which is not there.")
        return label

    return _LINK.sub(link, text)
