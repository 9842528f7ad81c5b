"""Draws what a checkpoint gets wrong: its answer in red, what was meant in green, side by side on one sheet.

    python scripts/draw_failures.py CHECKPOINT --data rows.jsonl --bbox_format xywh --out failures.jpg

Rows as evaluate.py reads them; an answer is wrong when its box meets the true one with an IoU of 0.5 or less. Prints
how many are wrong; the first --most of them are drawn.
"""

import argparse
from pathlib import Path

import torch
from PIL import Image, ImageDraw
from torchvision.ops import box_iou

from pbrec_hf import Grounder
from pbrec_hf.app.drawing import contact_sheet
from pbrec_hf.data.own_data import load_own_data

WRONG, MEANT = "#e6194b", "#3cb44b"


def drawn(image: Image.Image, answer: torch.Tensor, truth: torch.Tensor) -> Image.Image:
    """A copy of `image` with both boxes (1, 4) XYXY; either may be empty."""
    picture = image.copy()
    pen, width = ImageDraw.Draw(picture), max(2, max(image.size) // 160)
    for boxes, color in ((truth, MEANT), (answer, WRONG)):
        for box in boxes.tolist():
            pen.rectangle(box, outline=color, width=width)
    return picture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", help="folder or Hub id")
    parser.add_argument("--data", required=True, help="JSONL, CSV or Parquet")
    parser.add_argument("--bbox_format", default="xyxy", choices=("xyxy", "xywh"))
    parser.add_argument("--most", type=int, default=8, help="failures to draw (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    grounder = Grounder(args.checkpoint)
    wrong, count = [], 0
    for row in load_own_data(args.data, bbox_format=args.bbox_format, view="image"):
        sentences = row["expressions"]
        result = grounder(row["image"], [sentence["expression"] for sentence in sentences])
        for sentence, answer in zip(sentences, result.answers, strict=True):
            truth = torch.tensor([sentence["bbox"]])
            count += 1
            if not (box_iou(answer["boxes"], truth) > 0.5).any():
                wrong.append((sentence["expression"], drawn(result.image, answer["boxes"], truth)))
    print(f"{len(wrong)} of {count} are wrong")
    if wrong:
        contact_sheet(wrong[: args.most]).save(args.out, quality=80)


if __name__ == "__main__":
    main()
