"""A Label Studio ML backend: the routes that Label Studio calls (`pbrec-hf serve --label-studio`).

| route | answer |
|---|---|
| GET /, /health | that it is up, and the model's version |
| POST /setup, /validate | the model's version; 400 if the interface can show neither boxes nor masks |
| POST /predict | a prediction for each task; of a picture that cannot be read, an empty one with `error` |
| POST /webhook, /train | that nothing is trained |
| GET /versions | the versions there are: one |

Needs what the extra `serve` brings (Starlette, Uvicorn). One request is answered at a time.
"""

import json
import logging
from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING, Any

from ..images.reading import load_picture
from ..version import __version__
from .label.labeller import UNREADABLE, Labeller
from .label.studio_config import Control, controls_of, expressions_of_task
from .label.studio_pictures import StudioPictures
from .label.studio_results import regions

if TYPE_CHECKING:
    from starlette.applications import Starlette

logger = logging.getLogger(__name__)

MOST_EXPRESSIONS = 100
_MOST_BODY = 64 * 2**20


class Backend:
    """
    What the routes do, without HTTP.

    Args:
        labeller: answers.
        pictures: finds the pictures of tasks.
    """

    def __init__(self, labeller: Labeller, pictures: StudioPictures):
        self.labeller, self.pictures = labeller, pictures
        self.model_version = f"pbrec_hf {__version__} {labeller.asking.model or 'bundled'}"
        self._lock = Lock()

    def health(self, body: dict[str, Any]) -> dict[str, Any]:
        """That it is up."""
        return {"status": "UP", "model_class": "pbrec_hf", "model_version": self.model_version}

    def setup(self, body: dict[str, Any]) -> dict[str, Any]:
        """
        Check a project's interface.

        Raises:
            ValueError: it can show no answers.
        """
        if schema := body.get("schema") or body.get("config"):
            controls_of(schema)
        return {"model_version": self.model_version}

    def predict(self, body: dict[str, Any]) -> dict[str, Any]:
        """
        A prediction for each task.

        Raises:
            ValueError: no list of tasks, or an interface that can show no answers.
        """
        tasks = body.get("tasks")
        if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
            raise ValueError("`tasks` is no list of tasks.")
        controls = controls_of(body.get("label_config"))
        params = body.get("params")
        context = params.get("context") if isinstance(params, dict) else None
        return {
            "results": [self._prediction(task, context, controls) for task in tasks],
            "model_version": self.model_version,
        }

    def nothing_trained(self, body: dict[str, Any]) -> dict[str, Any]:
        """Trainings are started from the command line, on exported annotations."""
        return {"status": "ok", "trained": False}

    def versions(self, body: dict[str, Any]) -> dict[str, Any]:
        """The one version."""
        return {"versions": [self.model_version]}

    def _prediction(self, task: dict[str, Any], context: Any, controls: list[Control]) -> dict[str, Any]:
        result: list[dict[str, Any]] = []
        scores: list[float] = []
        told: dict[str, Any] = {}
        data = task.get("data")
        for field in dict.fromkeys(control.field for control in controls):
            shown = [control for control in controls if control.field == field]
            expressions = expressions_of_task(task, context, shown)[:MOST_EXPRESSIONS]
            try:
                picture = load_picture(self.pictures.source(data.get(field) if isinstance(data, dict) else None))
                with self._lock:
                    record = self.labeller.record(picture, expressions) if expressions else {"expressions": []}
            except UNREADABLE as error:
                told = {"error": " ".join(str(error).split())}
                logger.warning(f"task {task.get('id')}: {told['error']}")
                continue
            size = (picture.height, picture.width)
            for entry in record["expressions"]:
                scores += entry["scores"]
                for control in shown:
                    found = regions(entry, size, (control.name, control.picture), control.kind)
                    result += [_labelled(region, control, entry["expression"]) for region in found]
        score = round(sum(scores) / len(scores), 6) if scores else 0.0
        return {"model_version": self.model_version, "score": score, "result": result, **told}


def _labelled(region: dict[str, Any], control: Control, expression: str) -> dict[str, Any]:
    """The region with a label of its control, or as a bare shape, and with the expression beside it."""
    value = {name: part for name, part in region["value"].items() if name != control.kind}
    label = control.label_of(expression)
    kind = control.kind if label else control.kind.removesuffix("labels")
    shown = value | ({control.kind: [label]} if label else {})
    return region | {"type": kind, "value": shown, "meta": {"text": [expression]}}


def build_backend(backend: Backend) -> "Starlette":
    """
    The web application.

    Raises:
        ImportError: without the extra `serve`.
    """
    try:
        from starlette.applications import Starlette
        from starlette.concurrency import run_in_threadpool
        from starlette.requests import Request
        from starlette.responses import JSONResponse
        from starlette.routing import Route
    except ImportError as error:
        raise ImportError("The ML backend needs Starlette: pip install 'pbrec_hf[serve]'.") from error

    def route(
        path: str, methods: list[str], answer: Callable[[dict[str, Any]], dict[str, Any]], status: int = 200
    ) -> Route:
        async def respond(request: Request) -> JSONResponse:
            try:
                body = await _body(request)
                return JSONResponse(await run_in_threadpool(answer, body), status)
            except ValueError as error:
                return JSONResponse({"error": str(error), "detail": str(error)}, 400)

        return Route(path, respond, methods=methods)

    get, post = ["GET"], ["POST"]
    return Starlette(
        routes=[
            route("/", get, backend.health),
            route("/health", get, backend.health),
            route("/versions", get, backend.versions),
            route("/setup", post, backend.setup),
            route("/validate", post, backend.setup),
            route("/predict", post, backend.predict),
            route("/webhook", post, backend.nothing_trained, 201),
            route("/train", post, backend.nothing_trained, 201),
        ]
    )


async def _body(request: Any) -> dict[str, Any]:
    """The JSON object of a request, {} of an empty one."""
    if request.method == "GET":
        return {}
    content = b""
    async for chunk in request.stream():
        content += chunk
        if len(content) > _MOST_BODY:
            raise ValueError(f"More than {_MOST_BODY // 2**20} MiB at once.")
    body = json.loads(content or b"{}")
    if not isinstance(body, dict):
        raise ValueError("The body is no JSON object.")
    return body


def serve_backend(backend: Backend, host: str, port: int) -> None:
    """Serve until interrupted."""
    application = build_backend(backend)
    import uvicorn

    uvicorn.run(application, host=host, port=port, log_level="warning")


__all__ = ["Backend", "build_backend", "serve_backend"]
