"""`pbrec-hf`: ground expressions in a photograph, and the chores around it, from a shell.

Results go to standard output, progress and errors to standard error. Exit status: 0 done, 1 nothing found for some
expression, 2 bad input, told in one line.
"""

import argparse
import json
import sys
from pathlib import Path

from ..version import __version__
from .checkpoint_commands import add_checkpoint_commands
from .data_commands import add_data_commands

_SMALLEST_SIDE = 16  # below this a person, too, sees nothing to refer to


def main(arguments: list[str] | None = None) -> int:
    """Entry point of the console script; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        _quiet_libraries()
        return options.run(options)
    except (ImportError, OSError, TypeError, ValueError) as error:
        message = " ".join(str(error).split())
        print(f"pbrec-hf: error: {message}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("pbrec-hf: interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pbrec-hf", description="Find the thing a sentence means in a picture.")
    parser.add_argument("--version", action="version", version=f"pbrec-hf {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    ground = commands.add_parser("ground", help="find what expressions refer to in a photograph")
    ground.set_defaults(run=_ground)
    ground.add_argument("image", metavar="IMAGE", help="path or URL of the photograph")
    ground.add_argument("expressions", metavar="EXPRESSION", nargs="+", help="such as 'left dog'")
    ground.add_argument("--out", type=Path, help="write the photograph with the answers drawn here")
    ground.add_argument("--json", action="store_true", help="print JSON: expression, score, box, mask as COCO RLE")
    ground.add_argument("--threshold", type=float, default=0.0, help="leave out answers that score less (default 0)")
    ground.add_argument("--top_k", type=int, help="proposals that vote, where the checkpoint lets them vote")
    _add_model(ground)

    demo = commands.add_parser("demo", help="the bundled checkpoint on photographs that ship with the package")
    demo.set_defaults(run=_demo)
    demo.add_argument("--out", type=Path, default=Path("pbrec-demo.png"), help="picture to write (%(default)s)")
    _add_model(demo)

    add_checkpoint_commands(commands)
    add_data_commands(commands)
    return parser


def _add_model(command: argparse.ArgumentParser) -> None:
    command.add_argument("--model", help="folder or Hub id (default: the bundled checkpoint)")
    command.add_argument("--device", default="cpu", help="cpu, cuda, … (default: %(default)s)")


def _quiet_libraries() -> None:
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def _ground(options: argparse.Namespace) -> int:
    from ..images.reading import load_picture

    # Before the model is loaded: a mistyped path or an empty expression should not cost seconds.
    picture = load_picture(options.image)
    if max(picture.size) < _SMALLEST_SIDE:
        raise ValueError(
            f"{options.image} has only {picture.width}×{picture.height} pixels: give a picture of at least "
            f"{_SMALLEST_SIDE} pixels on its longer side."
        )
    for expression in options.expressions:
        if not expression.strip():
            raise ValueError("An expression is empty: give words, such as 'left dog'.")
    _check_output(options.out)
    with _progress("loading the checkpoint"):
        from ..inference.grounder import Grounder

        grounder = Grounder(options.model, options.device)
    masks = options.json or options.out is not None  # nothing else shows them
    result = grounder(picture, options.expressions, options.top_k, options.threshold, masks)
    if options.json:
        print(json.dumps([_as_json(*pair) for pair in zip(options.expressions, result.answers, strict=True)]))
    else:
        for expression, answer in zip(options.expressions, result.answers, strict=True):
            print(_as_line(expression, answer))
    if options.out:
        from .drawing import draw_answers

        draw_answers(result.image, result.answers).save(options.out)
        print(f"picture written to {options.out}", file=sys.stderr)
    return 0 if all(len(answer["scores"]) for answer in result.answers) else 1


def _demo(options: argparse.Namespace) -> int:
    _check_output(options.out)
    with _progress("loading the checkpoint"):
        from ..inference.grounder import Grounder
        from .demo import run_demo

        grounder = Grounder(options.model, options.device)

    def show(row, result):
        print(f"{row['image'].name} ({row['source']}, {row['license']})")
        for expression, answer in zip(row["expressions"], result.answers, strict=True):
            print(f"  {_as_line(expression, answer)}")

    run_demo(grounder, show).save(options.out)
    print(f"picture written to {options.out}")
    return 0


def _check_output(path: Path | None) -> None:
    from PIL import Image

    if path is None:
        return
    Image.init()
    if Image.registered_extensions().get(path.suffix.lower()) not in Image.SAVE:
        raise ValueError(f"{path} has no ending of a picture: name a .png or .jpg file.")
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(f"The folder {path.absolute().parent} does not exist: make it first.")


def _progress(task: str):
    from rich.console import Console

    return Console(stderr=True).status(task)


def _as_line(expression: str, answer: dict) -> str:
    if not len(answer["scores"]):
        return f"{expression}: nothing found"
    left, top, right, bottom = (round(value) for value in answer["boxes"][0].tolist())
    return f"{expression}: score {answer['scores'][0]:.2f}, box ({left}, {top}) to ({right}, {bottom})"


def _as_json(expression: str, answer: dict) -> dict:
    from ..pipeline_pbrec import mask_to_rle

    if not len(answer["scores"]):
        keys = ("score", "box", "box_source", "mask", "mask_source")
        return {"expression": expression, **dict.fromkeys(keys)}
    return {
        "expression": expression,
        "score": answer["scores"][0].item(),
        "box": answer["boxes"][0].tolist(),
        "box_source": answer["box_source"],
        "mask": mask_to_rle(answer["masks"][0, 0].numpy()),
        "mask_source": answer["mask_source"],
    }


if __name__ == "__main__":
    sys.exit(main())
