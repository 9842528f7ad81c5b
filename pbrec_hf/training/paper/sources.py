"""What figures are of: hashes of weights and data, and whether training has seen the pictures that are measured on.

RefCOCO, RefCOCO+ and RefCOCOg share pictures and split them differently: a network that was trained on one has seen
test pictures of another. Expects REFER folders for that, and rows of the image view.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import datasets
from torch import nn

from ...data.provenance import provenance
from ...data.refer.folder import in_split, read_references
from ...data.refer.leakage import training_images
from ...data.refer.refcoco import CONFIGS, config_key, refer_folder
from ...inference.digests import add_weights
from ..origin import Origin

_NO_MATTER = ("_name_or_path", "transformers_version", "dtype", "torch_dtype")


def network_sha256(network: nn.Module, config: Any) -> str:
    """SHA-256 of all weights and the config of a network, before any of them is folded; the same in every process."""
    digest = hashlib.sha256()
    plain = {name: value for name, value in config.to_dict().items() if name not in _NO_MATTER}
    digest.update(json.dumps(plain, sort_keys=True, default=str).encode())
    add_weights(digest, network)
    return digest.hexdigest()


def data_sha256(rows: datasets.Dataset) -> str:
    """SHA-256 of ids, sizes, expressions, boxes and masks of rows of the image view; pictures are not read."""
    digest = hashlib.sha256()
    for row in rows.remove_columns("image"):
        digest.update(json.dumps(row, sort_keys=True, default=str).encode())
    return digest.hexdigest()


def about_data(rows: datasets.Dataset) -> dict[str, Any]:
    """Numbers, description and hash of what is measured on."""
    return provenance(rows) | {"sha256": data_sha256(rows)}


def digest_of(*parts: Any) -> str:
    """SHA-256 of plain values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def split_images(key: str, split: str, refer_dir: str | Path) -> set[str]:
    """
    Ids of the pictures of one split.

    Raises:
        FileNotFoundError: the data set is not in `refer_dir`.
    """
    references = read_references(refer_folder(refer_dir, key), key.split("/")[1])
    return {str(reference.image_id) for reference in references if in_split(reference.split, split)}


def require_unseen(
    row: str, trained_on: Iterable[str], measured: Mapping[str, Iterable[str]], refer_dir: str | Path
) -> None:
    """
    Check that no picture that is measured on was trained on.

    Args:
        row: what is measured, for the message.
        trained_on: published data sets ("refcoco/unc"), whose train splits were trained on.
        measured: the splits that are measured on, by data set.
        refer_dir: folder of the REFER layout.

    Raises:
        FileNotFoundError: a data set is not in `refer_dir`.
        ValueError: pictures of a split were trained on; names the split, the number, one of them and the remedy.
    """
    keys = [config_key(name) for name in trained_on]
    if not keys:
        return
    seen = training_images(keys, refer_dir)
    kind = CONFIGS[keys[0]]["images"]
    for key, splits in measured.items():
        if CONFIGS[key]["images"] != kind:
            continue
        for split in splits:
            shared = sorted(split_images(key, split, refer_dir) & seen)
            if shared:
                raise ValueError(
                    f"{row} was trained on {', '.join(keys)}, whose train split has {len(shared)} of the pictures of "
                    f"{key} {split}, such as {shared[0]}: measure it on the data set that it was trained on, or train "
                    "it on a mixture, from which held-out pictures are left out."
                )


def chosen_note(origin: Origin | None, key: str, split: str, refer_dir: str | Path) -> str:
    """What a reader has to know of a figure on this split, whose pictures may have chosen the checkpoint; or ''."""
    if origin is None or origin.chosen_on is None:
        return ""
    name, _, chosen_split = origin.chosen_on.rpartition(" ")
    try:
        chosen = config_key(name)
    except ValueError:
        return ""  # a file of one's own, whose ids mean other pictures
    if (chosen, chosen_split) == (key, split):
        return "chosen on these cases"
    if CONFIGS[chosen]["images"] != CONFIGS[key]["images"]:
        return ""
    shared = split_images(chosen, chosen_split, refer_dir) & split_images(key, split, refer_dir)
    return f"chosen on {len(shared)} of these pictures" if shared else ""


__all__ = ["about_data", "chosen_note", "data_sha256", "digest_of", "network_sha256", "require_unseen", "split_images"]
