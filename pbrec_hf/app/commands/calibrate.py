"""`pbrec-hf calibrate`: fit what the scores of a checkpoint mean: of answers with score 0.7, 70 % are right then.

own data    pbrec-hf calibrate CHECKPOINT --data held_out.jsonl
scenes      pbrec-hf scenes --out scenes …, then pbrec-hf calibrate CHECKPOINT --data scenes/held_out.jsonl
gRefCOCO    pbrec-hf calibrate CHECKPOINT --dataset grefcoco --split val --refer_dir R --image_dir I
a copy      pbrec-hf calibrate CHECKPOINT --data held_out.jsonl --out calibrated
"""

import argparse
from pathlib import Path

from ..options import add_rows, own_split, require_models, require_rows, rows_of
from ..output import show_log
from . import Commands, new_verb

HELP = "fit what the scores of a checkpoint mean, and from which score on an answer counts"


def add(commands: Commands) -> None:
    """Add the verb and its arguments."""
    parser = new_verb(commands, "calibrate", run, HELP, again="to start over")
    parser.add_argument("checkpoint", help="folder or Hub id")
    add_rows(parser)
    parser.add_argument("--split", default="val", help="of the data set; not the one to report (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="new folder for a calibrated copy (default: write into CHECKPOINT)")
    parser.add_argument(
        "--without_absent", action="store_true", help="accept data without absent expressions: a threshold by F1 alone"
    )
    parser.add_argument("--proposals", help="cache written by `pbrec-hf precompute`")
    parser.add_argument("--batch_size", type=int, help="pictures per process and pass (default: 8; 1 on a CPU)")
    parser.add_argument("--num_workers", type=int, default=4, help="loader processes per process")
    parser.add_argument("--mixed_precision", default="no", choices=("no", "bf16", "fp16"))
    parser.add_argument("--cpu", action="store_true", help="even if there is a GPU")


def run(options: argparse.Namespace) -> int:
    """Write the calibration into processor_config.json, and print what each half makes of the other half's."""
    if options.batch_size is not None and options.batch_size < 1:
        raise ValueError(f"--batch_size {options.batch_size}: give a number of at least 1.")
    require_rows(options)
    require_models(options.checkpoint)
    show_log()
    from ...training.calibration_run import calibrate_checkpoint, require_place
    from ...training.reports import table

    require_place(options.checkpoint, options.out)
    own = own_split(options)
    split = options.split if own is None else own
    found = calibrate_checkpoint(
        options.checkpoint,
        rows_of(options, split),
        split if own else f"{options.dataset}/{split}",
        options.out,
        without_absent=options.without_absent,
        proposals=options.proposals,
        batch_size=options.batch_size,
        num_workers=options.num_workers,
        mixed_precision=options.mixed_precision,
        cpu=options.cpu,
    )
    if found is None:
        return 0
    if found.scores:
        print(f"Each half of the pictures with the calibration of the other half:\n\n{table(found.scores)}\n")
    calibration = found.calibration
    print(
        f"{found.folder}: calibrated on {calibration.answers} answers of {calibration.fitted_on}; thresholds "
        f"{calibration.threshold:.3f} of an answer, {calibration.exists_threshold:.3f} of existence"
    )
    return 0
