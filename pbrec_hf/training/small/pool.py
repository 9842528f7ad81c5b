"""The pool of pbrec-mt-small: scenes → stored feature maps, targets and expressions, in resumable chunks.

    python scripts/small/pool.py --data DATA --detector DIR --out POOL --kind photographs --chunks 16
    python scripts/small/pool.py --data DATA --detector DIR --out POOL --kind composed --chunks 16
    python scripts/small/pool.py --data DATA --detector DIR --out POOL --kind heldout --chunks 1

DATA holds `images/`, `instances_{train,val}2017.json` and the `expressions_*_dev.jsonl` whose images are left out of
everything. DIR is a saved NanoDet, or a pbrec-mt-small whose backbone sees postures: then the persons of the training
photographs have those that DATA/person_keypoints.json tells. About 150 ms per scene on one CPU core.
"""

import argparse
import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.random import Generator
from safetensors.torch import save_file
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms
from transformers import AutoConfig
from transformers.utils.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from ...comprehension.targets import massness_targets
from ...configuration_pbrec import PbrecConfig
from ...data.scenes.composed import ComposedScenes
from ...data.scenes.photographs import read_photographs
from ...data.scenes.postures import with_postures
from ...data.scenes.reading import HumanExpressions
from ...data.scenes.scene import Scene, vary, with_expressions
from ...geometry.centerness import centerness_at
from ...geometry.letterbox import Letterbox
from ...geometry.points import feature_mask
from ...hub.writing import replaced_file
from ...modeling_pbrec import PbrecForReferringExpression
from ...small.backbone import GroundingBackbone, GroundingBackboneConfig
from ...small.nanodet import NanoDetDetector

CANVAS, STRIDE, PLACES, SCENES_PER_CHUNK = 512, 32, 2, 500
MIN_CENTRAL = 0.45  # how central to an object a point must be to be attended to
HELD_OUT_EVERY = 6
KINDS = ("photographs", "composed", "heldout", "composed_heldout")
Sayings = list[tuple[str, tuple[int, ...], str]]  # text, indices of the objects that it means, kind of expression
PLURALS, ABSENT = 6, 5  # expressions per scene that mean several objects, and none
logger = logging.getLogger(__name__)


def split_photographs(data: Path) -> tuple[list[Scene], list[Scene]]:
    """
    Photographs to train on, and held-out ones: every sixth complete one.

    Those that people wrote the evaluation's expressions about are in neither.
    """
    human = evaluated_photographs(data)
    scenes: list[Scene] = []
    for part in ("train2017", "val2017"):
        scenes += read_photographs(data / f"instances_{part}.json", data / "images", human)
    complete = sorted(int(scene.name) for scene in scenes if scene.complete)
    held_out = {str(image_id) for image_id in complete[::HELD_OUT_EVERY]}
    return [s for s in scenes if s.name not in held_out], [s for s in scenes if s.name in held_out]


def evaluated_photographs(data: Path) -> set[str]:
    """Image ids of the photographs that people wrote the evaluation's expressions about."""
    return {row["image_id"] for row in _dev_rows(data)}


def with_known_postures(scenes: Sequence[Scene], data: Path) -> list[Scene]:
    """Scenes whose persons have the postures that DATA/person_keypoints.json tells."""
    return with_postures(scenes, data / "person_keypoints.json")


def letterbox_of(size: tuple[int, int]) -> Letterbox:
    """How a picture of `size` (height, width) lies on the canvas."""
    return Letterbox.fit(*size, CANVAS)


def to_canvas(image: Tensor, antialias: bool = True) -> Tensor:
    """A picture (C, H, W) letterboxed to (C, 512, 512) and padded with 0."""
    place = letterbox_of((image.shape[1], image.shape[2]))
    resized = transforms.resize(image, [place.resized_height, place.resized_width], antialias=antialias)
    canvas = image.new_zeros(len(image), CANVAS, CANVAS)
    canvas[:, *place.window] = resized
    return canvas


def picture_inputs(scene: Scene) -> tuple[Tensor, Tensor]:
    """`pixel_values` (3, 512, 512) and `pixel_mask` bool (512, 512) of a scene."""
    image = torch.from_numpy(scene.image.copy()).permute(2, 0, 1).float() / 255
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD))
    return to_canvas((image - mean) / std), to_canvas(torch.ones_like(image[:1]), antialias=False)[0] > 0.5


def encode(scene: Scene, backbone: GroundingBackbone) -> dict[str, Tensor]:
    """What training reads of one scene: the parts of the map, which points lie in the picture, targets of the objects.

    Raises:
        ValueError: an object has no mask.
    """
    pixel_values, pixel_mask = picture_inputs(scene)
    neck, at_points, objects, [points] = backbone.describe(pixel_values[None])
    assert isinstance(objects, list), "outside of graphs"
    [(described, index)] = objects
    boxes = letterbox_of(scene.size).boxes_to_canvas(torch.tensor([item.box for item in scene.objects]))
    masks = torch.stack([_mask_on_canvas(item.mask) for item in scene.objects])
    return {
        "neck": neck[0].flatten(1).half(),
        "at_points": at_points[0].half(),
        "described": described.half(),
        "index": index.short(),
        "points": points.half(),
        "mask": feature_mask(pixel_mask[None], CANVAS // STRIDE, CANVAS // STRIDE)[0],
        "boxes": boxes,
        "vague": torch.tensor([item.vague for item in scene.objects]),
        "centerness": centerness_at(points, boxes, STRIDE).half(),
        "massness": massness_targets(masks, CANVAS, STRIDE)[0].half(),
    }


def human_expressions(data: Path) -> HumanExpressions:
    """What people wrote about other pictures, without the texts that are kept for evaluation."""
    kept = [row["expression"] for row in _dev_rows(data)]
    return HumanExpressions((data / "refcoco_expressions.txt").read_text().splitlines(), exclude=kept)


def with_human(scene: Scene, human: HumanExpressions, rng: Generator, count: int) -> Scene:
    """`scene` with up to `count` human expressions that are true of it, besides its own."""
    said = human.about(scene.objects, scene.size, rng, count, complete=scene.complete)
    return replace(scene, expressions=(*scene.expressions, *said))


def scenes_of_chunk(
    kind: str, chunk: int, train: Sequence[Scene], held_out: Sequence[Scene], expressions: int, human: HumanExpressions
) -> Iterator[Scene]:
    """
    The scenes of one chunk; the same for the same photographs, whatever ran before.

    Human expressions are used for training scenes only.
    """
    rng = np.random.default_rng((chunk, 77))
    if kind == "composed":
        composed = ComposedScenes(train)
        for number in range(SCENES_PER_CHUNK):
            scene = composed.sample(chunk * SCENES_PER_CHUNK + number, expressions, PLURALS, ABSENT)
            yield with_human(scene, human, rng, expressions)
    elif kind == "composed_heldout":
        composed = ComposedScenes(held_out)
        for number in range(SCENES_PER_CHUNK):
            yield composed.sample(10**6 + number, expressions, PLURALS, ABSENT)
    elif kind == "heldout":
        for scene in held_out:
            yield with_expressions(scene, np.random.default_rng((7, int(scene.name))), expressions, PLURALS, ABSENT)
    else:
        for number in rng.permutation(np.arange(SCENES_PER_CHUNK) + chunk * SCENES_PER_CHUNK):
            scene = with_expressions(vary(train[number % len(train)], rng), rng, expressions, PLURALS, ABSENT)
            yield with_human(scene, human, rng, expressions)


def sayings(scene: Scene) -> Sayings:
    """The expressions of a scene as they are stored."""
    return [(expression.text, expression.targets, expression.kind) for expression in scene.expressions]


def save_chunk(path: Path, scenes: Iterable[tuple[dict[str, Tensor], Sayings]]) -> None:
    """Write scenes as one safetensors file with their expressions as metadata; those without any are left out."""
    encoded, expressions = zip(*(scene for scene in scenes if scene[1]), strict=True)
    stacked = [name for name in ("neck", "at_points", "index", "points", "mask") if name in encoded[0]]
    tensors = {name: torch.stack([item[name] for item in encoded]) for name in stacked}
    for name in ("described", "boxes", "vague", "centerness", "massness"):
        tensors[name] = torch.cat([item[name] for item in encoded])
    tensors["described_count"] = torch.tensor([len(item["described"]) for item in encoded])
    tensors["objects_count"] = torch.tensor([len(item["boxes"]) for item in encoded])
    with replaced_file(path) as partial:
        save_file(tensors, partial, metadata={"expressions": json.dumps(expressions)})


def chunks_of(pool: Path, *kinds: str) -> list[Path]:
    """The files of these kinds that the pool has, in order."""
    return [file for kind in kinds for file in sorted(pool.glob(f"{kind}_[0-9]*.safetensors"))]


def backbone_config(detector: NanoDetDetector) -> GroundingBackboneConfig:
    """The backbone of pbrec-mt-small around a NanoDet."""
    return GroundingBackboneConfig(
        detector_config=detector.config, stride=STRIDE, places=PLACES, min_central=MIN_CENTRAL
    )


def load_backbone(folder: Path) -> GroundingBackbone:
    """The backbone of a saved pbrec-mt-small, or a new one around a saved NanoDet."""
    if AutoConfig.from_pretrained(folder).model_type == PbrecConfig.model_type:
        model = PbrecForReferringExpression.from_pretrained(folder, dtype=torch.float32).eval()
        return cast(GroundingBackbone, model.model.backbone)
    detector = NanoDetDetector.from_pretrained(folder)
    backbone = GroundingBackbone(backbone_config(detector)).eval()
    backbone.detector.load_state_dict(detector.state_dict())
    return backbone


def _dev_rows(data: Path) -> list[dict[str, str]]:
    """The rows of human expressions that are kept for evaluation."""
    lines = [line for path in sorted(data.glob("expressions_*_dev.jsonl")) for line in path.read_text().splitlines()]
    return [json.loads(line) for line in lines]


def _mask_on_canvas(mask: np.ndarray | None) -> Tensor:
    if mask is None:
        raise ValueError("An object of a scene has no mask: give annotations with masks.")
    return to_canvas(torch.from_numpy(mask.copy())[None].float())[0] > 0.5


def make(data: Path, detector: Path, out: Path, kind: str, chunks: int, expressions: int = 12) -> None:
    """
    Write the chunks of a kind that are missing.

    Args:
        data: see the module docstring.
        detector: folder of a saved NanoDet or of a pbrec-mt-small; see the module docstring.
        out: folder of the pool.
        kind: one of `KINDS`.
        chunks: how many there shall be.
        expressions: per scene.
    """
    missing = [number for number in range(chunks) if not (out / f"{kind}_{number:03d}.safetensors").exists()]
    if not missing:
        return
    backbone = load_backbone(detector)
    train, held_out = split_photographs(data)
    if backbone.config.postures:
        train = with_known_postures(train, data)
    human = human_expressions(data)
    logger.info("%d of %d human expressions can be read", len(human.readings), human.count)
    logger.info("%d photographs to train on, %d held out", len(train), len(held_out))
    for chunk in missing:
        path = out / f"{kind}_{chunk:03d}.safetensors"
        with torch.inference_mode():
            scenes = scenes_of_chunk(kind, chunk, train, held_out, expressions, human)
            save_chunk(path, ((encode(scene, backbone), sayings(scene)) for scene in scenes if scene.expressions))
        logger.info("wrote %s", path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the chunks that are missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--detector", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--kind", choices=KINDS, default="photographs")
    parser.add_argument("--chunks", type=int, default=1)
    parser.add_argument("--expressions", type=int, default=12, help="per scene")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(args.threads)
    make(args.data, args.detector, args.out, args.kind, args.chunks, args.expressions)
