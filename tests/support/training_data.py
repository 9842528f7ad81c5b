"""Own-data files, configs and runs for the tests of training: pictures of 64 pixels with a rectangle each."""

import json
from pathlib import Path

from PIL import Image, ImageDraw

from pbrec_hf.training.config import TrainingConfig

EXPRESSIONS = ("left dog", "right dog", "red car", "the cat on the left", "girl")


def write_data(folder: Path, pictures: int = 5, expressions: int = 2, masks: bool = False, texts=EXPRESSIONS) -> Path:
    """JSONL with `expressions` rows for each of `pictures` pictures; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for number in range(pictures):
        x, y = 4 + 5 * number % 24, 6 + 7 * number % 20
        box = [x, y, x + 24, y + 30]
        image = Image.new("RGB", (64, 56), (40 * number % 256, 90, 120))
        ImageDraw.Draw(image).rectangle(box, fill=(250, 40 * number % 256, 10))
        image.save(folder / f"{number}.png")
        for index in range(expressions):
            row = {"image": f"{number}.png", "expression": texts[(number + index) % len(texts)], "bbox": box}
            if masks:
                row["segmentation"] = [[x, y, x + 24, y, x + 24, y + 30, x, y + 30]]
            lines.append(json.dumps(row) + "\n")
    path = folder / "data.jsonl"
    path.write_text("".join(lines), encoding="utf-8")
    return path


def tiny_config(checkpoint: Path, data: Path, output: Path, **fields) -> TrainingConfig:
    """Two epochs on one CPU process without loader processes, trackers or bars."""
    return TrainingConfig(
        **{
            "init": str(checkpoint),
            "data": str(data),
            "output_dir": str(output),
            "tasks": ["grounding"],
            "epochs": 2,
            "batch_size": 4,
            "save_steps": 1,
            "num_workers": 0,
            "cpu": True,
            "trackers": [],
            "log_steps": 1,
            "progress": False,
            **fields,
        }
    )
