"""A trained pbrec-mt-small that also sees who sits and who stands: step 1 of train_postures.yaml in run.sh.

    python scripts/small/postures.py --checkpoint CHECKPOINT --data DATA --out FOLDER

Fits the posture head of the backbone, a logistic regression, to the persons of the training photographs whose
keypoints tell, and says how many it names rightly of those of photographs that each of five fits left out. FOLDER gets
`model`, which training goes on from, and which answers as CHECKPOINT until it has trained; and `detector`, the NanoDet
inside.
"""

import argparse
import json
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import box_iou
from transformers import PreTrainedTokenizerFast

from ...configuration_pbrec import PbrecConfig
from ...data.scenes.objects import SceneObject
from ...data.scenes.scene import Scene, flip
from ...hub.writing import replaced_folder
from ...modeling_pbrec import PbrecForReferringExpression
from ...small.backbone import GroundingBackbone
from ...small.postures import POSTURES, PostureHead, box_shapes, third_means
from .pool import CANVAS, letterbox_of, picture_inputs, split_photographs, with_known_postures

FOLDS = 5
SHRINK = 0.1  # of the weights of standardised channels
_SAME = 0.5  # IoU from which a detection shows a person
logger = logging.getLogger(__name__)


class Persons(NamedTuple):
    """
    N detected persons whose posture is known.

    Attributes:
        given: (N, F), what the head reads.
        sits: float (N,), 1 = sitting, 0 = standing.
        photographs: int64 (N,), where they are.
    """

    given: Tensor
    sits: Tensor
    photographs: Tensor


@torch.no_grad()
def see_persons(scenes: Iterable[Scene], backbone: GroundingBackbone) -> Persons:
    """The detected persons of photographs and of their mirror images."""
    given: list[Tensor] = []
    sits: list[float] = []
    photographs: list[int] = []
    for number, scene in enumerate(scenes):
        if not _known(scene):
            continue
        for turned in (scene, flip(scene)):
            known = _known(turned)
            outputs = backbone.detector(picture_inputs(turned)[0][None])
            [(boxes, _, _)] = backbone.find(outputs.scores, outputs.points, outputs.distances, (CANVAS, CANVAS))
            truth = letterbox_of(turned.size).boxes_to_canvas(torch.tensor([item.box for item in known]))
            overlap, best = box_iou(truth, boxes).max(1) if len(boxes) else (truth.new_zeros(len(truth)),) * 2
            shown = boxes[best[overlap > _SAME].long()]
            maps = [level[0] for level in outputs.feature_maps]
            means = third_means(shown, maps, (CANVAS, CANVAS))
            given += torch.cat((means, box_shapes(shown, (CANVAS, CANVAS))), dim=1).unbind()
            sits += [
                float(item.posture == POSTURES[0]) for item, far in zip(known, overlap, strict=True) if far > _SAME
            ]
            photographs += [number] * len(shown)
    return Persons(torch.stack(given), torch.tensor(sits), torch.tensor(photographs))


def _known(scene: Scene) -> list[SceneObject]:
    return [item for item in scene.objects if item.posture is not None and not item.vague]


def fit(persons: Persons) -> tuple[Tensor, Tensor]:
    """
    Weight (F,) and bias () of a logistic regression that counts both postures alike.

    Raises:
        ValueError: one of the postures is missing.
    """
    share = persons.sits.mean()
    if not 0 < share < 1:
        raise ValueError(
            f"All {len(persons.sits)} persons have the same posture: give some who sit and some who stand."
        )
    mean, spread = persons.given.mean(0), persons.given.std(0) + 1e-3
    given = F.pad((persons.given - mean) / spread, (0, 1), value=1.0)
    counts = torch.where(persons.sits == 1, 0.5 / share, 0.5 / (1 - share))
    solution = torch.zeros(given.shape[1], requires_grad=True)
    optimizer = torch.optim.LBFGS([solution], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        wrong = F.binary_cross_entropy_with_logits(given @ solution, persons.sits, counts)
        value: Tensor = wrong + SHRINK * solution[:-1].square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    weight = solution.detach()[:-1] / spread
    return weight, solution.detach()[-1] - weight @ mean


def named_rightly(persons: Persons) -> tuple[float, float]:
    """Shares of the sitting and of the standing persons that are named rightly by fits without their photographs."""
    folds = torch.from_numpy(np.random.default_rng(0).permutation(int(persons.photographs.max()) + 1) % FOLDS)
    fold = folds[persons.photographs]
    right = torch.zeros(len(fold))
    for number in range(FOLDS):
        weight, bias = fit(Persons(*(part[fold != number] for part in persons)))
        out = fold == number
        right[out] = ((persons.given[out] @ weight + bias > 0) == (persons.sits[out] == 1)).float()
    sitting, standing = (right[persons.sits == value].mean().item() for value in (1, 0))
    return sitting, standing


@torch.no_grad()
def fill(head: PostureHead, weight: Tensor, bias: Tensor) -> None:
    """Put what `fit` found into a head."""
    parts = list(head.thirds.parameters())
    *levels, shape = weight.split([*(part.numel() for part in parts), head.shape.in_features])
    for part, values in zip(parts, levels, strict=True):
        part.copy_(values.view_as(part))
    head.shape.weight.copy_(shape[None])
    head.shape.bias.fill_(float(bias))


@torch.no_grad()
def seeing_postures(model: PbrecForReferringExpression) -> PbrecForReferringExpression:
    """A trained `model` with channels for postures, whose head is still to be filled: it answers as before."""
    fields = model.config.to_dict()
    fields["backbone_config"]["postures"] = True
    new = PbrecForReferringExpression(PbrecConfig.from_dict(fields)).eval()
    before = model.model.image_projection.weight
    names = new.model.backbone.config.channel_names
    old = [index for index, name in enumerate(names) if name not in {f"object:{posture}" for posture in POSTURES}]
    columns = before.new_zeros(len(before), len(names), 1, 1)
    columns[:, old] = before
    new.load_state_dict(model.state_dict() | {"model.image_projection.weight": columns}, strict=False)
    return new


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True, help="a trained pbrec-mt-small")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if (args.out / "model").is_dir():
        return
    model = PbrecForReferringExpression.from_pretrained(args.checkpoint, dtype=torch.float32).eval()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(args.checkpoint)
    new = seeing_postures(model)
    backbone = new.model.backbone
    train, _ = split_photographs(args.data)
    persons = see_persons(with_known_postures(train, args.data), backbone)
    sitting, standing = named_rightly(persons)
    figures = {"persons": len(persons.sits), "sitting": round(sitting, 3), "standing": round(standing, 3)}
    logger.info("named rightly of photographs left out: %s", json.dumps(figures))
    fill(backbone.posture_head, *fit(persons))
    backbone.detector.save_pretrained(args.out / "detector")
    with replaced_folder(args.out / "model") as folder:
        new.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    logger.info("wrote %s", args.out)
