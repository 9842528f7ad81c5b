"""The soft targets of expressions (equations 1 to 4), from boxes and segmentations of the original pictures.

`soft_targets` makes those of a batch, which the collator trains on; `with_soft_targets` gives them as columns of a
dataset, computed as rows are read. Knows nothing of pixels and tokens.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import datasets
import torch
from torch import Tensor

from ..comprehension.targets import centerness_targets
from ..configuration_pbrec import PbrecConfig
from ..geometry.letterbox import Letterbox
from .mask_targets import massness_labels
from .placement import Placement

Rows = TypeVar("Rows", datasets.Dataset, datasets.DatasetDict, datasets.IterableDataset, datasets.IterableDatasetDict)
COLUMNS = {"grounding": "centerness_labels", "segmentation": "massness_labels"}


def soft_targets(
    boxes: Tensor,
    segmentations: Sequence[Mapping[str, Any] | None],
    placements: Sequence[Placement],
    sizes: Sequence[tuple[int, int]],
    stride: int,
    tasks: Sequence[str],
    style: str = "paper",
) -> dict[str, Tensor]:
    """
    Targets of E expressions at the centres of the cells.

    Args:
        boxes: (E, 4) XYXY canvas pixels.
        segmentations: E structs in pixels of the original pictures; unread without the task "segmentation".
        placements, sizes: of each expression's picture; sizes are (height, width) of the original.
        stride: width of a cell, canvas pixels.
        tasks: "grounding" and/or "segmentation".
        style: "paper" or "released_code".

    Returns:
        `centerness_labels` and/or `massness_labels`, float32 (E, P), and `repaired` bool (E,): no point qualified for
        a target, so that the nearest one got it.
    """
    labels = {"repaired": torch.zeros(len(boxes), dtype=torch.bool)}
    if "grounding" in tasks:
        name = COLUMNS["grounding"]
        labels[name], repaired = centerness_targets(boxes, placements[0].canvas, stride, style=style)
        labels["repaired"] |= repaired
    if "segmentation" in tasks:
        name = COLUMNS["segmentation"]
        given = [segmentation for segmentation in segmentations if segmentation is not None]
        labels[name], repaired = massness_labels(boxes, given, placements, sizes, stride, style=style)
        labels["repaired"] |= repaired
    return labels


def with_soft_targets(rows: Rows, config: PbrecConfig) -> Rows:
    """
    The same data with the targets that a model of this config trains on, on the test-time canvas.

    Nothing is stored: a dataset computes them when rows are read, and a stream as it passes.

    Args:
        rows: columns of `data/schema.py`, of either view.
        config: gives `image_size`, `stride`, `tasks` and `soft_targets`.

    Returns:
        Rows with the columns `centerness_labels` and/or `massness_labels`, lists of P numbers in [0, 1], row-major
        over the grid, all 0 for an expression without a referent; and `repaired`, see `soft_targets`. In the image
        view these are fields of each entry of `expressions`.

    Raises:
        ValueError: the model chooses its points itself; or, when the row is read, a segmentation is missing.
    """
    if config.free_points and config.soft_targets == "paper":
        raise ValueError(
            "This model chooses its points from the picture, so its targets are not columns of the data: pass `boxes` "
            "to its forward, which makes them."
        )
    if isinstance(rows, (datasets.Dataset, datasets.DatasetDict)):
        return rows.with_transform(partial(_add_to_batch, config=config))
    # Without features the library would read the first rows to find them out, and decode their pictures.
    return rows.map(partial(_add_to_row, config=config))


def _add_to_batch(batch: Mapping[str, list[Any]], config: PbrecConfig) -> dict[str, list[Any]]:
    rows = [dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True)]
    added = [_add_to_row(row, config) for row in rows]
    return {name: [row[name] for row in added] for name in (added[0] if added else ())}


def _add_to_row(row: Mapping[str, Any], config: PbrecConfig) -> dict[str, Any]:
    if "expressions" in row:
        return {**row, "expressions": _labelled(row["expressions"], row, config)}
    return {**row, **_labelled([row], row, config)[0]}


def _labelled(
    sentences: Sequence[Mapping[str, Any]], row: Mapping[str, Any], config: PbrecConfig
) -> list[dict[str, Any]]:
    points = config.grid[0] * config.grid[1]
    nothing = {COLUMNS[task]: [0.0] * points for task in config.tasks} | {"repaired": False}
    found = [number for number, sentence in enumerate(sentences) if sentence["bbox"] is not None]
    entries: list[dict[str, Any]] = [{**sentence, **nothing} for sentence in sentences]
    if not found:
        return entries
    size = (row["height"], row["width"])
    placement = Placement.from_letterbox(Letterbox.fit(*size, config.image_size), config.image_size)
    segmentations = [sentences[number].get("segmentation") for number in found]
    if "segmentation" in config.tasks and None in segmentations:
        expression = sentences[found[segmentations.index(None)]]["expression"]
        raise ValueError(
            f"{expression!r} (image {row.get('image_id')!r}) has no segmentation, but tasks={list(config.tasks)}: "
            "give masks, drop the row, or take a config with the task grounding alone."
        )
    boxes = placement.boxes([sentences[number]["bbox"] for number in found], *size)
    copies = ([placement] * len(found), [size] * len(found))
    labels = soft_targets(boxes, segmentations, *copies, config.stride, config.tasks, config.soft_targets)
    for place, number in enumerate(found):
        entries[number] |= {name: values[place].tolist() for name, values in labels.items()}
    return entries


__all__ = ["soft_targets", "with_soft_targets"]
