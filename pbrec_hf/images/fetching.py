"""Fetches the bytes at an address of the web: within limits of bytes, time and redirects, from public servers only.

Whoever answers questions of others can be given addresses of machines that only this one reaches. So the address that
is connected to, after every redirect, must be a public one, unless `PBREC_ALLOW_PRIVATE_URLS=1`. What is checked is
what is connected to: a name that means another address the next time gains nothing. Where a proxy is set, the proxy
connects, and what this machine knows of the name is checked. Knows nothing of pictures.
"""

import ipaddress
import os
import socket
import ssl
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from http.client import HTTPConnection, HTTPException, HTTPMessage, HTTPSConnection
from io import BytesIO
from typing import IO, Any

MOST_BYTES = 64 * 2**20  # four times what a large camera writes
MOST_REDIRECTS = 5
TIMEOUT = 30.0  # seconds
ALLOW_PRIVATE = "PBREC_ALLOW_PRIVATE_URLS"
_CHUNK = 2**16
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class RefusedError(ValueError):
    """An address is not fetched, or not to its end."""


def fetch(url: str, timeout: float | None = TIMEOUT) -> bytes:
    """
    The body at an http(s) address.

    Args:
        timeout: seconds for all of it, headers and redirects included; None = without end. Only the system's search
            for the address of a name has a limit of its own.

    Raises:
        RefusedError: too much comes, or the server is not a public one.
        ValueError: not all comes in time, or the server gives nothing.
    """
    limits = _Limits(url, None if timeout is None else time.monotonic() + timeout)
    parts: list[bytes] = []
    size = 0
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "pbrec_hf", "Accept-Encoding": "identity"})
        with _opener(limits).open(request) as response:
            while chunk := response.read1(_CHUNK):
                parts.append(chunk)
                size += len(chunk)
                if size > MOST_BYTES:
                    raise RefusedError(
                        f"{url} gives more than {MOST_BYTES // 2**20} MiB: fetch the file and scale it down."
                    )
    except RefusedError:
        raise
    except (OSError, HTTPException, ValueError) as error:
        raise ValueError(f"{url} could not be fetched ({error}): check the address and the connection.") from error
    return b"".join(parts)


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public internet, also where it carries another one inside."""
    ip = ipaddress.ip_address(address)
    inner = None
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.is_global and not ip.is_multicast if inner is None else is_public(str(inner))


@dataclass(frozen=True)
class _Limits:
    """
    Attributes:
        url: as it was asked for.
        end: of all the time, by the monotonic clock.
    """

    url: str
    end: float | None

    def left(self) -> float | None:
        """Seconds until the end."""
        if self.end is None:
            return None
        left = self.end - time.monotonic()
        if left <= 0:
            raise TimeoutError("not all came in time")
        return left

    def addresses(self, host: str, port: int) -> list[Any]:
        """
        What the system knows of a name.

        Raises:
            RefusedError: one of them is not public, even if others are.
        """
        found: list[Any] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        private = [str(entry[4][0]) for entry in found if not is_public(str(entry[4][0]))]
        if private and os.environ.get(ALLOW_PRIVATE) != "1":
            where = f"{host} is" if host == private[0] else f"{host} is {private[0]}, which is"
            raise RefusedError(
                f"{self.url} is not fetched: {where} no public address. Fetch the file yourself, or set "
                f"{ALLOW_PRIVATE}=1 where nobody else chooses the addresses."
            )
        return found


class _Timed:
    """A socket that receives until the end of all the time, however often something comes."""

    limits: _Limits

    def recv_into(self, *args: Any) -> int:
        self.settimeout(self.limits.left())  # type: ignore[attr-defined]
        received: int = super().recv_into(*args)  # type: ignore[misc]
        return received


class _Socket(_Timed, socket.socket):
    pass


class _TlsSocket(_Timed, ssl.SSLSocket):
    pass


class _HttpsConnection(HTTPSConnection):
    limits: _Limits

    def connect(self) -> None:
        super().connect()
        connection: Any = self.sock
        connection.limits = self.limits


def _connected(address: tuple[str, int], *_: Any, limits: _Limits, checked: bool) -> socket.socket:
    """In place of `socket.create_connection`: to a public address only, unless a proxy is connected to."""
    found = limits.addresses(*address) if checked else socket.getaddrinfo(*address, type=socket.SOCK_STREAM)
    failure = OSError(f"{address[0]} has no address")
    for family, kind, protocol, _name, target in found:
        connection = _Socket(family, kind, protocol)
        connection.limits = limits
        try:
            connection.settimeout(limits.left())
            connection.connect(target)
            connection.settimeout(limits.left())  # what follows may be the start of TLS
            return connection
        except OSError as error:
            connection.close()
            failure = error
    raise failure


@cache
def _tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.sslsocket_class = _TlsSocket
    return context


class _Http(urllib.request.AbstractHTTPHandler):
    """Opens both kinds of address."""

    def __init__(self, limits: _Limits) -> None:
        super().__init__()
        self.limits = limits

    def http_open(self, request: urllib.request.Request) -> Any:
        return self.do_open(partial(_connection, HTTPConnection, self.limits, request), request)

    def https_open(self, request: urllib.request.Request) -> Any:
        make = partial(_HttpsConnection, context=_tls())
        return self.do_open(partial(_connection, make, self.limits, request), request)

    http_request = https_request = urllib.request.AbstractHTTPHandler.do_request_


def _connection(
    make: Callable[..., HTTPConnection], limits: _Limits, request: urllib.request.Request, host: str, **options: Any
) -> Any:
    proxied = request.has_proxy() or bool(getattr(request, "_tunnel_host", None))
    if proxied:
        limits.addresses(str(urllib.parse.urlsplit(request.full_url).hostname), 0)
    connection: Any = make(host, **options)
    connection.limits = limits
    # What `connect` of both classes calls.
    connection._create_connection = partial(_connected, limits=limits, checked=not proxied)
    return connection


class _Redirects(urllib.request.HTTPRedirectHandler):
    max_redirections = MOST_REDIRECTS

    def http_error_302(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage
    ) -> Any:
        fp.close()  # urllib would read all of a body that nobody needs
        return super().http_error_302(req, BytesIO(), code, msg, headers)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


def _opener(limits: _Limits) -> urllib.request.OpenerDirector:
    """Like `urllib.request.build_opener`, without addresses of files and of FTP."""
    opener = urllib.request.OpenerDirector()
    handlers: tuple[urllib.request.BaseHandler, ...] = (
        urllib.request.ProxyHandler(),
        _Http(limits),
        _Redirects(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.UnknownHandler(),
    )
    for handler in handlers:
        opener.add_handler(handler)
    return opener


__all__ = ["ALLOW_PRIVATE", "MOST_BYTES", "MOST_REDIRECTS", "TIMEOUT", "RefusedError", "fetch", "is_public"]
