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

from ..comprehension.targets import centerness_targets, merge_centerness, merge_massness
from ..configuration_pbrec import PbrecConfig
from ..geometry.letterbox import Letterbox
from .mask_targets import massness_labels
from .placement import Placement
from .referents import flat_referents, referents_of, require_masks

Rows = TypeVar("Rows", datasets.Dataset, datasets.DatasetDict, datasets.IterableDataset, datasets.IterableDatasetDict)
COLUMNS = {"grounding": "centerness_labels", "segmentation": "massness_labels"}


def soft_targets(
    boxes: Tensor,
    referent_index: Tensor,
    segmentations: Sequence[Mapping[str, Any] | None],
    placements: Sequence[Placement],
    sizes: Sequence[tuple[int, int]],
    stride: int,
    styles: Mapping[str, str],
) -> dict[str, Tensor]:
    """
    Targets of E expressions with R referents in all, at the centres of the cells.

    Args:
        boxes: (R, 4) XYXY canvas pixels.
        referent_index: (R,) int64, the expression of each referent; an expression may have several or none.
        segmentations: R structs in pixels of the original pictures; unread without the task "segmentation".
        placements, sizes: of each expression's picture, E of them; sizes are (height, width) of the original.
        stride: width of a cell, canvas pixels.
        styles: task ("grounding", "segmentation") → "paper", "released_code" or "hard", of the targets to make.

    Returns:
        `centerness_labels` and/or `massness_labels`, float32 (E, P), all 0 for an expression without referents; and
        `repaired` bool (R,): no point qualified for a target of this referent, so that the nearest one got it.
    """
    owners, canvas = referent_index.tolist(), placements[0].canvas
    labels = {"repaired": torch.zeros(len(boxes), dtype=torch.bool)}
    if "grounding" in styles:
        targets, repaired = centerness_targets(boxes, canvas, stride, styles["grounding"])
        labels[COLUMNS["grounding"]] = merge_centerness(targets, referent_index, len(placements))
        labels["repaired"] |= repaired
    if "segmentation" in styles:
        given = [segmentation for segmentation in segmentations if segmentation is not None]
        pictures = [placements[owner] for owner in owners], [sizes[owner] for owner in owners]
        targets, repaired = massness_labels(boxes, given, *pictures, canvas, stride, styles["segmentation"])
        labels[COLUMNS["segmentation"]] = merge_massness(targets, referent_index, len(placements))
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
        over the grid, all 0 for an expression without a referent; and `repaired`, for how many of its referents no
        point qualified, so that the nearest one got it. In the image view these are fields of each entry of
        `expressions`.

    Raises:
        ValueError: the model chooses its points itself; or, when the row is read, a segmentation is missing.
    """
    if config.targets_at_points:
        raise ValueError(
            "This model chooses its points from the picture, so its targets are not columns of the data: pass `boxes` "
            "(and `referent_index`) to its forward, which makes them."
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
    if not sentences:
        return []
    referents = [referents_of(sentence) for sentence in sentences]
    require_masks(sentences, referents, config.tasks, row.get("image_id"))
    size = (row["height"], row["width"])
    placement = Placement.from_letterbox(Letterbox.fit(*size, config.image_size), config.image_size)
    found = flat_referents(referents)
    boxes = placement.boxes(found.boxes, *size)
    pictures = [placement] * len(sentences), [size] * len(sentences)
    labels = soft_targets(
        boxes, found.referent_index, found.segmentations, *pictures, config.stride, config.target_styles
    )
    repaired = torch.zeros(len(sentences), dtype=torch.int64)
    repaired.index_add_(0, found.referent_index, labels.pop("repaired").long())
    columns = labels | {"repaired": repaired}
    return [
        {**sentence, **{name: values[number].tolist() for name, values in columns.items()}}
        for number, sentence in enumerate(sentences)
    ]


__all__ = ["soft_targets", "with_soft_targets"]
