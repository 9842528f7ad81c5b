"""Write composed scenes with true expressions, as data for train.py and evaluate.py; as `pbrec-hf scenes`.

    python scripts/make_scenes.py --out scenes                            # from the photographs of the package
    python scripts/make_scenes.py --out scenes --annotations A.json --images DIR --train 2000

The objects of annotated photographs (COCO format, with masks) are cut out and pasted onto parts of others; each
expression is true of exactly one object. OUT/train.jsonl and OUT/held_out.jsonl hold different scenes.
"""

from pbrec_hf.app.cli import run_script

if __name__ == "__main__":
    run_script("scenes")
