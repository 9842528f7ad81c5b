"""The generated test sets of pbrec-mt-small, as pictures and JSONL rows in the form of the human expressions.

    python scripts/small/testsets.py --data DATA --out TESTSETS

Sets: `heldout` (generated expressions on the held-out photographs), `flipped` (the same, pictures and words mirrored),
`composed` (scenes made of the held-out photographs' cut-outs) and `absent` (held-out expressions shown with another
photograph that holds nothing of their category; no target). Boxes are x, y, width, height in pixels of the pictures.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...data.scenes.composed import ComposedScenes
from ...data.scenes.scene import Scene, flip, with_expressions
from ...data.scenes.selectors import mirror_text
from ..scenes import save_pixels, write_rows
from .pool import sayings, split_photographs

COMPOSED_SCENES, COMPOSED_SEED, PER_SCENE = 100, 10**6, 12
Row = dict[str, Any]


def row(scene: Scene, file_name: str, text: str, target: int | None, kind: str) -> Row:
    """One line of the JSONL; `target` None = the picture holds no such thing."""
    height, width = scene.size
    record = {"file_name": file_name, "width": width, "height": height, "expression": text, "kind": kind}
    if target is None:
        return record | {"bbox": None, "category": None, "no_target": True}
    item = scene.objects[target]
    left, top, right, bottom = (round(float(value), 2) for value in item.box)
    box = [left, top, round(right - left, 2), round(bottom - top, 2)]
    return record | {"bbox": box, "category": item.category, "no_target": False}


def build_sets(data: Path) -> dict[str, list[tuple[Scene, str, list[Row]]]]:
    """By set: the scene, file name and rows of every picture."""
    held_out = [
        with_expressions(scene, np.random.default_rng((7, int(scene.name))), PER_SCENE)
        for scene in split_photographs(data)[1]
    ]
    composed = ComposedScenes(split_photographs(data)[1])
    sets: dict[str, list[tuple[Scene, str, list[Row]]]] = {
        "heldout": [], "flipped": [], "composed": [], "absent": []
    }  # fmt: skip
    for scene in held_out:
        name, mirrored = f"heldout_{scene.name}.png", flip(scene)
        said = sayings(scene)
        sets["heldout"].append((scene, name, [row(scene, name, *each) for each in said]))
        name = f"flipped_{scene.name}.png"
        rows = [row(mirrored, name, mirror_text(text), target, kind) for text, target, kind in said]
        sets["flipped"].append((mirrored, name, rows))
    for number in range(COMPOSED_SCENES):
        scene, name = composed.sample(COMPOSED_SEED + number), f"composed_{number:03d}.png"
        sets["composed"].append((scene, name, [row(scene, name, *each) for each in sayings(scene)]))
    for number, scene in enumerate(held_out):
        present = {item.category for item in scene.objects}
        other = held_out[(number + len(held_out) // 2) % len(held_out)]
        absent = [e for e in other.expressions if other.objects[e.target].category not in present]
        name = f"heldout_{scene.name}.png"
        sets["absent"].append((scene, name, [row(scene, name, e.text, None, e.kind) for e in absent[:4]]))
    return sets


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the pictures that are missing, and the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(arguments)
    images = args.out / "images"
    for kind, pictures in build_sets(args.data).items():
        written = []
        for scene, name, rows in pictures:
            if not (images / name).exists():
                save_pixels(scene.image, images / name)
            written += rows
        write_rows(written, args.out / f"expressions_{kind}.jsonl")
