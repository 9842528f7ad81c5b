"""`pbrec-hf label`: the answers of folders of photographs, as COCO, YOLO and others.

pbrec-hf label photos --expressions "the dog" "the red car" --out labels      # every photograph, both expressions
pbrec-hf label photos --expressions expressions.txt --any --out labels        # as many as there are, or none
pbrec-hf label rows.parquet --out labels --format coco yolo                   # a column of expressions
accelerate launch --num_processes 4 -m pbrec_hf label photos --expressions "the dog" --out labels
pbrec-hf label photos --expressions "the dog" --out labels --engine ray --workers 16       # on a Ray cluster

Photographs are folders, patterns, files, addresses, tables with a column `image`, saved data sets, or hub:owner/name.
The same command goes on where it stopped, and exports again. A photograph that cannot be read is listed and left out.
Exit status: 0 everything labelled, 1 some photographs are broken, 2 bad input.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..label.formats import FORMATS, Options, require_formats
from ..options import add_any, add_model, add_runtime, require_models, threshold_of
from ..output import countdown, silence_libraries
from . import Commands, new_verb

if TYPE_CHECKING:
    from ..label.run import Engine

HELP = "label folders of photographs, for COCO, YOLO and other tools"


def add(commands: Commands) -> None:
    """Add the verb and its arguments."""
    parser = new_verb(commands, "label", run, HELP, again="to go on where it stopped")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = __doc__.split("\n", 2)[2].strip() if __doc__ else None
    parser.add_argument(
        "photographs", nargs="*", metavar="PHOTOS", help="folder, pattern, file, URL, table or data set"
    )
    parser.add_argument("--pictures", metavar="FILE", help="a text file of such photographs, one a line")
    parser.add_argument("--split", help="of a data set")
    parser.add_argument(
        "--expressions", nargs="+", default=[], metavar="FILE|TEXT",
        help="what to find in every photograph: expressions, or text files with one on each line",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, help="folder of the journal and the exports")
    parser.add_argument(
        "--format", nargs="+", default=["jsonl", "coco"], dest="formats", metavar="FORMAT",
        help=f"one or more of {', '.join(FORMATS)} (default: jsonl coco)",
    )  # fmt: skip
    add_any(parser)
    parser.add_argument("--top_k", type=int, help="proposals that vote, where the checkpoint lets them vote")
    parser.add_argument(
        "--tiles", type=int, nargs="?", const=3, default=1, metavar="N",
        help="for large photographs with small things: look at N tiles along the longer side, too (default: 1 = none; "
        "without a number 3)",
    )  # fmt: skip
    parser.add_argument("--no_masks", action="store_true", help="boxes alone, which is faster")
    parser.add_argument("--retry", action="store_true", help="try photographs again that could not be read")
    parser.add_argument(
        "--engine", choices=("here", "ray"), default="here",
        help="here: this process, or those of accelerate launch; ray: workers of a Ray cluster (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--workers", type=int, default=2, help="of Ray (default: %(default)s)")
    parser.add_argument("--image_prefix", help="Label Studio: what stands before a photograph's name in its address")
    add_model(parser)
    add_runtime(parser)


def run(options: argparse.Namespace) -> int:
    """Label; status 1 where photographs are broken."""
    from ..label.photographs import Sources, expressions_of

    require_formats(options.formats)
    threshold = threshold_of(options.threshold)
    asked = expressions_of(options.expressions)
    sources = Sources(options.photographs, asked, options.pictures, options.split, leave_out=options.out)
    next(iter(sources), None)  # a mistyped path should not cost seconds
    require_models(options.model)
    silence_libraries()
    from ..label.labeller import Asking
    from ..label.run import Job, label

    job = Job(
        sources=sources,
        asking=Asking(
            options.model,
            options.referents,
            threshold,
            options.top_k,
            not options.no_masks,
            options.tiles,
            options.runtime,
            options.precision,
            options.compile,
        ),
        formats=Options(options.out, options.image_prefix),
        names=options.formats,
        retry=options.retry,
        engine=_engine(options),
    )
    summary = label(job, lambda total: countdown("labelled", total), options.device)
    if summary is None:
        return 0
    print(summary.in_words(), end="")
    print(f"written to {options.out}", file=sys.stderr)
    return 1 if summary.broken_count else 0


def _engine(options: argparse.Namespace) -> "Engine | None":
    if options.engine == "here":
        return None
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError("--engine ray starts its workers itself: leave accelerate launch out.")
    from ..label.on_ray import OnRay

    return OnRay(options.workers, options.device)
