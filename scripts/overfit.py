"""Can the whole path learn? Trains on eight real photographs until every expression finds its object.

    python scripts/overfit.py                                  # CPU, minutes; exits 1 if it does not reach 100 %

Eight photographs of the tests with generated expressions go through own data, collator, training, the frozen
detector, selection and the metric, as in any other training. Objects that no proposal of the detector meets (IoU at
most 0.5) are left out: no training could find them.
"""

import argparse
import json
import logging
import sys
from pathlib import Path

from make_scenes import TESTS, rows_of

if __name__ == "__main__":
    sys.path.pop(0)  # this folder, whose evaluate.py would hide the library `evaluate`

import numpy as np
import torch
from PIL import Image
from torchvision.ops import box_iou

from pbrec_hf.bundled import bundled_checkpoint
from pbrec_hf.data.scenes import Scene, read_photographs, with_expressions
from pbrec_hf.image_processing_pbrec import boxes_to_original
from pbrec_hf.processing_pbrec import PbrecProcessor
from pbrec_hf.training.config import TrainingConfig
from pbrec_hf.training.run import train

PHOTOGRAPHS = 8


@torch.no_grad()
def reachable(scene: Scene, processor: PbrecProcessor) -> list[bool]:
    """For each object, whether some proposal meets it."""
    inputs = processor.image_processor([Image.fromarray(scene.image)])
    proposals = processor.propose(inputs["pixel_values"], inputs["pixel_mask"])["box_proposals"]
    boxes = boxes_to_original(proposals.boxes[0], inputs["letterbox"][0])
    best = box_iou(boxes, torch.tensor([item.box for item in scene.objects])).amax(dim=0)
    return (best > 0.5).tolist()


def write_photographs(out: Path, processor: PbrecProcessor, expressions: int) -> Path:
    """JSONL of the first photographs that have expressions of reachable objects."""
    lines, pictures = [], 0
    (out / "images").mkdir(parents=True, exist_ok=True)
    for scene in read_photographs(TESTS / "instances.json", TESTS / "images"):
        scene = with_expressions(scene, np.random.default_rng(0), 8)
        found = reachable(scene, processor)
        rows = rows_of(scene, f"images/{scene.name}.png")
        rows = [row for row, said in zip(rows, scene.expressions, strict=True) if found[said.target]][:expressions]
        if rows and pictures < PHOTOGRAPHS:
            pictures += 1
            Image.fromarray(scene.image).save(out / rows[0]["image"])
            lines += [json.dumps(row) + "\n" for row in rows]
    path = out / "photographs.jsonl"
    path.write_text("".join(lines), encoding="utf-8")
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--init", default=bundled_checkpoint(), help="checkpoint with detectors (default: the bundled)"
    )
    parser.add_argument("--output_dir", type=Path, default=Path("runs/overfit"))
    parser.add_argument("--expressions", type=int, default=2, help="per photograph (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=40)
    options = parser.parse_args()
    logging.basicConfig(format="%(message)s", level="INFO")
    for library in ("accelerate", "httpx"):
        logging.getLogger(library).setLevel("WARNING")
    data = write_photographs(options.output_dir, PbrecProcessor.from_pretrained(options.init), options.expressions)
    config = TrainingConfig(
        init=str(options.init),
        data=str(data),
        validation_data=str(data),
        output_dir=str(options.output_dir),
        tasks=["grounding"],
        epochs=options.epochs,
        validation_epochs=10,
        batch_size=PHOTOGRAPHS // 2,
        expressions_per_image=options.expressions,
        learning_rate=1e-3,
        clip_norm=1.0,
        warmup_steps=5,
        augment=False,
        resume=False,
        save_steps=0,
        num_workers=0,
        cpu=True,
        trackers=[],
        log_steps=10,
        progress=False,
    )
    scores = train(config)
    print(f"accuracy on the {PHOTOGRAPHS} photographs: {scores['best']:.3f} (last: {scores['accuracy@0.5']:.3f})")
    sys.exit(0 if scores["best"] == 1 else 1)


if __name__ == "__main__":
    main()
