"""First stage of training pbrec-mt-small: scenes → stored feature maps, targets and expressions, in resumable chunks.

    python scripts/small_pool.py --data DATA --detector DIR --out POOL --kind photographs --chunks 16
    python scripts/small_pool.py --data DATA --detector DIR --out POOL --kind composed --chunks 16
    python scripts/small_pool.py --data DATA --detector DIR --out POOL --kind heldout --chunks 1

DATA holds `images/`, `instances_{train,val}2017.json` and the `expressions_*_dev.jsonl` whose images are left out of
everything; DIR a NanoDet saved by `pbrec_hf.convert.nanodet`. About 150 ms per scene on one CPU core.
"""

import argparse
import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms
from transformers.utils.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from ...comprehension.targets import massness_targets
from ...data.scenes.composed import ComposedScenes, Scene, read_photographs, vary, with_expressions
from ...data.scenes.reading import HumanExpressions
from ...geometry.centerness import centerness_at
from ...geometry.points import feature_mask
from ...small.backbone import GroundingBackbone, GroundingBackboneConfig
from ...small.nanodet import NanoDetDetector

CANVAS, STRIDE, PLACES, SCENES_PER_CHUNK = 512, 32, 2, 500
HELD_OUT_EVERY = 6
BACKBONE = {"stride": STRIDE, "places": PLACES, "min_central": 0.45}
logger = logging.getLogger("small_pool")


def split_photographs(data: Path) -> tuple[list[Scene], list[Scene]]:
    """Photographs to train on and held-out ones (every sixth complete one), without those of human expressions."""
    human = set()
    for path in sorted(data.glob("expressions_*_dev.jsonl")):
        human |= {json.loads(line)["image_id"] for line in path.read_text().splitlines()}
    scenes = []
    for part in ("train2017", "val2017"):
        scenes += read_photographs(data / f"instances_{part}.json", data / "images", human)
    complete = sorted(int(scene.name) for scene in scenes if scene.complete)
    held_out = {str(image_id) for image_id in complete[::HELD_OUT_EVERY]}
    return [s for s in scenes if s.name not in held_out], [s for s in scenes if s.name in held_out]


def to_canvas(image: Tensor, antialias: bool = True) -> Tensor:
    """(C, H, W) letterboxed to (C, 512, 512): centred, longer side 512, padded with 0."""
    height, width = image.shape[-2:]
    scale = CANVAS / max(height, width)
    new = (max(1, round(height * scale)), max(1, round(width * scale)))
    resized = transforms.resize(image, list(new), antialias=antialias)
    top, left = (CANVAS - new[0]) // 2, (CANVAS - new[1]) // 2
    return torch.nn.functional.pad(resized, (left, CANVAS - new[1] - left, top, CANVAS - new[0] - top))


def placement(size: tuple[int, int]) -> tuple[float, Tensor]:
    """Factor and offset (4,) that bring XYXY pixels of a picture of `size` (height, width) onto the canvas."""
    height, width = size
    scale = CANVAS / max(height, width)
    offset = torch.tensor([(CANVAS - round(width * scale)) // 2, (CANVAS - round(height * scale)) // 2]).repeat(2)
    return scale, offset


def picture_inputs(scene: Scene) -> tuple[Tensor, Tensor]:
    """`pixel_values` (3, 512, 512) and `pixel_mask` (512, 512) of a scene."""
    image = torch.from_numpy(scene.image.copy()).permute(2, 0, 1).float() / 255
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD))
    return to_canvas((image - mean) / std), to_canvas(torch.ones_like(image[:1]), antialias=False)[0] > 0.5


def encode(scene: Scene, backbone: GroundingBackbone) -> dict[str, Tensor]:
    """What training reads of one scene: the backbone's parts, the mask of points, targets of the named objects."""
    pixel_values, pixel_mask = picture_inputs(scene)
    neck, at_points, [(described, index)], [points] = backbone.describe(pixel_values[None])
    scale, offset = placement(scene.size)
    boxes = torch.tensor([item.box for item in scene.objects]) * scale + offset
    masks = torch.stack(
        [to_canvas(torch.from_numpy(item.mask.copy())[None].float())[0] > 0.5 for item in scene.objects]
    )
    vague = torch.tensor([item.vague for item in scene.objects])
    return {
        "neck": neck[0].flatten(1).half(),
        "at_points": at_points[0].half(),
        "described": described.half(),
        "index": index.short(),
        "points": points.half(),
        "mask": feature_mask(pixel_mask[None], CANVAS // STRIDE, CANVAS // STRIDE)[0],
        "boxes": boxes,
        "vague": vague,
        "centerness": centerness_at(points, boxes, STRIDE).half(),
        "massness": massness_targets(masks, CANVAS, STRIDE)[0].half(),
    }


def human_expressions(data: Path) -> HumanExpressions:
    """What people wrote about other pictures, without the texts that are kept for evaluation."""
    kept = [
        json.loads(line)["expression"]
        for path in sorted(data.glob("expressions_*_dev.jsonl"))
        for line in path.read_text().splitlines()
    ]
    return HumanExpressions((data / "refcoco_expressions.txt").read_text().splitlines(), exclude=kept)


def with_human(scene: Scene, human: HumanExpressions, rng: np.random.Generator, count: int) -> Scene:
    """`scene` with up to `count` human expressions that are true of it, besides its own."""
    said = human.about(scene.objects, scene.size, rng, count, complete=scene.complete)
    return replace(scene, expressions=(*scene.expressions, *said))


def scenes_of_chunk(kind: str, chunk: int, train: list[Scene], held_out: list[Scene], expressions: int, human):
    """The scenes of one chunk; the same for the same photographs, whatever ran before.

    Human expressions are said of training scenes only.
    """
    rng = np.random.default_rng((chunk, 77))
    if kind == "composed":
        composed = ComposedScenes(train)
        for number in range(SCENES_PER_CHUNK):
            scene = composed.sample(chunk * SCENES_PER_CHUNK + number, expressions)
            yield with_human(scene, human, rng, expressions)
    elif kind == "composed_heldout":
        composed = ComposedScenes(held_out)
        for number in range(SCENES_PER_CHUNK):
            yield composed.sample(10**6 + number, expressions)
    elif kind == "heldout":
        for scene in held_out:
            yield with_expressions(scene, np.random.default_rng((7, int(scene.name))), expressions)
    else:
        for number in rng.permutation(np.arange(SCENES_PER_CHUNK) + chunk * SCENES_PER_CHUNK):
            scene = with_expressions(vary(train[number % len(train)], rng), rng, expressions)
            yield with_human(scene, human, rng, expressions)


def encoded(scenes: Iterable[Scene], backbone: GroundingBackbone) -> Iterator[tuple[dict[str, Tensor], list]]:
    """`encode` of the scenes that have expressions, and these as [text, target, kind]."""
    for scene in scenes:
        if scene.expressions:
            yield encode(scene, backbone), [[e.text, e.target, e.kind] for e in scene.expressions]


def save_chunk(path: Path, scenes: Iterable[tuple[dict[str, Tensor], list]]) -> None:
    """Write scenes as one safetensors file with their expressions as metadata; those without any are left out."""
    encoded, expressions = zip(*(scene for scene in scenes if scene[1]), strict=True)
    whole = [name for name in ("neck", "at_points", "index", "points", "mask") if name in encoded[0]]
    tensors = {name: torch.stack([item[name] for item in encoded]) for name in whole}
    for name in ("described", "boxes", "vague", "centerness", "massness"):
        tensors[name] = torch.cat([item[name] for item in encoded])
    tensors["described_count"] = torch.tensor([len(item["described"]) for item in encoded])
    tensors["objects_count"] = torch.tensor([len(item["boxes"]) for item in encoded])
    temporary = path.with_suffix(".part")
    save_file(tensors, temporary, metadata={"expressions": json.dumps(expressions)})
    temporary.rename(path)


def load_backbone(detector_folder: Path) -> GroundingBackbone:
    """The backbone around a saved NanoDet."""
    detector = NanoDetDetector.from_pretrained(detector_folder)
    backbone = GroundingBackbone(GroundingBackboneConfig(detector_config=detector.config, **BACKBONE)).eval()
    backbone.detector.load_state_dict(detector.state_dict())
    return backbone


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--detector", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--kind", choices=("photographs", "composed", "heldout", "composed_heldout"), default="photographs"
    )
    parser.add_argument("--chunks", type=int, default=1)
    parser.add_argument("--expressions", type=int, default=12, help="per scene")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(args.threads)
    backbone = load_backbone(args.detector)
    train, held_out = split_photographs(args.data)
    human = human_expressions(args.data)
    logger.info("%d of %d human expressions can be read", len(human.readings), human.count)
    logger.info("%d photographs to train on, %d held out", len(train), len(held_out))
    args.out.mkdir(parents=True, exist_ok=True)
    for chunk in range(args.chunks):
        path = args.out / f"{args.kind}_{chunk:03d}.safetensors"
        if path.exists():
            continue
        with torch.inference_mode():
            scenes = scenes_of_chunk(args.kind, chunk, train, held_out, args.expressions, human)
            save_chunk(path, encoded(scenes, backbone))
        logger.info("wrote %s", path)


if __name__ == "__main__":
    main()
