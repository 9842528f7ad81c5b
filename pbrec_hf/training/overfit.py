"""Can the whole path learn? A run on eight photographs that must end with every answer right.

Photographs with generated expressions go through own data, collator, training, the frozen detector, selection and the
metric, as in any other run. Objects that the frozen detector and selection would miss even with perfect scores are
left out: no training could find them.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torchvision.ops import box_iou

from ..comprehension.targets import centerness_targets
from ..configuration_pbrec import PbrecConfig
from ..data.scenes.photographs import read_photographs
from ..data.scenes.scene import Scene, with_expressions
from ..geometry.letterbox import Letterbox
from ..hub.opening import opening
from ..modeling_pbrec import PbrecOutput
from ..processing_pbrec import PbrecProcessor
from .config import TrainingConfig
from .run import train
from .scenes import rows_of, save_pixels, write_rows
from .scores import Scores

PHOTOGRAPHS = 8


def overfit(
    init: str, annotations: Path, images: Path, output_dir: Path, expressions: int = 1, epochs: int = 30
) -> Scores:
    """
    Train on the first photographs whose objects can be found, and evaluate on the same.

    Args:
        init: checkpoint with detectors, folder or Hub id.
        annotations: COCO instances with masks, of the photographs in `images`.
        output_dir: of the run; the data go there, too.
        expressions: per photograph at most.

    Returns:
        The scores of the run; under "best" the accuracy, which should be 1.
    """
    with opening(init) as found:
        processor, config = PbrecProcessor.from_pretrained(init, **found), PbrecConfig.from_pretrained(init, **found)
    scenes = read_photographs(annotations, images)
    data = str(_write_photographs(scenes, output_dir, processor, config, expressions))
    return train(
        TrainingConfig(
            init=init,
            data=data,
            validation_data=data,
            output_dir=str(output_dir),
            tasks=["grounding"],
            epochs=epochs,
            validation_epochs=10,
            batch_size=PHOTOGRAPHS // 2,
            expressions_per_image=expressions,
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
    )


@torch.no_grad()
def reachable(scene: Scene, processor: PbrecProcessor, config: PbrecConfig) -> list[bool]:
    """For each object, whether scores equal to its center-ness would choose a box that meets it."""
    inputs = processor(Image.fromarray(scene.image), [item.category for item in scene.objects])
    boxes = torch.tensor([item.box for item in scene.objects])
    targets, _ = centerness_targets(
        Letterbox.of(inputs["letterbox"][0]).boxes_to_canvas(boxes),
        config.image_size,
        config.stride,
        config.target_styles["grounding"],
    )
    perfect = PbrecOutput(center_logits=targets.logit(eps=1e-3))
    answers = processor.post_process_referring_expression(perfect, inputs)
    return [
        len(answer["boxes"]) > 0 and box_iou(answer["boxes"], box[None]).item() > 0.5
        for answer, box in zip(answers, boxes, strict=True)
    ]


def _write_photographs(
    scenes: list[Scene], folder: Path, processor: PbrecProcessor, config: PbrecConfig, expressions: int
) -> Path:
    """JSONL of the first photographs that have expressions of reachable objects."""
    written: list[dict[str, Any]] = []
    pictures = 0
    for scene in scenes:
        if pictures == PHOTOGRAPHS:
            break
        scene = with_expressions(scene, np.random.default_rng(0), 8)
        found = reachable(scene, processor, config)
        rows = rows_of(scene, f"images/{scene.name}.png")
        rows = [
            row
            for row, said in zip(rows, scene.expressions, strict=True)
            if all(found[target] for target in said.targets)
        ][:expressions]
        if rows:
            pictures += 1
            save_pixels(scene.image, folder / rows[0]["image"])
            written += rows
    path = folder / "photographs.jsonl"
    write_rows(written, path)
    return path


__all__ = ["PHOTOGRAPHS", "overfit", "reachable"]
