"""An application behind a real server on loopback, and the questions that clients send."""

import base64
import io
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import uvicorn
from PIL import Image

from pbrec_hf.app.service.run import listening


@contextmanager
def served(application: Any) -> Iterator[str]:
    """Serve in a thread; yields the address, without a slash at its end."""
    bound = listening("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(application, log_level="critical"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server does not start"
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        bound.close()


def png(seed: int = 0, width: int = 90, height: int = 60) -> bytes:
    """The file of a picture of noise."""
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()


def as_text(photograph: bytes) -> str:
    """A file as JSON carries it."""
    return "data:image/png;base64," + base64.b64encode(photograph).decode()


def question(photograph: bytes | None = None, *expressions: str, **options: Any) -> dict[str, Any]:
    """The body of a request."""
    image = as_text(png() if photograph is None else photograph)
    return {"image": image, "expressions": list(expressions) or ["left dog"], **options}
