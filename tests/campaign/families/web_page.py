"""Uploads and requests to the web page. Oracle: the answers that it gives to the same question asked politely."""

import io
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import httpx
import numpy as np
import PIL.Image
from checkpoints import save_tiny_checkpoint
from numpy.random import Generator

from pbrec_hf.app.serve import build_page, launch
from pbrec_hf.inference.grounder import Grounder

from ..family import Case, Family, pick
from ..mutations import WRONG_VALUES, damage_bytes, draw_bytes
from ..outcome import Outcome, answered, refused, wrong

_MOST_BYTES = 200_000  # of an upload to this page
_TEXTS = ("left dog", "the red car", "the cat on the left", "")
_TRAVERSALS = (
    "/gradio_api/file={canary}", "/gradio_api/file=../../../../../../../..{canary}", "/file={canary}",
    "/gradio_api/file=file://{canary}", "/gradio_api/file=%2e%2e/%2e%2e/%2e%2e{canary}", "/static/..{canary}",
    "/gradio_api/file=/proc/self/environ", "/assets/%2e%2e%2f%2e%2e{canary}", "/gradio_api/stream/../..{canary}",
    "/gradio_api/proxy=http://127.0.0.1:9/x", "/theme.css/../..{canary}",
)  # fmt: skip
_PATHS = ("{canary}", "/etc/passwd", "../../canary", "http://127.0.0.1:9/x.png", "file://{canary}", "", "/dev/zero", 7)


class WebPage(Family):
    """Subjects: ask, traverse, path (of the photograph), upload (damaged or large), payload (wrong values), crowd."""

    seconds: ClassVar[float] = 40
    memory: ClassVar[int] = 2**30

    def __init__(self, folder: Path):
        super().__init__(folder)
        save_tiny_checkpoint(folder / "model")
        self.canary = folder / "canary"
        self.canary.write_text("the secret of this machine")
        self.page = build_page(Grounder(folder / "model"))
        self.client = httpx.Client(
            base_url=launch(self.page, "127.0.0.1", wait=False, most_bytes=_MOST_BYTES), timeout=30
        )
        self.known: dict[Any, Any] = {}

    @staticmethod
    def draw(rng: Generator) -> Case:
        subject = pick(rng, ("ask", "traverse", "path", "upload", "upload", "payload", "crowd"))
        if subject in ("ask", "crowd"):
            rows = [("ask", int(rng.integers(3)), pick(rng, _TEXTS)) for _ in range(int(rng.integers(1, 9)))]
            return Case(subject, tuple(rows[:1] if subject == "ask" else rows))
        if subject == "traverse":
            return Case(subject, (("get", pick(rng, _TRAVERSALS)),))
        if subject == "path":
            return Case(subject, (("path", pick(rng, _PATHS)),))
        if subject == "payload":
            changes = [("set", int(rng.integers(5)), pick(rng, WRONG_VALUES)) for _ in range(int(rng.integers(1, 3)))]
            return Case(subject, tuple(changes))
        if rng.random() < 0.5:
            return Case("upload", (("size", int(10 ** rng.uniform(0, 3.6)), int(10 ** rng.uniform(0, 3.6)), "noise"),))
        return Case("upload", draw_bytes(rng, 700))

    def run(self, case: Case) -> Outcome:
        try:
            outcome: Outcome = getattr(self, f"_{case.subject}")(case.steps)
        except httpx.HTTPError as error:
            outcome = wrong(f"the page broke off: {type(error).__name__}: {error}")
        if outcome.kind != "wrong" and (again := self._same(0, "left dog")) is not None:
            return wrong(f"afterwards the page gives {again}")
        return outcome

    def _ask_again(self, picture: int, text: str) -> tuple[str, Any]:
        return self._question([self._uploaded(_encoded(40 + picture, 60, picture), "a.png"), text, 12, 0, False])

    def _same(self, picture: int, text: str) -> str | None:
        """What differs from the first answer to this question."""
        found = self._ask_again(picture, text)
        right = self.known.setdefault((picture, text), found)
        if found != right:
            return f"{found} instead of {right}"
        kind, values = found
        if text and (kind != "complete" or [row[0] for row in values] != [text] or not 0 <= float(values[0][1]) <= 1):
            return str(found)
        return None if text or (kind == "error" and "Write what to find" in values) else str(found)

    def _ask(self, steps: Any) -> Outcome:
        _, picture, text = steps[0] if steps else ("ask", 0, "left dog")
        problem = self._same(picture, text)
        return wrong(problem) if problem else answered()

    def _crowd(self, steps: Any) -> Outcome:
        for _, picture, text in steps:
            self._same(picture, text)
        with ThreadPoolExecutor(8) as pool:
            problems = [p for p in pool.map(lambda step: self._same(*step[1:]), steps * 2) if p]
        return wrong(problems[0]) if problems else answered()

    def _traverse(self, steps: Any) -> Outcome:
        path = steps[0][1].format(canary=self.canary) if steps else "/"
        answer = self.client.get(path)
        if self._leaks(answer.text) or "PATH=" in answer.text:
            return wrong(f"GET {path} gives a file of this machine")
        return refused(answer.status_code) if answer.status_code >= 400 else answered()

    def _path(self, steps: Any) -> Outcome:
        path = steps[0][1] if steps else "/etc/passwd"
        path = path.format(canary=self.canary) if isinstance(path, str) else path
        return self._told(
            self._question([{"path": path, "meta": {"_type": "gradio.FileData"}}, "left dog", 12, 0, False]),
            False,
            any_error=True,
        )

    def _upload(self, steps: Any) -> Outcome:
        if steps and steps[0][0] == "size":
            _, width, height, _ = steps[0]
            data = _encoded(height, width, 0)
            legal = len(data) <= _MOST_BYTES and min(width, height) >= 8 and max(width, height) < 3000
        else:
            data = damage_bytes(_encoded(20, 30, 0), steps)
            legal = False  # it may be, or not
        answer = self.client.post("/gradio_api/upload", files={"files": ("photo.png", data)})
        if len(data) > 1.05 * _MOST_BYTES and answer.status_code < 400:
            return wrong(f"an upload of {len(data)} bytes was taken")
        if answer.status_code >= 400:
            return refused(answer.text) if len(data) > 0.9 * _MOST_BYTES else wrong(f"upload: {answer.text}")
        photograph = {"path": answer.json()[0], "meta": {"_type": "gradio.FileData"}}
        return self._told(self._question([photograph, "left dog", 12, 0, False]), legal)

    def _payload(self, steps: Any) -> Outcome:
        values: list[Any] = [self._uploaded(_encoded(20, 30, 0), "a.png"), "left dog", 12, 0, True]
        for _, place, value in steps:
            values[place] = value
        try:
            return self._told(self._question(values), False, any_error=True)
        except ValueError:  # no JSON holds NaN and halves of surrogate pairs
            return refused("no JSON")

    def _told(self, found: tuple[str, Any], must_answer: bool, any_error: bool = False) -> Outcome:
        kind, values = found
        if self._leaks(str(values)):
            return wrong("a file of this machine is in the answer")
        if kind == "complete":
            scores = [row[1] for row in values]
            fine = all(score == "nothing found" or 0 <= float(score) <= 1 for score in scores)
            return answered() if fine else wrong(f"scores {scores}")
        if must_answer:
            return wrong(f"a picture was refused: {values}")
        if not any_error and len(str(values)) < 12:
            return wrong(f"an error without a reason: {values}")
        return refused(values)

    def _leaks(self, text: str) -> bool:
        return "the secret of this machine" in text or "root:x:0" in text

    def _uploaded(self, data: bytes, name: str) -> dict[str, Any]:
        path = self.client.post("/gradio_api/upload", files={"files": (name, data)}).json()[0]
        return {"path": path, "meta": {"_type": "gradio.FileData"}}

    def _question(self, values: list[Any]) -> tuple[str, Any]:
        """("complete", the table's rows) or ("error", the message)."""
        asked = self.client.post("/gradio_api/call/ground", json={"data": values})
        if asked.status_code >= 400:
            return "error", asked.text
        event = asked.json()["event_id"]
        kind, data = "error", ""
        for line in self.client.get(f"/gradio_api/call/ground/{event}").text.splitlines():
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
            elif line.startswith("data: ") and kind in ("complete", "error"):
                data = line.removeprefix("data: ")
        content = json.loads(data or "null")
        if kind == "complete":
            return kind, content[1]["data"]
        return kind, str(content.get("error") if isinstance(content, dict) else content)

    def close(self) -> None:
        self.client.close()
        self.page.close()


def _encoded(height: int, width: int, seed: int) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    if height * width > 10**6:
        pixels[:] = 9  # little to send, much to draw
    PIL.Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


FAMILY = WebPage
