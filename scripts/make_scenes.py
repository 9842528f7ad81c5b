"""Composed scenes with true expressions as data of one's own: pictures and JSONL files for train.py and evaluate.py.

    python scripts/make_scenes.py --out scenes                            # from the ten photographs of the tests
    python scripts/make_scenes.py --out scenes --annotations A.json --images DIR --train 2000

The objects of annotated photographs (COCO format, with masks) are cut out and pasted onto parts of others; each
expression is true of exactly one object. OUT/train.jsonl and OUT/held_out.jsonl hold different scenes.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from pbrec_hf.data.scenes.composed import ComposedScenes, Scene, read_photographs
from pbrec_hf.images.segmentation import mask_to_segmentation

TESTS = Path(__file__).parents[1] / "tests/fixtures/scenes"


def rows_of(scene: Scene, file_name: str) -> list[dict]:
    """One row per expression, as `load_own_data` reads them."""
    rows = []
    for expression in scene.expressions:
        item = scene.objects[expression.target]
        segmentation = mask_to_segmentation(np.ascontiguousarray(item.mask))
        rows.append(
            {
                "image": file_name,
                "expression": expression.text,
                "bbox": list(item.box),
                "segmentation": {name: segmentation[name] for name in ("size", "counts")},
                "category": item.category,
            }
        )
    return rows


def write_scenes(scenes: ComposedScenes, seeds: range, options: argparse.Namespace, name: str) -> None:
    """Write the scenes of `seeds`: pictures to OUT/NAME, rows to OUT/NAME.jsonl, of the kinds and sizes asked for."""
    out, kinds = options.out, options.kinds
    (out / name).mkdir(parents=True, exist_ok=True)
    lines, met = [], set()
    for seed in seeds:
        scene = scenes.sample(seed, options.expressions)
        met |= {kind for expression in scene.expressions for kind in expression.kind.split("+")}
        said = [
            expression
            for expression in scene.expressions
            if (kinds is None or set(expression.kind.split("+")) <= set(kinds))
            and min(scene.objects[expression.target].size) >= options.smallest
        ]
        scene = replace(scene, expressions=tuple(said))
        if not scene.expressions:
            continue
        file_name = f"{name}/{seed:06}.png"
        Image.fromarray(scene.image).save(out / file_name)
        lines += [json.dumps(row) + "\n" for row in rows_of(scene, file_name)]
    if not lines and name == "train" and len(seeds):
        raise ValueError(
            f"--kinds {' '.join(kinds or [])} --smallest {options.smallest} leave no expression of {len(seeds)} "
            f"scenes, which have the kinds {', '.join(sorted(met))}: give some of these, or more scenes."
        )
    (out / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    print(f"{out / name}.jsonl: {len(lines)} expressions")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--annotations", type=Path, default=TESTS / "instances.json")
    parser.add_argument("--images", type=Path, default=TESTS / "images")
    parser.add_argument("--train", type=int, default=400, help="scenes to train on (default: %(default)s)")
    parser.add_argument("--held_out", type=int, default=60, help="other scenes (default: %(default)s)")
    parser.add_argument("--expressions", type=int, default=6, help="per scene at most (default: %(default)s)")
    parser.add_argument("--kinds", nargs="+", help="only expressions that make no other statements, such as: category")
    parser.add_argument("--smallest", type=int, default=0, help="pixels that things are wide and high, at least")
    options = parser.parse_args()
    scenes = ComposedScenes(read_photographs(options.annotations, options.images))
    first = 1_000_000  # far from any number of training scenes
    for name, seeds in (("train", range(options.train)), ("held_out", range(first, first + options.held_out))):
        write_scenes(scenes, seeds, options, name)


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
