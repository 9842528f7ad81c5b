"""Recall of detectors: for how many expressions is the referent among the proposals (Table 1 of the paper)?

A detector sees the same letterboxed canvas as with a model. Its proposals are cut at a number, the best first, as
two-stage methods do; every expression counts once. Knows nothing of the comprehension stage.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import datasets
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torchvision.ops import box_iou
from tqdm.auto import tqdm

from ..detectors.base import asks_expressions, makes_masks_of_boxes
from ..geometry.letterbox import Letterbox
from ..geometry.proposals import Proposals
from ..image_processing_pbrec import PbrecImageProcessor
from ..images.reading import load_pixels
from .oracles import MaskOracle

TOPS = (10, 100, None)
_Z = 1.959964  # of a 95 % interval
_Found = list[dict[str, float | None]]


@dataclass
class Recall:
    """
    Attributes:
        kind: "boxes" or "masks".
        top: how many proposals count, the best first; None = all.
        least: proposals of a lower quality do not count.
        found: expressions with a proposal of sufficient IoU.
        count: expressions with a referent.
    """

    kind: str
    top: int | None
    least: float
    found: int
    count: int

    @property
    def share(self) -> float:
        """Recall in [0, 1]."""
        return self.found / self.count

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the recall."""
        n, share = self.count, self.share
        middle = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
        half = _Z / (1 + _Z**2 / n) * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
        return max(0.0, middle - half), min(1.0, middle + half)


@torch.no_grad()
def detector_recall(
    detector: Any,
    image_processor: PbrecImageProcessor,
    rows: datasets.Dataset,
    tops: Sequence[int | None] = TOPS,
    least: float = 0.0,
    iou: float = 0.5,
    batch_size: int = 8,
    accelerator: Accelerator | None = None,
    progress: bool = False,
) -> list[Recall]:
    """
    The recall of one detector, of boxes or, if it proposes none, of masks.

    Args:
        detector: as `detectors/base.py` describes it.
        image_processor: makes the canvases.
        rows: of the image view, images not decoded; expressions without a referent do not count.
        tops: numbers of proposals; None = all.
        least: lowest quality of a proposal that counts, such as 0.65 for the sparse setting of the paper.
        iou: what an IoU has to exceed.
        batch_size: pictures per pass.
        accelerator: of several processes that share the pictures.
        progress: show a progress bar.

    Returns:
        One entry per number, the same in every process.

    Raises:
        ValueError: no expression has a referent, or the network makes masks of chosen boxes and proposes nothing.
    """
    if makes_masks_of_boxes(detector):
        raise ValueError(
            f"{type(detector).__name__} makes masks of chosen boxes and proposes nothing: give a detector that does."
        )
    index, number = (accelerator.process_index, accelerator.num_processes) if accelerator else (0, 1)
    detector = detector.to(accelerator.device) if accelerator else detector
    mine = list(range(index, len(rows), number))
    found: _Found = []
    kind = "boxes"
    for start in tqdm(range(0, len(mine), batch_size), desc="pictures", disable=not progress):
        pictures = [rows[row] for row in mine[start : start + batch_size]]
        proposals, letterboxes = _proposals(detector, image_processor, pictures)
        kind = "boxes" if proposals.boxes is not None else "masks"
        said = 0
        for image, picture in enumerate(pictures):
            for sentence in picture["expressions"]:
                row = said if proposals.per_expression else image
                said += 1
                if sentence["bbox"] is not None:
                    found.append(_best_by_top(proposals, row, letterboxes[image], sentence, tops, least))
    if number > 1:
        found, kinds = gather_object(found), gather_object([kind])
        kind = kinds[0]
    if not found:
        raise ValueError("No expression of this data has a referent: there is nothing to recall.")
    known = [best for best in found if None not in best.values()]
    return [Recall(kind, top, least, sum((best[_name(top)] or 0) > iou for best in known), len(known)) for top in tops]


def _name(top: int | None) -> str:
    return str(top)


def _proposals(
    detector: Any, image_processor: PbrecImageProcessor, pictures: Sequence[Mapping[str, Any]]
) -> tuple[Proposals, torch.Tensor]:
    canvases = image_processor([load_pixels(picture["image"]) for picture in pictures])
    pixel_values = canvases["pixel_values"].to(detector.device, detector.dtype)
    asked: dict[str, Any] = {}
    if asks_expressions(detector):
        groups = [[sentence["expression"] for sentence in picture["expressions"]] for picture in pictures]
        owners = torch.tensor([image for image, group in enumerate(groups) for _ in group])
        asked = {"expressions": [said for group in groups for said in group], "image_index": owners}
    found: Proposals = detector.propose(pixel_values, canvases["pixel_mask"].to(detector.device), **asked)
    return found.to("cpu"), canvases["letterbox"]


def _best_by_top(
    proposals: Proposals,
    row: int,
    letterbox: torch.Tensor,
    sentence: Mapping[str, Any],
    tops: Sequence[int | None],
    least: float,
) -> dict[str, float | None]:
    """The best IoU among the best proposals, for each number of them; None where the data have no mask."""
    quality = torch.zeros(proposals.num_points) if proposals.quality is None else proposals.quality[row]
    order = quality.argsort(descending=True, stable=True)
    there = quality[order] >= least
    if proposals.valid is not None:
        there &= proposals.valid[row][order]
    order = order[there]
    if proposals.boxes is not None:
        boxes = Letterbox.of(letterbox).boxes_to_original(proposals.boxes[row][order])
        overlaps = box_iou(boxes, torch.tensor([sentence["bbox"]]))[:, 0]
        return {_name(top): overlaps[:top].max().item() if len(overlaps) else 0.0 for top in tops}
    if sentence.get("segmentation") is None:
        return {_name(top): None for top in tops}
    return {
        _name(top): MaskOracle(proposals, row, letterbox, order[:top]).best(sentence["segmentation"])
        if len(order)
        else 0.0
        for top in tops
    }


def table(recalls: Mapping[str, Sequence[Recall]]) -> str:
    """Markdown with a row per detector and number of proposals."""
    lines = ["| detector | of | proposals | recall (%) | 95 % interval | expressions |", "|---|---|---|---|---|---|"]
    for detector, entries in recalls.items():
        for entry in entries:
            top = "all" if entry.top is None else f"best {entry.top}"
            cut = f", quality ≥ {entry.least:g}" if entry.least > 0 else ""
            low, high = (100 * side for side in entry.interval)
            lines.append(
                f"| {detector} | {entry.kind} | {top}{cut} | {100 * entry.share:.2f} | {low:.2f} to {high:.2f} | "
                f"{entry.count} |"
            )
    return "\n".join(lines)


__all__ = ["TOPS", "Recall", "detector_recall", "table"]
