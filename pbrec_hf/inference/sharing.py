"""Run a detector that a checkpoint uses in several places once per canvas.

The bundled checkpoint uses one frozen detector three times: in its backbone, for boxes, and for masks. Where configs
and tensors are equal, all three become one module, and the processor passes its output on to the mask head and to the
model (as `detected`). Results do not change, and nothing is cached between calls.
"""

from typing import Any

import torch
from transformers import PreTrainedModel


def share_detector(model: PreTrainedModel, processor: Any) -> bool:
    """
    Run the detector that model and processor have in common once per canvas.

    Convolutions of the shared detector get channels-last memory. Casting or moving the model affects the shared
    detector, too: call `processor.to` with the same arguments.

    Returns:
        Whether anything is shared.
    """
    own = getattr(model.model.backbone, "detector", None)
    if own is None or model.training:
        return False
    shared = False
    if processor.mask_detector is not None:
        inner = getattr(processor.mask_detector, "detector", None)
        if inner is not None and same_network(own, inner):
            processor.mask_detector.detector, shared = own, True
    if processor.box_detector is not None and same_network(own, processor.box_detector):
        processor.replace_detector("boxes", own)
        shared = True
    if shared:
        processor.share(own)
        # Depthwise convolutions of a CPU are twice as fast in this layout; the values stay the same.
        for module in filter(None, (own, processor.mask_detector)):
            module.to(memory_format=torch.channels_last)
    return shared


def require_known_words(model: PreTrainedModel, processor: Any) -> None:
    """
    Check that the model's text encoder knows every token of the processor's tokenizer, and as many in a row.

    Raises:
        ValueError: it does not; such an expression would fail in the middle of an answer.
    """
    positions = getattr(model.config.text_config, "max_position_embeddings", None)
    if isinstance(positions, int) and processor.max_text_length > positions:
        raise ValueError(
            f"The processor reads up to {processor.max_text_length} tokens of an expression, but the model's text "
            f"encoder at most {positions}: set max_text_length to no more."
        )
    known = model.get_input_embeddings().num_embeddings
    tokenizer = processor.tokenizer
    # What frames an expression comes from the tokenizer's own template, which may be damaged, too.
    largest = max(len(tokenizer) - 1, *tokenizer("a")["input_ids"])
    if largest >= known:
        raise ValueError(
            f"The tokenizer has tokens up to number {largest}, but the model's text encoder knows {known}: its "
            "tokenizer.json or tokenizer_config.json is damaged, or belongs to another model. Get both again."
        )


def same_network(one: Any, other: Any) -> bool:
    """Whether two networks have equal configs, but for where they come from, and bit-equal weights."""
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
    """A config without the fields that describe where and how it was saved."""
    origin = ("_name_or_path", "architectures", "dtype", "transformers_version")
    return {
        name: _settings(value) if isinstance(value, dict) else value
        for name, value in config.items()
        if name not in origin
    }


__all__ = ["require_known_words", "same_network", "share_detector"]
