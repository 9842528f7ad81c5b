"""Box AP of a detector on a COCO annotation file and a folder of pictures (pycocotools' COCOeval).

    python scripts/evaluate_detector.py DETECTOR --annotations instances_val2017.json --images images/ --size 320

DETECTOR is a folder or a Hub name of a detector that has `detect`; `--subfolder box_detector` reaches into a
processor's. `--no_antialias` shrinks the pictures as OpenCV does, and as NanoDet saw them in training; the package's
image processor smoothes them first. Only pictures that are annotated in full count: those marked `"annotated": false`
or `"partial_categories": true` are left out. Classes are matched with COCO's categories by name.
"""

import argparse
import json
from pathlib import Path

import torch
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torchvision.ops import box_convert
from torchvision.transforms.v2 import functional as tvF
from transformers import AutoModel, PreTrainedModel

import pbrec_hf  # noqa: F401  (registers the detectors with AutoModel)
from pbrec_hf.geometry.letterbox import Letterbox
from pbrec_hf.image_processing_pbrec import PbrecImageProcessor

METRICS = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "AR1", "AR10", "AR100")


def category_ids(detector: PreTrainedModel, coco: COCO) -> dict[int, int]:
    """COCO category id of every class of the detector that the annotations know, by name.

    Raises:
        ValueError: they have no class in common.
    """
    by_name = {category["name"]: category["id"] for category in coco.dataset["categories"]}
    ids = {int(label): by_name[name] for label, name in detector.config.id2label.items() if name in by_name}
    if not ids:
        raise ValueError(
            f"no class of the detector ({', '.join(list(detector.config.id2label.values())[:5])}, …) is a category of "
            f"the annotations ({', '.join(list(by_name)[:5])}, …); give annotations of the detector's classes"
        )
    return ids


def read_batch(paths: list[Path], size: int, antialias: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Canvases (I, 3, size, size) and letterbox (I, 6) of pictures, shrunk with or without antialiasing."""
    processor = PbrecImageProcessor(size={"longest_edge": size})
    pictures = [tvF.pil_to_tensor(Image.open(path).convert("RGB")) for path in paths]
    sides = [picture.shape[-2:] for picture in pictures]
    if not antialias:
        pictures = [
            tvF.resize(picture, list(Letterbox.fit(*side, size)[2:4]), antialias=False)
            for picture, side in zip(pictures, sides, strict=True)
        ]
    inputs = processor(images=pictures, return_tensors="pt")
    inputs["letterbox"][:, :2] = torch.tensor(sides)
    return inputs["pixel_values"], inputs["letterbox"]


def detect_all(detector: PreTrainedModel, coco: COCO, images: list[dict], args: argparse.Namespace) -> list[dict]:
    """Detections on `images` in COCO's result format, boxes x, y, w, h in pixels of the original pictures."""
    ids = category_ids(detector, coco)
    results = []
    for start in range(0, len(images), args.batch_size):
        batch = images[start : start + args.batch_size]
        paths = [args.images / image["file_name"] for image in batch]
        pixel_values, letterboxes = read_batch(paths, args.size, not args.no_antialias)
        found = detector.detect(pixel_values.to(detector.device), min_score=args.min_score)
        for image, letterbox, detections in zip(batch, letterboxes, found, strict=True):
            boxes = box_convert(Letterbox.of(letterbox).boxes_to_original(detections["boxes"].cpu()), "xyxy", "xywh")
            for label, score, box in zip(
                detections["labels"].tolist(), detections["scores"].tolist(), boxes.tolist(), strict=True
            ):
                if label in ids:
                    results.append({"image_id": image["id"], "category_id": ids[label], "score": score, "bbox": box})
    return results


def evaluate(coco: COCO, results: list[dict], image_ids: list[int]) -> dict[str, float]:
    """COCO's box metrics of `results` over the pictures `image_ids`."""
    if not results:
        return dict.fromkeys(METRICS, 0.0)
    scorer = COCOeval(coco, coco.loadRes(results), "bbox")
    scorer.params.imgIds = image_ids
    scorer.evaluate()
    scorer.accumulate()
    scorer.summarize()
    return {name: float(value) for name, value in zip(METRICS, scorer.stats[:9], strict=True)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("detector", help="folder or Hub name")
    parser.add_argument("--subfolder", default="", help="folder of the detector inside `detector`")
    parser.add_argument("--annotations", type=Path, required=True, help="COCO instances JSON")
    parser.add_argument("--images", type=Path, required=True, help="folder of the pictures")
    parser.add_argument("--size", type=int, default=320, help="side of the canvas in pixels")
    parser.add_argument("--scales", type=float, nargs="+", help="NanoDet only: sizes in which to look at the canvas")
    parser.add_argument("--no_antialias", action="store_true", help="shrink as OpenCV does")
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--min_score", type=float, default=0.05, help="detections below it do not count")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--limit", type=int, help="evaluate the first so many pictures only")
    args = parser.parse_args()

    coco = COCO(args.annotations)
    images = [i for i in coco.dataset["images"] if i.get("annotated", True) and not i.get("partial_categories", False)]
    images = images[: args.limit]
    settings = {} if args.scales is None else {"scales": args.scales}
    detector = AutoModel.from_pretrained(args.detector, subfolder=args.subfolder, **settings).to(args.device).eval()
    results = detect_all(detector, coco, images, args)
    metrics = evaluate(coco, results, [image["id"] for image in images])
    print(json.dumps({"images": len(images), "size": args.size, **{k: round(v, 4) for k, v in metrics.items()}}))


if __name__ == "__main__":
    main()
