"""The tool of the Model Context Protocol: what a language model asks when it needs to know where something is."""

import json
import time
from typing import TYPE_CHECKING, Literal

from fastapi import HTTPException

from .answering import Asked
from .limits import FullError
from .service import Service

if TYPE_CHECKING:
    import gradio

NAME = "find_in_photograph"


def add_tool(page: "gradio.Blocks", service: Service) -> None:
    """
    Give a page the tool, for `mcp_server=True`.

    Args:
        page: of Gradio.
        service: answers.
    """
    import gradio

    async def find_in_photograph(
        photograph: str,
        expressions: list[str],
        several: bool = False,
        threshold: float | Literal["auto"] | None = None,
    ) -> str:
        """
        Find what expressions such as "the dog on the left" mean in a photograph, as boxes in pixels.

        Args:
            photograph: The file (JPEG, PNG …) as data:image/jpeg;base64,…, or a public address if the server fetches
            expressions: What to find, one thing each, such as "the dog on the left"
            several: Whether an expression may mean several things, or none, such as "all the dogs"
            threshold: Leave out answers that score less, from 0 to 1

        Returns:
            JSON: width and height of the photograph, and results: for each expression its answers, the best first,
            with score and box (left, top, right, bottom)
        """
        start, status = time.monotonic(), 500
        asked = Asked("any" if several else "one", threshold)
        try:
            with service.places.taken():
                found = await service.answer(photograph, expressions, asked, start + service.limits.seconds)
            status = 200
            return json.dumps(found)
        except FullError as error:
            status = 429
            raise gradio.Error(str(error), print_exception=False) from error
        except HTTPException as error:
            status = error.status_code
            raise gradio.Error(error.detail, print_exception=False) from error
        finally:
            service.measures.request("mcp", status, time.monotonic() - start)

    with page:
        gradio.api(find_in_photograph, api_name=NAME, queue=False)


__all__ = ["NAME", "add_tool"]
