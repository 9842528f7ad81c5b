"""Commands of `pbrec-hf` around checkpoints: convert, export, serve, space."""

import argparse
import sys
from pathlib import Path


def add_checkpoint_commands(commands) -> None:
    """Add the commands to the sub-parsers of `pbrec-hf`."""
    convert = commands.add_parser("convert", help="turn a checkpoint from elsewhere into one of this package")
    convert.set_defaults(run=_convert)
    convert.add_argument("kind", metavar="KIND", help="pbrec, fcos, fcos-torchvision, solo, nanodet or detr-backbone")
    convert.add_argument("source", type=Path, metavar="FILE", help=".pth, .pt or .safetensors; nothing in it is run")
    convert.add_argument("destination", type=Path, metavar="FOLDER", help="folder to write")
    convert.add_argument("--variant", help="of kind fcos: plain or improved")
    convert.add_argument("--param", type=Path, help="of kind nanodet: ncnn's graph (.param)")

    export = commands.add_parser("export", help="write ONNX of the image encoder and the expression scorer")
    export.set_defaults(run=_export)
    export.add_argument("destination", type=Path, metavar="FOLDER", help="folder to write")
    export.add_argument("--model", required=True, help="folder or Hub id; the bundled checkpoint has no ONNX form")

    serve = commands.add_parser("serve", help="a web page for trying a model")
    serve.set_defaults(run=_serve)
    serve.add_argument("--model", help="folder or Hub id (default: the bundled checkpoint)")
    serve.add_argument("--device", default="cpu", help="cpu, cuda, … (default: %(default)s)")
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    serve.add_argument("--port", type=int, default=7860, help="port to listen on (default: %(default)s)")

    space = commands.add_parser("space", help="write the folder of a Gradio Space that demonstrates a model")
    space.set_defaults(run=_space)
    space.add_argument("model", metavar="MODEL", help="Hub id of the model")
    space.add_argument("destination", type=Path, metavar="FOLDER", help="folder to write")


def _convert(options: argparse.Namespace) -> int:
    from ..convert.run import convert

    report = convert(options.kind, options.source, options.destination, options.variant, options.param)
    sys.stdout.write(f"{report.summary()}\nwritten to {options.destination}; a forward pass gave finite outputs\n")
    return 0


def _export(options: argparse.Namespace) -> int:
    from ..inference.grounder import Grounder
    from ..inference.onnx import export_onnx

    grounder = Grounder(options.model)
    for path in export_onnx(grounder.model, grounder.processor, options.destination):
        sys.stdout.write(f"{path}\n")
    return 0


def _serve(options: argparse.Namespace) -> int:
    from ..inference.grounder import Grounder
    from .serve import build_page, launch

    if not 0 < options.port < 65536:
        raise ValueError(f"--port {options.port}: give a number from 1 to 65535.")
    launch(build_page(Grounder(options.model, options.device)), options.host, options.port)
    return 0


def _space(options: argparse.Namespace) -> int:
    from ..hub.publishing import write_space

    write_space(options.model, options.destination)
    sys.stdout.write(f"written to {options.destination}\n")
    return 0
