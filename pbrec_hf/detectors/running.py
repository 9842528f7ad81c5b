"""Running the detectors of a processor on a batch of canvases: a network that several share runs once."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..geometry.image_index import image_of_each
from ..geometry.proposals import Proposals
from ..geometry.requested_masks import RequestedMasks
from .base import asks_expressions, makes_masks_of_boxes


def run_detectors(
    detectors: Mapping[str, Any],
    pixel_values: Tensor,
    pixel_mask: Tensor | None,
    expressions: Sequence[str] | None = None,
    image_index: Tensor | None = None,
) -> tuple[dict[str, Proposals | RequestedMasks], dict[int, Any]]:
    """
    Proposals of every detector.

    Args:
        detectors: by kind.
        pixel_values: (I, 3, H, W).
        pixel_mask: (I, H, W), 1 = picture.
        expressions, image_index: E expressions and their pictures, for detectors that are asked with words.

    Returns:
        The proposals by kind, or masks on request, and the outputs of the networks (`source`) that ran, by their id.

    Raises:
        ValueError: a detector is asked with words, and there are no expressions.
    """
    found: dict[str, Proposals | RequestedMasks] = {}
    outputs: dict[int, Any] = {}
    for kind, detector in detectors.items():
        canvases = pixel_values.to(detector.device, detector.dtype)
        source = getattr(detector, "source", None)
        if makes_masks_of_boxes(detector):
            found[kind] = detector.prompt(canvases)
        elif asks_expressions(detector):
            if expressions is None:
                raise ValueError(
                    f"The detector that proposes {kind} is asked with words: give expressions with the pictures, or "
                    "return_proposals=False."
                )
            index = image_of_each(image_index, len(expressions), len(canvases))
            asked = {"expressions": list(expressions), "image_index": index.to(canvases.device)}
            found[kind] = detector.propose(canvases, pixel_mask, **asked)
        elif source is None:
            found[kind] = detector.propose(canvases, pixel_mask)
        else:
            if id(source) not in outputs:
                with torch.no_grad():
                    outputs[id(source)] = source(canvases)
            found[kind] = detector.propose(canvases, pixel_mask, output=outputs[id(source)])
    return found, outputs


__all__ = ["run_detectors"]
