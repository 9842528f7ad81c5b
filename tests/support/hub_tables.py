"""Evaluation sets on the Hub on loopback: small Parquet files of the two schemas, and what they hold.

The schemas are those of lmms-lab/RefCOCO (a row per referent) and moondream/refcoco-m (a row per picture).
"""

import io

import datasets
import numpy as np
import pyarrow.parquet as pq
import yaml
from datasets import Features, List, Value
from hub_server import HubServer, Repo
from PIL import Image

from pbrec_hf.images.segmentation import mask_to_rle

HEIGHT, WIDTH = 48, 64
REFERENTS = Features(
    {
        "question_id": Value("string"),
        "image": datasets.Image(),
        "question": Value("string"),
        "answer": List(Value("string")),
        "segmentation": List(Value("float32")),
        "bbox": List(Value("float32")),
        "iscrowd": Value("int8"),
        "file_name": Value("string"),
    }
)
REFERENTS_CARD = [  # as the card of lmms-lab/RefCOCO has them
    {"name": "question_id", "dtype": "string"},
    {"name": "image", "dtype": "image"},
    {"name": "question", "dtype": "string"},
    {"name": "answer", "sequence": "string"},
    {"name": "segmentation", "sequence": "float32"},
    {"name": "bbox", "sequence": "float32"},
    {"name": "iscrowd", "dtype": "int8"},
    {"name": "file_name", "dtype": "string"},
]
PICTURES = Features(  # as the card of moondream/refcoco-m has them
    {
        "image": datasets.Image(),
        "image_id": Value("int64"),
        "file_name": Value("string"),
        "samples": List(
            {
                "id": Value("int64"),
                "image_id": Value("int64"),
                "category": Value("string"),
                "supercategory": Value("string"),
                "label": Value("string"),
                "sentences": List(Value("string")),
                "bbox": List(Value("float32")),
                "mask": {"counts": Value("string"), "size": List(Value("int32"))},
            }
        ),
    }
)


def colour(number: int) -> tuple[int, int, int]:
    """Of the picture of a number."""
    return number % 256, number // 256 % 256, 120


def picture(number: int, kind: str = "PNG", size: tuple[int, int] = (WIDTH, HEIGHT)) -> dict:
    """An image cell; pictures of one number are the same."""
    buffer = io.BytesIO()
    Image.new("RGB", size, colour(number)).save(buffer, kind)
    return {"bytes": buffer.getvalue(), "path": f"{number}.{kind.lower()}"}


def outline(box: list[float]) -> list[float]:
    """The corners of a box x, y, width, height, as one flat polygon."""
    x, y, width, height = box
    return [x, y, x + width, y, x + width, y + height, x, y + height]


def referent_row(number: int, ann_id: int, box: list[float], answer: list[str], **other) -> dict:
    """A row of a picture whose file is named as REFER names it."""
    return {
        "question_id": str(ann_id),
        "image": picture(number),
        "question": "Please carefully observe the area circled in the image and come up with a caption for the area.",
        "answer": answer,
        "segmentation": outline(box),
        "bbox": box,
        "iscrowd": 0,
        "file_name": f"COCO_train2014_{number:012d}_{ann_id}.jpg",
        **other,
    }


def referent_rows() -> list[dict]:
    """Five referents in three pictures; the rows of a picture do not stand together."""
    return [
        referent_row(581857, 11, [2, 3, 20, 30], ["left dog", "The dog."]),
        referent_row(98304, 12, [30, 5, 12.5, 20.25], ["red car"]),
        referent_row(581857, 13, [40, 3, 20, 40], ["right dog ", "dog by the wall", "dog"]),
        referent_row(7, 14, [0, 0, 64, 48], ["everything"]),
        referent_row(98304, 15, [1, 1, 8, 40], ["man in red"]),
    ]


def mask_of(box: list[int]) -> np.ndarray:
    """The pixels of a box x, y, width, height without those of one corner."""
    x, y, width, height = box
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[y : y + height, x : x + width] = 1
    mask[y : y + height // 4, x : x + width // 4] = 0
    return mask


def sample(number: int, ann_id: int, box: list[int], sentences: list[str], **other) -> dict:
    return {
        "id": ann_id,
        "image_id": number,
        "category": "dog",
        "supercategory": "animal",
        "label": "dog",
        "sentences": sentences,
        "bbox": box,
        "mask": dict(mask_to_rle(mask_of(box))),
        **other,
    }


def picture_rows() -> list[dict]:
    """Three referents in two pictures, and a picture without any."""
    samples = {
        21: [sample(21, 1, [4, 4, 20, 20], ["left dog", "dog"]), sample(21, 2, [30, 8, 24, 32], ["right dog"])],
        22: [sample(22, 3, [10, 10, 16, 12], ["puppy", "small dog", "little one"])],
        23: [],
    }
    return [
        {
            "image": picture(number),
            "image_id": number,
            "file_name": f"COCO_train2014_{number:012d}.jpg",
            "samples": entries,
        }
        for number, entries in samples.items()
    ]


def parquet(rows: list[dict], features: Features, row_group_size: int = 2) -> bytes:
    """The rows as a Parquet file that carries its features, as `push_to_hub` writes it."""
    buffer = io.BytesIO()
    table = datasets.Dataset.from_list(rows, features=features).data.table
    pq.write_table(table, buffer, row_group_size=row_group_size)
    return buffer.getvalue()


def publish(
    hub: HubServer,
    repo_id: str,
    splits: dict[str, bytes | list[bytes]],
    features: list[dict] | None = None,
    branch: str = "main",
) -> str:
    """A data set of Parquet files on the Hub on loopback, its features on its card if given; returns the commit."""
    files = {}
    for split, contents in splits.items():
        shards = contents if isinstance(contents, list) else [contents]
        files |= {f"data/{split}-{n:05d}-of-{len(shards):05d}.parquet": shard for n, shard in enumerate(shards)}
    data_files = [{"split": split, "path": f"data/{split}-*"} for split in splits]
    card = {"configs": [{"config_name": "default", "data_files": data_files}]}
    if features is not None:
        card = {"dataset_info": {"features": features}, **card}
    readme = f"---\n{yaml.safe_dump(card)}---\n".encode()
    return hub.repos.setdefault(("dataset", repo_id), Repo()).commit(branch, {"README.md": readme, **files})


def rows_read(hub: HubServer, split: str) -> int:
    """How many requests for the content of a split, or a shard of it, were answered."""
    return sum(command == "GET" and f"/data/{split}" in route for command, route, _ in hub.log)
