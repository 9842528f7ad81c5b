"""`pbrec-hf serve`: a web page and an HTTP API for asking a model, or an ML backend for Label Studio."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...images.fetching import MOST_BYTES
from ...inference.runtimes import require_runtime
from ..options import add_any, add_model, add_runtime, grounder_of, require_models, require_paths, threshold_of
from ..output import silence_libraries
from . import Commands, new_verb

if TYPE_CHECKING:
    from ..service.limits import Limits

HELP = "serve a web page and an HTTP API for asking a model, or an ML backend for Label Studio"
_MEGA = 2**20
_LIMITS = ("pixels", "expressions", "queue", "together", "seconds")
_OF_THE_SERVICE = (*_LIMITS, "no_page", "mcp", "fetch")
_OF_THE_BACKEND = ("document_root", "threshold", "any")


def add(commands: Commands) -> None:
    """Add the verb and its arguments."""
    from ..service.limits import Limits

    usual = Limits()
    parser = new_verb(commands, "serve", run, HELP)
    add_model(parser)
    add_runtime(parser)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, help="port to listen on (default: 7860; 9090 of the ML backend)")
    most = MOST_BYTES // _MEGA
    parser.add_argument("--max_upload", type=int, default=most, help="MiB of a photograph (default: %(default)s)")
    service = parser.add_argument_group(
        "the service", "POST /v1/ground and /v1/ground/upload, described at /docs; /health; /metrics; the page at /."
    )
    service.add_argument("--no_page", action="store_true", help="the API alone")
    service.add_argument("--mcp", action="store_true", help="an MCP server, too, at /gradio_api/mcp/")
    service.add_argument("--fetch", action="store_true", help="take public addresses of photographs, too")
    for name, kind, text in (
        ("pixels", int, "millions of pixels of a photograph"),
        ("expressions", int, "expressions of a request"),
        ("queue", int, "requests inside at a time; more are answered with 429"),
        ("together", int, "photographs that are answered together"),
        ("seconds", float, "from a request's first byte to its answer; then 503 or 504"),
    ):
        default = getattr(usual, name) // (10**6 if name == "pixels" else 1)
        service.add_argument(f"--{name}", type=kind, metavar="N", help=f"{text} (default: {default:g})")
    studio = parser.add_argument_group(
        "Label Studio",
        "Uploads to Label Studio are fetched at LABEL_STUDIO_URL with the token LABEL_STUDIO_API_KEY (environment).",
    )
    studio.add_argument(
        "--label-studio", dest="label_studio", action="store_true", help="an ML backend instead of the service"
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
    _refuse_options_of_the_other(options)
    require_models(options.model)
    require_runtime(options.runtime, options.precision, options.device, options.compile)
    silence_libraries()
    if options.label_studio:
        return _serve_label_studio(options, port)
    limits = limits_of(options)
    try:
        from ..service.run import build_all, listening, serve
        from ..service.service import Service
    except ImportError as error:
        raise ImportError(f"The service needs more packages ({error}): pip install 'pbrec_hf[serve]'.") from error
    bound = listening(options.host, port)
    service = Service(grounder_of(options), limits, options.model or "bundled")
    application = build_all(service, not options.no_page, options.mcp)
    shown = f"[{options.host}]" if ":" in options.host else options.host
    print(f"http://{shown}:{port}/ (API: http://{shown}:{port}/docs)", flush=True)
    serve(application, bound, limits.seconds)
    return 0


def limits_of(options: argparse.Namespace) -> "Limits":
    """
    What requests may cost.

    Raises:
        ValueError: a limit is not positive.
    """
    from ..service.limits import Limits

    given: dict[str, Any] = {name: value for name in _LIMITS if (value := getattr(options, name)) is not None}
    for name, value in given.items():
        if not value > 0:
            raise ValueError(f"--{name} {value:g}: give a positive number.")
    if "pixels" in given:
        given["pixels"] *= 10**6
    return Limits(upload=options.max_upload * _MEGA, fetch=options.fetch, **given)


def _refuse_options_of_the_other(options: argparse.Namespace) -> None:
    given = vars(options) | {"any": options.referents == "any"}
    names = _OF_THE_SERVICE if options.label_studio else _OF_THE_BACKEND
    for name in names:
        if given[name] not in (None, False):
            whose, remedy = ("the service", "leave out") if options.label_studio else ("the ML backend", "add")
            raise ValueError(f"--{name} is for {whose}: {remedy} --label-studio, or leave --{name} out.")


def _serve_label_studio(options: argparse.Namespace, port: int) -> int:
    threshold = threshold_of(options.threshold)
    require_paths(document_root=options.document_root)
    from ..label.labeller import Asking, Labeller
    from ..label.studio_pictures import StudioPictures
    from ..output import show_log
    from ..studio_backend import Backend, serve_backend

    show_log()
    url, key = (os.environ.get(f"LABEL_STUDIO_{name}") for name in ("URL", "API_KEY"))
    how = {"runtime": options.runtime, "precision": options.precision, "compile": options.compile}
    asking = Asking(options.model, options.referents, threshold, **how)
    labeller = Labeller(asking, options.device)
    serve_backend(Backend(labeller, StudioPictures(options.document_root, url, key)), options.host, port)
    return 0
