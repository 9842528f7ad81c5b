"""`pbrec-hf precompute`: proposals of all pictures of a data set, computed once for training and evaluation.

1 GPU    pbrec-hf precompute CHECKPOINT --dataset refcoco --refer_dir R --image_dir I --out D
N GPUs   accelerate launch --multi_gpu --num_processes N -m pbrec_hf precompute CHECKPOINT …
CPU      pbrec-hf precompute CHECKPOINT --cpu --data my.jsonl --out D

Run it again to resume after an interruption, or to add the pictures of another data set. D/boxes and D/masks hold
Parquet files keyed by the hash of picture and detector. Masks take megabytes per picture; `--kinds boxes` leaves them
to the detector.
"""

import argparse

from ..options import add_detectors, add_rows, own_split, require_models, require_rows, rows_of
from ..output import show_log
from . import Commands, new_verb

HELP = "compute the proposals of all pictures of a data set, for `train` and `evaluate --proposals`"


def add(commands: Commands) -> None:
    """Add the verb and its arguments."""
    parser = new_verb(commands, "precompute", run, HELP, again="to go on where it stopped")
    parser.add_argument("checkpoint", help="folder or Hub id of a processor")
    add_rows(parser)
    parser.add_argument("--splits", nargs="+", default=["val"], help="of the data set (default: %(default)s)")
    add_detectors(parser)
    parser.add_argument("--kinds", nargs="+", default=["boxes", "masks"], help="boxes, masks or both (default: both)")
    parser.add_argument("--batch_size", type=int, default=8, help="pictures per pass (default: %(default)s)")
    parser.add_argument("--pictures_per_file", type=int, default=256, help="default: %(default)s")
    parser.add_argument("--num_workers", type=int, default=4, help="loader processes per process")
    parser.add_argument("--out", required=True, help="folder of the proposals")
    parser.add_argument("--cpu", action="store_true", help="even if there is a GPU")


def run(options: argparse.Namespace) -> int:
    """Compute what is not there yet, and print how many pictures were added."""
    require_rows(options)
    require_models(options.checkpoint, options.box_detector, options.mask_detector)
    show_log()
    from accelerate import Accelerator

    from ...hub.opening import opening
    from ...processing_pbrec import PbrecProcessor
    from ...training.build import add_detectors
    from ...training.precompute import fill_caches
    from ...training.proposal_cache import open_caches
    from ...training.run import require_joined

    accelerator = Accelerator(cpu=options.cpu)
    require_joined(accelerator)
    with opening(options.checkpoint) as found:
        processor = PbrecProcessor.from_pretrained(options.checkpoint, **found)
    processor = add_detectors(processor, options.box_detector, options.mask_detector).to(accelerator.device)
    caches = open_caches(options.out, processor, options.kinds)
    if not caches:
        raise ValueError(
            f"{options.checkpoint} has no detector that proposes {' or '.join(options.kinds)}, so there is nothing to "
            "store: give --box_detector or --mask_detector, or other --kinds."
        )
    accelerator.wait_for_everyone()  # before anyone adds to what the others are reading
    share = (accelerator.process_index, accelerator.num_processes)
    own = own_split(options)
    for split in options.splits if own is None else [own]:
        added = fill_caches(
            caches,
            processor,
            rows_of(options, split),
            share,
            options.batch_size,
            options.pictures_per_file,
            options.num_workers,
        )
        print(f"{split}: {added} pictures added by process {accelerator.process_index}")
    return 0
