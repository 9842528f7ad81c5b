"""Rows whose pictures are in their table → a data set in a file, a few pictures in memory at a time.

The rows themselves are small and are in memory; of a picture they hold where it is. Data sets are memory-mapped, so
that nothing that reads them holds the pictures, either. Knows nothing of whether rows are right.
"""

import hashlib
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import pyarrow as pa

from ..hub.writing import replaced_file
from .tables import read_parquet

_BATCH_BYTES = 2**25  # of pictures that are held at once
_BATCH_ROWS = 1000


class Embedded(NamedTuple):
    """
    Stands for a picture in a table.

    Attributes:
        row: of the table, from 1 on.
        digest: of its bytes.
    """

    row: int
    digest: str


def dataset_with_pictures(
    table: str | PathLike[str],
    rows: Sequence[dict[str, Any]],
    columns: datasets.Features,
    cache_dir: str | PathLike[str] | None,
) -> datasets.Dataset:
    """
    A data set of `rows`, whose `image` may be an `Embedded` of the Parquet file `table`.

    It is written to a file that is named after its content, and found there again.

    Args:
        table: of the pictures.
        rows: in the order of the table.
        columns: of the data set.
        cache_dir: folder of the file; None = the cache of `datasets`.

    Raises:
        CannotWriteError: no room for the file; an OSError.
    """
    digest = hashlib.blake2b(repr(columns).encode(), digest_size=16)
    for row in rows:
        digest.update(repr(row).encode("utf-8", "surrogatepass"))
    folder = Path(cache_dir or datasets.config.HF_DATASETS_CACHE) / "pbrec_own_data"
    path = folder / f"{digest.hexdigest()}.arrow"
    if not path.is_file():
        schema = columns.arrow_schema
        with (
            replaced_file(path) as partial,
            pa.OSFile(str(partial), "wb") as file,
            pa.ipc.new_stream(file, schema) as writer,
        ):
            for batch in _batches(_with_pictures(table, rows)):
                writer.write_table(pa.Table.from_pylist(batch, schema=schema))
    return datasets.Dataset.from_file(str(path))


def _with_pictures(table: str | PathLike[str], rows: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The rows with their pictures, read side by side with the table."""
    pictures = read_parquet(table, columns=["image"])
    number, cell = 0, None
    for row in rows:
        image = row["image"]
        if isinstance(image, Embedded):
            while number < image.row:
                number, found = next(pictures)
                cell = found["image"]
            row = row | {"image": cell}
        elif isinstance(image, str):
            row = row | {"image": {"path": image, "bytes": None}}
        yield row


def _batches(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    size = 0
    for row in rows:
        batch.append(row)
        size += len(row["image"]["bytes"] or b"")
        if size >= _BATCH_BYTES or len(batch) == _BATCH_ROWS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


__all__ = ["Embedded", "dataset_with_pictures"]
