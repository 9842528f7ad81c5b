"""Recall of detectors: how many referents are among the proposals (Table 1 of the paper)?

A detector sees the same letterboxed canvas as with a model. Its proposals are cut at a number, the best first, as
two-stage methods do. Every referent counts once for each expression that means it. Knows nothing of the comprehension
stage.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import datasets
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torchvision.ops import box_iou
from tqdm.auto import tqdm

from ..data.referents import Referent, referents_of
from ..detectors.base import asks_expressions, makes_masks_of_boxes
from ..geometry.letterbox import Letterbox
from ..geometry.proposals import Proposals
from ..image_processing_pbrec import PbrecImageProcessor
from ..images.reading import load_pixels
from ..metrics.intervals import share_interval
from .oracles import MaskOracle

TOPS = (10, 100, None)
_Best = list[float] | None  # a referent's best IoU for each cut; None where the data have no mask


@dataclass
class Recall:
    """
    Attributes:
        kind: "boxes" or "masks".
        top: how many proposals count, the best first; None = all.
        least: proposals of a lower quality do not count.
        found: referents with a proposal of sufficient IoU.
        count: referents, each as often as expressions mean it.
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
        return share_interval(self.found, self.count)


class Cut(NamedTuple):
    """
    Which proposals count.

    Attributes:
        top: how many, the best first; None = all.
        least: lowest quality, such as 0.65 for the sparse setting of the paper.
    """

    top: int | None = None
    least: float = 0.0


def detector_recall(
    detector: Any,
    image_processor: PbrecImageProcessor,
    rows: datasets.Dataset,
    tops: Sequence[int | None] = TOPS,
    least: float = 0.0,
    *arguments: Any,
    **options: Any,
) -> list[Recall]:
    """The recall among the best proposals, for each number of `tops`; further arguments are those of `recall_at`."""
    return recall_at(detector, image_processor, rows, [Cut(top, least) for top in tops], *arguments, **options)


@torch.no_grad()
def recall_at(
    detector: Any,
    image_processor: PbrecImageProcessor,
    rows: datasets.Dataset,
    cuts: Sequence[Cut],
    iou: float = 0.5,
    batch_size: int = 8,
    accelerator: Accelerator | None = None,
    progress: bool = False,
) -> list[Recall]:
    """
    The recall of one detector, of boxes or, if it proposes none, of masks. Proposals are computed once for all cuts.

    Args:
        detector: as `detectors/base.py` describes it.
        image_processor: makes the canvases.
        rows: of the image view, images not decoded; each of several referents counts, and an absent one does not.
        cuts: which proposals count.
        iou: what an IoU has to exceed.
        batch_size: pictures per pass.
        accelerator: of several processes that share the pictures.
        progress: show a progress bar.

    Returns:
        One entry per cut, the same in every process.

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
    found: list[_Best] = []
    kinds: set[str] = set()
    for start in tqdm(range(0, len(mine), batch_size), desc="pictures", disable=not progress):
        pictures = [rows[row] for row in mine[start : start + batch_size]]
        proposals, letterboxes = _proposals(detector, image_processor, pictures)
        kinds.add("boxes" if proposals.boxes is not None else "masks")
        said = 0
        for image, picture in enumerate(pictures):
            sentences = picture["expressions"]
            if proposals.per_expression:
                groups = [(said + number, [sentence]) for number, sentence in enumerate(sentences)]
            else:
                groups = [(image, sentences)]
            said += len(sentences)
            for row, asked in groups:
                meant = [referent for sentence in asked for referent in referents_of(sentence)]
                found += _best_by_cut(proposals, row, letterboxes[image], meant, cuts)
    if number > 1:
        found, kinds = gather_object(found), set(gather_object(list(kinds)))
    known = [best for best in found if best is not None]
    if not known:
        raise ValueError(
            "No expression of this data has a referent, or a mask where the detector proposes masks: there is nothing "
            "to recall."
        )
    (kind,) = kinds
    return [
        Recall(kind, cut.top, cut.least, sum(best[place] > iou for best in known), len(known))
        for place, cut in enumerate(cuts)
    ]


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


def _best_by_cut(
    proposals: Proposals, row: int, letterbox: torch.Tensor, referents: Sequence[Referent], cuts: Sequence[Cut]
) -> list[_Best]:
    """For each referent on a row of proposals, the best IoU among the proposals of each cut."""
    quality = torch.zeros(proposals.num_points) if proposals.quality is None else proposals.quality[row]
    order = quality.argsort(descending=True, stable=True)
    if proposals.valid is not None:
        order = order[proposals.valid[row][order]]
    kept = [order[quality[order] >= cut.least][: cut.top] for cut in cuts]
    if proposals.boxes is not None:
        boxes = Letterbox.of(letterbox).boxes_to_original(proposals.boxes[row])
        overlaps = box_iou(boxes, torch.tensor([list(one.box) for one in referents]).view(-1, 4)).T
        return [[values[points].max().item() if len(points) else 0.0 for points in kept] for values in overlaps]
    oracles = [MaskOracle(proposals, row, letterbox, points) if len(points) else None for points in kept]
    return [
        None
        if one.segmentation is None
        else [0.0 if oracle is None else oracle.best(one.segmentation) for oracle in oracles]
        for one in referents
    ]


def table(recalls: Mapping[str, Sequence[Recall]]) -> str:
    """Markdown with a row per detector and number of proposals."""
    lines = ["| detector | of | proposals | recall (%) | 95 % interval | referents |", "|---|---|---|---|---|---|"]
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


__all__ = ["TOPS", "Cut", "Recall", "detector_recall", "recall_at", "table"]
