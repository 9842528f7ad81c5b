"""Annotates photographs that nobody has annotated, with what a mask detector is sure of, for small_pool.py.

    python scripts/small_pseudo_labels.py --data DATA --mask_detector DIR --out pseudo.json

Reads the images marked `"annotated": false` in DATA's `instances_{train,val}2017.json`, without those of DATA's
`expressions_*_dev.jsonl`. A detection above `--sure` becomes an annotation; one above `--unsure` a crowd, so that no
expression means it and none is called true that might mean it. The images are marked `"partial_categories": true`.
"""

import argparse
import json
from pathlib import Path

import torch
from evaluate_detector import category_ids, read_batch
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from small_pool import images_of_human_expressions
from torchvision.ops import batched_nms, box_convert

from pbrec_hf.detection_nanodet_masks import NanoDetMasksDetector
from pbrec_hf.image_processing_pbrec import boxes_to_original, masks_to_original


@torch.inference_mode()
def annotate(detector: NanoDetMasksDetector, image: Path, ids: dict[int, int], args: argparse.Namespace) -> list[dict]:
    """COCO annotations of one picture, without ids: boxes x, y, w, h and RLE in its own pixels."""
    pixel_values, [letterbox] = read_batch([image], args.size, antialias=True)
    found = detector.propose(pixel_values)
    points = (found.quality[0] > args.unsure).nonzero()[:, 0]
    boxes, scores, labels = (values[0, points] for values in (found.boxes, found.quality, found.labels))
    kept = batched_nms(boxes, scores, labels, iou_threshold=0.5)
    masks = found.masks.at(torch.zeros_like(points[kept]), points[kept])
    annotations = []
    for index, mask in zip(kept.tolist(), masks, strict=True):
        drawn = masks_to_original(mask, letterbox, found.canvas).numpy()
        if int(labels[index]) not in ids or not drawn.any():
            continue
        code = coco_mask.encode(drawn.astype("uint8", order="F"))
        [box] = box_convert(boxes_to_original(boxes[index, None], letterbox), "xyxy", "xywh").tolist()
        annotations.append(
            {
                "category_id": ids[int(labels[index])], "bbox": box, "area": int(drawn.sum()),
                "iscrowd": int(scores[index] < args.sure),
                "segmentation": {"size": code["size"], "counts": code["counts"].decode()},
            }
        )  # fmt: skip
    return annotations


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("data", "mask_detector", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--size", type=int, default=512, help="side of the canvas in pixels")
    parser.add_argument("--sure", type=float, default=0.55, help="least probability of an annotation")
    parser.add_argument("--unsure", type=float, default=0.28, help="least probability of a crowd")
    args = parser.parse_args()
    detector = NanoDetMasksDetector.from_pretrained(args.mask_detector).eval()
    kept_out = images_of_human_expressions(args.data)
    images, annotations, categories = [], [], []
    for part in ("train2017", "val2017"):
        coco = COCO(args.data / f"instances_{part}.json")
        categories = coco.dataset["categories"]
        ids = category_ids(detector, coco)
        for image in coco.dataset["images"]:
            if image.get("annotated", True) or image["id"] in kept_out:
                continue
            for annotation in annotate(detector, args.data / "images" / image["file_name"], ids, args):
                annotations.append({"id": len(annotations) + 1, "image_id": image["id"], **annotation})
            images.append({**image, "annotated": True, "partial_categories": True})
    args.out.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    sure = sum(not annotation["iscrowd"] for annotation in annotations)
    print(f"{len(images)} images, {sure} annotations, {len(annotations) - sure} crowds: {args.out}")


if __name__ == "__main__":
    main()
