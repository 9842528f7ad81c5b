"""A detector that a checkpoint uses in several places looks at a canvas once.

The bundled checkpoint uses one frozen detector three times: inside its backbone, for boxes, and under the masks. Where
configs and tensors are equal, all three become one module, and the processor passes that module's output on: from the
boxes to the masks, and to the model (as `detected`). No value changes, and nothing remembers a canvas.
"""

from typing import Any

import torch
from transformers import PreTrainedModel


def share_detector(model: PreTrainedModel, processor: Any) -> bool:
    """
    Let the comprehension stage and the processor's detectors run the detector that they have in common once.

    Called by whoever owns both, model and processor. Their convolutions are laid out channels-last. Casts and moves of
    the model reach the shared detector, too; move the processor along (`processor.to`).

    Returns:
        Whether anything is shared.
    """
    own = getattr(model.model.backbone, "detector", None)
    if own is None or model.training:
        return False
    shared = False
    if processor.mask_detector is not None:
        inner = getattr(processor.mask_detector, "detector", None)
        if inner is not None and _equal(own, inner):
            processor.mask_detector.detector, shared = own, True
    if processor.box_detector is not None and _equal(own, processor.box_detector):
        processor.replace_detector("boxes", own)
        shared = True
    if shared:
        processor.share(own)
        # Depthwise convolutions of a CPU are twice as fast in this layout; the values stay the same.
        for module in filter(None, (own, processor.mask_detector)):
            module.to(memory_format=torch.channels_last)
    return shared


def _equal(one: Any, other: Any) -> bool:
    if one is other:
        return True
    if type(one) is not type(other) or _settings(one.config.to_dict()) != _settings(other.config.to_dict()):
        return False
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(
        value.device == second[name].device and value.dtype == second[name].dtype and value.equal(second[name])
        for name, value in first.items()
    )


def _settings(config: dict[str, Any]) -> dict[str, Any]:
    """A config without what says where and how it was saved."""
    origin = ("_name_or_path", "architectures", "dtype", "transformers_version")
    return {
        name: _settings(value) if isinstance(value, dict) else value
        for name, value in config.items()
        if name not in origin
    }


__all__ = ["share_detector"]
