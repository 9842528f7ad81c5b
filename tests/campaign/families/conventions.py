"""Switches of transformers, encodings of the output, rules of other systems. Oracle: what their documents say."""

import builtins
import contextlib
import errno
import fcntl
import importlib
import io
import json
import multiprocessing
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import PIL.Image
import torch
from checkpoints import save_tiny_checkpoint, tiny_box_detector, tiny_mask_detector, tiny_model, tiny_processor
from numpy.random import Generator

from pbrec_hf.app.cli import main
from pbrec_hf.hub.writing import replaced_file, replaced_folder
from pbrec_hf.training.checkpoints import write_manifest

from ..family import Case, Family, pick
from ..outcome import Outcome, answered, judge, wrong

_ENCODINGS = ("cp1252", "ascii", "latin-1", "koi8-r", "utf-8", "cp932", "utf-16")
_TEXTS = ("left dog", "左边的长颈鹿", "le chien à gauche", "собака слева", "\U0001f436 dog", "ß ﬁ", "the ’red’ car")
_TEXT_OPTIONS = (("padding", "longest"), ("padding", "max_length"), ("padding", True), ("max_length", 6),
                 ("padding_side", "left"))  # fmt: skip
_IMAGE_OPTIONS = (("do_normalize", False), ("size", {"longest_edge": 64}), ("do_rescale", False), ("resample", 3))
# Modules that Windows lacks, and the modules of the package that programs start from.
_POSIX = ("resource", "fcntl", "termios", "pwd", "grp")
_ENTRIES = ("training.run", "training.evaluation", "training.detection.run", "app.cli", "data.own_data", "convert.run")


class Conventions(Family):
    """Subjects: switches, kwargs, names, output, pipe, windows files, windows modules."""

    seconds: ClassVar[float] = 60

    def __init__(self, folder: Path):
        super().__init__(folder)
        save_tiny_checkpoint(folder / "model")
        self.picture = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
        PIL.Image.fromarray(self.picture).save(folder / "a.png")
        self.processor = tiny_processor(box_detector=tiny_box_detector(), mask_detector=tiny_mask_detector())
        self.inputs = {
            name: self.processor(self.picture, ["left dog"])[name]
            for name in ("pixel_values", "pixel_mask", "input_ids")
        }

    @staticmethod
    def draw(rng: Generator) -> Case:
        subject = pick(
            rng,
            ("switches", "switches", "kwargs", "kwargs", "names", "output", "output", "pipe", "windows files",
             "windows modules"),
        )  # fmt: skip
        steps: list[Any] = []
        if subject == "switches":
            for name in ("output_hidden_states", "output_attentions"):
                for where in ("config", "call"):
                    if rng.random() < 0.6:
                        steps.append((where, name, bool(rng.random() < 0.5)))
        elif subject == "kwargs":
            for part, options in (("text_kwargs", _TEXT_OPTIONS), ("images_kwargs", _IMAGE_OPTIONS)):
                for name, value in options:
                    if rng.random() < 0.3 and name not in {step[1] for step in steps}:
                        steps.append((part, name, value, bool(rng.random() < 0.5)))
            if rng.random() < 0.3:
                steps.append(("text_kwargs", pick(rng, ("paddding", "txt", "box")), 1, True))
        elif subject in ("output", "pipe"):
            steps = [("encoding", pick(rng, _ENCODINGS)), *((("json",),) if rng.random() < 0.3 else ())]
            steps += [("text", pick(rng, _TEXTS)) for _ in range(int(rng.integers(1, 4)))]
        elif subject == "windows modules":
            steps = [("import", pick(rng, _ENTRIES))]
        elif subject == "windows files":
            steps = [("write", pick(rng, ("file", "folder", "manifest")), int(rng.integers(0, 4)))]
        return Case(subject, tuple(steps))

    def run(self, case: Case) -> Outcome:
        outcome: Outcome = getattr(self, f"_{case.subject.replace(' ', '_')}")(case.steps)
        return outcome

    def _switches(self, steps: Any) -> Outcome:
        config = {name: value for where, name, value in steps if where == "config"}
        call = {name: value for where, name, value in steps if where == "call"}
        model = tiny_model()
        model.set_attn_implementation("eager")
        for name, value in config.items():
            setattr(model.config, name, value)
        with torch.no_grad():
            output = model(**self.inputs, **call)
        for name, field in (("output_hidden_states", "hidden_states"), ("output_attentions", "attentions")):
            wanted = call.get(name, config.get(name, False))
            if (output[field] is not None if field in output else False) != wanted:
                return wrong(f"{field} is {'there' if field in output else 'absent'}, {name} is {wanted}")
        return answered()

    def _kwargs(self, steps: Any) -> Outcome:
        nested: dict[str, dict[str, Any]] = {"text_kwargs": {}, "images_kwargs": {}}
        flat: dict[str, Any] = {}
        for part, name, value, is_flat in steps:
            (flat if is_flat else nested[part])[name] = value
        given = {name: value for _, name, value, _ in steps}
        unknown = given.keys() & {"paddding", "txt", "box"}

        def problem(batch: Any) -> str | None:
            if unknown:
                return f"{unknown} was passed over"
            side = given.get("size", {"longest_edge": 128})["longest_edge"]
            if batch["pixel_values"].shape != (1, 3, side, side):
                return f"pixel_values {tuple(batch['pixel_values'].shape)} on a canvas of {side}"
            most = given.get("max_length", 8)
            length = most if given.get("padding") == "max_length" else min(5, most)
            if batch["input_ids"].shape != (2, length):
                return f"input_ids {tuple(batch['input_ids'].shape)} instead of (2, {length})"
            first = batch["attention_mask"][0].tolist()  # of "left dog": 4 tokens
            padding = [0] * (length - 4)
            right = [*padding, 1, 1, 1, 1] if given.get("padding_side") == "left" else [1, 1, 1, 1, *padding]
            return None if first == right else f"attention_mask {first}"

        outcome = judge(
            lambda: self.processor(
                self.picture, ["left dog", "the red car"], **flat,
                **{part: options for part, options in nested.items() if options},
            ),
            problem,
            names=sorted(unknown),
        )  # fmt: skip
        if outcome.kind == "refused" and not unknown:
            return wrong(f"legal arguments were refused: {outcome.reason}")
        return outcome

    def _names(self, steps: Any) -> Outcome:
        given, named = set(self.processor(self.picture, ["left dog"])), set(self.processor.model_input_names)
        return answered() if given == named else wrong(f"model_input_names differ from what is given: {given ^ named}")

    def _output(self, steps: Any) -> Outcome:
        arguments, encoding = self._arguments(steps)
        with open(self.folder / "printed", "w", encoding=encoding) as printed:
            status, told = _ran(arguments, printed)
        text = (self.folder / "printed").read_text(encoding=encoding)
        if status not in (0, 1):
            return wrong(f"status {status} in {encoding}: {told}")
        texts = [step[1] for step in steps if step[0] == "text"] or ["left dog"]
        if "--json" in arguments:
            found = [entry["expression"] for entry in json.loads(text)]
            return answered() if found == texts else wrong(f"expressions {found}")
        lines = text.splitlines()
        if len(lines) != len(texts) or not all(re.search(r"score 0\.\d\d, box|nothing found", line) for line in lines):
            return wrong(f"printed {text!r}")
        return answered()

    def _pipe(self, steps: Any) -> Outcome:
        arguments, encoding = self._arguments(steps)
        reading, writing = os.pipe()
        os.close(reading)
        with contextlib.suppress(BrokenPipeError), open(writing, "w", encoding=encoding, buffering=1) as closed:
            status, told = _ran(arguments, closed)
        return answered() if status == 141 else wrong(f"status {status} where nobody reads: {told}")

    def _arguments(self, steps: Any) -> tuple[list[str], str]:
        texts = [step[1] for step in steps if step[0] == "text"] or ["left dog"]
        encoding = next((step[1] for step in steps if step[0] == "encoding"), "utf-8")
        options = ["--json"] if ("json",) in steps else []
        return [
            "ground",
            str(self.folder / "a.png"),
            *texts,
            "--model",
            str(self.folder / "model"),
            *options,
        ], encoding

    def _windows_files(self, steps: Any) -> Outcome:
        _, what, count = steps[0] if steps else ("write", "file", 1)
        target = self.folder / "written"
        with _fsync_as_on_windows():
            try:
                if what == "file":
                    with replaced_file(target / "a") as partial:
                        partial.write_text("x" * count)
                    return _holds(target / "a", "x" * count)
                if what == "folder":
                    with replaced_folder(target / "folder") as partial:
                        (partial / "a").write_text("x" * count)
                    return _holds(target / "folder" / "a", "x" * count)
                for number in range(count):
                    (target / "step").mkdir(parents=True, exist_ok=True)
                    (target / "step" / f"{number}.bin").write_bytes(b"x")
                (target / "step").mkdir(parents=True, exist_ok=True)
                write_manifest(target / "step", {"position": {"step": count}})
                written = json.loads((target / "step" / "manifest.json").read_text())
                return answered() if len(written["files"]) >= count else wrong(f"a manifest of {written['files']}")
            except OSError as error:
                return wrong(f"{what}: {error}")

    def _windows_modules(self, steps: Any) -> Outcome:
        _, entry = steps[0] if steps else ("import", "training.run")
        parent, child = multiprocessing.Pipe()
        process = multiprocessing.get_context("fork").Process(target=_import_as_on_windows, args=(entry, child))
        process.start()
        child.close()
        told = parent.recv()
        process.join()
        return answered() if told is None else wrong(f"pbrec_hf.{entry}: {told}")


def _holds(path: Path, text: str) -> Outcome:
    return answered() if path.read_text() == text else wrong(f"{path.name} holds {path.read_text()!r}")


def _ran(arguments: list[str], output: Any) -> tuple[int, str]:
    """The status of a command and what it says on standard error."""
    told = io.StringIO()
    before = sys.stdout
    sys.stdout = output
    try:
        with contextlib.redirect_stderr(told):
            return main(arguments), told.getvalue()
    except Exception as error:
        return -1, f"raw {type(error).__name__}: {error}"
    finally:
        sys.stdout = before


@contextlib.contextmanager
def _fsync_as_on_windows() -> Iterator[None]:
    """`os.fsync` refuses descriptors that may not write."""
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        real(descriptor)

    os.fsync = fsync
    try:
        yield
    finally:
        os.fsync = real


def _import_as_on_windows(entry: str, pipe: Any) -> None:
    """In a process of its own: import a module of the package anew, without the modules that Windows lacks."""
    real = builtins.__import__

    def importing(name: str, variables: Any = None, *rest: Any, **more: Any) -> Any:
        if name in _POSIX and str((variables or {}).get("__name__", "")).startswith("pbrec_hf"):
            raise ModuleNotFoundError(f"No module named {name!r}")
        return real(name, variables, *rest, **more)

    for name in [name for name in sys.modules if name.partition(".")[0] == "pbrec_hf"]:
        del sys.modules[name]
    builtins.__import__ = importing
    try:
        importlib.import_module(f"pbrec_hf.{entry}")
        pipe.send(None)
    except Exception as error:
        pipe.send(f"{type(error).__name__}: {error}")


FAMILY = Conventions
