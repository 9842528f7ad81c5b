"""What pbrec-mt-small has to beat: answers read off the detector's boxes without any learning from language.

    python scripts/small/baselines.py --detector NANODET \
        --images IMAGES expressions_refcoco_dev.jsonl [more.jsonl …]

Per file, with the number of cases and a 95 % interval (Wilson): the largest detection; the best detection of the true
category (which no method is told); a rule that takes category and position words from the expression; and the oracle,
whether any proposal meets the referent. An IoU above 0.5 is a hit. Of `generalized.jsonl`: a rule that takes every
sure detection of the named category, and the oracle, whether a proposal meets each referent; a hit is an exact set.
"""

import argparse
import json
import math
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.ops import box_iou

from ...data.own_data import load_own_data
from ...data.referents import referents_of
from ...data.scenes.plural_words import PEOPLE, plural
from ...data.scenes.words import NOUNS
from ...data.schema import without_decoding
from ...geometry.letterbox import Letterbox
from ...image_processing_pbrec import PbrecImageProcessor
from ...images.reading import load_picture, load_pixels
from ...metrics.overlap import matched_boxes
from ...small.nanodet import NanoDetDetector

CATEGORIES = {noun: category for category, nouns in reversed(NOUNS.items()) for noun in nouns}
SEVERAL = {plural(noun): category for noun, category in CATEGORIES.items()} | dict.fromkeys(
    (*PEOPLE, "everyone", "everybody"), "person"
)
_SURE = 0.25  # score of a detection that is taken for an object
# Word → which of the boxes it asks for: the highest value of a function of (x, y, width, height), centre and size.
POSITIONS: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]] = {
    "left": lambda x, y, w, h: -x, "leftmost": lambda x, y, w, h: -x,
    "right": lambda x, y, w, h: x, "rightmost": lambda x, y, w, h: x,
    "top": lambda x, y, w, h: -y, "upper": lambda x, y, w, h: -y,
    "bottom": lambda x, y, w, h: y, "lower": lambda x, y, w, h: y,
    "middle": lambda x, y, w, h: -(x - 0.5).abs(), "center": lambda x, y, w, h: -(x - 0.5).abs(),
    "big": lambda x, y, w, h: w * h, "large": lambda x, y, w, h: w * h, "biggest": lambda x, y, w, h: w * h,
    "front": lambda x, y, w, h: y + h / 2, "closest": lambda x, y, w, h: y + h / 2,
    "small": lambda x, y, w, h: -w * h, "smallest": lambda x, y, w, h: -w * h,
    "back": lambda x, y, w, h: -y - h / 2, "background": lambda x, y, w, h: -y - h / 2,
}  # fmt: skip


def category_in(expression: str) -> str | None:
    """The category of the first known noun of the expression; of nouns at the same place, the longest one's."""
    places = [
        (match.start(), -len(noun), category)
        for noun, category in (SEVERAL | CATEGORIES).items()
        if (match := re.search(rf"\b{re.escape(noun)}s?\b", expression))
    ]
    return min(places)[2] if places else None


def by_rule(expression: str, detections: dict[str, Any], size: tuple[int, int]) -> int:
    """
    Choose by words alone: of the named category, the detection that the first position word asks for, else the best.

    Args:
        detections: "names" (n strings), "scores" (n,) and "boxes" (n, 4) XYXY in pixels of the picture.
        size: (height, width) of the picture.

    Returns:
        The row of the chosen detection.
    """
    names, scores, boxes = detections["names"], detections["scores"], detections["boxes"]
    wanted = category_in(expression)
    keep = torch.tensor([wanted is None or name == wanted for name in names]) & (scores > _SURE)
    if not keep.any():
        return int(scores.argmax())
    scale = torch.tensor([size[1], size[0]])
    center, extent = (boxes[:, :2] + boxes[:, 2:]) / 2 / scale, (boxes[:, 2:] - boxes[:, :2]) / scale
    values = scores
    for word in re.findall(r"[a-z]+", expression):
        if word in POSITIONS:
            values = POSITIONS[word](*center.unbind(1), *extent.unbind(1))
            break
    return int(values.masked_fill(~keep, -math.inf).argmax())


def interval(hits: int, cases: int) -> tuple[float, float]:
    """Wilson's 95 % interval of the share `hits` / `cases`."""
    z, share = 1.96, hits / cases
    middle = share + z * z / (2 * cases)
    spread = z * math.sqrt(share * (1 - share) / cases + z * z / (4 * cases * cases))
    return (middle - spread) / (1 + z * z / cases), (middle + spread) / (1 + z * z / cases)


def measure(
    rows: list[dict[str, Any]], images: Path, detector: NanoDetDetector, processor: PbrecImageProcessor
) -> dict[str, list[bool]]:
    """Whether each baseline hits, for every row that has a referent."""
    hits: dict[str, list[bool]] = defaultdict(list)
    cache: dict[str, dict[str, Any]] = {}
    classes = [name for _, name in sorted((detector.config.id2label or {}).items())]
    for row in rows:
        if row["no_target"]:
            continue
        if row["file_name"] not in cache:
            image = load_picture(images / row["file_name"])
            inputs = processor(images=[image], return_tensors="pt")
            found = detector.detect(inputs["pixel_values"])[0]
            proposals = detector.propose(inputs["pixel_values"], inputs["pixel_mask"])
            names = [classes[label] for label in found["labels"].tolist()]
            place = Letterbox.of(inputs["letterbox"][0])
            assert proposals.boxes is not None  # every box detector proposes some
            boxes, every = (place.boxes_to_original(values) for values in (found["boxes"], proposals.boxes[0]))
            cache[row["file_name"]] = {"names": names, "scores": found["scores"], "boxes": boxes, "every": every}
        detections = cache[row["file_name"]]
        x, y, width, height = row["bbox"]
        truth = torch.tensor([[x, y, x + width, y + height]])
        meets = box_iou(detections["boxes"], truth)[:, 0] > 0.5
        hits["oracle of all proposals"].append(bool((box_iou(detections["every"], truth) > 0.5).any()))
        if not len(meets):
            for name in ("largest detection", "rule", "best of the true category"):
                hits[name].append(False)
            continue
        sides = detections["boxes"][:, 2:] - detections["boxes"][:, :2]
        sure = detections["scores"] > _SURE if (detections["scores"] > _SURE).any() else detections["scores"] > 0
        hits["largest detection"].append(bool(meets[(sides.prod(1) * sure).argmax()]))
        hits["rule"].append(bool(meets[by_rule(row["expression"], detections, (row["height"], row["width"]))]))
        same = torch.tensor([name == row["category"] for name in detections["names"]])
        best = detections["scores"].masked_fill(~same, -1).argmax()
        hits["best of the true category"].append(bool(meets[best] & same[best]))
    return hits


def measure_generalized(
    path: Path, detector: NanoDetDetector, processor: PbrecImageProcessor
) -> dict[str, list[bool]]:
    """Whether rule and oracle hit, for every expression of data of one's own; by how many objects it means."""
    hits: dict[str, list[bool]] = defaultdict(list)
    classes = [name for _, name in sorted((detector.config.id2label or {}).items())]
    for row in without_decoding(load_own_data(path, view="image")):
        inputs = processor(images=[load_pixels(row["image"])], return_tensors="pt")
        found = detector.detect(inputs["pixel_values"])[0]
        proposed = detector.propose(inputs["pixel_values"], inputs["pixel_mask"]).boxes
        assert proposed is not None  # every box detector proposes some
        place = Letterbox.of(inputs["letterbox"][0])
        boxes, every = (place.boxes_to_original(values) for values in (found["boxes"], proposed[0]))
        names = [classes[label] for label in found["labels"].tolist()]
        for said in row["expressions"]:
            truth = torch.tensor([referent.box for referent in referents_of(said)]).reshape(-1, 4)
            wanted = category_in(said["expression"])
            kept = torch.tensor([name == wanted for name in names], dtype=torch.bool) & (found["scores"] > _SURE)
            right = matched_boxes(boxes[kept].tolist(), truth.tolist())
            kind = "none" if not len(truth) else "several" if len(truth) > 1 else "one"
            hits[f"rule, {kind}"].append(int(kept.sum()) == len(truth) and bool(right.all()))
            if len(truth):
                hits[f"oracle, {kind}"].append(bool((box_iou(truth, every).amax(1) > 0.5).all()))
    return hits


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the share of hits of every baseline, file by file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--detector", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--size", type=int, default=320, help="longer side of the canvas")
    parser.add_argument("files", type=Path, nargs="+")
    args = parser.parse_args(arguments)
    detector = NanoDetDetector.from_pretrained(args.detector).eval()
    processor = PbrecImageProcessor(size={"longest_edge": args.size})
    for path in args.files:
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        if "image" in rows[0]:
            hits = measure_generalized(path, detector, processor)
        else:
            hits = measure(rows, args.images, detector, processor)
        for name, values in sorted(hits.items()):
            low, high = interval(sum(values), len(values))
            share = sum(values) / len(values)
            print(f"{path.stem}: {name}: {sum(values)} of {len(values)} = {share:.3f} [{low:.3f}, {high:.3f}]")
