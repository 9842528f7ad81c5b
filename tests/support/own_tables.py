"""Tables of own data: rows about two pictures, and writers of several kinds of files."""

import csv
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pbrec_hf.images.segmentation import mask_to_segmentation

TRIANGLE = [[10, 10, 40, 10, 10, 30]]


def good_rows():
    mask = np.zeros((48, 64), np.uint8)
    mask[5:9, 6:20] = 1
    rle = mask_to_segmentation(mask)
    return [
        {"image": "a.jpg", "expression": " the triangle ", "bbox": [10, 10, 40, 30], "segmentation": TRIANGLE},
        {"image": "b.jpg", "expression": "stripe", "bbox": [6, 5, 20, 9], "category": "line", "ann_id": 7},
        {
            "image": "a.jpg",
            "expression": "bar",
            "bbox": [6, 5, 20, 9],
            "segmentation": {"counts": rle["counts"], "size": rle["size"]},
        },
    ]


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_csv(path, rows):
    names = ("image", "expression", "bbox", "segmentation", "category", "ann_id")
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        for row in rows:
            cells = {name: json.dumps(row[name]) for name in ("bbox", "segmentation") if name in row}
            writer.writerow(row | cells)
    return path


def write_parquet(path, rows):
    names = ("image", "expression", "bbox", "category", "ann_id")
    pq.write_table(pa.Table.from_pylist([{name: row.get(name) for name in names} for row in rows]), path)
    return path
