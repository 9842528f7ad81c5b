"""One training of Table 4 on pbrec-mt-small's pool: fusion encoder and heads from nothing, all else frozen.

The frozen parts (image backbone, text encoder) are the bundled checkpoint's. Runs of one seed start from the same
weights and see the same batches; they differ in their targets and in which heads train.
"""

import contextlib
import logging
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim import AdamW
from transformers import PreTrainedTokenizerFast

from ...configuration_pbrec import PbrecConfig
from ...modeling_pbrec import PbrecForReferringExpression
from ..small.model import align
from ..small.pool_batches import Pool
from ..small.pool_data import Batch
from ..small.recipe import Recipe
from ..small.steps import disturb, forward, loss_of
from ..small.train import half_precision, neck_channels, rate_at
from .variants import Variant

FROZEN = ("backbone.", "text_model.")
logger = logging.getLogger(__name__)


class Trained(NamedTuple):
    """
    What a training reports.

    Attributes:
        seconds: of wall clock.
        losses: of each head that trained, a running mean at the end.
    """

    seconds: float
    losses: dict[str, float]


def starting_model(
    checkpoint: Path, seed: int, sizes: Mapping[str, Any]
) -> tuple[PbrecForReferringExpression, PreTrainedTokenizerFast]:
    """
    The model of a checkpoint with its frozen parts, and everything else as it starts from `seed`; and the tokenizer.

    Args:
        checkpoint: folder of a pbrec-mt-small.
        seed: of the weights that train.
        sizes: fields of the config that differ from the checkpoint's: those of the fusion encoder.
    """
    trained, tokenizer = _loaded(checkpoint)
    torch.manual_seed(seed)
    fields = trained.config.to_dict() | dict(sizes)
    fields["backbone_config"]["postures"] = False  # trends.py makes its pool around the bare detector
    model = PbrecForReferringExpression(PbrecConfig.from_dict(fields))
    frozen = {name: value for name, value in trained.model.state_dict().items() if name.startswith(FROZEN)}
    model.model.load_state_dict(frozen, strict=False)
    model.model.backbone.requires_grad_(False)
    model.model.text_model.requires_grad_(False)
    align(model, tokenizer)
    return model, tokenizer


@cache
def _loaded(checkpoint: Path) -> tuple[PbrecForReferringExpression, PreTrainedTokenizerFast]:
    model = PbrecForReferringExpression.from_pretrained(checkpoint, dtype=torch.float32)
    return model, PreTrainedTokenizerFast.from_pretrained(checkpoint)


def train_variant(
    model: PbrecForReferringExpression, pool: Pool, recipe: Recipe, variant: Variant, seed: int, bf16: bool = False
) -> Trained:
    """
    Train a model that `starting_model` made, in place, through the one phase of the recipe.

    Args:
        pool: scenes with expressions of one object each.
        seed: of batches and noise.
        bf16: compute matrix products in bfloat16.
    """
    phase = recipe.phases[0]
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = AdamW(parameters, weight_decay=recipe.weight_decay, betas=(0.9, 0.98))
    torch.manual_seed(seed)
    batches = pool.batches(seed, phase.images, phase.expressions, phase.points, recipe.negatives)
    model.train()
    model.model.text_model.eval()
    began, mean = time.perf_counter(), dict[str, float]()
    for step, batch in zip(range(phase.steps), batches):  # noqa: B905 (the batches have no end)
        for group in optimizer.param_groups:
            group["lr"] = rate_at(phase, step)
        batch.features = disturb(batch.features, neck_channels(model), recipe.neck_dropout, phase.channel_noise)
        with half_precision() if bf16 else contextlib.nullcontext():
            losses = losses_of(model, batch, recipe, variant)
        optimizer.zero_grad()
        sum(losses.values(), torch.zeros(())).backward()
        torch.nn.utils.clip_grad_norm_(parameters, recipe.clip)
        optimizer.step()
        for name, loss in losses.items():
            mean[name] = 0.98 * mean.get(name, loss.item()) + 0.02 * loss.item()
        if step % 40 == 0:
            shown = {name: round(value, 3) for name, value in mean.items()}
            logger.info("%s, seed %d, step %d: %s", variant.name, seed, step, shown)
    model.eval()
    return Trained(time.perf_counter() - began, mean)


def losses_of(model: PbrecForReferringExpression, batch: Batch, recipe: Recipe, variant: Variant) -> dict[str, Tensor]:
    """The loss of each head that `variant` trains: "center" and/or "mass" (equation 6, summed over the points)."""
    center, mass = forward(model, batch)
    present = batch.present[batch.index]
    losses: dict[str, Tensor] = {}
    if variant.center:
        losses["center"] = loss_of(center, styled(batch.centerness, variant.center), present, recipe.ranking)
    if variant.mass:
        losses["mass"] = recipe.mass_weight * loss_of(
            mass, styled(batch.massness, variant.mass), present, recipe.ranking
        )
    return losses


def styled(targets: Tensor, style: str) -> Tensor:
    """Soft targets in [0, 1] as they are, or hard ones: 1 wherever the soft ones are positive."""
    return (targets > 0).to(targets) if style == "hard" else targets


__all__ = ["Trained", "losses_of", "starting_model", "styled", "train_variant"]
