"""The gate before all routes (ASGI): it bounds what a request may send and, of questions, how many are inside.

A question gets its place before its body is read, so that memory is bounded by places × bytes. Refusals count as
answers in the metrics.
"""

import asyncio
import time
from typing import Any

from fastapi import HTTPException
from fastapi.responses import JSONResponse

from ...images.reading import TooLargeError
from .limits import FullError, Limits, Places
from .measures import Measures

QUESTIONS = "/v1/"


class Gate:
    """
    Args:
        app: the application behind it.
        limits: what a request may send, and how long that may take.
        places: for questions.
        measures: where questions are counted.
        retry_after: seconds after which a refused client should ask again.
    """

    def __init__(self, app: Any, limits: Limits, places: Places, measures: Measures, retry_after: Any):
        self.app, self.limits, self.places, self.measures = app, limits, places, measures
        self.retry_after = retry_after

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass a request on, bounded."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        question = scope["path"].startswith(QUESTIONS)
        body = _Body(receive, self.limits, timed=question)
        if not question:
            await self.app(scope, body.receive, send)
            return
        scope.setdefault("state", {})["end"] = body.end
        status = 500

        async def told(message: Any) -> None:
            nonlocal status
            status = message["status"] if message["type"] == "http.response.start" else status
            await send(message)

        try:
            try:
                with self.places.taken():
                    body.require_length(scope)
                    await self.app(scope, body.receive, told)
            except FullError as error:
                wait = {"Retry-After": str(self.retry_after())}
                await JSONResponse({"detail": str(error)}, 429, wait)(scope, receive, told)
            except TooLargeError as error:
                await JSONResponse({"detail": str(error)}, 413)(scope, receive, told)
        finally:
            self.measures.request(scope["path"], status, time.monotonic() - body.start)


class _Body:
    """What a client sends: so many bytes and, of questions, in so much time."""

    def __init__(self, receive: Any, limits: Limits, timed: bool):
        self._receive, self._limits, self._timed = receive, limits, timed
        self._bytes, self._whole = 0, False
        self.start = time.monotonic()
        self.end = self.start + limits.seconds

    def require_length(self, scope: Any) -> None:
        """Refuse by what the header says, before anything is read."""
        length = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if length.isdigit() and int(length) > self._limits.body:
            raise TooLargeError(self._too_large)

    @property
    def _too_large(self) -> str:
        return f"Too much at once: send a photograph of at most {self._limits.upload / 2**20:g} MiB."

    async def receive(self) -> Any:
        if self._whole:  # what follows is the client's end, which comes when it wants
            return await self._receive()
        try:
            async with asyncio.timeout(max(0.0, self.end - time.monotonic()) if self._timed else None):
                message = await self._receive()
        except TimeoutError as error:
            raise HTTPException(
                408, f"The request did not arrive within {self._limits.seconds:g} seconds: send less."
            ) from error
        self._bytes += len(message.get("body", b""))
        self._whole = not message.get("more_body", False)
        if self._bytes > self._limits.body:
            raise HTTPException(413, self._too_large)
        return message


__all__ = ["QUESTIONS", "Gate"]
