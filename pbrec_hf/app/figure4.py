"""Figure 4 of the paper for given cases: attention, score maps, and the proposals among which the vote chooses.

    python scripts/paper/figure4.py CHECKPOINT --case photo.jpg "left dog" --case photo.jpg "the cat" --out figure4.png
    python scripts/paper/figure4.py CHECKPOINT --dataset refcoco --numbers 3 17 --refer_dir R --image_dir I \\
        --detector_alone 0.65 --out figure4.png

The attention is that of the textual [CLS] over the points in the last layer of the fusion encoder, mean over heads.
Answers with the paper's selection, whatever the checkpoint's own is. Where the truth is known, the photograph shows it
in white, and the row says whether the answer is right.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from .case_sheet import Case, case_sheet, look, panels, verdict
from .options import (
    add_detectors,
    add_rows,
    own_split,
    require_models,
    require_picture_name,
    require_rows,
    rows_of,
    save_picture,
)
from .output import silence_libraries


def drawn(arguments: Sequence[str] | None = None) -> Path:
    """
    Draw the sheet of a command line; returns its path.

    Raises:
        OSError, ValueError: there is no case, a number is not one of the data, or a file cannot be read or written.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", help="folder or Hub id")
    parser.add_argument("--case", nargs=2, action="append", default=[], metavar=("PICTURE", "EXPRESSION"))
    add_rows(parser)
    parser.add_argument("--split", default="val", help="of the data set (default: %(default)s)")
    parser.add_argument("--numbers", type=int, nargs="+", default=[], help="expressions of the data, counted from 0")
    add_detectors(parser)
    parser.add_argument("--top_k", type=int, default=12, help="proposals that vote (default: %(default)s)")
    parser.add_argument(
        "--detector_alone", type=float, metavar="QUALITY", help="also draw the detector's boxes from this quality on"
    )
    parser.add_argument("--height", type=int, default=240, help="of a panel, in pixels (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, … (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="picture to write")
    options = parser.parse_args(arguments)
    _check(options)
    silence_libraries()
    from ..inference.grounder import Grounder
    from ..training.build import add_detectors as with_detectors
    from ..training.paper.answers import PAPER_SELECTION

    grounder = Grounder(options.checkpoint, options.device)
    processor = with_detectors(grounder.processor, options.box_detector, options.mask_detector).to(options.device)
    settings = replace(processor.settings, **PAPER_SELECTION | {"top_k": options.top_k})
    rows = []
    for case in _cases(options):
        looked = look(grounder.model, processor, case, settings)
        rows.append((f"«{case.expression}»{verdict(looked)}", panels(looked, options.detector_alone)))
    save_picture(case_sheet(rows, options.height), options.out)
    path: Path = options.out
    return path


def main() -> None:
    """The command."""
    print(drawn())


def _check(options: argparse.Namespace) -> None:
    if not options.case and not options.numbers:
        raise ValueError("Give --case PICTURE EXPRESSION, or data and --numbers of its expressions.")
    if options.numbers or options.data or options.dataset:
        require_rows(options)
    if options.height < 32:
        raise ValueError(f"--height {options.height}: give at least 32 pixels.")
    if options.detector_alone is not None and not 0 <= options.detector_alone <= 1:
        raise ValueError(f"--detector_alone {options.detector_alone}: give a quality from 0 to 1, such as 0.65.")
    require_picture_name(options.out)
    require_models(options.checkpoint, options.box_detector, options.mask_detector)


def _cases(options: argparse.Namespace) -> Iterator[Case]:
    for picture, expression in options.case:
        yield Case(picture, expression)
    if not options.numbers:
        return
    rows = rows_of(options, own_split(options) or options.split)
    places = [
        (row, place)
        for row, sentences in enumerate(rows.select_columns(["expressions"])["expressions"])
        for place in range(len(sentences))
    ]
    for number in options.numbers:
        if not 0 <= number < len(places):
            raise ValueError(f"--numbers {number}: the data have {len(places)} expressions, counted from 0.")
        row, place = places[number]
        sentence = rows[row]["expressions"][place]
        yield Case(rows[row]["image"], sentence["expression"], sentence["bbox"])
