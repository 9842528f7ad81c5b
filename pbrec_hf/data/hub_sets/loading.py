"""A split of an evaluation set on the Hub → rows of the image view, in files of this machine.

    rows = load_hub_set("lmms-lab/RefCOCO", "testA")       # the pinned version; or "owner/name@revision"

The split is streamed once: its pictures go to a file as they come, each one once, its expressions are in memory.
Nothing else of the repository is downloaded. The next call needs no network, if the revision is a commit.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
from datasets.splits import SplitDict, SplitInfo
from datasets.utils import tqdm
from filelock import FileLock
from huggingface_hub import constants

from ...hub.reaching import data_set_at
from ...hub.writing import replaced_folder
from ...version import __version__
from ..schema import features
from .names import HubSet
from .picture_rows import PictureRows
from .schemas import Schema, recognised
from .stream import open_split, reading

_BATCH_BYTES = 2**25  # of pictures that are held at once
_PICTURES, _ROWS, _FOUND = "pictures.arrow", "rows.arrow", "found.json"
_COUNTS = ("rows", "referents", "expressions")


def load_hub_set(
    name: str,
    split: str,
    *,
    first: int | None = None,
    check_counts: bool = True,
    cache_dir: str | Path | None = None,
) -> datasets.Dataset:
    """
    One split of an evaluation set with one of the two forms of `hub_sets/schemas.py`.

    Args:
        name: "owner/name" or "owner/name@revision", "hub:" before it allowed. Of a known set
            (`hub_sets/known.yaml`) without a revision, the pinned one; otherwise the newest.
        split: its name there.
        first: read no more than so many of its rows; their counts are not checked.
        check_counts: compare the split of a known set with its known counts.
        cache_dir: in place of the cache of `datasets`.

    Returns:
        Rows of the image view, one per picture. `info.description` says what they are: name,
        revision, rows, and what to know about scores on them.

    Raises:
        ConnectionError: the Hub does not answer and the split is not in the cache.
        FileNotFoundError: there is no such data set or revision, or it is not open to this machine.
        ValueError: no such split, other columns, wrong values or other counts.
        CannotWriteError: no room in the cache; an OSError.
    """
    hub_set = HubSet.named(name)
    hub_set.require_split(split)
    if first is not None and first < 1:
        raise ValueError(f"first={first}: give a number of rows of at least 1.")
    commit = hub_set.commit or data_set_at(hub_set.repo_id, hub_set.revision)[1]
    folder = _folder(hub_set.repo_id, commit, split, first, cache_dir)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):  # the first of several processes streams, the others wait
        if not folder.is_dir():
            _write(folder, HubSet(hub_set.repo_id, commit), split, first)
    found = json.loads((folder / _FOUND).read_text(encoding="utf-8"))
    known = hub_set.splits.get(split, {})
    if check_counts and first is None:
        _require_counts(f"{hub_set.repo_id} {split}", known, found)
    parts = [datasets.Dataset.from_file(str(folder / name)) for name in (_PICTURES, _ROWS)]
    rows = datasets.concatenate_datasets(parts, axis=1).select_columns(list(features("image")))
    rows.info.dataset_name = hub_set.repo_id
    rows.info.homepage = f"{constants.ENDPOINT}/datasets/{hub_set.repo_id}/tree/{commit}"
    rows.info.splits = SplitDict({split: SplitInfo(split, num_examples=found["rows"])})
    part = "" if first is None else f"the first {found['rows']:,} rows of "
    counts = ", ".join(f"{found[what]:,} {what}" for what in _COUNTS)
    notes = [*found["notes"], *filter(None, [known.get("note")])]
    if first is None and not (known and check_counts):
        notes.append(f"Its counts {'were not checked' if known else 'are not known, so none were checked'}.")
    rows.info.description = " ".join([f"{part}{hub_set.repo_id}@{commit} {split}: {counts}.", *notes])
    return rows


def _folder(repo_id: str, commit: str, split: str, first: int | None, cache_dir: str | Path | None) -> Path:
    key = [__version__, constants.ENDPOINT, repo_id, commit, split, first, str(features("image"))]
    digest = hashlib.blake2b(json.dumps(key).encode(), digest_size=16).hexdigest()
    return Path(cache_dir or datasets.config.HF_DATASETS_CACHE) / "pbrec_hub_sets" / digest


def _write(folder: Path, hub_set: HubSet, split: str, first: int | None) -> None:
    """Stream a split into the files of `folder`, which appears when it is complete."""
    name = f"{hub_set.repo_id} {split}"
    rows = open_split(hub_set, split)
    try:
        schema = recognised(rows.features)
    except ValueError as error:
        raise ValueError(f"{hub_set.repo_id} is no evaluation set of a known form: {error}.") from error
    if first is not None:
        rows = rows.take(first)
    collected, count = PictureRows(), 0
    columns = features("image")
    picture = datasets.Features({"image": columns.pop("image")})
    with replaced_folder(folder) as partial:
        with _writer(partial / _PICTURES, picture) as pictures:
            batch: list[dict[str, Any]] = []
            for count, row in enumerate(_read(rows, name), start=1):
                if _added(collected, schema, row, f"{name}, row {count}"):
                    batch.append({"image": {"bytes": row["image"]["bytes"], "path": None}})
                if sum(len(entry["image"]["bytes"]) for entry in batch) >= _BATCH_BYTES:
                    pictures.write_table(pa.Table.from_pylist(batch, schema=picture.arrow_schema))
                    batch.clear()
            pictures.write_table(pa.Table.from_pylist(batch, schema=picture.arrow_schema))
        if not collected.rows:
            raise ValueError(f"{name} has no expressions: give another split.")
        try:
            notes = collected.notes()
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
        with _writer(partial / _ROWS, columns) as writer:
            writer.write_table(pa.Table.from_pylist(collected.rows, schema=columns.arrow_schema))
        found = {"rows": count, "referents": collected.referents, "expressions": collected.expressions, "notes": notes}
        (partial / _FOUND).write_text(json.dumps(found), encoding="utf-8")


@contextmanager
def _writer(path: Path, columns: datasets.Features) -> Iterator[pa.RecordBatchStreamWriter]:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, columns.arrow_schema) as writer:
        yield writer


def _read(rows: datasets.IterableDataset, name: str) -> Iterator[dict[str, Any]]:
    with reading(name):
        yield from tqdm(rows, desc=name, unit=" rows")


def _added(collected: PictureRows, schema: Schema, row: dict[str, Any], where: str) -> bool:
    try:
        return collected.add(schema.read(row))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{where}: {error}") from error


def _require_counts(name: str, known: dict[str, Any], found: dict[str, Any]) -> None:
    for what in _COUNTS:
        if known.get(what) not in (None, found[what]):
            raise ValueError(
                f"{name} has {found[what]} {what}, known are {known[what]}: pass check_counts=False "
                "(--no_check_counts) if this is what you want to measure on."
            )


__all__ = ["load_hub_set"]
