"""Pictures from servers that are slow, endless or lie. Oracle: the picture that was served, and the clock."""

import io
import os
import socket
import threading
import time
import zlib
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import numpy as np
import PIL.Image
from numpy.random import Generator

from pbrec_hf.images.reading import load_picture

from ..family import Case, Family, pick
from ..outcome import Outcome, judge, wrong

_TIMEOUT = 1.0  # seconds that fetching may take
_GRACE = 1.5  # seconds beyond it that are no fault
_PIXELS = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
_SERVED = (
    "picture", "picture", "slow", "stalls", "endless", "slow header", "endless header", "short", "long", "no length",
    "gzip", "gzip bomb", "deflate bomb", "text", "empty", "status", "chunked", "broken chunks", "closes",
)  # fmt: skip
_PLACES = (
    "file:///etc/passwd", "ftp://127.0.0.1/x", "http://169.254.169.254/latest", "http://10.0.0.1/x", "http://[::1]:9/x",
    "http://127.0.0.1:9/x", "data:text/plain,x", "//", "http://", "http://localhost:9/x", "http://0.0.0.0:9/x",
    "http://[::ffff:10.0.0.1]/x", "http://0x7f000001:9/x", "gopher://127.0.0.1/x",
)  # fmt: skip


class Urls(Family):
    """The subject says where to start: the server, redirects to it, other places; private ones allowed or not."""

    memory: ClassVar[int] = 300 * 2**20
    seconds: ClassVar[float] = 15

    def __init__(self, folder: Path):
        super().__init__(folder)
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
            os.environ.pop(name, None)
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self.server.daemon_threads = True
        _bomb()
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.base = f"http://127.0.0.1:{self.server.server_port}"

    @staticmethod
    def draw(rng: Generator) -> Case:
        subject = pick(rng, ("server", "server", "server", "redirected", "elsewhere", "refused", "offline"))
        if subject == "elsewhere":
            return Case(subject, (("place", pick(rng, _PLACES)), ("hops", int(rng.integers(0, 2)))))
        steps: list[Any] = [("serve", pick(rng, _SERVED), int(rng.integers(400, 600)))]
        if subject == "redirected":
            steps.append(("hops", int(rng.integers(1, 9)) if rng.random() < 0.7 else 10**6))
        return Case(subject, tuple(steps))

    def run(self, case: Case) -> Outcome:
        given = {step[0]: step[1:] for step in case.steps}
        what, status = given.get("serve", ("picture", 404))
        (hops,) = given.get("hops", (0,))
        url = f"{self.base}/{what.replace(' ', '-')}?hops={hops}&status={status}"
        if case.subject == "elsewhere":
            (place,) = given.get("place", ("http://10.0.0.1/x",))
            url = f"{self.base}/picture?hops=1&to={place}" if hops else place
        allowed = case.subject not in ("refused", "elsewhere")
        # This server is a private address itself; where nothing private is allowed, redirects never come to pass.
        os.environ["PBREC_ALLOW_PRIVATE_URLS"] = "1" if allowed or (case.subject == "elsewhere" and hops) else "0"
        os.environ["HF_HUB_OFFLINE"] = "1" if case.subject == "offline" else "0"
        right = allowed and hops <= 3 and what in ("picture", "no length", "long", "chunked")
        start = time.monotonic()

        def problem(image: PIL.Image.Image) -> str | None:
            if not (allowed and what in ("picture", "no length", "long", "chunked", "short")):
                return f"{url} was read"
            return None if np.array_equal(np.asarray(image), _PIXELS) else "other pixels"

        outcome = judge(lambda: load_picture(url, timeout=_TIMEOUT), problem, names=[url, self.base, url[:30]])
        spent = time.monotonic() - start
        if spent > _TIMEOUT + _GRACE:
            return wrong(f"{what}: {spent:.1f} s, though {_TIMEOUT:g} s were allowed")
        if right and outcome.kind == "refused":
            return wrong(f"{what} is a picture, but was refused: {outcome.reason}")
        return outcome

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class _Handler(BaseHTTPRequestHandler):
    """Serves what the path says; `hops` redirects first."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        hops = int(query.get("hops", 0))
        self.close_connection = True
        try:
            if hops:
                to = query.get("to") or f"{parts.path}?hops={hops - 1}&status={query['status']}"
                self._send(302, b"", {"Location": to, "Content-Length": "0"})
            else:
                getattr(self, "_" + parts.path.strip("/").replace("-", "_"))(int(query["status"]))
        except OSError:  # the client has had enough
            pass

    def _send(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "image/png", "Connection": "close", **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _endlessly(self, data: bytes, pause: float) -> None:
        end = time.monotonic() + 10
        while time.monotonic() < end:
            self.wfile.write(data)
            time.sleep(pause)

    def _picture(self, status: int) -> None:
        self._send(200, _PNG, {"Content-Length": str(len(_PNG))})

    def _no_length(self, status: int) -> None:
        self._send(200, _PNG, {})

    def _slow(self, status: int) -> None:
        self._send(200, b"", {"Content-Length": str(10**6)})
        self._endlessly(b"\x89", 0.2)

    def _stalls(self, status: int) -> None:
        self._send(200, _PNG[:100], {"Content-Length": str(len(_PNG))})
        time.sleep(6)

    def _endless(self, status: int) -> None:
        self._send(200, _PNG, {})
        self._endlessly(bytes(2**20), 0)

    def _slow_header(self, status: int) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        self._endlessly(b"X: 1\r\n", 0.2)

    def _endless_header(self, status: int) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
        self._endlessly(b"x" * 10**5, 0)

    def _short(self, status: int) -> None:
        self._send(200, _PNG[:-40], {"Content-Length": str(len(_PNG))})

    def _long(self, status: int) -> None:
        self._send(200, _PNG + bytes(100), {"Content-Length": str(len(_PNG))})

    def _gzip(self, status: int) -> None:
        data = _zipped(_PNG)
        self._send(200, data, {"Content-Encoding": "gzip", "Content-Length": str(len(data))})

    def _gzip_bomb(self, status: int) -> None:
        self._send(200, _bomb(), {"Content-Encoding": "gzip", "Content-Length": str(len(_bomb()))})

    def _deflate_bomb(self, status: int) -> None:
        self._send(200, _bomb(), {"Content-Encoding": "deflate", "Content-Length": str(len(_bomb()))})

    def _text(self, status: int) -> None:
        self._send(200, b"<html>not found</html>", {})

    def _empty(self, status: int) -> None:
        self._send(200, b"", {"Content-Length": "0"})

    def _status(self, status: int) -> None:
        self._send(status, b"sorry", {"Content-Length": "5"})

    def _chunked(self, status: int) -> None:
        body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (_PNG[:50], _PNG[50:]))
        self._send(200, body + b"0\r\n\r\n", {"Transfer-Encoding": "chunked"})

    def _broken_chunks(self, status: int) -> None:
        self._send(200, b"fffffff\r\n" + _PNG + b"\r\nzz\r\n", {"Transfer-Encoding": "chunked"})

    def _closes(self, status: int) -> None:
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_: Any) -> None:
        pass


def _zipped(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=31)
    return packer.compress(data) + packer.flush()


@cache
def _bomb(mebibytes: int = 500) -> bytes:
    packer = zlib.compressobj(wbits=31)
    return b"".join(packer.compress(bytes(2**20)) for _ in range(mebibytes)) + packer.flush()


def _png() -> bytes:
    buffer = io.BytesIO()
    PIL.Image.fromarray(_PIXELS).save(buffer, "PNG")
    return buffer.getvalue()


_PNG = _png()
FAMILY = Urls
