"""Starts the service: its routes, the page and the tool on one port, until interrupted."""

import contextlib
import socket
from typing import TYPE_CHECKING

import uvicorn

from ..serve import build_page, mount
from .application import build_service
from .service import Service
from .tool import add_tool

if TYPE_CHECKING:
    from fastapi import FastAPI


def build_all(service: Service, page: bool = True, mcp: bool = False) -> "FastAPI":
    """
    The whole application.

    Args:
        page: whether `/` is the page.
        mcp: whether `/gradio_api/mcp/` is an MCP server.

    Raises:
        ImportError: `mcp` without the extra of that name.
    """
    import gradio

    if mcp:
        try:
            import mcp as _  # noqa: F401
        except ImportError as error:
            raise ImportError("An MCP server needs the package mcp: pip install 'pbrec_hf[mcp]'.") from error
    application = build_service(service)
    if page or mcp:
        # With a tool of its own, the page's function, which draws pictures, need not be one.
        blocks = build_page(service.answering.grounder, documented=not mcp) if page else gradio.Blocks()
        if mcp:
            add_tool(blocks, service)
        mount(application, blocks, service.limits.upload, mcp)
    return application


def listening(host: str, port: int) -> socket.socket:
    """
    A socket bound to an address, before anything slow; connections are refused until somebody listens.

    Raises:
        OSError: the port cannot be listened on.
    """
    try:
        kind, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        bound = socket.socket(kind, socket.SOCK_STREAM)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        raise OSError(f"Port {port} of {host} cannot be used ({error}): give another port.") from error
    return bound


def serve(application: "FastAPI", bound: socket.socket, seconds: float) -> None:
    """
    Serve until interrupted, then answer those who are inside.

    Args:
        bound: where to listen, see `listening`.
        seconds: that they have at the end.
    """
    config = uvicorn.Config(application, log_level="warning", timeout_graceful_shutdown=round(seconds) + 1)
    with contextlib.closing(bound):
        uvicorn.Server(config).run(sockets=[bound])


__all__ = ["build_all", "listening", "serve"]
