"""Filling caches of proposals: this process's share of the pictures of a data set that are not in them yet."""

from collections.abc import Mapping
from typing import Any

import datasets
import torch
from torch.utils.data import DataLoader

from ..detectors.base import asks_expressions
from ..geometry.proposals import Proposals
from ..images.reading import load_pixels
from ..processing_pbrec import PbrecProcessor
from ..selection.choose import PROPOSALS
from .proposal_cache import ProposalCache, expression_hash, image_hash, row_keys


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
    asking = any(asks_expressions(cache.detector) for cache in caches.values())
    pictures = rows.select_columns(["image", "expressions"] if asking else ["image"]).select(range(first, last))
    loader = DataLoader(pictures, batch_size, collate_fn=_Canvases(processor, caches), num_workers=num_workers)
    waiting: dict[str, list[tuple[str, Proposals]]] = {kind: [] for kind in caches}
    seen: set[tuple[str, str]] = set()
    added = 0
    for hashes, groups, batch in loader:
        groups = [
            [said for said in group if (image, said) not in seen] for image, group in zip(hashes, groups, strict=True)
        ]
        seen.update((image, said) for image, group in zip(hashes, groups, strict=True) for said in group)
        new = [position for position, group in enumerate(groups) if group]
        added += len(new)
        if not new:
            continue
        expressions = [said for position in new for said in groups[position]]
        owners = [place for place, position in enumerate(new) for _ in groups[position]]
        canvases = (batch["pixel_values"][new], batch["pixel_mask"][new])
        found = processor.propose(*canvases, caches, expressions, torch.tensor(owners))
        for kind, cache in caches.items():
            proposals = found[PROPOSALS[kind]].to("cpu")
            keys = row_keys(cache.detector, [hashes[position] for position in new], expressions, owners)
            waiting[kind] += [(key, proposals[row : row + 1]) for row, key in enumerate(keys)]
            if len(waiting[kind]) >= pictures_per_file:
                _write(cache, waiting[kind])
                waiting[kind] = []
    for kind, rest in waiting.items():
        _write(caches[kind], rest)
    return added


def _write(cache: ProposalCache, pictures: list[tuple[str, Proposals]]) -> None:
    if pictures:
        images, proposals = zip(*pictures, strict=True)
        cache.write(images, Proposals.cat(proposals))


class _Canvases:
    """Hashes, expressions and canvases of the pictures that some cache lacks; the others are not decoded."""

    def __init__(self, processor: PbrecProcessor, caches: Mapping[str, ProposalCache]):
        self.image_processor = processor.image_processor
        self.known = [(asks_expressions(cache.detector), cache.images()) for cache in caches.values()]

    def __call__(self, rows: list[dict[str, Any]]) -> tuple[list[str], list[list[str]], Any]:
        sources: dict[str, Any] = {}
        groups: dict[str, dict[str, None]] = {}
        for row in rows:
            image = image_hash(row["image"])
            sources[image] = row["image"]
            # Without a detector that is asked, a picture has one row, of no expression.
            said = [sentence["expression"] for sentence in row["expressions"]] if "expressions" in row else [""]
            groups.setdefault(image, {}).update(dict.fromkeys(said))
        lacking = {image: [said for said in group if self._lacks(image, said)] for image, group in groups.items()}
        lacking = {image: group for image, group in lacking.items() if group}
        canvases = self.image_processor([load_pixels(sources[image]) for image in lacking]) if lacking else None
        return list(lacking), list(lacking.values()), canvases

    def _lacks(self, image: str, said: str) -> bool:
        return any((expression_hash(image, said) if asks else image) not in known for asks, known in self.known)
