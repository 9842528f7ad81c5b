"""Can the whole path learn? Trains on eight real photographs until every expression finds its object.

    python scripts/overfit.py                                  # CPU, minutes; exits 1 if it does not reach 100 %

Eight photographs of the tests with generated expressions go through own data, collator, training, the frozen
detector, selection and the metric, as in any other training. Objects that the frozen detector and selection would miss
even with perfect scores are left out: no training could find them.
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

from pbrec_hf.comprehension.targets import centerness_targets
from pbrec_hf.configuration_pbrec import PbrecConfig
from pbrec_hf.data.scenes.composed import Scene, read_photographs, with_expressions
from pbrec_hf.geometry.letterbox import Letterbox
from pbrec_hf.hub.bundled import bundled_checkpoint
from pbrec_hf.modeling_pbrec import PbrecOutput
from pbrec_hf.processing_pbrec import PbrecProcessor
from pbrec_hf.training.config import TrainingConfig
from pbrec_hf.training.run import train

PHOTOGRAPHS = 8


@torch.no_grad()
def reachable(scene: Scene, processor: PbrecProcessor, config: PbrecConfig) -> list[bool]:
    """For each object, whether scores equal to its center-ness would choose a box that meets it."""
    inputs = processor(Image.fromarray(scene.image), [item.category for item in scene.objects])
    boxes = torch.tensor([item.box for item in scene.objects])
    targets, _ = centerness_targets(
        Letterbox.of(inputs["letterbox"][0]).boxes_to_canvas(boxes),
        config.image_size,
        config.stride,
        config.soft_targets,
    )
    perfect = PbrecOutput(center_logits=targets.logit(eps=1e-3))
    answers = processor.post_process_referring_expression(perfect, inputs)
    return [
        len(answer["boxes"]) > 0 and box_iou(answer["boxes"], box[None]).item() > 0.5
        for answer, box in zip(answers, boxes, strict=True)
    ]


def write_photographs(out: Path, processor: PbrecProcessor, config: PbrecConfig, expressions: int) -> Path:
    """JSONL of the first photographs that have expressions of reachable objects."""
    lines, pictures = [], 0
    (out / "images").mkdir(parents=True, exist_ok=True)
    for scene in read_photographs(TESTS / "instances.json", TESTS / "images"):
        scene = with_expressions(scene, np.random.default_rng(0), 8)
        found = reachable(scene, processor, config)
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
    parser.add_argument("--expressions", type=int, default=1, help="per photograph (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=30)
    options = parser.parse_args()
    logging.basicConfig(format="%(message)s", level="INFO")
    for library in ("accelerate", "httpx"):
        logging.getLogger(library).setLevel("WARNING")
    parts = PbrecProcessor.from_pretrained(options.init), PbrecConfig.from_pretrained(options.init)
    data = write_photographs(options.output_dir, *parts, options.expressions)
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
