"""`torch.compile` of what takes most of the time of an answer, in place."""

from typing import Any

from torch import nn
from transformers import PreTrainedModel


def compile_networks(model: PreTrainedModel, processor: Any, **options: Any) -> None:
    """
    Compile the networks that see pictures: the detectors, and the model's backbone.

    They compile when they are first used, and again for pictures in another number; never for expressions. What lies
    between, such as the description of objects, depends on what is found in a picture, and runs as before; so does the
    reading of expressions, which compiling does not make faster on a CPU. Checkpoints are saved as before.

    Args:
        model, processor: a [`PbrecForReferringExpression`] and its processor, of one checkpoint; they answer in torch.
        options: of `torch.compile`.
    """
    backbone = model.model.backbone
    # A backbone with a detector inside does little beside it, and that in Python.
    seeing = (getattr(backbone, "detector", backbone), *processor.held_detectors.values())
    for network in dict.fromkeys(network for network in seeing if isinstance(network, nn.Module)):
        network.compile(**options)


__all__ = ["compile_networks"]
