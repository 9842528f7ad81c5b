"""The code blocks of Markdown pages, and the commands of those that are for a shell."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from places import ROOT

_BLOCK = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """
    Attributes:
        page: path in the repository.
        line: of its first line of code, from 1.
        language: "" if it names none.
        text: without the indentation of the block.
    """

    page: str
    line: int
    language: str
    text: str


def pages() -> list[str]:
    """What the README and the site consist of, by their paths in the repository."""
    found = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "model_cards").glob("*.md")]
    return sorted(path.relative_to(ROOT).as_posix() for path in found)


def blocks(page: str, *languages: str) -> list[Block]:
    """Those of a page in these languages, or all of them, in their order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = []
    for match in _BLOCK.finditer(text):
        indent, language, code = match.groups()
        if not languages or language in languages:
            line = text.count("\n", 0, match.start(3)) + 1
            found.append(Block(page, line, language, re.sub(rf"^{indent}", "", code, flags=re.MULTILINE)))
    return found


def commands(block: Block) -> Iterator[list[str]]:
    """The commands of a block for a shell, as words; those joined by `&&` one by one, those by `|` as one."""
    for line in block.text.replace("\\\n", " ").splitlines():
        command: list[str] = []
        for word in shlex.split(line, comments=True):
            if word == "&&":
                yield command
                command = []
            else:
                command.append(word)
        if command:
            yield command
