"""A NanoDet for pbrec-mt-small from ncnn's files, with its mirrored look switched on unless it gets a --scale.

python scripts/small/detector.py nanodet-m-416.safetensors nanodet-m-416.param FOLDER
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ...convert.nanodet import convert_nanodet_files
from ...hub.writing import replaced_folder


def main(arguments: Sequence[str] | None = None) -> None:
    """Convert, unless FOLDER is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, help="safetensors named by node of the graph")
    parser.add_argument("param", type=Path, help="ncnn's graph")
    parser.add_argument("out", type=Path, metavar="FOLDER")
    parser.add_argument("--scale", type=float, help="it sees the canvas at this size alone, and no mirror image")
    args = parser.parse_args(arguments)
    if (args.out / "config.json").is_file():
        return
    detector, _ = convert_nanodet_files(args.weights, args.param)
    detector.config.mirrored = args.scale is None
    detector.config.scales = [args.scale or 1.0]
    with replaced_folder(args.out) as folder:
        detector.save_pretrained(folder)
