"""The routes of the service (FastAPI); `/docs` and `/openapi.json` describe them.

| route | answer |
|---|---|
| POST /v1/ground | a photograph as base64 in JSON → its answers |
| POST /v1/ground/upload | a photograph as a file of a form → its answers |
| GET /health | 200 while questions are answered, else 503 |
| GET /metrics | counts and times, for Prometheus |

Whatever is refused is told in one line: `{"detail": "…"}`.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import FastAPI, Form, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from ...version import __version__
from . import schemas
from .gate import Gate
from .service import Service

_REASONS = {
    400: "The body is no JSON.",
    408: "The request did not arrive in time.",
    413: "The photograph has too many bytes or pixels.",
    422: "No photograph, a damaged one or an address; no expression, too many or an empty one; a wrong option.",
    429: "All places are taken; `Retry-After` says when to ask again.",
    503: "Its turn did not come in time; `Retry-After` says when to ask again.",
    504: "The answer did not come in time.",
}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": schemas.Problem, "description": reason} for status, reason in _REASONS.items()
}
# What both routes of questions have in common.
_QUESTION: dict[str, Any] = {
    "response_model": schemas.Response,
    "response_model_exclude_unset": True,
    "responses": _RESPONSES,
}

_FIELDS = {
    "image": "the photograph itself; no address",
    "expressions": "a list of texts",
    "referents": "'one' or 'any'",
    "threshold": "a number from 0 to 1, or 'auto'",
    "top_k": "a whole number from 1 to 1000",
    "masks": "true or false",
}
_MISSING = {
    "image": "No photograph: send one as `image`.",
    "expressions": "No expression: say what to find as `expressions`.",
}


def build_service(service: Service) -> FastAPI:
    """The application; ending it ends the service."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(service.close)

    app = FastAPI(
        title="Referring expressions",
        description="Finds in a photograph what sentences mean.",
        version=__version__,
        lifespan=lifespan,
    )
    app.add_middleware(Gate, service.limits, service.places, service.measures, service.retry_after)

    @app.exception_handler(RequestValidationError)
    async def _told(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        return JSONResponse({"detail": _in_words(first)}, 400 if first["type"] == "json_invalid" else 422)

    @app.exception_handler(Exception)
    async def _fault(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"detail": "A fault of the service; its log says more."}, 500)

    async def _answered(
        request: Request, photograph: bytes | str, options: schemas.Options, name: str = ""
    ) -> dict[str, Any]:
        async def gone() -> None:
            while (await request.receive())["type"] != "http.disconnect":
                pass

        return await service.answer(photograph, options.expressions, options.asked(), request.state.end, gone, name)

    @app.post("/v1/ground", summary="What expressions mean in a photograph that is sent as base64", **_QUESTION)
    async def ground(request: Request, body: schemas.Request) -> Any:
        return await _answered(request, body.image, body)

    @app.post("/v1/ground/upload", summary="The same of a photograph that is sent as a file", **_QUESTION)
    async def ground_upload(
        request: Request, form: Annotated[schemas.Upload, Form(media_type="multipart/form-data")]
    ) -> Any:
        return await _answered(request, await form.image.read(), form, form.image.filename or "")

    @app.get("/health", response_model=schemas.Health, summary="Whether questions are answered")
    async def health() -> JSONResponse:
        told = service.health()
        return JSONResponse(told, 200 if told["status"] == "ok" else 503)

    @app.get("/metrics", summary="Counts and times, in Prometheus' text format")
    async def metrics() -> Response:
        return Response(service.measures.text(), media_type=service.measures.content_type)

    return app


def _in_words(error: Any) -> str:
    """What FastAPI found wrong with a request, in one line."""
    field, kind = str(error["loc"][1]) if len(error["loc"]) > 1 else "", error["type"]
    if kind == "json_invalid":
        return f"The body is no JSON ({error.get('ctx', {}).get('error', 'damaged')}): send an object."
    if kind == "missing" and field in _MISSING:
        return _MISSING[field]
    if kind == "extra_forbidden":
        return f"{field} is no field of a request: send {', '.join(_FIELDS)}."
    if field in _FIELDS:
        given = f"={str(error['input'])[:50]!r}" if isinstance(error["input"], (str, int, float)) else ""
        return f"{field}{given}: give {_FIELDS[field]}."
    return "The body is no JSON object: send one, as application/json."


__all__ = ["build_service"]
