"""`pbrec-hf evaluate`: score a checkpoint on splits of a data set or on a file of one's own, or predictions again.

1 GPU    pbrec-hf evaluate CHECKPOINT --dataset refcoco --refer_dir R --image_dir I --output_dir OUT
N GPUs   accelerate launch --multi_gpu --num_processes N -m pbrec_hf evaluate CHECKPOINT …
CPU      pbrec-hf evaluate CHECKPOINT --cpu --data held_out.jsonl --output_dir OUT
Hub      pbrec-hf evaluate CHECKPOINT --dataset hub:lmms-lab/RefCOCO --split testA --output_dir OUT
GREC     pbrec-hf evaluate CHECKPOINT --dataset grefcoco --refer_dir R --image_dir I --splits val testA testB
again    pbrec-hf evaluate --rescore OUT/predictions-val.jsonl --dataset refcoco --splits val …
"""

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..options import (
    add_detectors,
    add_rows,
    add_ways,
    require_models,
    require_rows,
    rows_of,
    splits_of,
    threshold_of,
)
from ..output import show_log
from . import Commands, new_verb

if TYPE_CHECKING:
    import datasets

HELP = "score a checkpoint on a data set, or a file of predictions again"


def add(commands: Commands) -> None:
    """Add the verb and its arguments."""
    parser = new_verb(commands, "evaluate", run, HELP, again="to start over")
    parser.add_argument("checkpoint", nargs="?", help="folder or Hub id")
    add_rows(parser)
    parser.add_argument("--splits", "--split", nargs="+", help="of the data set (default: all but train)")
    add_detectors(parser)
    parser.add_argument("--proposals", help="cache written by `pbrec-hf precompute`")
    parser.add_argument("--top_k", type=int, help="proposals that vote, where the processor lets them vote")
    add_ways(parser)
    # Several pictures at once do not fit into the caches of a CPU, where one after the other is a sixth faster.
    parser.add_argument("--batch_size", type=int, help="pictures per process and pass (default: 8; 1 on a CPU)")
    parser.add_argument("--num_workers", type=int, default=4, help="loader processes per process")
    parser.add_argument("--mixed_precision", default="no", choices=("no", "bf16", "fp16"))
    parser.add_argument("--output_dir", type=Path, default=Path("evaluation"), help="default: %(default)s")
    parser.add_argument("--rescore", type=Path, help="predictions file to score again; nothing is predicted")
    parser.add_argument("--cpu", action="store_true", help="even if there is a GPU")


def run(options: argparse.Namespace) -> int:
    """Write predictions, reliability diagrams and scores.json to OUTPUT_DIR; print a table and what it is of."""
    _check(options)
    show_log()
    from ...data.provenance import in_words, provenance
    from ...training.predictions import read_predictions
    from ...training.reports import evaluate_checkpoint, table
    from ...training.scores import score

    splits = splits_of(options)
    measured_on: list[str] = []

    def load(split: str) -> "datasets.Dataset":
        rows = rows_of(options, split)
        measured_on.append(in_words(split, provenance(rows)))
        return rows

    if options.rescore is not None:
        scores = {splits[0]: score(read_predictions(options.rescore), load(splits[0]))}
    else:
        scores = evaluate_checkpoint(
            options.checkpoint,
            {split: partial(load, split) for split in splits},
            options.output_dir,
            box_detector=options.box_detector,
            mask_detector=options.mask_detector,
            proposals=options.proposals,
            top_k=options.top_k,
            referents=options.referents,
            threshold=options.threshold,
            batch_size=options.batch_size,
            num_workers=options.num_workers,
            mixed_precision=options.mixed_precision,
            cpu=options.cpu,
            made_with={name: str(value) for name, value in vars(options).items() if name != "run"},
        )
    if scores:
        print("\n".join([table(scores), "", *measured_on]))
    return 0


def _check(options: argparse.Namespace) -> None:
    if (options.checkpoint is None) == (options.rescore is None):
        raise ValueError("Give a checkpoint, or --rescore with a predictions file: one of the two.")
    options.threshold = threshold_of(options.threshold)
    if options.batch_size is not None and options.batch_size < 1:
        raise ValueError(f"--batch_size {options.batch_size}: give a number of at least 1.")
    require_rows(options)
    require_models(options.checkpoint, options.box_detector, options.mask_detector)
