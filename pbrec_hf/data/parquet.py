"""Data sets as Parquet files that carry their pictures, for other machines and other readers.

    rows = load_own_data("my.jsonl", view="image")
    files = write_parquet(datasets.DatasetDict(train=rows), "out")
    datasets.load_dataset("parquet", data_files=files)      # or load_own_data(files["train"])

Of pictures on this disk `Dataset.to_parquet` writes only the paths; this writes their bytes, too. Prefer the image
view: the sentence view repeats a picture for each of its expressions. Knows nothing of where the rows come from.
"""

from pathlib import Path

import datasets
import pyarrow
import pyarrow.parquet
from datasets.table import embed_table_storage

from ..hub.writing import replaced_file


def write_parquet(splits: datasets.DatasetDict, folder: str | Path, batch_size: int = 100) -> dict[str, str]:
    """
    Write `<split>.parquet` for every split.

    A file appears under its name only when it is complete, so an interrupted call leaves no damaged one.

    Args:
        splits: rows of either view, of any source of the package.
        folder: made if need be.
        batch_size: rows per row group; bounds the memory, since the pictures of a group are held at once.

    Returns:
        split → path, as `load_dataset("parquet", data_files=...)` takes it.

    Raises:
        ValueError: a picture cannot be read.
        CannotWriteError: the folder cannot be written to; an OSError.
    """
    written = {}
    for split, rows in splits.items():
        path = Path(folder) / f"{split}.parquet"
        schema = rows.features.arrow_schema
        with replaced_file(path) as partial, pyarrow.parquet.ParquetWriter(partial, schema) as writer:
            for batch in rows.with_format("arrow").iter(batch_size):
                writer.write_table(_with_pictures(batch.cast(schema), split))
        written[str(split)] = str(path)
    return written


def _with_pictures(table: pyarrow.Table, split: str) -> pyarrow.Table:
    try:
        return embed_table_storage(table)
    except OSError as error:
        raise ValueError(f"A picture of the split {split} cannot be read ({error}): put it back.") from error


__all__ = ["write_parquet"]
