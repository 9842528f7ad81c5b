"""`pbrec-hf ground`: what expressions refer to in photographs, as lines, as JSON or drawn.

pbrec-hf ground photo.jpg "left dog" "red car"                      # a picture and its expressions
pbrec-hf ground photo.jpg "all the dogs" --any                      # as many as there are, or none
pbrec-hf ground one.jpg two.jpg -e "left dog" -e "red car"          # several pictures: mark the expressions
pbrec-hf ground one.jpg two.jpg --expressions expressions.txt       # one expression a line; - is standard input
find . -name "*.jpg" | pbrec-hf ground --pictures - "left dog"      # pictures from a list; - is standard input
curl -s https://example.org/photo.jpg | pbrec-hf ground - "left dog"   # a picture's bytes on standard input

Every picture is asked for every expression. A picture that cannot be read is told on standard error; the others are
answered. Exit status: 0 everything found, 1 something not found, 2 a picture could not be read, or other bad input.
"""

import argparse
import json
import sys
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...images.fetching import MOST_BYTES
from ...images.sources import require_there
from ..options import (
    add_any,
    add_model,
    add_runtime,
    grounder_of,
    require_models,
    require_picture_name,
    save_picture,
)
from ..output import silence_libraries, spinner
from ..plain import all_answers, of_expression, one_answer
from ..questions import STDIN, separate
from . import Commands, new_verb

if TYPE_CHECKING:
    from PIL import Image

    from ...inference.grounder import Grounded

HELP = "find what expressions refer to in photographs"
_SMALLEST_SIDE = 16  # below this a person, too, sees nothing to refer to


def add(commands: Commands) -> None:
    """Add the verb and its arguments."""
    parser = new_verb(commands, "ground", run, HELP)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = __doc__.split("\n", 2)[2].strip() if __doc__ else None
    parser.usage = (
        "pbrec-hf ground PICTURE EXPRESSION [EXPRESSION …] [options]\n"
        "       pbrec-hf ground PICTURE [PICTURE …] -e EXPRESSION [-e EXPRESSION …] [options]"
    )
    parser.add_argument("words", nargs="*", metavar="PICTURE EXPRESSION", help="path or URL, and such as 'left dog'")
    parser.add_argument(
        "-e", "--expression", dest="expressions", action="append", default=[], metavar="EXPRESSION",
        help="what to find; may be repeated. All words without an option are pictures then",
    )  # fmt: skip
    parser.add_argument(
        "--expressions", dest="expression_file", metavar="FILE", help="a text file of them, one a line"
    )
    parser.add_argument("--pictures", dest="picture_file", metavar="FILE", help="text file of pictures, one a line")
    parser.add_argument("--out", type=Path, help="draw the answers: a picture to write; of several, a folder")
    parser.add_argument(
        "--json", action="store_true",
        help="print JSON: expression, score, box, mask as COCO RLE; of several pictures, the image, too; "
        "with --any, the answers of each expression and their count",
    )  # fmt: skip
    add_any(parser, threshold)
    parser.add_argument("--top_k", type=int, help="proposals that vote, where the checkpoint lets them vote")
    add_model(parser)
    add_runtime(parser)


def run(options: argparse.Namespace) -> int:
    """Answer; status 1 where nothing was found for some expression, 2 where a picture could not be read."""
    pictures, expressions = separate(options.words, options.expressions, options.expression_file, options.picture_file)
    several = len(pictures) > 1 or options.picture_file is not None
    # Before anything is loaded: a mistyped path should not cost seconds.
    outputs = _outputs(options.out, pictures, several)
    if pictures != [STDIN] and not several:
        require_there(pictures[0])
    require_models(options.model)
    silence_libraries()
    first = None if several else _load(pictures[0])
    with spinner("loading the checkpoint"):
        grounder = grounder_of(options)
    masks = options.json or options.out is not None  # nothing else shows them
    broken, everything = False, True
    most = grounder.processor.settings.max_referents if options.referents == "any" else None
    printer = _Printer(options.json, several, most)
    for name, output in zip(pictures, outputs, strict=True):
        try:
            picture = first or _load(name)
        except (OSError, ValueError) as error:
            if not several:
                raise
            print(f"pbrec-hf: error: {' '.join(str(error).split())}", file=sys.stderr)
            broken = True
            continue
        result = grounder(picture, expressions, options.top_k, options.threshold, masks, options.referents)
        printer.show(name, expressions, result)
        everything &= all(len(answer["scores"]) for answer in result.answers)
        if output:
            _draw(result, output)
    printer.close()
    return 2 if broken else 0 if everything else 1


class _Printer:
    """Answers on standard output, as they come: lines, or an array of JSON."""

    def __init__(self, as_json: bool, several: bool, most: int | None) -> None:
        self.as_json, self.several, self.most, self.empty = as_json, several, most, True

    def show(self, name: str, expressions: list[str], result: "Grounded") -> None:
        for expression, answer in zip(expressions, result.answers, strict=True):
            if self.as_json:
                image = {"image": name} if self.several else {}
                print("[" if self.empty else ", ", end="")
                form = _one_as_json if self.most is None else all_answers
                print(json.dumps({**image, **form(expression, answer)}), end="")
            else:
                print(f"{name}: " if self.several else "", end="")
                lines = as_line(expression, answer) if self.most is None else as_lines(expression, answer, self.most)
                print(lines, flush=self.several)
            self.empty = False

    def close(self) -> None:
        if self.as_json:
            print("[]" if self.empty else "]")


def threshold(text: str) -> float | str:
    """What `--threshold` means: a number, or "auto"."""
    return text if text == "auto" else float(text)


def as_line(expression: str, answer: dict[str, Any]) -> str:
    """The only answer of an expression, in words."""
    if not len(answer["scores"]):
        return _nothing(expression, answer)
    return f"{expression}: {_in_words(answer, 0)}"


def as_lines(expression: str, answer: dict[str, Any], most: int) -> str:
    """All answers of an expression, in words: their count, and a line for each."""
    count = len(answer["scores"])
    if not count:
        return _nothing(expression, answer)
    counted = f"{count} found" if count < most else f"{count} found, the most that are looked for"
    return "\n".join([f"{expression}: {counted}", *(f"  {_in_words(answer, row)}" for row in range(count))])


def _nothing(expression: str, answer: dict[str, Any]) -> str:
    unread = f" (not read: {', '.join(answer['unread'])})" if answer["unread"] else ""
    return f"{expression}: nothing found{unread}"


def _in_words(answer: dict[str, Any], row: int) -> str:
    left, top, right, bottom = (round(value) for value in answer["boxes"][row].tolist())
    return f"score {answer['scores'][row]:.2f}, box ({left}, {top}) to ({right}, {bottom})"


def _one_as_json(expression: str, answer: dict[str, Any]) -> dict[str, Any]:
    empty = dict.fromkeys(("score", "box", "box_source", "mask", "mask_source"))
    found = one_answer(answer, 0) if len(answer["scores"]) else empty
    return {"expression": expression, **of_expression(answer), **found}


def _load(name: str) -> "Image.Image":
    from ...images.reading import load_picture

    if name == STDIN:
        file, name = BytesIO(sys.stdin.buffer.read(MOST_BYTES)), "The picture on standard input"
        file.name = name
        picture = load_picture(file)
    else:
        picture = load_picture(name)
    if max(picture.size) < _SMALLEST_SIDE:
        raise ValueError(
            f"{name} has only {picture.width}×{picture.height} pixels: give a picture of at least {_SMALLEST_SIDE} "
            "pixels on its longer side."
        )
    return picture


def _outputs(out: Path | None, pictures: list[str], several: bool) -> list[Path | None]:
    """Where the drawing of each picture goes; of several, to PNG files of a folder, named like them."""
    if out is None:
        return [None] * len(pictures)
    if not several:
        require_picture_name(out)
        return [out]
    if out.suffix and not out.is_dir():
        raise ValueError(f"--out {out}: of several pictures, give a folder to draw the answers to.")
    taken: dict[str, int] = {}
    outputs: list[Path | None] = []
    for name in pictures:
        stem = Path(name.partition("?")[0]).stem if name != STDIN else "picture"
        taken[stem] = number = taken.get(stem, 0) + 1
        outputs.append(out / f"{stem}{f'-{number}' if number > 1 else ''}.png")
    return outputs


def _draw(result: "Grounded", path: Path) -> None:
    from ..drawing import draw_answers

    save_picture(draw_answers(result.image, result.answers), path)
    print(f"picture written to {path}", file=sys.stderr)
