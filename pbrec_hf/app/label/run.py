"""A labelling from end to end: what is left is done, everything is exported.

OUT/labelling.json   how photographs were asked; another way is refused
OUT/journal/         what is done
OUT/labels.jsonl …   the formats, made of the journal when everything is done
OUT/summary.json, summary.txt, contact.jpg
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...hub.bundled import bundled_checkpoint
from ...hub.writing import replaced_file
from .formats import Options, open_formats, require_formats
from .here import label_here
from .journal import Journal, Records, repair
from .labelled import in_order
from .labeller import Asking
from .photographs import Photograph, Sources
from .processes import Processes
from .summary import Summary

Done = Callable[[Photograph, dict[str, Any]], None]
Engine = Callable[[Iterator[Photograph], Asking, Done], None]
Progress = Callable[[int | None], Any]  # how many there are to do → a context that yields what to call after each

JOURNAL, SETTINGS, LOCK = "journal", "labelling.json", ".lock"


@dataclass(frozen=True)
class Job:
    """
    What is labelled, how, and where the answers go.

    Attributes:
        sources, asking, formats: see there.
        names: of formats.
        retry: label the photographs again that could not be read.
        engine: labels photographs and calls back with each record; None = in this process.
    """

    sources: Sources
    asking: Asking
    formats: Options
    names: Sequence[str] = ("jsonl", "coco")
    retry: bool = False
    engine: Engine | None = None


def label(job: Job, progress: Progress, device: str = "cpu") -> Summary | None:
    """
    Label what is left and export everything.

    Args:
        job: what to do; the same again goes on where it stopped.
        progress: shows how far this process is.
        device: of this process.

    Returns:
        The summary; None in all but the first of several processes.

    Raises:
        ValueError: the folder holds another labelling, or another process writes to it; and as of [`Sources`].
        OSError: something cannot be read or written.
    """
    require_formats(job.names)
    processes = Processes.started(device)
    out = job.formats.out
    journal = out / JOURNAL
    with _alone(out, processes):
        if processes.first:
            _same_settings(out, job.asking)
            for path in sorted(journal.glob("*.jsonl")):
                repair(path)
        processes.wait()
        done = Records(journal, with_errors=not job.retry)
        processes.wait()  # nobody writes before all have read
        total = _count(job.sources, done, processes) if job.sources.countable else None
        with Journal(journal, processes.rank) as lines, progress(total) as step:

            def write(photograph: Photograph, record: dict[str, Any]) -> None:
                lines.append(photograph.key, record)
                step()

            left = _share(job.sources, done, processes)
            if job.engine is not None:
                job.engine(left, job.asking, write)
            else:
                label_here(left, job.asking, processes.device, write)
        processes.wait()
        return export(job) if processes.first else None


def export(job: Job) -> Summary:
    """
    Write the formats and the summary of a journal that is complete.

    Raises:
        ValueError: a photograph has no record.
        CannotWriteError: a file cannot be written; an OSError.
    """
    records, summary = Records(job.formats.out / JOURNAL), Summary()
    try:
        with open_formats(job.names, job.formats) as add:
            for labelled in in_order(job.sources, records):
                add(labelled)
                summary.add(labelled)
    finally:
        records.close()
    summary.write(job.formats.out)
    return summary


def _left(sources: Sources, done: Records) -> Iterator[Photograph]:
    """Photographs without a record."""
    return (photograph for photograph in sources if photograph.key not in done)


def _share(sources: Sources, done: Records, processes: Processes) -> Iterator[Photograph]:
    """Those of this process: one in `count`, so that all have as much to do after any interruption."""
    for number, photograph in enumerate(_left(sources, done)):
        if number % processes.count == processes.rank:
            yield photograph


def _count(sources: Sources, done: Records, processes: Processes) -> int:
    return sum(1 for _ in _share(sources, done, processes))


def _alone(out: Path, processes: Processes) -> Any:
    """A context in which no other labelling writes to the folder."""
    from contextlib import contextmanager, nullcontext

    from filelock import FileLock, Timeout

    if not processes.first:
        return nullcontext()

    @contextmanager
    def locked() -> Iterator[None]:
        out.mkdir(parents=True, exist_ok=True)
        lock = FileLock(out / LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise ValueError(f"Another process labels into {out}: wait for it, or give another --out.") from error
        try:
            yield
        finally:
            lock.release()

    return locked()


def _same_settings(out: Path, asking: Asking) -> None:
    """Remember how photographs are asked, or refuse another way than the folder's."""
    path = out / SETTINGS
    settings = {**json.loads(asking.to_json()), "weights": weights_digest(asking.model or bundled_checkpoint())}
    if path.is_file():
        # A labelling that was begun by an older version does not know all settings: it had their defaults.
        before = {**json.loads(Asking().to_json()), **json.loads(path.read_text(encoding="utf-8"))}
        changed = [name for name in settings if before.get(name) != settings[name]]
        if changed:
            told = "; ".join(f"{name} was {before.get(name)!r}, is {settings[name]!r}" for name in changed)
            raise ValueError(f"{out} holds a labelling that was asked in another way ({told}): give another --out.")
        return
    with replaced_file(path) as partial:
        partial.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")


def weights_digest(source: str | Path) -> str | None:
    """What tells one checkpoint from another of the same folder; None for one of the Hub, which its name tells."""
    if not Path(source).is_dir():
        return None
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(Path(source).rglob("*")):
        if path.suffix in (".safetensors", ".json"):
            digest.update(path.relative_to(source).as_posix().encode())
            with open(path, "rb") as file:
                while block := file.read(2**22):
                    digest.update(block)
    return digest.hexdigest()


__all__ = ["Job", "export", "label", "weights_digest"]
