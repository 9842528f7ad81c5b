"""`pbrec-hf serve`: a web page for trying a model, or an ML backend for Label Studio."""

import argparse
import os
from pathlib import Path

from ...images.fetching import MOST_BYTES
from ..options import add_any, add_model, require_models, require_paths, threshold_of
from ..output import silence_libraries
from . import Commands, new_verb

HELP = "serve a web page for trying a model, or an ML backend for Label Studio"


def add(commands: Commands) -> None:
    """Add the verb and its arguments."""
    parser = new_verb(commands, "serve", run, HELP)
    add_model(parser)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, help="port to listen on (default: 7860; 9090 of the ML backend)")
    most = MOST_BYTES // 2**20
    parser.add_argument("--max_upload", type=int, default=most, help="MiB of a photograph (default: %(default)s)")
    studio = parser.add_argument_group(
        "Label Studio",
        "Uploads to Label Studio are fetched at LABEL_STUDIO_URL with the token LABEL_STUDIO_API_KEY (environment).",
    )
    studio.add_argument(
        "--label-studio", dest="label_studio", action="store_true", help="an ML backend instead of the page"
    )
    studio.add_argument("--document_root", type=Path, help="folder of the local files that Label Studio serves")
    add_any(studio)


def run(options: argparse.Namespace) -> int:
    """Serve until interrupted."""
    port = options.port if options.port is not None else 9090 if options.label_studio else 7860
    if not 0 < port < 65536:
        raise ValueError(f"--port {port}: give a number from 1 to 65535.")
    if options.max_upload < 1:
        raise ValueError(f"--max_upload {options.max_upload}: give a number of MiB of at least 1.")
    require_models(options.model)
    silence_libraries()
    if options.label_studio:
        return _serve_label_studio(options, port)
    given = {"document_root": options.document_root, "threshold": options.threshold, "any": options.referents == "any"}
    for name, value in given.items():
        if value not in (None, False):
            raise ValueError(f"--{name} is for the ML backend: add --label-studio, or leave it out.")
    from ...inference.grounder import Grounder
    from ..serve import build_page, launch

    launch(
        build_page(Grounder(options.model, options.device)),
        options.host,
        port,
        most_bytes=options.max_upload * 2**20,
    )
    return 0


def _serve_label_studio(options: argparse.Namespace, port: int) -> int:
    threshold = threshold_of(options.threshold)
    require_paths(document_root=options.document_root)
    from ..label.labeller import Asking, Labeller
    from ..label.studio_pictures import StudioPictures
    from ..output import show_log
    from ..studio_backend import Backend, serve_backend

    show_log()
    url, key = (os.environ.get(f"LABEL_STUDIO_{name}") for name in ("URL", "API_KEY"))
    labeller = Labeller(Asking(options.model, options.referents, threshold), options.device)
    serve_backend(Backend(labeller, StudioPictures(options.document_root, url, key)), options.host, port)
    return 0
