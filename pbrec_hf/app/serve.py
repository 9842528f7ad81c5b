"""A web page for trying a model: photograph and expressions in; answers, score maps and the proposals that voted out.

Runs on this machine (`pbrec-hf serve`) and as a Gradio Space. Needs `pip install 'pbrec_hf[serve]'`. The page loads
nothing from other servers. Uploads are bounded in bytes and pixels; drawings have at most the size of a screen.
"""

import html
from abc import ABCMeta
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from ..images.fetching import MOST_BYTES
from ..images.reading import PictureSource
from ..inference.grounder import Grounded, Grounder
from .demo import demo_photographs
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
# Gradio's galleries cut squares, and scroll inside of the page. Here pictures keep their shape, and none is cut off.
_STYLE = """
#maps .grid-wrap, #proposals .grid-wrap { height: auto; max-height: none; overflow: visible; }
#maps .grid-container, #proposals .grid-container {
    grid-template-columns: repeat(auto-fill, minmax(min(100%, 26rem), 1fr)); align-items: start;
    height: auto; padding-top: 2rem;
}
#maps .gallery-item, #maps .thumbnail-item, #maps .thumbnail-item img,
#proposals .gallery-item, #proposals .thumbnail-item, #proposals .thumbnail-item img {
    aspect-ratio: auto; width: 100%; height: auto;
}
#reason { color: #b91c1c; font-weight: 600; }
.dark #reason { color: #fca5a5; }
"""


def split_expressions(text: str) -> list[str]:
    """
    One expression per line; or between semicolons, for the keyboards of phones. Empty ones are left out.

    Raises:
        ValueError: no expression, or more than `MOST_EXPRESSIONS`.
    """
    parts = [part.strip() for line in text.splitlines() for part in line.split(";")]
    expressions = list(filter(None, parts))
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
            rows.append([expression, "", "nothing found"])
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


@cache
def _upload_component() -> Any:
    """Gradio's image that leaves opening the file to `uploaded`: its own has no words for a damaged one."""
    image = _gradio().Image
    # If a visitor's session changes a component, Gradio makes another of its class: a method set on one would be lost.
    # Gradio's own metaclass writes a file of stubs beside the source of each class; its parent's does not.
    methods = {"preprocess": lambda self, payload: uploaded(payload)}
    return ABCMeta.__new__(type(image), image.__name__, (image,), methods)


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
    exact = _SOME_THRESHOLD if calibration is None else calibration.threshold
    usual = round(round(exact / _STEP) * _STEP, 2)  # where the slider can stand

    def answers(
        photograph: PictureSource | None, text: str, top_k: int, threshold: float, several: bool
    ) -> tuple[Any, ...]:
        if photograph is None:
            raise ValueError("Choose a photograph first.")
        expressions = split_expressions(text)
        # Left where the calibration has it, the slider means all that the calibration says.
        auto = several and calibration is not None and abs(threshold - usual) < _STEP / 2
        limit, referents = "auto" if auto else threshold, "any" if several else "one"
        result = grounder(photograph, expressions, int(top_k), limit, False, referents)
        shown = at_screen_size(result, grounder.processor.settings.mask_threshold)
        return (
            draw_answers(shown.image, shown.answers),
            describe(result, expressions),
            score_maps(shown, expressions),
            voters(shown, expressions),
        )

    def to_people(*given: Any) -> tuple[Any, ...]:
        # Gradio's own messages vanish after seconds, and leave the word Error.
        try:
            return gradio.HTML(visible=False), *answers(*given)
        except (OSError, ValueError) as error:
            return gradio.HTML(f"<p role='alert'>{html.escape(str(error))}</p>", visible=True), None, None, [], []

    def to_programs(*given: Any) -> tuple[Any, ...]:
        try:
            return answers(*given)
        except (OSError, ValueError) as error:
            raise gradio.Error(str(error), print_exception=False) from error

    with gradio.Blocks(title="Referring expressions", analytics_enabled=False) as page:
        gradio.Markdown("# Find what a sentence means\nGive a photograph, and say what to find in it.")
        with gradio.Row():
            with gradio.Column():
                photograph = _upload_component()(label="Photograph", sources=["upload", "clipboard"])
                text = gradio.Textbox(
                    label="Expressions",
                    info="Enter finds. Shift+Enter, or a semicolon, begins another expression.",
                    placeholder="the dog on the left",
                    lines=1,  # more would make Enter a new line, and Shift+Enter the one that finds
                    max_lines=MOST_EXPRESSIONS,
                    elem_id="expressions",
                )
                several = gradio.Checkbox(label="As many as there are, or none", elem_id="any")
                threshold = gradio.Slider(
                    0, 1, value=0, step=_STEP, label="Leave out answers that score less", elem_id="threshold"
                )
                button = gradio.Button("Find", variant="primary", elem_id="find")
                reason = gradio.HTML(visible=False, elem_id="reason")
                with gradio.Accordion("Settings", open=False, visible=votes):
                    top_k = gradio.Slider(1, 50, value=12, step=1, label="Proposals that vote")
            with gradio.Column():
                picture = gradio.Image(
                    type="pil", label="Answers", elem_id="answers", buttons=["download", "fullscreen"]
                )
                table = gradio.Dataframe(
                    headers=["expression", "score", "box"],
                    label="In numbers",
                    interactive=False,
                    wrap=True,
                    column_widths=["45%", "20%", "35%"],
                    elem_id="numbers",
                )
        examples = gradio.Row()
        maps = gradio.Gallery(label="Where it looked", elem_id="maps", object_fit="contain")
        proposals = gradio.Gallery(
            label=f"The proposals that {'voted' if votes else 'were chosen from'}",
            elem_id="proposals",
            object_fit="contain",
        )
        # Without a threshold, whoever asks for all gets everything.
        several.change(lambda all_of_them: usual if all_of_them else 0, several, threshold, api_visibility="private")
        photograph.change(lambda: gradio.HTML(visible=False), None, reason, api_visibility="private")
        asked, shown = [photograph, text, top_k, threshold, several], [picture, table, maps, proposals]
        gradio.on([button.click, text.submit], to_people, asked, [reason, *shown], api_visibility="private")
        visibility = "public" if documented else "undocumented"
        programs = gradio.Button(visible=False)
        programs.click(to_programs, asked, shown, api_name="ground", api_visibility=visibility)
        with examples:
            gradio.Examples(
                _examples(usual, top_k.value),
                asked,
                [reason, *shown],
                to_people,
                cache_examples=False,
                run_on_click=True,
                visible_columns=[0],
                examples_per_page=20,
                elem_id="examples",
            )
    return page


def _examples(threshold: float, top_k: int) -> list[list[Any]]:
    """What the page asks where an example is chosen: of each photograph of the demo, everything that is meant."""
    rows = {row["image"]: row["expressions"] for row in reversed(demo_photographs())}
    return [[str(path), "\n".join(rows[path]), top_k, threshold, True] for path in reversed(rows)]


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
            **_looks(),
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
    _gradio().mount_gradio_app(application, page, "/", max_file_size=most_bytes, mcp_server=mcp, **_looks())


def _looks() -> dict[str, Any]:
    theme = _gradio().themes.Default(font=_FONTS, font_mono=["monospace"])
    return {"theme": theme, "css": _STYLE, "footer_links": ["api", "gradio", "settings"]}


def _gradio() -> Any:
    try:
        import gradio
    except ImportError as error:
        raise ImportError("The page needs Gradio: pip install 'pbrec_hf[serve]'.") from error
    return gradio


__all__ = ["build_page", "launch", "mount"]
