"""Filling caches of proposals: this process's share of the pictures of a data set that are not in them yet."""

from collections.abc import Mapping
from typing import Any

import datasets
import torch
from torch.utils.data import DataLoader

from ..geometry.proposals import Proposals
from ..images.reading import load_pixels
from ..processing_pbrec import PbrecProcessor
from .proposal_cache import ProposalCache, image_hash


@torch.no_grad()
def fill_caches(
    caches: Mapping[str, ProposalCache],
    processor: PbrecProcessor,
    rows: datasets.Dataset,
    share: tuple[int, int] = (0, 1),
    batch_size: int = 8,
    pictures_per_file: int = 256,
    num_workers: int = 0,
) -> int:
    """
    Compute and write proposals.

    Args:
        caches: by kind, of the processor's detectors.
        rows: with a column "image" that is not decoded.
        share: (index, number) of this process.
        batch_size: pictures per pass.
        pictures_per_file: also what an interruption costs at most.
        num_workers: loader processes.

    Returns:
        Number of pictures that this process added.
    """
    index, number = share
    first, last = (part * len(rows) // number for part in (index, index + 1))  # there may be fewer than processes
    pictures = rows.select_columns(["image"]).select(range(first, last))
    loader = DataLoader(pictures, batch_size, collate_fn=_Canvases(processor, caches), num_workers=num_workers)
    names = {"boxes": "box_proposals", "masks": "mask_proposals"}
    waiting: dict[str, list[tuple[str, Proposals]]] = {kind: [] for kind in caches}
    seen: set[str] = set()
    added = 0
    for hashes, batch in loader:
        new = [position for position, image in enumerate(hashes) if image not in seen]
        seen.update(hashes)
        added += len(new)
        if not new:
            continue
        found = processor.propose(batch["pixel_values"][new], batch["pixel_mask"][new], caches)
        for kind in caches:
            proposals = found[names[kind]].to("cpu")
            waiting[kind] += [(hashes[position], proposals[i : i + 1]) for i, position in enumerate(new)]
            if len(waiting[kind]) >= pictures_per_file:
                _write(caches[kind], waiting[kind])
                waiting[kind] = []
    for kind, rest in waiting.items():
        _write(caches[kind], rest)
    return added


def _write(cache: ProposalCache, pictures: list[tuple[str, Proposals]]) -> None:
    if pictures:
        images, proposals = zip(*pictures, strict=True)
        cache.write(images, Proposals.cat(proposals))


class _Canvases:
    """Hashes and canvases of the pictures that some cache lacks; the others are not decoded."""

    def __init__(self, processor: PbrecProcessor, caches: Mapping[str, ProposalCache]):
        self.image_processor = processor.image_processor
        self.known = [cache.images() for cache in caches.values()]

    def __call__(self, rows: list[dict[str, Any]]) -> tuple[list[str], Any]:
        sources = {image_hash(row["image"]): row["image"] for row in rows}
        found = {key: source for key, source in sources.items() if not all(key in known for known in self.known)}
        canvases = self.image_processor([load_pixels(source) for source in found.values()]) if found else None
        return list(found), canvases
