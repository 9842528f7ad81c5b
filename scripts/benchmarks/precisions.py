"""What a runtime and a precision cost in accuracy and save in time: the same questions asked of each.

    python -m scripts.benchmarks.precisions --rows TESTSETS/test/expressions_heldout.jsonl \
        --images TESTSETS/test/images [--model CHECKPOINT] [--only openvino:int8 …] [--limit 100] [--json FILE]

Rows are JSON lines with `file_name`, `expression` and `bbox` (x, y, width, height), as scripts/small/testsets.py
writes them. Each photograph is asked for all of its expressions at once. Per runtime and precision: the share answered
rightly (box IoU > 0.5) with a 95 % interval (Wilson), the share answered with torch's box (fp32, IoU > 0.9), and the
processor's time for a photograph, as a ratio to torch's in turns, least to most of the rounds.
"""

import argparse
import itertools
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torchvision.ops import box_iou

from pbrec_hf import Grounder
from pbrec_hf.inference.runtimes import PRECISIONS
from pbrec_hf.metrics.intervals import share_interval

from .timing import Figure, compared

WAYS = [f"{runtime}:{precision}" for runtime, legal in PRECISIONS.items() for precision in legal]
PLAIN = "torch:fp32"
Questions = dict[str, list[dict[str, Any]]]


def questions_of(path: Path, limit: int | None) -> Questions:
    """The rows that mean an object, by photograph, of the first `limit` photographs."""
    found: Questions = defaultdict(list)
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["bbox"] is not None:
            found[row["file_name"]].append(row)
    return dict(itertools.islice(found.items(), limit))


def boxes_of(grounder: Grounder, questions: Questions, images: Path) -> torch.Tensor:
    """The best boxes (n, 4) XYXY in pixels of all questions, in their order."""
    found = []
    for name, rows in questions.items():
        answers = grounder(images / name, [row["expression"] for row in rows], return_masks=False).answers
        found += [answer["boxes"][0] for answer in answers]
    return torch.stack(found)


def iou(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """IoU (n,) of boxes (n, 4) pair by pair."""
    return torch.stack([box_iou(a[None], b[None])[0, 0] for a, b in zip(one, other, strict=True)])


def measure(
    ways: Sequence[str], questions: Questions, images: Path, model: str | None = None, rounds: int = 5
) -> list[dict[str, Any]]:
    """A row for each of `ways`, such as "openvino:int8"."""
    meant = torch.tensor([row["bbox"] for rows in questions.values() for row in rows])
    truth = torch.cat((meant[:, :2], meant[:, :2] + meant[:, 2:]), dim=1)
    plain = Grounder(model)
    expected = boxes_of(plain, questions, images)
    name, rows = next(iter(questions.items()))
    table = []
    with tempfile.TemporaryDirectory() as graphs:
        for way in ways:
            runtime, precision = way.split(":")
            other = Grounder(
                model, runtime=runtime, precision=precision, graphs=None if runtime == "torch" else graphs
            )
            found = boxes_of(other, questions, images)
            right = int((iou(found, truth) > 0.5).sum())
            turns = compared(
                lambda other=other: other(images / name, [rows[0]["expression"]]),
                lambda: plain(images / name, [rows[0]["expression"]]),
                rounds,
                clock=time.process_time,
            )
            took: Figure = turns.figure(way)
            table.append(
                {
                    "way": way,
                    "expressions": len(found),
                    "right": right / len(found),
                    "interval": list(share_interval(right, len(found))),
                    "as torch": (iou(found, expected) > 0.9).float().mean().item(),
                    "time": [took.least, took.value, took.most],
                }
            )
            print(told(table[-1]), flush=True)
    return table


def told(row: dict[str, Any]) -> str:
    """A row of the Markdown table."""
    low, high = row["interval"]
    least, median, most = row["time"]
    return (
        f"| {row['way'].replace(':', ', ')} | {row['expressions']} | {row['right']:.3f} ({low:.3f}–{high:.3f}) | "
        f"{row['as torch']:.3f} | {median:.2f} ({least:.2f}–{most:.2f}) |"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--model", help="folder or Hub name; default: the bundled checkpoint")
    parser.add_argument("--only", nargs="+", choices=WAYS, default=[way for way in WAYS if way != PLAIN])
    parser.add_argument("--limit", type=int, help="photographs; default: all")
    parser.add_argument("--rounds", type=int, default=5, help="of timing")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the rows here")
    args = parser.parse_args(arguments)
    torch.set_num_threads(args.threads)
    print("| runtime, precision | expressions | right (95 %) | as torch | time ÷ torch's (least–most) |")
    print("|---|---|---|---|---|")
    table = measure([PLAIN, *args.only], questions_of(args.rows, args.limit), args.images, args.model, args.rounds)
    if args.json:
        args.json.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
