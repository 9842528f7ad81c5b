"""Faster inference with the same results: BatchNorm folded into the convolutions, channels-last memory.

For models and detectors that will only answer. What `optimize_for_inference` returns cannot be trained or saved: the
folded tensors are no longer the checkpoint's.
"""

from typing import Any

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torchvision.ops import FrozenBatchNorm2d
from transformers import PreTrainedModel

from ..layers.residual_blocks import fused_block
from .sharing import require_known_words, share_detector


@torch.no_grad()
def optimize_for_inference(model: PreTrainedModel) -> PreTrainedModel:
    """
    Fold every fixed BatchNorm into the convolution before it, let convolutions of residual blocks add and activate,
    and lay them out channels-last. In place.

    Outputs agree with the plain model's to float noise. `save_pretrained` of the result raises.

    Raises:
        ValueError: if the model is in training mode.
    """
    if model.training:
        raise ValueError("The model is in training mode: call `model.eval()` first; folded norms cannot be trained.")
    if not getattr(model, "folded", False):
        for parent in list(model.modules()):
            _fold_children(parent)
        for parent in list(model.modules()):
            for name, child in list(parent.named_children()):
                if (block := fused_block(child)) is not None:
                    setattr(parent, name, block)
        model.requires_grad_(False)
        model.to(memory_format=torch.channels_last)  # type: ignore[call-arg]  # a wrapper hides the method's self
        model.folded = True  # type: ignore[assignment]  # an attribute of StrictModel
    return model


def _fold_children(parent: nn.Module) -> None:
    """In ResNets of transformers and torchvision alike, a norm is registered right after its convolution."""
    previous = None
    for name, child in list(parent.named_children()):
        if isinstance(previous, nn.Conv2d) and isinstance(child, (FrozenBatchNorm2d, nn.BatchNorm2d)):
            norm: Any = (child.running_mean, child.running_var, child.eps, child.weight, child.bias)
            previous.weight, previous.bias = fuse_conv_bn_weights(previous.weight, previous.bias, *norm)
            setattr(parent, name, nn.Identity())
        previous = child


def prepare_to_answer(model: PreTrainedModel, processor: Any) -> None:
    """
    `optimize_for_inference` of a model and its processor's detectors, and `share_detector`; for answering only.

    Raises:
        ValueError: see `require_known_words`.
    """
    require_known_words(model, processor)
    for network in (model, processor.box_detector, processor.mask_detector):
        if network is not None:
            optimize_for_inference(network)
    share_detector(model, processor)


__all__ = ["optimize_for_inference", "prepare_to_answer"]
