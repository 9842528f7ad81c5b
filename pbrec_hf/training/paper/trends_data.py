"""The pictures that the trends are measured on: held-out photographs and scenes composed of them.

Everything that no training changes is computed once: what the fusion encoder reads of a picture, the proposals of the
frozen detectors, and the truth. Each expression means exactly one object.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...data.scenes.expressions import Expression
from ...data.scenes.reading import HumanExpressions
from ...data.scenes.scene import Scene
from ...geometry.letterbox import Letterbox
from ...processing_pbrec import PbrecProcessor
from ..small.pool import (
    MIN_CENTRAL,
    letterbox_of,
    picture_inputs,
    scenes_of_chunk,
)
from ..small.pool_data import Batch, Chunk, is_rare
from ..small.words import Words

EXPRESSIONS = 12  # generated for each scene, as the pool was made
KINDS = {"photographs": "heldout", "composed": "composed_heldout"}  # as tables call the pool's kinds


@dataclass
class Picture:
    """
    One picture and E expressions about it.

    Attributes:
        batch: what the fusion encoder reads: one scene, all of its points.
        inputs: `letterbox` (1, 6), `box_proposals` and `mask_proposals`.
        place: how the picture lies on the canvas.
        boxes: (E, 4) XYXY in original pixels, what the expressions mean.
        masks: bool (E, H, W), the same in original pixels.
    """

    batch: Batch
    inputs: dict[str, Any]
    place: Letterbox
    boxes: Tensor
    masks: Tensor


def pictures_of(
    held_out: Sequence[Scene], pool: Path, kind: str, processor: PbrecProcessor, words: Words, most: int
) -> list[Picture]:
    """
    The first pictures of a kind.

    Args:
        held_out: photographs that are not trained on; see `split_photographs`.
        pool: folder of the pool, with a file of this kind that was made of the same photographs.
        kind: "photographs" or "composed".
        processor: with a detector of masks that also proposes boxes.
        words: reads the expressions.
        most: number of pictures.

    Raises:
        ValueError: the pool was made of other data.
    """
    config = processor.mask_detector.config
    chunk = Chunk(pool / f"{KINDS[kind]}_000.safetensors", config.detector.trunk.neck_channels)
    made = scenes_of_chunk(KINDS[kind], 0, (), held_out, EXPRESSIONS, HumanExpressions(()))
    scenes = islice((scene for scene in made if scene.expressions), most)  # the pool leaves out those without any
    numbered = [(number, scene) for number, scene in enumerate(scenes) if any(map(_single, scene.expressions))]
    return [_picture(scene, chunk, number, processor, words) for number, scene in numbered]


def _single(expression: Expression) -> bool:
    return len(expression.targets) == 1


@torch.inference_mode()
def _picture(scene: Scene, chunk: Chunk, number: int, processor: PbrecProcessor, words: Words) -> Picture:
    said = [(text, means[0]) for text, means, _ in chunk.expressions[number] if len(means) == 1]
    if [(one.text, one.targets[0]) for one in scene.expressions if _single(one)] != said:
        raise ValueError(f"Picture {number} ({scene.name}) is not the one in the pool: delete the pool.")
    pixel_values, pixel_mask = picture_inputs(scene)
    # The mask detector's NanoDet proposes boxes and masks at the same points.
    proposals = processor.propose(pixel_values[None], pixel_mask[None].long(), ("masks",))["mask_proposals"]
    place = letterbox_of(scene.size)
    inputs = {"letterbox": torch.tensor([list(place)]), "box_proposals": proposals, "mask_proposals": proposals}
    meant = [scene.objects[target] for _, target in said]
    return Picture(
        scene_batch(chunk, number, said, words),
        inputs,
        place,
        torch.tensor([item.box for item in meant]),
        torch.stack([torch.as_tensor(item.mask).bool() for item in meant]),
    )


def scene_batch(chunk: Chunk, number: int, said: Sequence[tuple[str, int]], words: Words) -> Batch:
    """One scene of a pool file, with all of its points, and expressions with the object that each means."""
    mask, points = chunk.tensors["mask"][number], torch.arange(chunk.tensors["mask"].shape[1])
    texts = [text for text, _ in said]
    words.read(texts)
    states, attention_mask = words.batch(texts)
    center, mass = zip(*(chunk.targets(number, [target]) for _, target in said), strict=True)
    return Batch(
        features=chunk.features(number, points)[None],
        points=points[None],
        present=mask[None],
        attended=(mask & (chunk.central(number) > MIN_CENTRAL))[None],
        stand=chunk.tensors["points"][number].float()[None],
        masks=mask[None],
        index=torch.zeros(len(said), dtype=torch.int64),
        words=states,
        attention_mask=attention_mask,
        centerness=torch.stack(center),
        massness=torch.stack(mass),
        rare=torch.tensor([is_rare(text) for text in texts]),
    )


__all__ = ["KINDS", "Picture", "pictures_of", "scene_batch"]
