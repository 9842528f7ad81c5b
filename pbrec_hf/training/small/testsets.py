"""The generated test sets of pbrec-mt-small, of photographs that it was not trained on.

    python scripts/small/testsets.py --data DATA --out TESTSETS

The held-out photographs come in two halves: TESTSETS/choice, on which the selection, the threshold and the calibration
are chosen, and TESTSETS/test, which is for measuring alone. In each half: `heldout` (generated expressions on
photographs), `flipped` (the same, pictures and words mirrored), `composed` (scenes made of the photographs' cut-outs)
and `absent` (expressions shown with another photograph that holds nothing of their category). In TESTSETS/test alone:
`postures` (somebody who sits beside somebody who stands, of photographs that no training sees). Their boxes are x, y,
width, height in pixels, as in the files of human expressions. `generalized.jsonl` is data of one's own, for
`pbrec-hf evaluate` and `pbrec-hf calibrate`: expressions for one object, for several and for none.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...data.scenes.composed import ComposedScenes
from ...data.scenes.scene import Scene, flip, with_expressions
from ...data.scenes.selectors import mirror_text
from ..scenes import rows_of, save_pixels, write_rows
from .pool import evaluated_photographs, sayings, split_photographs
from .posture_pairs import posture_pairs, shown_persons

HALVES = ("choice", "test")
COMPOSED_SCENES, COMPOSED_SEED, PER_SCENE = 50, 10**6, 12
GENERALIZED_SCENES, SINGLE, PLURALS, ABSENT = 120, 6, 5, 5
POSTURE_PAIRS = 150
Row = dict[str, Any]
Pictures = list[tuple[Scene, str, list[Row]]]  # scene, file name and rows


def row(scene: Scene, file_name: str, text: str, means: Sequence[int], kind: str) -> Row:
    """One line of the JSONL for an expression that means one object, or none."""
    height, width = scene.size
    record = {"file_name": file_name, "width": width, "height": height, "expression": text, "kind": kind}
    if not means:
        return record | {"bbox": None, "category": None, "no_target": True}
    (target,) = means
    item = scene.objects[target]
    left, top, right, bottom = (round(float(value), 2) for value in item.box)
    box = [left, top, round(right - left, 2), round(bottom - top, 2)]
    return record | {"bbox": box, "category": item.category, "no_target": False}


def halves(held_out: Sequence[Scene]) -> dict[str, list[Scene]]:
    """The held-out photographs by what they are for: every other one, in the order of their names."""
    ordered = sorted(held_out, key=lambda scene: int(scene.name))
    return {half: ordered[number::2] for number, half in enumerate(HALVES)}


def single_sets(photographs: Sequence[Scene], seed: int) -> dict[str, Pictures]:
    """The sets whose expressions mean one object, or none; `seed` numbers the first composed scene."""
    held_out = [with_expressions(scene, _rng(scene), PER_SCENE) for scene in photographs]
    composed = ComposedScenes(photographs)
    sets: dict[str, Pictures] = {"heldout": [], "flipped": [], "composed": [], "absent": []}
    for scene in held_out:
        name, mirrored = f"heldout_{scene.name}.png", flip(scene)
        said = sayings(scene)
        sets["heldout"].append((scene, name, [row(scene, name, *each) for each in said]))
        name = f"flipped_{scene.name}.png"
        rows = [row(mirrored, name, mirror_text(text), means, kind) for text, means, kind in said]
        sets["flipped"].append((mirrored, name, rows))
    for number in range(COMPOSED_SCENES):
        scene, name = composed.sample(seed + number), f"composed_{seed + number}.png"
        sets["composed"].append((scene, name, [row(scene, name, *each) for each in sayings(scene)]))
    for number, scene in enumerate(held_out):
        present = {item.category for item in scene.objects}
        other = held_out[(number + len(held_out) // 2) % len(held_out)]
        absent = [said for said in other.expressions if other.objects[said.targets[0]].category not in present]
        name = f"heldout_{scene.name}.png"
        sets["absent"].append((scene, name, [row(scene, name, said.text, (), said.kind) for said in absent[:4]]))
    return sets


def generalized_set(photographs: Sequence[Scene], seed: int) -> Pictures:
    """Expressions for one object, several and none, on photographs and on scenes composed of them."""
    scenes = [with_expressions(scene, _rng(scene), SINGLE, PLURALS, ABSENT) for scene in photographs]
    composed = ComposedScenes(photographs)
    scenes += [composed.sample(seed + number, SINGLE, PLURALS, ABSENT) for number in range(GENERALIZED_SCENES)]
    named = [(scene, f"images/generalized_{scene.name.replace(' ', '_')}.png") for scene in scenes]
    return [(scene, name, rows_of(scene, name)) for scene, name in named]


def postures_set(data: Path, trained_on: Sequence[Scene]) -> Pictures:
    """Pairs of persons of the photographs that are neither for training nor among those of people's expressions."""
    exclude = {int(scene.name) for scene in trained_on} | {int(number) for number in evaluated_photographs(data)}
    pairs = posture_pairs(shown_persons(data, exclude), POSTURE_PAIRS, np.random.default_rng(5))
    named = [(scene, f"postures_{scene.name.replace(' ', '_')}.png") for scene in pairs]
    return [(scene, name, [row(scene, name, *each) for each in sayings(scene)]) for scene, name in named]


def _rng(scene: Scene) -> np.random.Generator:
    return np.random.default_rng((7, int(scene.name)))


def _write(pictures: Pictures, folder: Path, path: Path) -> None:
    """The pictures that are missing in `folder`, and all rows to `path`."""
    for scene, name, _ in pictures:
        if not (folder / name).exists():
            save_pixels(scene.image, folder / name)
    write_rows([line for _, _, rows in pictures for line in rows], path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the pictures that are missing, and the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(arguments)
    train, held_out = split_photographs(args.data)
    test = args.out / "test"
    _write(postures_set(args.data, train), test / "images", test / "expressions_postures.jsonl")
    for number, (half, photographs) in enumerate(halves(held_out).items()):
        folder, seed = args.out / half, COMPOSED_SEED * (number + 1)
        for kind, pictures in single_sets(photographs, seed).items():
            _write(pictures, folder / "images", folder / f"expressions_{kind}.jsonl")
        _write(generalized_set(photographs, seed + 1000), folder, folder / "generalized.jsonl")
