"""Proposals of a frozen detector kept in Parquet, so that validation and evaluation need not run it again.

A row holds one picture's proposals under the SHA-256 of its file, or those of a picture and an expression, where the
detector is asked with words. Every file identifies the detector by a hash of its weights, its config and the
preprocessing of pictures. A picture that is missing, or another detector, is an error. Pictures are written in parts
that appear complete or not at all: an interrupted run resumes where it stopped.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from ..detectors.base import Detector, asks_expressions, makes_masks_of_boxes
from ..geometry.proposals import TENSORS, Proposals
from ..hub.writing import replaced_file
from ..image_processing_pbrec import PbrecImageProcessor
from ..inference.digests import add_weights
from ..processing_pbrec import PbrecProcessor
from ..selection.choose import PROPOSALS

KINDS = tuple(PROPOSALS)

_MASKS = "mask_"  # before the names of the masks' tensors
_TYPES = {
    torch.float32: pa.float32(),
    torch.float16: pa.float16(),
    torch.int64: pa.int64(),
    torch.bool: pa.bool_(),
}


def image_hash(source: Mapping[str, Any]) -> str:
    """SHA-256 of the encoded picture of a `datasets` image cell {"path", "bytes"}."""
    data = source["bytes"] if source.get("bytes") is not None else Path(source["path"]).read_bytes()
    return hashlib.sha256(data).hexdigest()


def detector_hash(detector: Detector, image_processor: PbrecImageProcessor) -> str:
    """SHA-256 of everything that proposals depend on, except the picture."""
    digest = hashlib.sha256()
    parts = [detector.config.to_dict(), image_processor.to_dict()]
    if (reading := getattr(detector, "reading", None)) is not None:  # of a network with a processor of its own
        parts.append(reading)
    for settings in parts:
        # Where it was loaded from, and by which version, does not change a proposal.
        plain = {name: value for name, value in _known(settings).items() if name not in _NO_MATTER}
        digest.update(json.dumps(plain, sort_keys=True, default=str).encode())
    add_weights(digest, detector)
    return digest.hexdigest()


# Fields that are newer than caches of 0.1.0, and the values with which proposals are as before.
_NEWER = {"tower_kernel": 3, "points": "center", "neck": "pan", "refiner_widths": [], "detail_channels": 16}
_NO_MATTER = ("_name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype", "processor_class")


def _known(settings: Any) -> Any:
    """A config without newer fields that change nothing, nor those of its parts."""
    if not isinstance(settings, Mapping):
        return settings
    return {name: _known(value) for name, value in settings.items() if name not in _NEWER or value != _NEWER[name]}


def row_keys(
    detector: Detector, images: Sequence[str], expressions: Sequence[str], image_index: Iterable[int]
) -> list[str]:
    """
    Under what the proposals of a batch are stored, row by row.

    Args:
        detector: which proposes, for pictures or, asked with words, for expressions.
        images: hash of each of I pictures.
        expressions: E of them.
        image_index: E picture numbers.
    """
    if not asks_expressions(detector):
        return list(images)
    return [expression_hash(images[image], said) for said, image in zip(expressions, image_index, strict=True)]


def expression_hash(image: str, expression: str) -> str:
    """The key of an expression on the picture with the hash `image`."""
    return hashlib.sha256(f"{image}\n{expression}".encode()).hexdigest()


class ProposalCache:
    """
    The stored proposals of one detector.

    Args:
        folder: of the Parquet files.
        detector: which proposes.
        image_processor: makes the canvases.

    Raises:
        ValueError: a file belongs to another detector or canvas, or is damaged.
    """

    def __init__(self, folder: str | Path, detector: Detector, image_processor: PbrecImageProcessor):
        self.folder, self.detector = Path(folder), detector
        self.hash = detector_hash(detector, image_processor)
        self.side = image_processor.size["longest_edge"]
        self._where: dict[str, tuple[Path, int]] = {}
        for path in sorted(self.folder.glob("*.parquet")):
            self._add(path)

    def __len__(self) -> int:
        return len(self._where)

    def images(self) -> set[str]:
        """Hashes of the pictures whose proposals are stored."""
        return set(self._where)

    def write(self, images: Sequence[str], proposals: Proposals) -> None:
        """
        Add proposals, as one file.

        Args:
            images: the key of each row (see `row_keys`).
            proposals: of these, in this order.

        Raises:
            OSError: it cannot be written.
        """
        columns: dict[str, pa.Array] = {"image": pa.array(images)}
        shapes: dict[str, list[int]] = {}
        for name, value in _tensors(proposals).items():
            shapes[name] = list(value.shape[1:])
            flat = pa.array(value.cpu().flatten().numpy(), type=_TYPES[value.dtype])
            columns[name] = pa.FixedSizeListArray.from_arrays(flat, value[0].numel())
        about = {"detector": self.hash, "shapes": shapes}
        name = hashlib.sha256("".join(images).encode()).hexdigest()[:16]
        path = self.folder / f"{name}.parquet"
        table = pa.table(columns).replace_schema_metadata({"pbrec_hf": json.dumps(about)})
        with replaced_file(path) as partial:
            pq.write_table(table, partial, row_group_size=1)
        self._add(path)

    def get(self, images: Iterable[str]) -> Proposals:
        """
        The proposals under these keys, as the detector itself would give them, on the CPU.

        Raises:
            ValueError: a picture is not in the cache.
        """
        parts = []
        for image in images:
            if image not in self._where:
                raise ValueError(
                    f"The cache {self.folder} of {len(self)} pictures has none with the hash {image[:12]}…, so the "
                    "picture changed or is new: run `pbrec-hf precompute` on this data again."
                )
            path, row = self._where[image]
            file = pq.ParquetFile(path)
            shapes = _about(path)["shapes"]
            table = file.read_row_group(row)
            tensors = {
                name: torch.from_numpy(table[name].combine_chunks().flatten().to_numpy(zero_copy_only=False).copy())
                for name in shapes
            }
            parts.append(self._like_template({name: tensors[name].view(1, *shapes[name]) for name in shapes}))
        return Proposals.cat(parts)

    def _add(self, path: Path) -> None:
        about = _about(path)
        if about["detector"] != self.hash:
            raise ValueError(
                f"{path} holds proposals of another detector or canvas ({about['detector'][:12]}…, now "
                f"{self.hash[:12]}…): choose another folder, or delete this one and run "
                "`pbrec-hf precompute` again."
            )
        images = pq.read_table(path, columns=["image"])["image"].to_pylist()
        self._where.update({image: (path, row) for row, image in enumerate(images)})

    def _like_template(self, tensors: dict[str, torch.Tensor]) -> Proposals:
        masks: dict[str, Any] = {
            name.removeprefix(_MASKS): value for name, value in tensors.items() if name.startswith(_MASKS)
        }
        fields: dict[str, Any] = {name: value for name, value in tensors.items() if not name.startswith(_MASKS)}
        if masks:
            fields["masks"] = self._template.require_masks().with_tensors(masks)
        return replace(self._template, **fields)

    @cached_property
    def _template(self) -> Proposals:
        """Grids and mask kernels, which are the same for every picture, from one empty canvas."""
        canvas = torch.zeros(1, 3, self.side, self.side, device=self.detector.device)
        mask = torch.ones_like(canvas[:, 0], dtype=torch.int64)
        asked = {"expressions": ["thing"], "image_index": torch.zeros(1, dtype=torch.int64)}
        return self.detector.propose(canvas, mask, **(asked if asks_expressions(self.detector) else {})).to("cpu")


def open_caches(
    folder: str | Path, processor: PbrecProcessor, kinds: Iterable[str] = KINDS
) -> dict[str, ProposalCache]:
    """
    The caches below `folder`, one sub-folder per kind, of the processor's detectors; empty ones, too.

    Raises:
        ValueError: an unknown kind.
    """
    if unknown := sorted(set(kinds) - set(KINDS)):
        raise ValueError(f"kinds={unknown}: choose from {', '.join(KINDS)}.")
    return {
        kind: ProposalCache(Path(folder) / kind, detector, processor.image_processor)
        for kind, detector in processor.held_detectors.items()
        if kind in kinds and not makes_masks_of_boxes(detector)  # which has nothing to store
    }


def filled_caches(folder: str | Path, processor: PbrecProcessor) -> dict[str, ProposalCache]:
    """
    The caches of `open_caches` that hold anything; the processor's detectors give proposals of the other kinds.

    Raises:
        ValueError: there is none.
    """
    caches = {kind: cache for kind, cache in open_caches(folder, processor).items() if len(cache)}
    if not caches:
        raise ValueError(f"There are no proposals in {folder}: write them with `pbrec-hf precompute`.")
    return caches


def _tensors(proposals: Proposals) -> dict[str, torch.Tensor]:
    tensors = {name: getattr(proposals, name) for name in TENSORS if getattr(proposals, name) is not None}
    if proposals.masks is not None:
        tensors |= {f"{_MASKS}{name}": getattr(proposals.masks, name) for name in proposals.masks.PER_IMAGE}
    return tensors


def _about(path: Path) -> dict[str, Any]:
    try:
        about: dict[str, Any] = json.loads(pq.read_schema(path).metadata[b"pbrec_hf"])
        return about
    except (pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a file of proposals ({error}): delete it and compute them again.") from error
