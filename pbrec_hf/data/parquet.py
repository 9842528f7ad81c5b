"""Data sets as Parquet files that carry their images, for other machines and other readers.

`Dataset.to_parquet` keeps mere paths of images that lie on this disk; here their bytes travel along. Prefer the image
view: the sentence view repeats an image for each of its expressions. Anyone reads the files with
`load_dataset("parquet")`. Knows nothing of where the rows come from.
"""

import os
from pathlib import Path

import datasets
import pyarrow.parquet
from datasets.table import embed_table_storage


def write_parquet(splits: datasets.DatasetDict, folder: str | Path, batch_size: int = 100) -> dict[str, str]:
    """Writes `<split>.parquet` for every split.

    A file appears under its name only when it is complete, so an interrupted call leaves no damaged one.

    Args:
        batch_size: rows per row group; bounds the memory, since a batch's images are held at once.

    Returns:
        split → path, as `load_dataset("parquet", data_files=...)` takes it.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    written = {}
    for split, rows in splits.items():
        path = Path(folder) / f"{split}.parquet"
        unfinished = path.with_suffix(".parquet.unfinished")
        with pyarrow.parquet.ParquetWriter(unfinished, rows.features.arrow_schema) as writer:
            for batch in rows.with_format("arrow").iter(batch_size):
                writer.write_table(embed_table_storage(batch.cast(rows.features.arrow_schema)))
        os.replace(unfinished, path)
        written[str(split)] = str(path)
    return written
