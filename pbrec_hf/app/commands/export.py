"""`pbrec-hf export`: graphs of a checkpoint, for onnxruntime and OpenVINO."""

import argparse
from pathlib import Path

from ..options import require_models
from ..output import silence_libraries
from . import Commands, new_verb

HELP = "export the networks to ONNX, and to eight bits"


def add(commands: Commands) -> None:
    """Add the verb and its arguments."""
    parser = new_verb(commands, "export", run, HELP)
    parser.add_argument("destination", type=Path, metavar="FOLDER", help="folder to write")
    parser.add_argument("--model", help="folder or Hub id (default: the bundled checkpoint)")
    parser.add_argument(
        "--int8", choices=("onnx", "openvino"), nargs="+", default=[], metavar="RUNTIME",
        help="quantise the image part, too, for onnx or openvino, or both",
    )  # fmt: skip
    parser.add_argument(
        "--calibration", type=Path, metavar="PHOTOS",
        help="folder of photographs that ranges of eight bits are measured on (default: the package's)",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Write the graphs and print their paths."""
    require_models(options.model)
    photographs = None if options.calibration is None else _photographs(options.calibration)
    silence_libraries()
    from ...inference.grounder import Grounder
    from ...inference.onnx import IMAGE_ENCODER, export_onnx
    from ...inference.quantization import quantized

    grounder = Grounder(options.model)
    paths = export_onnx(grounder.model, grounder.processor, options.destination)
    encoder = options.destination / IMAGE_ENCODER
    paths += [quantized(encoder, runtime, grounder.processor, photographs) for runtime in options.int8]
    for path in paths:
        print(path)
    return 0


def _photographs(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.glob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp"))
    if not found:
        raise ValueError(f"--calibration {folder}: there are no .jpg, .png or .webp files; name a folder of some.")
    return found
