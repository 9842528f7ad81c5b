"""Chooses how pbrec-mt-small picks among proposals, and its threshold, on the generated test sets alone.

    python scripts/small_select.py CHECKPOINT --testsets TESTSETS

For each way of ranking and voting: the share of right answers (box IoU > 0.5) on held-out photographs, their mirror
images and composed scenes, and how often the answer of a mirrored picture and text is the mirrored answer. For the way
with the most right answers of all: the threshold of the best balance between absent things rejected and present ones
kept. small_testsets.py writes TESTSETS; small_export.py takes the result.
"""

import argparse
import itertools
import json
from collections import defaultdict
from pathlib import Path

import torch
from torch import Tensor
from torchvision.ops import box_iou

from ... import PbrecForReferringExpression, PbrecProcessor
from ...geometry.letterbox import Letterbox
from ...selection.choose import rank_and_choose
from ...selection.settings import SelectionSettings

VOTES = [
    {"top_k": top_k, "quality_power": power} for top_k, power in itertools.product((1, 3, 5, 8, 12), (0.5, 0.75, 1.0))
]
# Among those that survive the detector's suppression, which hardly overlap: no vote.
FITS = [{"choose": "fit", "candidates_only": True, "quality_power": power} for power in (0.2, 0.4, 0.6, 0.8, 1.0)]


class Pictures:
    """Everything the checkpoint says of a test set, computed once."""

    def __init__(self, model, processor: PbrecProcessor, testsets: Path, kind: str):
        by_picture = defaultdict(list)
        for line in (testsets / f"expressions_{kind}.jsonl").read_text().splitlines():
            row = json.loads(line)
            by_picture[row["file_name"]].append(row)
        self.rows, self.seen = [], []
        for name, rows in by_picture.items():
            inputs = processor(str(testsets / "images" / name), [row["expression"] for row in rows])
            with torch.inference_mode():
                self.seen.append((model(**inputs), inputs))
            self.rows += rows

    def answer(self, settings: SelectionSettings) -> tuple[Tensor, Tensor]:
        """Boxes (n, 4) in original pixels and scores (n,) of all rows."""
        boxes, scores = [], []
        for outputs, inputs in self.seen:
            group = rank_and_choose(outputs, inputs, settings)["boxes"]
            chosen = group.boxes[torch.arange(len(group.winner)), group.winner]
            boxes.append(Letterbox.of(inputs["letterbox"][0]).boxes_to_original(chosen))
            scores.append(group.score)
        return torch.cat(boxes), torch.cat(scores)

    def truth(self) -> Tensor:
        """Boxes (n, 4) XYXY of what the rows mean."""
        boxes = torch.tensor([row["bbox"] for row in self.rows])
        return torch.cat((boxes[:, :2], boxes[:, :2] + boxes[:, 2:]), dim=1)


def _meets(one: Tensor, other: Tensor) -> Tensor:
    return torch.stack([box_iou(a[None], b[None])[0, 0] > 0.5 for a, b in zip(one, other, strict=True)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--testsets", type=Path, required=True)
    args = parser.parse_args()
    model = PbrecForReferringExpression.from_pretrained(args.checkpoint).eval()
    full = PbrecProcessor.from_pretrained(args.checkpoint)
    processor = PbrecProcessor(full.image_processor, full.tokenizer, box_detector=full.box_detector)
    kinds = ("heldout", "flipped", "composed", "absent")
    sets = {kind: Pictures(model, processor, args.testsets, kind) for kind in kinds}
    widths = torch.tensor([row["width"] for row in sets["heldout"].rows])[:, None]
    best = None
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
        if best is None or total > best[0]:
            best = (total, way)
    settings = SelectionSettings(**best[1])
    present, absent = (sets[kind].answer(settings)[1] for kind in ("heldout", "absent"))
    levels = torch.cat((present, absent)).sort().values
    rejected = torch.stack([(absent < level).float().mean() for level in levels])
    kept = torch.stack([(present >= level).float().mean() for level in levels])
    at = (rejected + kept).argmax()
    print(f"best: {best[1]}; threshold {levels[at]:.4f} rejects {rejected[at]:.3f} of {len(absent)} absent things "
          f"and keeps {kept[at]:.3f} of {len(present)} present ones")  # fmt: skip


if __name__ == "__main__":
    main()
