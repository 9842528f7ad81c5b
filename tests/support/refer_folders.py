"""Writes folders of the REFER format for tests: real photographs and masks, generated references.

The pickles are as Python 2 wrote them (byte strings, protocol 0 or 2) or as Python 3 does.
"""

import io
import json
import pickle
import shutil
import struct
from pathlib import Path

from places import SCENES
from pycocotools import mask as coco_mask

from pbrec_hf.data.refer.refcoco import CONFIGS


class Python2Pickler(pickle._Pickler):
    """Writes every string as Python 2 wrote its `str`: bytes, here of latin-1."""

    def save_str(self, text: str) -> None:
        data = text.encode("latin-1")
        if self.proto == 0:
            self.write(pickle.STRING + repr(data)[1:].encode("ascii") + b"\n")
        elif len(data) < 256:
            self.write(pickle.SHORT_BINSTRING + bytes([len(data)]) + data)
        else:
            self.write(pickle.BINSTRING + struct.pack("<i", len(data)) + data)
        self.memoize(text)

    dispatch = {**pickle._Pickler.dispatch, str: save_str}


def pickled(value: object, protocol: int = 2, python: int = 2) -> bytes:
    if python == 3:
        return pickle.dumps(value, protocol)
    stream = io.BytesIO()
    Python2Pickler(stream, protocol).dump(value)
    return stream.getvalue()


def write_refer_folder(root: Path, key: str, protocol: int = 2, python: int = 2) -> tuple[Path, Path]:
    """A folder of the data set `key`, such as "refcoco/unc", with its photographs.

    Every object of ten photographs gets two expressions; the photographs go in turn to the published splits.

    Returns:
        refer_dir, image_dir: both inside `root`.
    """
    name, split_by = key.split("/")
    folder = root / CONFIGS[key]["folder"]
    image_dir = root / "images"
    folder.mkdir(parents=True, exist_ok=True)
    image_dir.mkdir(exist_ok=True)
    instances = json.loads((SCENES / "instances.json").read_text())
    for image in instances["images"]:
        shutil.copy(SCENES / "images" / image["file_name"], image_dir)
    if name == "referit":
        _as_referit(instances)
    references = _references(instances, list(CONFIGS[key]["splits"]), generalized=name == "grefcoco")
    if name == "grefcoco":
        (folder / f"grefs({split_by}).json").write_text(json.dumps(references))
    else:
        (folder / f"refs({split_by}).p").write_bytes(pickled(references, protocol, python))
    (folder / "instances.json").write_text(json.dumps(instances))
    return root, image_dir


def _references(instances: dict, splits: list[str], generalized: bool) -> list[dict]:
    names = {category["id"]: category["name"] for category in instances["categories"]}
    if splits[-1] == "testC":
        splits = ["train", "val", "testAB", "testC"]  # as ReferItGame names references of two test splits
    references = []
    for number, image in enumerate(instances["images"]):
        objects = [a for a in instances["annotations"] if a["image_id"] == image["id"]]
        groups = [[a] for a in objects]
        if generalized:
            groups += [objects[:2], []]
        for group in groups:
            ref_id = len(references)
            texts = [f"{names[a['category_id']]} numéro {ref_id}" for a in group[:1]] or ["the unicorn"]
            texts.append("the one on the left")
            sentences = [
                {"sent_id": 2 * ref_id + i, "raw": t.upper(), "sent": t, "tokens": t.split()}
                for i, t in enumerate(texts)
            ]
            ann_ids, category_ids = [a["id"] for a in group], [a["category_id"] for a in group]
            references.append(
                {
                    "ref_id": ref_id,
                    "ann_id": (ann_ids or [-1]) if generalized else ann_ids[0],
                    "category_id": (category_ids or [-1]) if generalized else category_ids[0],
                    "image_id": image["id"],
                    "file_name": image["file_name"].replace(".jpg", "_1.jpg"),
                    "split": splits[number % len(splits)],
                    "sent_ids": [sentence["sent_id"] for sentence in sentences],
                    "sentences": sentences,
                }
            )
            if generalized:
                references[-1]["no_target"] = not group
    return references


def _as_referit(instances: dict) -> None:
    """ReferItGame names objects "image_number" and writes every mask as a list of run lengths."""
    sizes = {image["id"]: (image["height"], image["width"]) for image in instances["images"]}
    for number, annotation in enumerate(instances["annotations"]):
        height, width = sizes[annotation["image_id"]]
        parts = coco_mask.frPyObjects(annotation["segmentation"], height, width)
        annotation["segmentation"] = [
            {"size": [height, width], "counts": part["counts"].decode("ascii")} for part in parts
        ]
        annotation["id"] = f"{annotation['image_id']}_{number}"
