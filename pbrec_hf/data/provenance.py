"""What rows are of and how many they are: what stands beside every score. Knows nothing of where rows come from."""

from typing import Any

import datasets
import pyarrow.compute


def provenance(rows: datasets.Dataset) -> dict[str, Any]:
    """
    Args:
        rows: of the image view.

    Returns:
        `images` and `expressions`, their numbers; where the rows know it also `description`, which names data set,
        version and numbers of its own, and `homepage`, its address.
    """
    table = rows.select_columns(["expressions"]).with_format("arrow")[:]
    counts = pyarrow.compute.list_value_length(table["expressions"])
    numbers = {"images": len(rows), "expressions": pyarrow.compute.sum(counts).as_py() or 0}
    said = {"description": rows.info.description, "homepage": rows.info.homepage}
    return numbers | {name: text for name, text in said.items() if text}


def in_words(split: str, found: dict[str, Any]) -> str:
    """What `provenance` found of a split, as a line."""
    numbers = f"{found['expressions']:,} expressions in {found['images']:,} images"
    return f"{split}: {numbers}. {found.get('description', '')}".rstrip()


__all__ = ["in_words", "provenance"]
