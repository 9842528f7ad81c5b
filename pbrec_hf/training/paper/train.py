"""The paper's trainings at full size: a published recipe, or any row of Table 4; and what they start from.

    accelerate launch --multi_gpu --num_processes N scripts/paper/train.py --config pbrec-mt-refcocoplus \\
        --variant center-hard_mass-soft --refer_dir R --image_dir I --output_dir runs/center-hard_mass-soft
    python scripts/paper/train.py --config pbrec-mt-refcoco --start START --refer_dir R

Every flag of `pbrec-hf train` is one here. `--variant` sets heads and targets as in a row of Table 4. `--start` trains
nothing: it fetches what the recipe names, and writes the model that training starts from, with its processor and
detectors, to a folder, unless it is there. That is a checkpoint for `pbrec-hf precompute`, and every process finds
its detectors there.
"""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from ...hub.writing import replaced_folder
from ..config import TrainingConfig, config_of, training_parser
from .variants import TABLE_4, variant_named

logger = logging.getLogger(__name__)


def with_variant(options: argparse.Namespace, name: str, soft: str) -> argparse.Namespace:
    """
    The options of a training as a row of Table 4.

    Args:
        options: of `training_parser`.
        name: of the variant.
        soft: what soft targets are, "paper" or "released_code".

    Raises:
        ValueError: no such variant.
    """
    return argparse.Namespace(**vars(options) | variant_named(name).training_fields(soft))


def write_start(config: TrainingConfig, folder: Path) -> None:
    """
    Write the model that training starts from, with processor and detectors, unless the folder is there.

    Raises:
        OSError: a part does not exist, or the Hub cannot be reached.
    """
    from transformers import set_seed

    from ..build import load_model_and_processor

    if folder.exists():
        return
    set_seed(config.seed)
    model, processor = load_model_and_processor(config)
    with replaced_folder(folder) as partial:
        model.save_pretrained(partial)
        processor.save_pretrained(partial)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, resuming from the last checkpoint of the output folder; or write what training starts from."""
    parser = training_parser()
    parser.description = __doc__
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    names = ", ".join(variant.name for variant in TABLE_4)
    parser.add_argument("--variant", help=f"a row of Table 4: {names}")
    parser.add_argument(
        "--soft", choices=("paper", "released_code"), default="paper", help="the soft targets of a variant"
    )
    parser.add_argument("--start", type=Path, help="train nothing: write what training starts from to this folder")
    options = parser.parse_args(arguments)
    if options.variant is not None:
        options = with_variant(options, options.variant, options.soft)
    config = config_of(options)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if options.start is not None:
        write_start(config, options.start)
        return
    from ..run import train

    train(config)


__all__ = ["main", "with_variant", "write_start"]
