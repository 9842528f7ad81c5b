"""What a training step of pbrec-mt-small computes: logits at some points, the loss, and noise on the map."""

import torch
from torch import Tensor
from torch.nn import functional as F

from ...comprehension.positions import sine_positions_2d
from ...geometry.points import grid_points
from ...modeling_pbrec import HIDDEN, PbrecForReferringExpression, PbrecImageFeatures
from .pool_data import Batch


def forward(model: PbrecForReferringExpression, batch: Batch) -> tuple[Tensor, Tensor]:
    """Logits (E, P') of both heads at the batch's points."""
    inner = model.model
    weight = inner.image_projection.weight[:, :, 0, 0]
    features = batch.features.transpose(1, 2) @ weight.T + inner.image_projection.bias
    middles = grid_points(*model.config.grid, model.config.stride, device=batch.stand.device)
    shift = (batch.stand - middles) / model.config.stride
    positions = sine_positions_2d(batch.masks.view(-1, *model.config.grid), model.config.d_model, shift)
    positions = positions.gather(1, batch.points[..., None].expand(-1, -1, positions.shape[-1]))
    encoded = PbrecImageFeatures(features, positions, batch.present, attended=batch.attended).gather(batch.index)
    fused = inner.fuse(batch.words, batch.attention_mask, encoded).last_hidden_state[:, : batch.points.shape[1]]
    assert model.center_head is not None and model.mass_head is not None  # pbrec-mt-small trains both
    return model.center_head(fused), model.mass_head(fused)


def loss_of(logits: Tensor, targets: Tensor, present: Tensor, ranking: float) -> Tensor:
    """
    Binary cross-entropy summed over the points of an expression, plus cross-entropy over them as a distribution.

    Args:
        logits, targets: (E, P').
        present: bool (E, P'), the points that lie in the picture.
        ranking: weight of the second term.

    Returns:
        The mean over the expressions.
    """
    # A small object at the edge may have its only positive point outside the picture, which no logit can reach.
    logits, targets = logits.float(), targets * present
    binary = (F.binary_cross_entropy_with_logits(logits, targets, reduction="none") * present).sum(1).mean()
    total = targets.sum(1)
    named = total > 0
    log_share = logits.masked_fill(~present, HIDDEN).log_softmax(1)
    among = -(targets / total.clamp(min=1e-6)[:, None] * log_share).sum(1)
    return binary + ranking * (among * named).sum() / named.sum().clamp(min=1)


@torch.no_grad()
def peak_accuracy(model: PbrecForReferringExpression, batches: list[Batch]) -> tuple[float, float]:
    """Share of expressions whose best point lies in the middle of the target, and mean probability of the best one."""
    model.eval()
    hits, count, best = 0.0, 0, 0.0
    for batch in batches:
        logits = forward(model, batch)[0]
        logits = logits.masked_fill(~batch.present[batch.index], HIDDEN)
        hits += peaks_hit(logits, batch).float().sum().item()
        best += logits.amax(1).sigmoid().sum().item()
        count += len(logits)
    model.train()
    return hits / max(count, 1), best / max(count, 1)


def peaks_hit(logits: Tensor, batch: Batch) -> Tensor:
    """bool (E, 1): whether the best point of `logits` (E, P') lies in the middle of the target."""
    return batch.centerness.gather(1, logits.argmax(1, keepdim=True)) > 0


def disturb(features: Tensor, neck: int, neck_dropout: float, noise: float) -> Tensor:
    """
    The map (I, C, P') as another camera or detector might have made it, so that no photograph is learnt by heart.

    Args:
        neck: how many of the channels are those of the neck, which come first.
        neck_dropout: share of the scenes whose channels of the neck are set to 0.
        noise: each channel of a scene is multiplied by exp(noise · N(0, 1)), and a fifth of `noise` of them set to 0.
    """
    keep = (torch.rand(len(features), 1, 1, device=features.device) >= neck_dropout).float()
    features = torch.cat((features[:, :neck] * keep, features[:, neck:]), dim=1)
    if noise > 0:
        scales = features[:, :, :1]
        kept = torch.rand_like(scales) >= noise / 5
        features = features * (noise * torch.randn_like(scales)).exp() * kept
    return features
