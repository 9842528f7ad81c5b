"""Which pictures a command line asks about, and what it asks: pictures and expressions, told apart without guessing.

Opens no picture. A word on its own is a picture or an expression by its place; a word that is plainly the other is
refused with the line that was probably meant.
"""

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from ..images.sources import ADDRESSES

STDIN = "-"
PICTURE_ENDINGS = (
    ".avif", ".bmp", ".gif", ".heic", ".heif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp",
)  # fmt: skip


def separate(
    words: Sequence[str],
    expressions: Sequence[str] = (),
    expression_file: str | None = None,
    picture_file: str | None = None,
) -> tuple[list[str], list[str]]:
    """
    The pictures and the expressions of a command line.

    Args:
        words: without options: a picture and its expressions; pictures alone, if expressions are given in another
            way; expressions alone, if pictures alone are.
        expressions: given one by one.
        expression_file, picture_file: a text file with one on each line, or "-" for standard input.

    Returns:
        Pictures (paths, addresses, or "-" for the bytes of one on standard input), and expressions. Every picture is
        asked for every expression.

    Raises:
        OSError: a file cannot be read.
        ValueError: no picture or no expression; an empty expression; a picture among the expressions; two readers of
            standard input.
    """
    readers = [*words, expression_file, picture_file].count(STDIN)
    if readers > 1:
        raise ValueError(
            f"{STDIN} stands {readers} times, but there is one standard input: give files for the others."
        )
    asked = list(expressions) + (lines_of(expression_file, "expressions") if expression_file else [])
    pictures = lines_of(picture_file, "pictures") if picture_file else []
    if expressions or expression_file:
        pictures = [*words, *pictures]
    elif picture_file:
        asked = list(words)
    else:
        pictures, asked = list(words[:1]), list(words[1:])
    if not (expressions or expression_file):
        for word in asked:
            _require_expression(word, words)
    if not pictures:
        raise ValueError("No picture: give one, as in: pbrec-hf ground photo.jpg 'left dog'.")
    if not asked:
        shown = shlex.quote(pictures[0])
        raise ValueError(f"No expression: say what to find, as in: pbrec-hf ground {shown} 'left dog'.")
    if not all(expression.strip() for expression in asked):
        raise ValueError("An expression is empty: give words, such as 'left dog'.")
    return pictures, asked


def _require_expression(word: str, words: Sequence[str]) -> None:
    if not (
        word.startswith((*ADDRESSES, "data:"))
        or word.lower().endswith(PICTURE_ENDINGS)
        or os.path.isfile(word)
        or word == STDIN
    ):
        return
    pictures = [other for other in words if other == word or other == words[0]]
    spoken = [other for other in words if other not in pictures] or ["left dog"]
    meant = shlex.join(["pbrec-hf", "ground", *dict.fromkeys(pictures), *(x for one in spoken for x in ("-e", one))])
    raise ValueError(
        f"{word} is a picture, and stands where an expression should. For several pictures, mark the expressions: "
        f"{meant}"
    )


def lines_of(path: str, what: str) -> list[str]:
    """
    The lines of a text file, without empty ones.

    Args:
        path: of the file, or "-" for standard input.
        what: is on its lines, for messages.

    Raises:
        OSError: it cannot be read.
        ValueError: it is empty, or no UTF-8.
    """
    if path == STDIN:
        text, path = sys.stdin.read(), "Standard input"
    else:
        if not os.path.exists(path):
            raise FileNotFoundError(f"There is no file {path}: correct the path of the {what}.")
        try:
            text = Path(path).read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{path} is not UTF-8 text ({error}): give a text file, one of the {what} a line."
            ) from error
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise ValueError(f"{path} has no line: write one of the {what} on each.")
    return lines


__all__ = ["PICTURE_ENDINGS", "STDIN", "lines_of", "separate"]
