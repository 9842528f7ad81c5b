"""Box AP of a detector on a COCO annotation file and a folder of pictures (pycocotools' COCOeval).

The detector is a folder or a Hub name of one that has `detect`; --subfolder box_detector reaches into a processor's.
--no_antialias shrinks the pictures as OpenCV does, and as NanoDet saw them in training; the package's image processor
smoothes them first. Only pictures that are annotated in full count: those marked `"annotated": false` or
`"partial_categories": true` are left out. Classes are matched with COCO's categories by name.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor
from torchvision.ops import box_convert
from torchvision.transforms.v2 import functional as tvf
from transformers import AutoModel

from ...data.coco import CocoImage, Id, read_coco
from ...geometry.letterbox import Letterbox
from ...hub.opening import opening
from ...image_processing_pbrec import PbrecImageProcessor
from ...images.reading import load_pixels

METRICS = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "AR1", "AR10", "AR100")

Detection = dict[str, Any]  # COCO's result format: image_id, category_id, score, bbox (x, y, w, h)


def main(arguments: Sequence[str] | None = None) -> int:
    """
    The command line of scripts/evaluate_detector.py; prints COCO's table and one line of JSON.

    Returns:
        Exit status: 0 done, 2 bad input, reported in one line on standard error.
    """
    args = parse_arguments(arguments)
    try:
        report = evaluate_detector(args)
    except (OSError, ValueError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)  # noqa: T201  (a command's own output)
        return 2
    print(json.dumps(report))  # noqa: T201
    return 0


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The settings of a command line, by default of this process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("detector", help="folder or Hub name")
    parser.add_argument("--subfolder", default="", help="folder of the detector inside `detector`")
    parser.add_argument("--annotations", type=Path, required=True, help="COCO instances JSON")
    parser.add_argument("--images", type=Path, required=True, help="folder of the pictures")
    parser.add_argument("--size", type=int, default=320, help="side of the canvas in pixels")
    parser.add_argument("--scales", type=float, nargs="+", help="NanoDet only: sizes at which it sees the canvas")
    parser.add_argument("--no_antialias", action="store_true", help="shrink as OpenCV does")
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--min_score", type=float, default=0.05, help="detections below it do not count")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--limit", type=int, help="evaluate the first so many pictures only")
    return parser.parse_args(arguments)


def evaluate_detector(args: argparse.Namespace) -> dict[str, float]:
    """
    COCO's box metrics by the settings of `parse_arguments`, with the number of images and the size of the canvas.

    Raises:
        OSError: a file is missing.
        ValueError: the annotations, the pictures or the detector do not fit together.
    """
    file = read_coco(args.annotations, wanted=())
    images = [image for image in file.images.values() if image.annotated and not image.partial_categories]
    images = images[: args.limit]
    settings = {} if args.scales is None else {"scales": args.scales}
    with opening(args.detector) as options:
        detector = AutoModel.from_pretrained(args.detector, subfolder=args.subfolder, **settings, **options)
    detector.to(args.device).eval()
    ids = category_ids(detector.config.id2label, file.categories)
    results: list[Detection] = []
    for start in range(0, len(images), args.batch_size):
        batch = images[start : start + args.batch_size]
        pixel_values, letterboxes = read_batch(batch, args.images, args.size, not args.no_antialias)
        found = detector.detect(pixel_values.to(detector.device), min_score=args.min_score)
        for image, letterbox, detections in zip(batch, letterboxes, found, strict=True):
            results += coco_results(image.id, Letterbox.of(letterbox), detections, ids)
    metrics = score(args.annotations, results, [image.id for image in images])
    return {"images": len(images), "size": args.size, **{name: round(value, 4) for name, value in metrics.items()}}


def category_ids(classes: Mapping[int, str], categories: Mapping[int, str]) -> dict[int, int]:
    """
    COCO's category id of every class of a detector that the annotations know, by name.

    Args:
        classes: label → name, the detector's `id2label`.
        categories: id → name, the annotations'.

    Raises:
        ValueError: they have no class in common.
    """
    by_name = {name: category_id for category_id, name in categories.items()}
    ids = {int(label): by_name[name] for label, name in classes.items() if name in by_name}
    if not ids:
        raise ValueError(
            f"No class of the detector ({', '.join(list(classes.values())[:5])}, …) is a category of the annotations "
            f"({', '.join(list(by_name)[:5])}, …): give annotations of the detector's classes."
        )
    return ids


def read_batch(images: Sequence[CocoImage], folder: Path, size: int, antialias: bool) -> tuple[Tensor, Tensor]:
    """
    Canvases of pictures.

    Args:
        images: I records.
        folder: that their file names are relative to.
        size: side of the canvas, pixels.
        antialias: smooth before shrinking.

    Returns:
        Canvases (I, 3, size, size) and letterboxes (I, 6).

    Raises:
        FileNotFoundError, ValueError: a picture cannot be read, or is not of the size that was annotated.
    """
    pictures, sides = [], []
    for image in images:
        picture = load_pixels(folder / image.file_name)
        height, width = picture.shape[-2:]
        image.require_size((height, width), folder / image.file_name)
        if not antialias:
            box = Letterbox.fit(height, width, size)
            picture = tvf.resize(picture, [box.resized_height, box.resized_width], antialias=False)
        pictures.append(picture)
        sides.append((height, width))
    inputs = PbrecImageProcessor(size={"longest_edge": size})(images=pictures, return_tensors="pt")
    inputs["letterbox"][:, :2] = torch.tensor(sides)
    return inputs["pixel_values"], inputs["letterbox"]


def coco_results(
    image_id: Id, letterbox: Letterbox, detections: Mapping[str, Tensor], ids: Mapping[int, int]
) -> list[Detection]:
    """
    The detections of one picture in COCO's result format, boxes in pixels of the original.

    Args:
        image_id: of the picture.
        letterbox: of the picture on its canvas.
        detections: "boxes" (n, 4) XYXY canvas pixels, "scores" (n,), "labels" (n,).
        ids: label → COCO's category id; other labels are left out.
    """
    boxes = box_convert(letterbox.boxes_to_original(detections["boxes"].cpu()), "xyxy", "xywh")
    columns = (detections["labels"].tolist(), detections["scores"].tolist(), boxes.tolist())
    return [
        {"image_id": image_id, "category_id": ids[label], "score": score, "bbox": box}
        for label, score, box in zip(*columns, strict=True)
        if label in ids
    ]


def score(annotations: Path, results: list[Detection], image_ids: list[Id]) -> dict[str, float]:
    """COCO's box metrics of `results` over the pictures `image_ids`."""
    if not results:
        return dict.fromkeys(METRICS, 0.0)
    truth = COCO(annotations)
    scorer = COCOeval(truth, truth.loadRes(results), "bbox")
    scorer.params.imgIds = image_ids
    scorer.evaluate()
    scorer.accumulate()
    scorer.summarize()
    return {name: float(value) for name, value in zip(METRICS, scorer.stats[:9], strict=True)}


__all__ = [
    "METRICS",
    "category_ids",
    "coco_results",
    "evaluate_detector",
    "main",
    "parse_arguments",
    "read_batch",
    "score",
]
