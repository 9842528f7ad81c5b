"""Faster inference with the same results: BatchNorm folded into the convolutions, channels-last memory, one look each.

For models and detectors that will only answer. What `optimize_for_inference` returns cannot be trained or saved: the
folded tensors are no longer the checkpoint's. `share_detector` changes no value.
"""

import weakref

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torchvision.ops import FrozenBatchNorm2d
from transformers import PreTrainedModel

from .residual_blocks_pbrec import fused_block


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
    if not getattr(model, "_folded", False):
        for parent in list(model.modules()):
            _fold_children(parent)
        for parent in list(model.modules()):
            for name, child in list(parent.named_children()):
                if (block := fused_block(child)) is not None:
                    setattr(parent, name, block)
        model.requires_grad_(False)
        model.to(memory_format=torch.channels_last)
        model._folded = True
        model.save_pretrained = _refuse_to_save
    return model


def _fold_children(parent: nn.Module) -> None:
    """In ResNets of transformers and torchvision alike, a norm is registered right after its convolution."""
    previous = None
    for name, child in list(parent.named_children()):
        if isinstance(previous, nn.Conv2d) and isinstance(child, (FrozenBatchNorm2d, nn.BatchNorm2d)):
            norm = (child.running_mean, child.running_var, child.eps, child.weight, child.bias)
            previous.weight, previous.bias = fuse_conv_bn_weights(previous.weight, previous.bias, *norm)
            setattr(parent, name, nn.Identity())
        previous = child


def _refuse_to_save(*args, **kwargs):
    raise ValueError("This model was folded for inference and holds its checkpoint no longer: load it again to save.")


def prepare_to_answer(model: PreTrainedModel, processor) -> None:
    """`optimize_for_inference` of a model and its processor's detectors, and `share_detector`; for answering only."""
    for network in (model, processor.box_detector, processor.mask_detector):
        if network is not None:
            optimize_for_inference(network)
    share_detector(model, processor)


def share_detector(model: PreTrainedModel, processor) -> bool:
    """
    Let the comprehension stage and the processor's detectors look at a canvas once, where they look with the same net.

    A checkpoint may use one frozen detector three times: inside its backbone, for boxes, and under the masks. Where
    configs and tensors are equal, all three become one module that remembers its last canvases. Called by whoever owns
    both, model and processor; elsewhere nothing is shared. Their convolutions are laid out channels-last.

    Returns:
        Whether anything is shared.
    """
    own = getattr(model.model.backbone, "detector", None)
    if own is None or model.training:
        return False
    shared = False
    for detector in (processor.box_detector, processor.mask_detector):
        inner = getattr(detector, "detector", None)
        if inner is not None and _equal(own, inner):
            detector.detector, shared = own, True
    if processor.box_detector is not None and _equal(own, processor.box_detector):
        processor.replace_detector("boxes", own)
        shared = True
    if shared and not isinstance(own.forward, _LastLook):
        own.forward = _LastLook(own.forward)
        # Depthwise convolutions of a CPU are twice as fast in this layout; the values stay the same.
        for module in filter(None, (own, processor.mask_detector)):
            module.to(memory_format=torch.channels_last)
    return shared


def _equal(one: nn.Module, other: nn.Module) -> bool:
    if one is other:
        return True
    first, second = one.state_dict(), other.state_dict()
    return (
        type(one) is type(other)
        and _settings(one.config.to_dict()) == _settings(other.config.to_dict())
        and first.keys() == second.keys()
        and all(
            value.device == second[name].device and value.dtype == second[name].dtype and value.equal(second[name])
            for name, value in first.items()
        )
    )


def _settings(config: dict) -> dict:
    """A config without what says where and how it was saved."""
    origin = ("_name_or_path", "architectures", "dtype", "transformers_version")
    return {
        name: _settings(value) if isinstance(value, dict) else value
        for name, value in config.items()
        if name not in origin
    }


class _LastLook:
    """A forward without gradients that gives its last output again for the very same, unchanged tensor."""

    def __init__(self, forward):
        self.forward = forward
        self._forget()

    def _forget(self) -> None:
        self.seen, self.version, self.output = (lambda: None), None, None

    def __getstate__(self):
        return {"forward": self.forward}  # weak references cannot be pickled

    def __setstate__(self, state):
        self.__init__(**state)

    def __call__(self, pixel_values: Tensor, **kwargs):
        # Tensors made in inference mode count no changes; and what needs gradients has to be computed.
        if kwargs or torch.is_grad_enabled() or pixel_values.is_inference():
            return self.forward(pixel_values, **kwargs)
        if self.seen() is not pixel_values or self.version != pixel_values._version:
            self.output = self.forward(pixel_values)
            self.seen, self.version = weakref.ref(pixel_values), pixel_values._version
        return self.output
