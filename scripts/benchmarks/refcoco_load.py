"""How long a RefCOCO of full size takes to load, and how much memory.

    python -m scripts.benchmarks.refcoco_load

Writes a synthetic equivalent of the published files (50,000 references, 142,210 sentences, 19,994 images of which only
the records exist, 196,771 annotations with polygons of 40 points) to a temporary folder, loads it in a fresh process
and prints seconds and peak memory of reading, building the cache, and loading from the cache.
"""

import json
import pickle
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pbrec_hf.data.refer.folder import read_refer_folder
from pbrec_hf.data.refer.refcoco import load_refcoco, published_counts

from .peak import MEGABYTE, PeakMemory

COMMAND = [sys.executable, "-m", "scripts.benchmarks.refcoco_load"]
ROOT = Path(__file__).parents[2]
ANNOTATIONS, CORNERS = 196_771, 40
WORDS = "left right red blue man woman dog cat front back small big chair table near the"


def write_folder(folder: Path) -> None:
    rng = random.Random(0)
    words = WORDS.split()
    references, images, next_sentence = [], [], 0
    for split, counts in published_counts("refcoco", "unc").items():
        first_image = len(images)
        for i in range(counts["images"]):
            name = f"COCO_train2014_{first_image + i:012d}.jpg"
            images.append({"id": first_image + i, "file_name": name, "width": 640, "height": 480, "license": 1})
        for i in range(counts["refs"]):
            number = counts["sentences"] // counts["refs"] + (i < counts["sentences"] % counts["refs"])
            sentences = []
            for _ in range(number):
                tokens = rng.choices(words, k=4)
                text = " ".join(tokens)
                sentences.append({"sent_id": next_sentence, "sent": text, "raw": text.title(), "tokens": tokens})
                next_sentence += 1
            image = images[first_image + i % counts["images"]]
            reference = {"ref_id": len(references), "ann_id": len(references), "category_id": 1, "split": split}
            reference |= {"image_id": image["id"], "file_name": image["file_name"], "sentences": sentences}
            reference["sent_ids"] = [sentence["sent_id"] for sentence in sentences]
            references.append(reference)
    (folder / "refs(unc).p").write_bytes(pickle.dumps(references, 2))
    with open(folder / "instances.json", "w") as file:
        categories = [{"id": 1, "name": "thing"}]
        file.write(f'{{"images": {json.dumps(images)}, "categories": {json.dumps(categories)}, "annotations": [')
        for number in range(ANNOTATIONS):
            image_id = references[number % len(references)]["image_id"]
            polygon = [round(rng.uniform(0, 480), 2) for _ in range(2 * CORNERS)]
            annotation = {"id": number, "image_id": image_id, "category_id": 1, "iscrowd": 0, "area": 1234.5}
            annotation |= {"bbox": [10.5, 20.25, 100.0, 200.0], "segmentation": [polygon]}
            file.write((", " if number else "") + json.dumps(annotation))
        file.write("]}")


def measure(what: str, folder: str) -> None:
    """One load in this process; prints its seconds and the peak memory the process has reached."""
    with PeakMemory() as held:
        start, cpu_start = time.perf_counter(), time.process_time()
        if what == "read":
            rows = sum(len(reference.sentences) for reference in read_refer_folder(folder, "unc").references)
        else:
            splits = load_refcoco("refcoco/unc", refer_dir=folder, cache_dir=f"{folder}/cache")
            rows = sum(len(split) for split in splits.values())
        seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    memory = f"peak {held.peak / MEGABYTE:,.0f} MiB (after imports {held.before / MEGABYTE:,.0f})"
    print(f"{what:6s} {rows:,} sentences: {seconds:5.1f} s (CPU {cpu_seconds:.1f} s), {memory}", flush=True)


def main() -> None:
    if len(sys.argv) == 3:
        what, folder = sys.argv[1:]
        write_folder(Path(folder)) if what == "write" else measure(what, folder)
        return
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([*COMMAND, "write", folder], check=True, cwd=ROOT)  # its memory must not count
        sizes = {path.name: f"{path.stat().st_size / 2**20:.0f} MiB" for path in Path(folder).iterdir()}
        print(f"files: {sizes}")
        for what in ("read", "build", "cached"):
            subprocess.run([*COMMAND, what, folder], check=True, cwd=ROOT)


if __name__ == "__main__":
    main()
