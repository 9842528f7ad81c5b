"""How pbrec-mt-small picks several answers: chosen on one half of the generated test sets.

    python scripts/small/several.py CHECKPOINT --data TESTSETS/choice/generalized.jsonl

For each way of telling objects from their parts: the share of expressions for several objects, and for one, whose
answers are exactly the referents (F1 = 1), once existence is decided. That threshold is the one at which the lower of
N-acc and T-acc is highest; the threshold of the answers is the one with the largest sum of both shares. `calibrate.py`
fits both anew as probabilities; export.py holds the way with the largest sum. testsets.py writes TESTSETS.
"""

import argparse
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...data.own_data import load_own_data
from ...data.referents import referents_of
from ...data.schema import without_decoding
from ...geometry.letterbox import Letterbox
from ...images.reading import load_pixels
from ...metrics.overlap import matched_boxes
from ...modeling_pbrec import PbrecForReferringExpression, PbrecOutput
from ...processing_pbrec import PbrecProcessor
from ...selection.choose import rank_and_choose
from ...selection.groups import Group
from ...selection.referents import any_referents
from ...selection.settings import SelectionSettings

WAYS: list[dict[str, Any]] = [
    {"several_quality_power": power, "part_covered": covered, "part_value": value, "least_share": share}
    for power, covered, value, share in itertools.product((0.7, 1.0, 1.4), (0.5, 0.7), (0.5, 0.8), (0.2, 0.3, 0.4))
]
THRESHOLDS = (0.0, 0.02, 0.04, 0.06, 0.08, 0.1, 0.12, 0.15)
_Boxes = NDArray[np.float64]


class Pictures:
    """
    What a checkpoint says of each picture, computed once.

    Args:
        model, processor: the checkpoint, with a box detector.
        data: file of the expressions.

    Attributes:
        referents: boxes (r, 4) of each expression, XYXY pixels.
        best: raw score of each expression's only answer.
    """

    def __init__(self, model: PbrecForReferringExpression, processor: PbrecProcessor, data: Path):
        self.seen: list[tuple[PbrecOutput, Mapping[str, Any], dict[str, Group]]] = []
        self.referents: list[_Boxes] = []
        best: list[float] = []
        for row in without_decoding(load_own_data(data, view="image")):
            inputs = processor(load_pixels(row["image"]), [said["expression"] for said in row["expressions"]])
            with torch.inference_mode():
                outputs = model(**inputs)
            groups = rank_and_choose(outputs, inputs, processor.settings)
            self.seen.append((outputs, inputs, groups))
            self.referents += [
                np.array([referent.box for referent in referents_of(said)]).reshape(-1, 4)
                for said in row["expressions"]
            ]
            best += groups["boxes"].score.tolist()
        self.best = np.array(best)

    def answers(self, settings: SelectionSettings) -> list[tuple[_Boxes, NDArray[np.float64]]]:
        """Boxes (n, 4) in pixels, best first, and raw scores (n,) of every expression."""
        found = []
        for _, inputs, groups in self.seen:
            several = any_referents(groups, inputs, settings)
            assert several.boxes is not None  # there is a box detector
            boxes = Letterbox.of(inputs["letterbox"][0]).boxes_to_original(several.boxes)
            for number in range(several.expressions):
                mine = several.expression == number
                found.append((boxes[mine].double().numpy(), several.raw_scores[mine].double().numpy()))
        return found


def existence_threshold(best: NDArray[np.float64], exists: NDArray[np.bool_]) -> tuple[float, float, float]:
    """The score at which the lower of N-acc and T-acc is highest; and both."""
    levels = np.unique(best)
    absent, present = np.sort(best[~exists]), np.sort(best[exists])
    n_acc = np.searchsorted(absent, levels) / len(absent)
    t_acc = 1 - np.searchsorted(present, levels) / len(present)
    at = int(np.minimum(n_acc, t_acc).argmax())
    return float(levels[at]), float(n_acc[at]), float(t_acc[at])


def exact_shares(
    answers: Sequence[tuple[_Boxes, NDArray[np.float64]]], referents: Sequence[_Boxes], threshold: float
) -> tuple[float, float]:
    """The shares of the expressions for several objects, and for one, whose answers are exactly the referents."""
    exact: dict[bool, list[bool]] = {True: [], False: []}
    for (boxes, scores), truth in zip(answers, referents, strict=True):
        if len(truth):
            kept = boxes[scores >= threshold].tolist()
            right = len(kept) == len(truth) and bool(matched_boxes(kept, truth.tolist()).all())
            exact[len(truth) > 1].append(right)
    return float(np.mean(exact[True])), float(np.mean(exact[False]))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line for each way, the best one last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    args = parser.parse_args(arguments)
    model = PbrecForReferringExpression.from_pretrained(args.checkpoint).eval()
    full = PbrecProcessor.from_pretrained(args.checkpoint)
    processor = PbrecProcessor(
        full.image_processor, full.tokenizer, selection=full.selection, box_detector=full.box_detector
    )
    pictures = Pictures(model, processor, args.data)
    exists = np.array([len(truth) > 0 for truth in pictures.referents])
    gate, n_acc, t_acc = existence_threshold(pictures.best, exists)
    print(f"existence from a raw score of {gate:.4f} on: N-acc {n_acc:.3f}, T-acc {t_acc:.3f}")
    nothing = (np.zeros((0, 4)), np.zeros(0))
    lines = []
    for way in WAYS:
        found = pictures.answers(replace(processor.settings, **way))
        found = [one if score >= gate else nothing for one, score in zip(found, pictures.best, strict=True)]
        shares = [(*exact_shares(found, pictures.referents, threshold), threshold) for threshold in THRESHOLDS]
        several, one, threshold = max(shares, key=lambda each: (each[0] + each[1], each[2]))
        lines.append((several + one, f"{way}: several {several:.3f}, one {one:.3f}, from a raw score of {threshold}"))
    for _, line in sorted(lines):
        print(line)
