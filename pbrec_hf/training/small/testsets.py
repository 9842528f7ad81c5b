"""Writes the generated test sets of pbrec-mt-small as pictures and JSONL rows in the form of the human expressions.

    python scripts/small_testsets.py --data DATA --out TESTSETS

Sets: `heldout` (generated expressions on the held-out photographs), `flipped` (the same, pictures and words mirrored),
`composed` (scenes made of the held-out photographs' cut-outs) and `absent` (held-out expressions shown with another
photograph that holds nothing of their category; no target). Boxes are x, y, width, height in pixels of the pictures.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image

from ...data.scenes.composed import ComposedScenes, Scene, flip, with_expressions
from ...data.scenes.expressions import mirror_text
from .pool import split_photographs

COMPOSED_SCENES, COMPOSED_SEED, PER_SCENE = 100, 10**6, 12


def row(scene: Scene, file_name: str, text: str, target: int | None, kind: str) -> dict:
    """One line of the JSONL; `target` None = no such thing in the picture."""
    height, width = scene.size
    record = {"file_name": file_name, "width": width, "height": height, "expression": text, "kind": kind}
    if target is None:
        return record | {"bbox": None, "category": None, "no_target": True}
    item = scene.objects[target]
    left, top, right, bottom = (round(float(value), 2) for value in item.box)
    box = [left, top, round(right - left, 2), round(bottom - top, 2)]
    return record | {"bbox": box, "category": item.category, "no_target": False}


def test_sets(data: Path) -> dict[str, list[tuple[Scene, str, list[dict]]]]:
    """Scene, file name and rows of every picture by set."""
    held_out = [
        with_expressions(scene, np.random.default_rng((7, int(scene.name))), PER_SCENE)
        for scene in split_photographs(data)[1]
    ]
    composed = ComposedScenes(split_photographs(data)[1])
    sets = {"heldout": [], "flipped": [], "composed": [], "absent": []}
    for scene in held_out:
        name, mirrored = f"heldout_{scene.name}.png", flip(scene)
        said = [(e.text, e.target, e.kind) for e in scene.expressions]
        sets["heldout"].append((scene, name, [row(scene, name, *each) for each in said]))
        name = f"flipped_{scene.name}.png"
        rows = [row(mirrored, name, mirror_text(text), target, kind) for text, target, kind in said]
        sets["flipped"].append((mirrored, name, rows))
    for number in range(COMPOSED_SCENES):
        scene, name = composed.sample(COMPOSED_SEED + number), f"composed_{number:03d}.png"
        sets["composed"].append((scene, name, [row(scene, name, e.text, e.target, e.kind) for e in scene.expressions]))
    for number, scene in enumerate(held_out):
        present = {item.category for item in scene.objects}
        other = held_out[(number + len(held_out) // 2) % len(held_out)]
        absent = [e for e in other.expressions if other.objects[e.target].category not in present]
        name = f"heldout_{scene.name}.png"
        sets["absent"].append((scene, name, [row(scene, name, e.text, None, e.kind) for e in absent[:4]]))
    return sets


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    images = args.out / "images"
    images.mkdir(parents=True, exist_ok=True)
    for kind, pictures in test_sets(args.data).items():
        lines = []
        for scene, name, rows in pictures:
            if not (images / name).exists():
                Image.fromarray(scene.image).save(images / name)
            lines += [json.dumps(each) for each in rows]
        (args.out / f"expressions_{kind}.jsonl").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
