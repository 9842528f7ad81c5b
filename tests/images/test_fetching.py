"""Addresses of the web: one limit of time for all of it, few redirects, no private servers unless they are allowed."""

import socket
import threading
import time

import pytest

from pbrec_hf.images import fetching
from pbrec_hf.images.fetching import ALLOW_PRIVATE, fetch, is_public
from pbrec_hf.images.reading import load_pixels


class Server:
    """Answers each path with raw bytes: a list of pieces, and the seconds between them."""

    def __init__(self, answers):
        self.answers, self.asked, self.closing = answers, [], threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while not self.closing.is_set():
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.answer, args=(connection,), daemon=True).start()

    def answer(self, connection):
        with connection:
            try:
                path = connection.recv(2**16).split()[1].decode()
                self.asked.append(path)
                pieces, pause = self.answers[path]
                for piece in pieces:
                    connection.sendall(piece)
                    if self.closing.wait(pause):
                        return
            except OSError:
                pass  # the reader has had enough

    def close(self):
        self.closing.set()
        self.listener.close()


def reply(body=b"", status="200 OK", **headers):
    lines = [f"HTTP/1.1 {status}", "Connection: close", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


def endless(piece):
    while True:
        yield piece


@pytest.fixture
def serve(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    servers = []

    def serve(**answers):
        servers.append(Server({f"/{name}": answer for name, answer in answers.items()}))
        return servers[-1]

    yield serve
    for server in servers:
        server.close()


@pytest.fixture
def allowed(monkeypatch):
    monkeypatch.setenv(ALLOW_PRIVATE, "1")


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.8.8", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",
        "224.0.0.1", "240.0.0.1", "255.255.255.255", "198.18.0.1", "::1", "::", "fe80::1", "fc00::1", "ff02::1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1", "2002:7f00:1::", "2001:db8::1",
    ],
)  # fmt: skip
def test_addresses_that_are_not_public(address):
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_addresses_that_are_public(address):
    assert is_public(address)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f000001", "127.1", "[::1]", "0"])
def test_this_machine_is_not_asked_however_it_is_written(serve, host):
    server = serve(a=([reply(b"secret")], 0))
    with pytest.raises(ValueError, match=r"is no public address\. Fetch the file yourself, or set PBREC_ALLOW"):
        fetch(f"http://{host}:{server.port}/a")
    with pytest.raises(ValueError, match="is no public address"):
        load_pixels(f"http://{host}:{server.port}/a")
    assert server.asked == []


def test_a_name_is_resolved_once_and_what_was_checked_is_connected_to(serve, monkeypatch):
    """DNS rebinding: public when it is checked, this machine when it is connected to."""
    server, asked = serve(a=([reply(b"secret")], 0)), []
    real = socket.getaddrinfo

    def rebinding(host, port, *args, **options):
        asked.append(host)
        return real("192.0.2.1" if len(asked) > 1 else "127.0.0.1", port, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    monkeypatch.setattr(fetching, "is_public", lambda address: True)
    assert fetch(f"http://rebinding.example:{server.port}/a") == b"secret" and asked == ["rebinding.example"]


def test_a_name_with_one_private_address_is_refused(monkeypatch):
    entry = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
    found = [(*entry, ("93.184.216.34", 80)), (*entry, ("10.1.2.3", 80))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(ValueError, match=r"mixed\.example is 10\.1\.2\.3, which is no public address"):
        fetch("http://mixed.example/picture.jpg")


def test_every_redirect_is_checked(serve, monkeypatch):
    inner = serve(secret=([reply(b"secret")], 0))
    outer = serve(a=([reply(status="302 Found", Location=f"http://localhost:{inner.port}/secret")], 0))
    real = fetching.is_public
    monkeypatch.setattr(fetching, "is_public", lambda address: len(outer.asked) == 0 or real(address))
    with pytest.raises(ValueError, match=r"/a is not fetched: localhost is .*, which is no public address"):
        fetch(f"{outer.url}/a")
    assert outer.asked == ["/a"] and inner.asked == []


def test_what_a_proxy_would_fetch_is_checked(serve, monkeypatch):
    proxy = serve(a=([reply(b"secret")], 0))
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("http_proxy", proxy.url)
    with pytest.raises(ValueError, match="is no public address"):
        fetch("http://127.0.0.1/a")
    assert proxy.asked == []


def test_a_proxy_itself_may_be_private(monkeypatch, serve):
    proxy = serve(**{"x": ([], 0)})
    proxy.answers["http://93.184.216.34/a"] = ([reply(b"picture")], 0)
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("http_proxy", proxy.url)
    assert fetch("http://93.184.216.34/a") == b"picture"


@pytest.mark.usefixtures("allowed")
class TestWhereAllowed:
    def test_a_body_arrives(self, serve):
        assert fetch(f"{serve(a=([reply(b'abc')], 0)).url}/a") == b"abc"

    @pytest.mark.parametrize(
        "pieces",
        [
            [b"H"] * 1000,
            [b"HTTP/1.1 200 OK\r\n", *[b"X-Slow: 1\r\n"] * 1000],
            [reply(), *[b"x"] * 1000],
            [reply(status="302 Found", Location="/a"), *[b"x"] * 1000],
        ],
        ids=["status", "headers", "body", "redirects"],
    )
    def test_the_limit_of_time_is_for_all_of_it(self, serve, pieces):
        server = serve(a=(pieces, 0.05))
        start = time.monotonic()
        with pytest.raises(ValueError, match="/a could not be fetched"):
            fetch(f"{server.url}/a", timeout=0.5)
        assert time.monotonic() - start < 5

    def test_the_limit_of_redirects(self, serve):
        steps = {f"r{step}": ([reply(status="302 Found", Location=f"/r{step + 1}")], 0) for step in range(9)}
        server = serve(**steps)
        with pytest.raises(ValueError, match="/r0 could not be fetched"):
            fetch(f"{server.url}/r0")
        assert len(server.asked) == fetching.MOST_REDIRECTS + 1
        server.answers[f"/r{fetching.MOST_REDIRECTS}"] = ([reply(b"there")], 0)
        assert fetch(f"{server.url}/r0") == b"there"

    def test_the_body_of_a_redirect_is_not_read(self, serve):
        server = serve(a=(endless(reply(b"x" * 2**16, "302 Found", Location="/b")), 0), b=([reply(b"there")], 0))
        assert fetch(f"{server.url}/a", timeout=20) == b"there"

    @pytest.mark.parametrize("target", ["file:///etc/hostname", "ftp://127.0.0.1/a", "data:,a", "//"])
    def test_a_redirect_leads_to_the_web_only(self, serve, target):
        server = serve(a=([reply(status="302 Found", Location=target)], 0))
        with pytest.raises(ValueError, match="/a could not be fetched"):
            fetch(f"{server.url}/a")

    @pytest.mark.parametrize(
        "url", ["http://", "http://a b/", "http://127.0.0.1:99999/", "http://x:y@/", "http://[::1/"]
    )
    def test_an_address_that_is_none_is_named(self, url):
        with pytest.raises(ValueError, match="could not be fetched"):
            fetch(url, timeout=5)

    def test_headers_without_end_are_broken_off(self, serve):
        server = serve(a=(endless(b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 2**14 + b"\r\n" * 1), 0))
        with pytest.raises(ValueError, match="/a could not be fetched"):
            fetch(f"{server.url}/a", timeout=20)
