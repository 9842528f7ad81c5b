"""Generated folders of the REFER format: references for the objects of annotated pictures, to try the whole path out.

Every object gets two expressions; the pictures go in turn to the published splits. The numbers are not the published
ones, so such folders are read with `check_counts=False`.
"""

import json
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pycocotools import mask as coco_mask

from .refcoco import CONFIGS

Instances = dict[str, Any]


def write_annotations(
    root: Path, key: str, instances: Instances, pickled: Callable[[object], bytes] = pickle.dumps
) -> None:
    """
    Write the annotations of a data set beside its pictures.

    Args:
        root: gets the data set's folder.
        key: such as "refcoco/unc".
        instances: of COCO, with masks as polygons; as published for ReferItGame, its ids and masks change.
        pickled: writes the references of the sets that are published as pickles.
    """
    name, split_by = key.split("/")
    folder = root / CONFIGS[key]["folder"]
    folder.mkdir(parents=True, exist_ok=True)
    if name == "referit":
        _as_referit(instances)
    references = references_of(instances, list(CONFIGS[key]["splits"]), generalized=name == "grefcoco")
    if name == "grefcoco":
        (folder / f"grefs({split_by}).json").write_text(json.dumps(references), encoding="utf-8")
    else:
        (folder / f"refs({split_by}).p").write_bytes(pickled(references))
    (folder / "instances.json").write_text(json.dumps(instances), encoding="utf-8")


def references_of(instances: Mapping[str, Any], splits: list[str], generalized: bool) -> list[dict[str, Any]]:
    """
    References as published: of every object, and, generalized, of two objects and of none.

    Args:
        instances: of COCO.
        splits: names of the published splits.
        generalized: as gRefCOCO.
    """
    names = {category["id"]: category["name"] for category in instances["categories"]}
    if splits[-1] == "testC":
        splits = ["train", "val", "testAB", "testC"]  # as ReferItGame names references of two test splits
    references: list[dict[str, Any]] = []
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


def _as_referit(instances: Instances) -> None:
    """ReferItGame names objects "image_number" and writes every mask as a list of run lengths."""
    sizes = {image["id"]: (image["height"], image["width"]) for image in instances["images"]}
    for number, annotation in enumerate(instances["annotations"]):
        height, width = sizes[annotation["image_id"]]
        parts = coco_mask.frPyObjects(annotation["segmentation"], height, width)
        annotation["segmentation"] = [
            {"size": [height, width], "counts": part["counts"].decode("ascii")} for part in parts
        ]
        annotation["id"] = f"{annotation['image_id']}_{number}"


__all__ = ["references_of", "write_annotations"]
