"""A web page for trying a model: photograph and expressions in; answers, score maps and the proposals that voted out.

Runs on this machine (`pbrec-hf serve`) and as a Gradio Space. Needs `pip install 'pbrec_hf[serve]'`. The page loads
nothing from other servers. Uploads are bounded in bytes and pixels; drawings have at most the size of a screen.
"""

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from ..images.fetching import MOST_BYTES
from ..images.reading import PictureSource
from ..inference.grounder import Grounded, Grounder
from .drawing import draw_answers
from .explain import box_proposals, score_map
from .screen import at_screen_size

if TYPE_CHECKING:
    import gradio
    from fastapi import FastAPI

MOST_EXPRESSIONS = 10
_SOME_THRESHOLD = 0.3  # of raw scores, where no calibration tells a better one
_STEP = 0.01  # of the threshold
_FONTS = ["system-ui", "sans-serif"]


def split_expressions(text: str) -> list[str]:
    """
    One expression per line, empty lines left out.

    Raises:
        ValueError: no expression, or more than `MOST_EXPRESSIONS`.
    """
    expressions = [line.strip() for line in text.splitlines() if line.strip()]
    if not expressions:
        raise ValueError("Write what to find, such as: the dog on the left.")
    if len(expressions) > MOST_EXPRESSIONS:
        raise ValueError(f"{len(expressions)} expressions at once: give at most {MOST_EXPRESSIONS}.")
    return expressions


def describe(result: Grounded, expressions: list[str]) -> list[list[str]]:
    """A row for each answer: the expression, its score, its box in pixels of the photograph; or that there is none."""
    rows = []
    for expression, answer in zip(expressions, result.answers, strict=True):
        for score, box in zip(answer["scores"].tolist(), answer["boxes"].tolist(), strict=True):
            rows.append([expression, f"{score:.2f}", ", ".join(str(round(value)) for value in box)])
        if not len(answer["scores"]):
            rows.append([expression, "nothing found", ""])
    return rows


def score_maps(result: Grounded, expressions: list[str]) -> list[tuple[Image.Image, str]]:
    """The photograph under each expression's scores, with the expression as caption."""
    return [(score_map(result, row), expression) for row, expression in enumerate(expressions)]


def voters(result: Grounded, expressions: list[str]) -> list[tuple[Image.Image, str]]:
    """The photograph with the proposals that voted, for each expression; none where there is no box detector."""
    pictures = []
    for row, expression in enumerate(expressions):
        if (drawn := box_proposals(result, row)) is not None:
            picture, count = drawn
            pictures.append((picture, f"{expression}: {count} proposal{'s' if count > 1 else ''}"))
    return pictures


def uploaded(payload: Any) -> PictureSource | None:
    """
    What was uploaded, unopened, for the one reader of pictures: `ImageData` of Gradio → an open file, or data.

    Raises:
        gradio.Error: it is an address, which would let a visitor read the server's files and network.
    """
    if payload is None:
        return None
    if payload.path is None:
        if payload.url is not None and not payload.url.startswith("data:"):
            raise _gradio().Error("Upload the photograph itself, or send it as data:image/…;base64,…; no address.")
        url: str | None = payload.url
        return url
    file = BytesIO(Path(payload.path).read_bytes())
    file.name = payload.orig_name or "The photograph"
    return file


def build_page(grounder: Grounder, documented: bool = True) -> "gradio.Blocks":
    """
    The page, to be launched by [`launch`] or mounted by [`mount`].

    Args:
        grounder: answers.
        documented: whether the page's own API is described there.

    Raises:
        ImportError: without the extra `serve`.
    """
    gradio = _gradio()
    votes = grounder.processor.settings.choose == "vote"
    calibration = grounder.processor.calibration
    usual = _SOME_THRESHOLD if calibration is None else calibration.threshold

    def answer(
        photograph: PictureSource | None, text: str, top_k: int, threshold: float, several: bool
    ) -> tuple[Any, ...]:
        try:
            if photograph is None:
                raise ValueError("Choose a photograph first.")
            expressions = split_expressions(text)
            # Left where the calibration has it, the slider means all that the calibration says.
            auto = several and calibration is not None and abs(threshold - usual) < _STEP / 2
            limit, referents = "auto" if auto else threshold, "any" if several else "one"
            result = grounder(photograph, expressions, int(top_k), limit, False, referents)
        except (OSError, ValueError) as error:
            raise gradio.Error(str(error), print_exception=False) from error
        shown = at_screen_size(result, grounder.processor.settings.mask_threshold)
        return (
            draw_answers(shown.image, shown.answers),
            describe(result, expressions),
            score_maps(shown, expressions),
            voters(shown, expressions),
        )

    with gradio.Blocks(title="Referring expressions", analytics_enabled=False) as page:
        gradio.Markdown("# Find what a sentence means\nA photograph, and one expression per line.")
        with gradio.Row():
            with gradio.Column():
                photograph = gradio.Image(label="Photograph", sources=["upload", "clipboard"])
                photograph.preprocess = uploaded  # Gradio's own opens the file, and has no words for a damaged one
                text = gradio.Textbox(
                    label="Expressions", placeholder="the dog on the left", lines=3, elem_id="expressions"
                )
                several = gradio.Checkbox(label="As many as there are, or none", elem_id="any")
                threshold = gradio.Slider(
                    0, 1, value=0, step=_STEP, label="Leave out answers that score less", elem_id="threshold"
                )
                button = gradio.Button("Find", variant="primary", elem_id="find")
                with gradio.Accordion("Settings", open=False, visible=votes):
                    top_k = gradio.Slider(1, 50, value=12, step=1, label="Proposals that vote")
            with gradio.Column():
                picture = gradio.Image(type="pil", label="Answers", elem_id="answers")
                table = gradio.Dataframe(
                    headers=["expression", "score", "box"], label="In numbers", interactive=False, elem_id="numbers"
                )
        maps = gradio.Gallery(label="Where it looked", elem_id="maps", columns=3, object_fit="contain")
        proposals = gradio.Gallery(
            label=f"The proposals that {'voted' if votes else 'were chosen from'}",
            elem_id="proposals",
            columns=3,
            object_fit="contain",
        )
        # Without a threshold, whoever asks for all gets everything.
        several.change(lambda all_of_them: usual if all_of_them else 0, several, threshold, api_visibility="private")
        asked, shown = [photograph, text, top_k, threshold, several], [picture, table, maps, proposals]
        visibility = "public" if documented else "undocumented"
        button.click(answer, asked, shown, api_name="ground", api_visibility=visibility)
    return page


def launch(
    page: "gradio.Blocks",
    host: str | None = None,
    port: int | None = None,
    wait: bool = True,
    most_bytes: int = MOST_BYTES,
) -> str:
    """
    Serve the page and return its address.

    Args:
        host, port: by default as Gradio finds them (127.0.0.1 and 7860 here, a Space's own there).
        wait: until interrupted; False returns at once, and `page.close()` ends it.
        most_bytes: of an uploaded file.

    Raises:
        OSError: the port cannot be listened on.
    """
    try:
        _, address, _ = page.launch(
            server_name=host,
            server_port=port,
            max_file_size=most_bytes,
            theme=_theme(),
            prevent_thread_lock=not wait,
            quiet=not wait,
        )
    except OSError as error:
        if port is None:
            raise
        raise OSError(f"Port {port} of {host} cannot be used ({error}): give another port.") from error
    return str(address)


def mount(
    application: "FastAPI", page: "gradio.Blocks", most_bytes: int = MOST_BYTES, mcp: bool = False, queue: int = 32
) -> None:
    """
    Put the page at `/` of an application, behind its own routes.

    Args:
        most_bytes: of an uploaded file.
        mcp: whether its documented functions are tools of an MCP server.
        queue: visitors who wait for answers; more are turned away.
    """
    page.queue(max_size=queue)
    _gradio().mount_gradio_app(
        application, page, "/", max_file_size=most_bytes, theme=_theme(), mcp_server=mcp, run_history=False
    )


def _theme() -> Any:
    return _gradio().themes.Default(font=_FONTS, font_mono=["monospace"])


def _gradio() -> Any:
    try:
        import gradio
    except ImportError as error:
        raise ImportError("The page needs Gradio: pip install 'pbrec_hf[serve]'.") from error
    return gradio


__all__ = ["build_page", "launch", "mount"]
