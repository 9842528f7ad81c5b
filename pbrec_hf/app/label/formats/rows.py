"""A row for each expression: JSON Lines and Parquet, in the columns that `load_own_data` reads.

So the answers can be looked through, corrected and trained on. `no_target` says that nothing was found. What is not a
column of own data (`scores`, `raw_scores`, `exists`, `unread`) stands beside it.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from ....hub.writing import replaced_file, replaced_folder
from ..labelled import Labelled
from . import Add, Options


def rows_of(labelled: Labelled) -> Iterator[dict[str, Any]]:
    """The rows of a photograph; `segmentations` are COCO run lengths, left out where there are none."""
    picture = {"image": labelled.photograph.name, "width": labelled.width, "height": labelled.height}
    for entry in labelled.entries:
        row = {**picture, "expression": entry["expression"], "boxes": entry["boxes"]}
        if "masks" in entry:
            row["segmentations"] = entry["masks"]
        row["no_target"] = not entry["boxes"]
        others = ("scores", "raw_scores", "exists", "unread")
        yield row | {name: entry[name] for name in others if name in entry}


@contextmanager
def json_lines(options: Options) -> Iterator[Add]:
    """`labels.jsonl`."""
    with (
        replaced_file(options.out / "labels.jsonl") as path,
        open(path, "w", encoding="utf-8", errors="backslashreplace", newline="\n") as file,
    ):

        def add(labelled: Labelled) -> None:
            for row in rows_of(labelled):
                file.write(json.dumps(row, ensure_ascii=False) + "\n")

        yield add


@contextmanager
def parquet(options: Options) -> Iterator[Add]:
    """`parquet/labels-00000.parquet` and so on, at most `shard_rows` rows each."""
    with replaced_folder(options.out / "parquet") as folder, ExitStack() as stack:
        shards = stack.enter_context(_Shards(folder, options.shard_rows))

        def add(labelled: Labelled) -> None:
            for row in rows_of(labelled):
                shards.add(row)

        yield add


class _Shards:
    """Writes rows a group at a time, and begins a file after so many."""

    _GROUP = 1000

    def __init__(self, folder: Path, most: int):
        import pyarrow as pa

        rle = pa.struct({"size": pa.list_(pa.int32()), "counts": pa.string()})
        self.folder, self.most, self.count, self.rows = folder, most, 0, list[dict[str, Any]]()
        self.writer: Any = None
        self.schema = pa.schema(
            {
                "image": pa.string(), "width": pa.int32(), "height": pa.int32(), "expression": pa.string(),
                "boxes": pa.list_(pa.list_(pa.float32())), "segmentations": pa.list_(rle), "no_target": pa.bool_(),
                "scores": pa.list_(pa.float32()), "raw_scores": pa.list_(pa.float32()), "exists": pa.float32(),
                "unread": pa.list_(pa.string()),
            }
        )  # fmt: skip

    def __enter__(self) -> "_Shards":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._write()
            if not self.count:
                self._open()  # a data set of no rows has its columns, too
        if self.writer is not None:
            self.writer.close()

    def add(self, row: dict[str, Any]) -> None:
        self.rows.append({name: row.get(name) for name in self.schema.names})
        full = (self.count + len(self.rows)) % self.most == 0
        if full or len(self.rows) == self._GROUP:
            self._write()
        if full:
            self.writer.close()
            self.writer = None

    def _write(self) -> None:
        import pyarrow as pa

        if not self.rows:
            return
        if self.writer is None:
            self._open()
        self.writer.write_table(pa.Table.from_pylist(self.rows, schema=self.schema))
        self.count += len(self.rows)
        self.rows.clear()

    def _open(self) -> None:
        import pyarrow.parquet

        path = self.folder / f"labels-{self.count // self.most:05d}.parquet"
        self.writer = pyarrow.parquet.ParquetWriter(path, self.schema)


__all__ = ["json_lines", "parquet", "rows_of"]
