"""Finds training rows whose image is held out for validation or test elsewhere in the family.

RefCOCO, RefCOCO+, RefCOCOg and gRefCOCO share COCO's images but split them differently, so that training on one, or on
their mixture, shows a model test images of another. Expects REFER folders and rows with an `image_id`, which means the
same photograph only within one kind of images (COCO's, or ReferItGame's). Knows nothing of models and detectors.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from datasets import Dataset, concatenate_datasets

from .folder import in_split, read_references
from .refcoco import CONFIGS, config_key, load_refcoco, refer_folder


def held_out_images(refer_dir: str | Path, names: Iterable[str] | None = None) -> dict[str, list[str]]:
    """
    Image id → the validation and test splits that hold it, such as {"581857": ["refcoco/unc testA"]}.

    Args:
        refer_dir: folder of the REFER layout.
        names: keys of `CONFIGS` ("refcoco/unc"), all of one kind of images; by default every COCO data set except the
            "google" splits, which split objects instead of images and therefore hold out nearly everything.

    Raises:
        FileNotFoundError: a data set is not in `refer_dir`; with fewer of them the list would claim too little.
        ValueError: an unknown name, or names of different kinds of images.
    """
    if names is None:
        names = [key for key, entry in CONFIGS.items() if entry["images"] == "coco" and not key.endswith("google")]
    keys = [config_key(name) for name in names]
    kinds = {CONFIGS[key]["images"] for key in keys}
    if len(kinds) > 1:
        raise ValueError(
            f"{keys} use different images ({sorted(kinds)}), whose ids must not be compared: ask for one kind at a "
            "time."
        )
    holders: dict[str, list[str]] = {}
    for key in keys:
        evaluation_splits = [split for split in CONFIGS[key]["splits"] if split != "train"]
        for reference in read_references(refer_folder(refer_dir, key), key.split("/")[1]):
            for split in evaluation_splits:
                if in_split(reference.split, split):
                    names_of_image = holders.setdefault(str(reference.image_id), [])
                    if f"{key} {split}" not in names_of_image:
                        names_of_image.append(f"{key} {split}")
    return holders


def training_images(names: Iterable[str], refer_dir: str | Path) -> set[str]:
    """
    Ids of the images that training on the train splits of these data sets shows.

    Args:
        names: keys of `CONFIGS`, all of one kind of images; of several, the images that any of them holds out are left
            out, as `load_mixture` does.
        refer_dir: folder of the REFER layout.

    Raises:
        FileNotFoundError: a data set is not in `refer_dir`.
        ValueError: an unknown name, or names of different kinds of images.
    """
    keys = [config_key(name) for name in names]
    dropped = held_out_images(refer_dir, keys) if len(keys) > 1 else {}
    return {
        str(reference.image_id)
        for key in keys
        for reference in read_references(refer_folder(refer_dir, key), key.split("/")[1])
        if in_split(reference.split, "train") and str(reference.image_id) not in dropped
    }


def leaking_rows(train: Dataset, held_out: Mapping[str, list[str]]) -> dict[int, list[str]]:
    """Index of a row of `train` → the splits that hold its image out; rows that leak nothing are absent."""
    image_ids = train.with_format(None)["image_id"]
    return {index: held_out[str(i)] for index, i in enumerate(image_ids) if str(i) in held_out}


def without_leaks(train: Dataset, held_out: Mapping[str, list[str]]) -> Dataset:
    """`train` without the rows that `leaking_rows` lists."""
    leaks = leaking_rows(train, held_out)
    return train.select([index for index in range(len(train)) if index not in leaks]) if leaks else train


def load_mixture(names: Iterable[str], refer_dir: str | Path, **options: Any) -> Dataset:
    """
    The train splits of several data sets of the family together, without the rows that any of them holds out.

    Args:
        names: keys of `CONFIGS`, all of one kind of images.
        refer_dir: folder of the REFER layout.
        options: of `load_refcoco`.

    Raises:
        ValueError: an unknown name, names of different kinds of images, or of different kinds of expressions.
    """
    names = list(names)
    held_out = held_out_images(refer_dir, names)
    trains = [load_refcoco(name, refer_dir=refer_dir, **options)["train"] for name in names]
    for name, train in zip(names, trains, strict=True):
        if train.features != trains[0].features:
            raise ValueError(
                f"Expressions of {name} and {names[0]} cannot be mixed: train on them one after the other. In one of "
                "the two alone, expressions may mean several things or none."
            )
    return concatenate_datasets([without_leaks(train, held_out) for train in trains])


__all__ = ["held_out_images", "leaking_rows", "load_mixture", "training_images", "without_leaks"]
