"""The last step of every converter: the result must run, and what comes out must be numbers."""

from collections.abc import Mapping

import torch
from torch import Tensor
from transformers import PreTrainedModel


@torch.no_grad()
def verify_forward(model: PreTrainedModel, inputs: Mapping[str, Tensor] | None = None) -> None:
    """
    Run `model` once in evaluation mode.

    Args:
        inputs: of its forward pass; by default `pixel_values` (1, 3, 64, 96) of fixed noise.

    Raises:
        ValueError: an output is not finite, so the weights are damaged or belong to another network.
    """
    if inputs is None:
        noise = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
        inputs = {"pixel_values": noise.to(model.dtype)}
    for name, value in model.eval()(**inputs).items():
        # Values other than tensors, such as the sizes of grids, cannot be damaged.
        tensors = [part for part in (value if isinstance(value, tuple) else [value]) if isinstance(part, Tensor)]
        if not all(tensor.isfinite().all() for tensor in tensors):
            raise ValueError(
                f"The converted {type(model).__name__} gives {name} that are not finite: the checkpoint is damaged "
                "or belongs to another network."
            )
