"""Which kinds of expressions pbrec-mt-small answers: a table on the generated test sets, or on expressions of people.

    python scripts/small/kinds.py CHECKPOINT --testsets TESTSETS/test [--rows more.jsonl --images IMAGES]

An expression such as "noun+color+side" counts for each of its parts. Per part: the number of expressions, the share
answered rightly (box IoU > 0.5) with a 95 % interval (Wilson), the share whose answer touches the referent (IoU 0.2
to 0.5), and the oracle, the share of which some proposal meets the referent. testsets.py writes TESTSETS.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torchvision.ops import box_iou

from ...metrics.intervals import share_interval
from ...modeling_pbrec import PbrecForReferringExpression
from ...processing_pbrec import PbrecProcessor
from ...selection.settings import SelectionSettings
from .selection import Pictures, read_rows

SETS = ("heldout", "flipped", "composed")
POSTURES = "postures"  # which the half for choosing lacks
ALONE = "noun"  # a part of every other kind, so that it counts only where it is the whole
MEETS, TOUCHES = 0.5, 0.2


def by_part(kinds: Iterable[str]) -> dict[str, list[int]]:
    """The numbers of the expressions with each part of a kind; the most frequent part first."""
    parts: dict[str, list[int]] = defaultdict(list)
    for number, kind in enumerate(kinds):
        named = [part for part in kind.split("+") if part != ALONE] or [ALONE]
        for part in dict.fromkeys(named):
            parts[part].append(number)
    return dict(sorted(parts.items(), key=lambda item: (-len(item[1]), item[0])))


def table(kinds: Sequence[str], answered: Tensor, best: Tensor) -> str:
    """
    The parts as a Markdown table, with a last row for all.

    Args:
        kinds: of the n expressions.
        answered: (n,), IoU of the answers with the referents.
        best: (n,), IoU of the proposal that meets it best.
    """
    lines = ["| part | expressions | right | 95 % | touches | oracle |", "|---|---|---|---|---|---|"]
    for part, numbers in {**by_part(kinds), "all": list(range(len(kinds)))}.items():
        iou, oracle = answered[numbers], best[numbers]
        right = int((iou > MEETS).sum())
        low, high = share_interval(right, len(numbers))
        touching = ((iou > TOUCHES) & (iou <= MEETS)).float().mean().item()
        met = (oracle > MEETS).float().mean().item()
        share = right / len(numbers)
        lines.append(f"| {part} | {len(numbers)} | {share:.3f} | {low:.3f}–{high:.3f} | {touching:.3f} | {met:.3f} |")
    return "\n".join(lines)


def overlaps(pictures: Pictures, settings: SelectionSettings) -> tuple[list[str], Tensor, Tensor]:
    """Kinds, IoU of the answers and IoU of the best proposals of all rows that mean an object."""
    answers, best, truth = pictures.answer(settings)[0], pictures.proposed(settings), pictures.truth()
    answered = torch.stack([box_iou(a[None], b[None])[0, 0] for a, b in zip(answers, truth, strict=True)])
    return [row.get("kind", "of people") for row in pictures.rows], answered, best


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table for each set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--testsets", type=Path)
    parser.add_argument("--rows", type=Path, nargs="+", default=[], help="JSON lines of expressions of people")
    parser.add_argument("--images", type=Path, help="folder of the pictures of --rows")
    args = parser.parse_args(arguments)
    if args.rows and args.images is None:
        parser.error("--rows needs --images, the folder of their pictures.")
    if args.testsets is None and not args.rows:
        parser.error("Give --testsets, --rows, or both.")
    model = PbrecForReferringExpression.from_pretrained(args.checkpoint).eval()
    full = PbrecProcessor.from_pretrained(args.checkpoint)
    processor = PbrecProcessor(full.image_processor, full.tokenizer, box_detector=full.box_detector)
    boxes = ("choose", "candidates_only", "quality_power")  # what is left without masks
    settings = SelectionSettings.of({name: full.selection[name] for name in boxes})
    sets = {}
    if args.testsets is not None:
        files = {kind: args.testsets / f"expressions_{kind}.jsonl" for kind in (*SETS, POSTURES)}
        if not files[POSTURES].exists():
            del files[POSTURES]
        sets = {kind: (path, args.testsets / "images") for kind, path in files.items()}
    sets |= {path.stem: (path, args.images) for path in args.rows}
    for name, (rows, images) in sets.items():
        meant = [row for row in read_rows(rows) if row["bbox"] is not None]
        seen = Pictures(model, processor, meant, images)
        print(f"{name}\n\n{table(*overlaps(seen, settings))}\n")
