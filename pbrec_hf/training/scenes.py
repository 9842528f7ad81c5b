"""Composed scenes written as data of one's own: pictures, and a JSONL file with a row per expression.

The objects of annotated photographs are cut out and pasted onto parts of others; each expression is true of exactly
one object, of several, or of none. `load_own_data` reads the files.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..data.scenes.composed import ComposedScenes
from ..data.scenes.scene import Scene
from ..hub.writing import replaced_file
from ..images.segmentation import mask_to_rle


def rows_of(scene: Scene, file_name: str) -> list[dict[str, Any]]:
    """One row per expression, as `load_own_data` reads them."""
    rows: list[dict[str, Any]] = []
    for expression in scene.expressions:
        objects = [scene.objects[target] for target in expression.targets]
        boxes = [list(item.box) for item in objects]
        masks = [mask_to_rle(np.ascontiguousarray(item.mask)) for item in objects]
        if len(objects) == 1:
            meant: dict[str, Any] = {"bbox": boxes[0], "segmentation": masks[0]}
        else:
            meant = {"boxes": boxes, "segmentations": masks, "no_target": not objects}
        categories = {item.category for item in objects}
        meant["category"] = categories.pop() if len(categories) == 1 else None
        rows.append({"image": file_name, "expression": expression.text, **meant})
    return rows


def write_scenes(
    scenes: ComposedScenes,
    seeds: Sequence[int],
    folder: Path,
    name: str,
    expressions: int = 6,
    kinds: Sequence[str] | None = None,
    smallest: int = 0,
    required: bool = True,
    on_scene: Callable[[], None] = lambda: None,
    plurals: int = 0,
    absent: int = 0,
) -> tuple[Path, int]:
    """
    Write scenes: their pictures to `folder`/`name`, their rows to `folder`/`name`.jsonl.

    Args:
        seeds: number of each scene.
        expressions: for one object, per scene at most.
        kinds: what expressions may tell, such as "noun", "side" or "colour"; None = everything.
        smallest: least width and height of a referent in pixels.
        required: refuse to write a file without any expression.
        on_scene: called after each scene.
        plurals, absent: expressions for several objects and for none, per scene at most.

    Returns:
        The JSONL file and the number of its rows.

    Raises:
        OSError: a file cannot be written.
        ValueError: no expression of any scene is of these kinds and sizes.
    """
    rows, met = [], set()
    for seed in seeds:
        scene = scenes.sample(seed, expressions, plurals, absent)
        met |= {kind for expression in scene.expressions for kind in expression.kind.split("+")}
        said = [
            expression
            for expression in scene.expressions
            if (kinds is None or set(expression.kind.split("+")) <= set(kinds))
            and all(min(scene.objects[target].size) >= smallest for target in expression.targets)
        ]
        if said:
            file_name = f"{name}/{seed:06}.png"
            save_pixels(scene.image, folder / file_name)
            rows += rows_of(replace(scene, expressions=tuple(said)), file_name)
        on_scene()
    if required and not rows and len(seeds):
        raise ValueError(
            f"--kinds {' '.join(kinds or ['(all)'])} --smallest {smallest} leave no expression of {len(seeds)} "
            f"scenes, which have the kinds {', '.join(sorted(met))}: give some of these, or more scenes."
        )
    path = folder / f"{name}.jsonl"
    write_rows(rows, path)
    return path, len(rows)


def save_pixels(pixels: np.ndarray, path: Path) -> None:
    """Write uint8 pixels (H, W, 3) as PNG, whole or not at all."""
    with replaced_file(path) as partial:
        Image.fromarray(pixels).save(partial, format="PNG")


def write_rows(rows: Iterable[dict[str, Any]], path: Path) -> None:
    """Write rows as JSON lines, whole or not at all."""
    with replaced_file(path) as partial:
        partial.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


__all__ = ["rows_of", "save_pixels", "write_rows", "write_scenes"]
