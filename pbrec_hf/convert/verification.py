"""The last step of every converter: the result must run, and what comes out must be numbers."""

import torch
from torch import Tensor
from transformers import PreTrainedModel


@torch.no_grad()
def verify_forward(model: PreTrainedModel, height: int = 64, width: int = 96) -> None:
    """Run `model` once on a fixed noise picture (1, 3, `height`, `width`).

    Raises:
        ValueError: an output is not finite, so the weights are damaged or of another network.
    """
    picture = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(0)).to(model.dtype)
    for name, value in model.eval()(picture).items():
        # What is no tensor, such as the sizes of grids, cannot be damaged.
        tensors = [part for part in (value if isinstance(value, tuple) else [value]) if isinstance(part, Tensor)]
        if not all(tensor.isfinite().all() for tensor in tensors):
            raise ValueError(
                f"the converted {type(model).__name__} gives {name} that are not finite; the checkpoint is damaged or "
                "belongs to another network"
            )
