"""`pbrec-hf convert`: a checkpoint from elsewhere becomes one of this package."""

import argparse
from pathlib import Path

from ..options import require_paths
from ..output import silence_libraries
from . import Commands, new_verb

HELP = "convert a checkpoint from elsewhere into one of this package"


def add(commands: Commands) -> None:
    """Add the verb and its arguments."""
    parser = new_verb(commands, "convert", run, HELP)
    parser.add_argument("kind", metavar="KIND", help="pbrec, fcos, fcos-torchvision, solo, nanodet or detr-backbone")
    parser.add_argument("source", type=Path, metavar="FILE", help=".pth, .pt or .safetensors; nothing in it is run")
    parser.add_argument("destination", type=Path, metavar="FOLDER", help="folder to write")
    parser.add_argument("--variant", help="of kind fcos: plain or improved")
    parser.add_argument("--param", type=Path, help="of kind nanodet: ncnn's graph (.param)")
    parser.add_argument(
        "--tokenizer", help="of kind pbrec: folder or Hub id of its text encoder's tokenizer; writes a processor, too"
    )
    parser.add_argument("--box_detector", help="of kind pbrec with a tokenizer: folder or Hub id")
    parser.add_argument("--mask_detector", help="of kind pbrec with a tokenizer: folder or Hub id")


def run(options: argparse.Namespace) -> int:
    """Convert, and print what became of every key."""
    require_paths(param=options.param)
    if not options.source.exists():
        raise FileNotFoundError(f"There is no file {options.source}: correct the path.")
    silence_libraries()
    from ...convert.run import convert

    report = convert(
        options.kind,
        options.source,
        options.destination,
        options.variant,
        options.param,
        options.tokenizer,
        options.box_detector,
        options.mask_detector,
    )
    print(f"{report.summary()}\nwritten to {options.destination}; a forward pass gave finite outputs")
    if options.kind == "pbrec" and options.tokenizer is None:
        print("the folder holds the model alone: --tokenizer adds the processor that answering needs")
    return 0
