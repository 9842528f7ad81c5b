"""How pbrec-mt-small picks among proposals, and its threshold: chosen on the generated test sets alone.

    python scripts/small/selection.py CHECKPOINT --testsets TESTSETS

For each way of ranking and voting: the share of right answers (box IoU > 0.5) on held-out photographs, their mirror
images and composed scenes, and how often mirroring picture and text mirrors the answer. For the way with the most
right answers: the threshold that best balances absent things rejected and present ones kept. testsets.py writes
TESTSETS; export.py holds the result.
"""

import argparse
import itertools
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.ops import box_iou

from ...geometry.letterbox import Letterbox
from ...modeling_pbrec import PbrecForReferringExpression, PbrecOutput
from ...processing_pbrec import PbrecProcessor
from ...selection.choose import rank_and_choose
from ...selection.settings import SelectionSettings

VOTES: list[dict[str, Any]] = [
    {"top_k": top_k, "quality_power": power} for top_k, power in itertools.product((1, 3, 5, 8, 12), (0.5, 0.75, 1.0))
]
# Among those that survive the detector's suppression, which hardly overlap, so that nothing is voted on.
FITS: list[dict[str, Any]] = [
    {"choose": "fit", "candidates_only": True, "quality_power": power} for power in (0.2, 0.4, 0.6, 0.8, 1.0)
]

Row = dict[str, Any]


def read_rows(path: Path) -> list[Row]:
    """The lines of a file of a test set."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


class Pictures:
    """
    Everything that a checkpoint says of a test set, computed once.

    Args:
        model, processor: the checkpoint, with a box detector.
        rows: of the set, see `read_rows`.
        images: folder of its pictures.
    """

    def __init__(
        self, model: PbrecForReferringExpression, processor: PbrecProcessor, rows: Sequence[Row], images: Path
    ):
        by_picture: dict[str, list[Row]] = defaultdict(list)
        for row in rows:
            by_picture[row["file_name"]].append(row)
        self.rows: list[Row] = []
        self.seen: list[tuple[PbrecOutput, Mapping[str, Any]]] = []
        for name, said in by_picture.items():
            inputs = processor(str(images / name), [row["expression"] for row in said])
            with torch.inference_mode():
                self.seen.append((model(**inputs), inputs))
            self.rows += said

    def answer(self, settings: SelectionSettings) -> tuple[Tensor, Tensor]:
        """Boxes (n, 4) XYXY in original pixels and scores (n,) of all rows, when `settings` choose."""
        boxes, scores = [], []
        for outputs, inputs in self.seen:
            group = rank_and_choose(outputs, inputs, settings)["boxes"]
            assert group.boxes is not None  # a group of box proposals
            chosen = group.boxes[torch.arange(len(group.winner)), group.winner]
            boxes.append(Letterbox.of(inputs["letterbox"][0]).boxes_to_original(chosen))
            scores.append(group.score)
        return torch.cat(boxes), torch.cat(scores)

    def proposed(self, settings: SelectionSettings) -> Tensor:
        """The largest IoU (n,) of any proposal that `settings` may choose with what each row means."""
        best, truth = [], self.truth()
        for outputs, inputs in self.seen:
            boxes = rank_and_choose(outputs, inputs, settings)["boxes"].boxes
            assert boxes is not None  # a group of box proposals
            there = Letterbox.of(inputs["letterbox"][0]).boxes_to_original(boxes.flatten(0, -2)).view_as(boxes)
            meant, truth = truth[: len(there)], truth[len(there) :]
            best += [box_iou(one[None], those).amax() for one, those in zip(meant, there, strict=True)]
        return torch.stack(best)

    def truth(self) -> Tensor:
        """Boxes (n, 4) XYXY in original pixels of what the rows mean."""
        boxes = torch.tensor([row["bbox"] for row in self.rows])
        return torch.cat((boxes[:, :2], boxes[:, :2] + boxes[:, 2:]), dim=1)


def _meets(one: Tensor, other: Tensor) -> Tensor:
    return torch.stack([box_iou(a[None], b[None])[0, 0] > 0.5 for a, b in zip(one, other, strict=True)])


def best_threshold(present: Tensor, absent: Tensor) -> tuple[float, float, float]:
    """
    The threshold with the largest sum of absent things rejected and present ones kept.

    Args:
        present, absent: scores (n,) of expressions that mean something, and nothing.

    Returns:
        The threshold, the share rejected of `absent`, the share kept of `present`.
    """
    levels = torch.cat((present, absent)).sort().values
    rejected = torch.stack([(absent < level).float().mean() for level in levels])
    kept = torch.stack([(present >= level).float().mean() for level in levels])
    at = int((rejected + kept).argmax())
    return levels[at].item(), rejected[at].item(), kept[at].item()


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line for each way, and the best one with its threshold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--testsets", type=Path, required=True)
    args = parser.parse_args(arguments)
    model = PbrecForReferringExpression.from_pretrained(args.checkpoint).eval()
    full = PbrecProcessor.from_pretrained(args.checkpoint)
    processor = PbrecProcessor(full.image_processor, full.tokenizer, box_detector=full.box_detector)
    kinds = ("heldout", "flipped", "composed", "absent")
    rows = {kind: read_rows(args.testsets / f"expressions_{kind}.jsonl") for kind in kinds}
    sets = {kind: Pictures(model, processor, rows[kind], args.testsets / "images") for kind in kinds}
    widths = torch.tensor([row["width"] for row in sets["heldout"].rows])[:, None]
    most, best = -1, VOTES[0]
    for way in VOTES + FITS:
        settings = SelectionSettings(**way)
        answers = {kind: sets[kind].answer(settings)[0] for kind in kinds[:3]}
        right = {kind: _meets(answers[kind], sets[kind].truth()) for kind in answers}
        back = answers["flipped"].clone()
        back[:, [0, 2]] = widths - answers["flipped"][:, [2, 0]]
        total = sum(int(values.sum()) for values in right.values())
        shares = ", ".join(f"{kind} {values.float().mean():.3f}" for kind, values in right.items())
        same = _meets(answers["heldout"], back).float().mean()
        print(f"{way}: {shares}, mirrored the same {same:.3f}, {total} right")
        if total > most:
            most, best = total, way
    present, absent = (sets[kind].answer(SelectionSettings(**best))[1] for kind in ("heldout", "absent"))
    threshold, rejected, kept = best_threshold(present, absent)
    print(
        f"best: {best}; threshold {threshold:.4f} rejects {rejected:.3f} of {len(absent)} absent things and keeps "
        f"{kept:.3f} of {len(present)} present ones"
    )
