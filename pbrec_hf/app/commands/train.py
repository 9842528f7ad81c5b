"""`pbrec-hf train`: train the comprehension stage, by a published recipe or on data of one's own.

1 GPU    pbrec-hf train --config pbrec-mt-refcoco --refer_dir R --image_dir I --box_detector FCOS --mask_detector SOLO
N GPUs   accelerate launch --multi_gpu --num_processes N -m pbrec_hf train --config …
CPU      pbrec-hf train --cpu --init CHECKPOINT --data my.jsonl --validation_data held_out.jsonl --output_dir runs/mine
N CPUs   ACCELERATE_USE_CPU=1 torchrun --nproc_per_node N -m pbrec_hf train --cpu …
"""

import argparse

from ..options import require_models, require_paths
from ..output import show_log
from . import Commands, new_verb

_PATHS = ("data", "validation_data", "instances", "refer_dir", "image_dir", "proposals")
_MODELS = ("init", "backbone_checkpoint", "text_checkpoint", "box_detector", "mask_detector")
HELP = "train on a published data set or on data of one's own"


def add(commands: Commands) -> None:
    """Add the verb; every field of `TrainingConfig` is a flag."""
    from ...training.config import training_parser

    parents = [training_parser(add_help=False)]
    new_verb(commands, "train", run, HELP, parents, again="to resume from the last checkpoint")


def run(options: argparse.Namespace) -> int:
    """Train, resuming from the last checkpoint of the output folder, if any."""
    from ...training.config import config_of

    given = {name: getattr(options, name) for name in _PATHS}
    require_paths(**{name: path for name, path in given.items() if isinstance(path, str)})
    require_models(*(getattr(options, name) for name in _MODELS))
    config = config_of(options)
    show_log("INFO")
    from ...training.run import train

    if not config.resume:
        options.again = "to start over"
    train(config)
    return 0
