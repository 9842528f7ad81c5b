"""`pbrec-hf serve`: a web page for trying a model."""

import argparse

from ...images.fetching import MOST_BYTES
from ..options import add_model, require_models
from ..output import silence_libraries
from . import Commands, new_verb

HELP = "serve a web page for trying a model"


def add(commands: Commands) -> None:
    """Add the verb and its arguments."""
    parser = new_verb(commands, "serve", run, HELP)
    add_model(parser)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=7860, help="port to listen on (default: %(default)s)")
    most = MOST_BYTES // 2**20
    parser.add_argument("--max_upload", type=int, default=most, help="MiB of a photograph (default: %(default)s)")


def run(options: argparse.Namespace) -> int:
    """Serve until interrupted."""
    if not 0 < options.port < 65536:
        raise ValueError(f"--port {options.port}: give a number from 1 to 65535.")
    if options.max_upload < 1:
        raise ValueError(f"--max_upload {options.max_upload}: give a number of MiB of at least 1.")
    require_models(options.model)
    silence_libraries()
    from ...inference.grounder import Grounder
    from ..serve import build_page, launch

    launch(
        build_page(Grounder(options.model, options.device)),
        options.host,
        options.port,
        most_bytes=options.max_upload * 2**20,
    )
    return 0
