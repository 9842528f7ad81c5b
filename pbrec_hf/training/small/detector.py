"""A NanoDet for pbrec-mt-small from ncnn's files, with its mirrored look switched on unless it gets a --scale.

python scripts/small/detector.py nanodet-m-416.safetensors nanodet-m-416.param FOLDER [--masks HEAD]

HEAD gets the config of a mask head around it, whose training starts from nothing.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ...convert.nanodet import convert_nanodet_files
from ...hub.writing import replaced_folder
from ...small.nanodet import NanoDetConfig
from ...small.nanodet_masks import NanoDetMasksConfig

# Of the mask head of pbrec-mt-small.
REFINER_WIDTHS = (24, 32, 48)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the folders that are missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, help="safetensors named by node of the graph")
    parser.add_argument("param", type=Path, help="ncnn's graph")
    parser.add_argument("out", type=Path, metavar="FOLDER")
    parser.add_argument("--scale", type=float, help="it sees the canvas at this size alone, and no mirror image")
    parser.add_argument("--masks", type=Path, metavar="HEAD", help="folder for the config of a mask head")
    args = parser.parse_args(arguments)
    if not (args.out / "config.json").is_file():
        detector, _ = convert_nanodet_files(args.weights, args.param)
        detector.config.mirrored = args.scale is None
        detector.config.scales = [args.scale or 1.0]
        with replaced_folder(args.out) as folder:
            detector.save_pretrained(folder)
    if args.masks is not None and not (args.masks / "config.json").is_file():
        inside = NanoDetConfig.from_pretrained(args.out)
        with replaced_folder(args.masks) as folder:
            NanoDetMasksConfig(detector_config=inside, refiner_widths=REFINER_WIDTHS).save_pretrained(folder)
