"""`pbrec-hf train`: train the comprehension stage, by a published recipe or on data of one's own.

1 GPU    pbrec-hf train --config pbrec-mt-refcoco --refer_dir R --image_dir I --box_detector FCOS --mask_detector SOLO
N GPUs   accelerate launch --multi_gpu --num_processes N -m pbrec_hf train --config …
CPU      pbrec-hf train --cpu --init CHECKPOINT --data my.jsonl --validation_data held_out.jsonl --output_dir runs/mine
N CPUs   ACCELERATE_USE_CPU=1 torchrun --nproc_per_node N -m pbrec_hf train --cpu …
"""

import argparse

from ..output import show_log
from . import Commands, new_verb

HELP = "train on a published data set or on data of one's own"


def add(commands: Commands) -> None:
    """Add the verb; every field of `TrainingConfig` is a flag."""
    from ...training.config import training_parser

    new_verb(commands, "train", run, HELP, parents=[training_parser(add_help=False)])


def run(options: argparse.Namespace) -> int:
    """Train, resuming from the last checkpoint of the output folder, if any."""
    show_log("INFO")
    from ...training.config import config_of
    from ...training.run import train

    try:
        train(config_of(options))
    except KeyboardInterrupt as interruption:
        raise KeyboardInterrupt("run the same command again to resume from the last checkpoint.") from interruption
    return 0
