"""Zip files, lists of mirrors and checkpoints from strangers. Oracle: the content that went in, and the disk."""

import argparse
import collections
import multiprocessing
import os
import pathlib
import shutil
import stat
import subprocess
import zipfile
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import yaml
from numpy.random import Generator

from pbrec_hf.convert import loading
from pbrec_hf.data.refer.download import download_refcoco
from pbrec_hf.data.refer.unzip import unzip

from ..family import Case, Family, pick
from ..mutations import damage_bytes, draw_bytes
from ..outcome import Outcome, judge, wrong

_METHODS = ("stored", "deflated", "bzip2", "lzma")
_NAMES = ("../out.txt", "/tmp/out.txt", "C:\\out.txt", "..\\out.txt", "a/../../out.txt", "\\\\host\\out.txt", "link")
_TARGETS = ("../outside", "/outside", "a/../../outside", "C:\\outside", "inside/file.json")
_CHECKPOINTS = (
    "plain", "numpy scalar", "numpy array", "defaultdict", "Path in args", "compiled", "compiled, DDP", "None",
    "ring", "ring of two", "expanded", "code", "wrong keys", "list", "safetensors", "int64", "shared",
)  # fmt: skip
_FINE = ("plain", "numpy scalar", "numpy array", "defaultdict", "Path in args", "compiled", "compiled, DDP", "None",
         "safetensors", "shared")  # fmt: skip


class Archives(Family):
    """Subjects: zip (method, entries, damage), bomb, mirrors (target), checkpoint (content, damage)."""

    memory: ClassVar[int] = 700 * 2**20
    seconds: ClassVar[float] = 40

    @staticmethod
    def draw(rng: Generator) -> Case:
        chance = rng.random()
        if chance < 0.5:
            steps: list[Any] = [("method", pick(rng, _METHODS))]
            if rng.random() < 0.3:
                steps.append(("entry", pick(rng, _NAMES)))
            if rng.random() < 0.7:
                steps += draw_bytes(rng, 600)
            return Case("zip", tuple(steps))
        if chance < 0.56:
            return Case("bomb", (("method", pick(rng, _METHODS[1:])), ("times", int(rng.integers(150, 2000)))))
        if chance < 0.75:
            return Case("mirrors", (("target", pick(rng, _TARGETS)),))
        steps = [("content", pick(rng, _CHECKPOINTS))]
        return Case("checkpoint", (*steps, *(draw_bytes(rng, 1200) if rng.random() < 0.3 else ())))

    def __init__(self, folder: Path):
        super().__init__(folder)
        # A fork starts with this process's memory, which the reader's own limit does not allow for; the worker's does.
        loading._limit_memory = lambda most: None
        loading.subprocess = argparse.Namespace(run=_forked, TimeoutExpired=subprocess.TimeoutExpired)

    def run(self, case: Case) -> Outcome:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        outcome: Outcome = getattr(self, f"_{case.subject}")(dict(s[:2] for s in case.steps), _damage(case))
        if (self.folder / "outside").exists() or (self.folder / "out.txt").exists() or Path("/tmp/out.txt").exists():
            Path("/tmp/out.txt").unlink(missing_ok=True)
            return wrong("something was written outside the folder")
        if (self.folder / "canary").exists():
            return wrong("what the file names was run")
        return outcome

    def _zip(self, given: dict[str, Any], damage: tuple[Any, ...]) -> Outcome:
        content = {
            f"data/{i}.txt": bytes(np.random.default_rng(i).integers(0, 9, 200, dtype=np.uint8)) for i in range(3)
        }
        path, into = self.folder / "data.zip", self.folder / "inside" / "data"
        with zipfile.ZipFile(path, "w", _method(given.get("method", "stored"))) as file:
            for name, data in content.items():
                file.writestr(name, data)
            if (name := given.get("entry")) == "link":
                entry = zipfile.ZipInfo("data/link")
                entry.external_attr = (stat.S_IFLNK | 0o777) << 16
                file.writestr(entry, "/etc/passwd")
            elif name:
                file.writestr(zipfile.ZipInfo(name), b"out")
        path.write_bytes(damage_bytes(path.read_bytes(), damage))
        into.parent.mkdir()

        def problem(_: None) -> str | None:
            found = {f"data/{p.relative_to(into)}": p.read_bytes() for p in into.rglob("*") if p.is_file()}
            if given.get("entry"):
                return "an entry that leads out was accepted"
            # Names have no checksum in a zip, so a flipped bit may rename a file; contents have one.
            odd = [name for name, data in found.items() if data not in content.values()]
            return f"{odd[:3]} hold something else" if odd else None if damage else _unequal(found, content)

        outcome = judge(lambda: unzip(path, into), problem, names=[path])
        if outcome.kind == "refused" and list(into.parent.iterdir()):
            return wrong(f"a refused archive left {list(into.parent.iterdir())}")
        return outcome

    def _bomb(self, given: dict[str, Any], damage: tuple[Any, ...]) -> Outcome:
        path, into = self.folder / "data.zip", self.folder / "data"
        size = given.get("times", 1000) * 2**16
        with zipfile.ZipFile(path, "w", _method(given.get("method", "deflated"))) as file:
            file.writestr("data/zeros", bytes(size))
        return judge(lambda: unzip(path, into), lambda _: f"a bomb of {size} bytes was unpacked", names=[path])

    def _mirrors(self, given: dict[str, Any], damage: tuple[Any, ...]) -> Outcome:
        target, source = given.get("target", "inside/file.json"), self.folder / "mirrors.yaml"
        target = target.replace("/outside", f"{self.folder}/outside") if target.startswith("/") else target
        # Port 9 of loopback answers nobody: a list that passes its checks ends as a download that failed.
        files = {
            name: {"urls": ["http://127.0.0.1:9/x"], "bytes": 3, "digest": None, "target": where}
            for name, where in (("file.json", target), ("images.zip", "images"))
        }
        table = {"datasets": {"refcoco": {"annotations": ["file.json"], "images": "images.zip"}}, "files": files}
        source.write_text(yaml.safe_dump(table))
        to = self.folder / "to"
        legal = target == "inside/file.json"
        outcome = judge(
            lambda: download_refcoco("refcoco", to, images=False, mirrors=source, attempts=1, pause=0.0),
            lambda _: "fetched from nowhere",
            names=["could not be fetched"] if legal else [source],
        )
        return outcome

    def _checkpoint(self, given: dict[str, Any], damage: tuple[Any, ...]) -> Outcome:
        what = given.get("content", "plain")
        path = self.folder / ("c.safetensors" if what == "safetensors" else "c.pth")
        _save(what, path, self.folder / "canary")
        path.write_bytes(damage_bytes(path.read_bytes(), damage))

        def problem(found: dict[str, torch.Tensor]) -> str | None:
            if damage:  # a zip's contents have checksums, a safetensors file's names and numbers have none
                return None if what == "safetensors" else _other(found, what)
            return _other(found, what) if what in (*_FINE, "int64") else f"{what} was accepted"

        outcome = judge(lambda: loading.load_untrusted_state_dict(path), problem, names=[path])
        if outcome.kind == "refused" and not damage and what in _FINE:
            return wrong(f"harmless content was refused: {outcome.reason}")
        return outcome


def _forked(command: list[str], **_: Any) -> argparse.Namespace:
    """In place of `subprocess.run`: the reader's process is forked off this one, which saves the imports' seconds."""
    parent, child = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=_read, args=(command[3:], child))
    process.start()
    child.close()
    try:
        reason = parent.recv()
    except EOFError:
        reason = ""
    process.join()
    return argparse.Namespace(returncode=process.exitcode, stderr=reason)


def _read(arguments: list[str], pipe: Any) -> None:
    try:
        loading.main(*arguments)
    except SystemExit as error:
        pipe.send(str(error.code))
        raise


def _damage(case: Case) -> tuple[Any, ...]:
    return tuple(step for step in case.steps if len(step) == 4)


def _method(name: str) -> int:
    return {
        "stored": zipfile.ZIP_STORED, "deflated": zipfile.ZIP_DEFLATED, "bzip2": zipfile.ZIP_BZIP2,
        "lzma": zipfile.ZIP_LZMA,
    }[name]  # fmt: skip


def _unequal(found: dict[str, bytes], content: dict[str, bytes]) -> str | None:
    return None if found == content else f"{sorted(found)} instead of {sorted(content)}"


def _other(found: dict[str, torch.Tensor], what: str) -> str | None:
    if sorted(found) != ["a.weight"]:
        return f"the keys {sorted(found)}"
    ones = torch.ones(2, dtype=torch.int64 if what == "int64" else torch.float32)
    return None if torch.equal(found["a.weight"], ones) else f"the numbers {found['a.weight'].flatten()[:4].tolist()}"


class _Runs:
    """Creates a file if it is unpickled."""

    def __init__(self, canary: Path):
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.canary),)


def _save(what: str, path: Path, canary: Path) -> None:
    weights: dict[str, Any] = {"a.weight": torch.ones(2)}
    ring: dict[str, Any] = {}
    ring["model"] = ring if what == "ring" else {"state_dict": ring}
    contents: dict[str, Any] = {
        "plain": {"model": weights},
        "safetensors": weights,
        "numpy scalar": {"model": weights, "best": np.float64(0.7)},
        "numpy array": {"model": weights, "history": np.arange(3)},
        "defaultdict": {"model": weights, "d": collections.defaultdict(list)},
        "Path in args": {"model": weights, "args": argparse.Namespace(out=pathlib.Path("x"))},
        "compiled": {"model": {"_orig_mod.a.weight": torch.ones(2)}},
        "compiled, DDP": {"model": {"module._orig_mod.a.weight": torch.ones(2)}},
        "None": {"state_dict": weights, "scheduler": None},
        "shared": {"model": weights, "model_ema": weights},
        "ring": ring,
        "ring of two": ring,
        "expanded": {"model": {"a.weight": torch.ones(1).expand(300_000_000)}},
        "code": {"model": weights, "x": _Runs(canary)},
        "wrong keys": {"model": {1: torch.ones(2)}},
        "list": [torch.ones(2)],
        "int64": {"model": {"a.weight": torch.ones(2, dtype=torch.int64)}},
    }
    if what == "safetensors":
        from safetensors.torch import save_file

        save_file(weights, path)
    else:
        torch.save(contents[what], path)


FAMILY = Archives
