"""A running average of the trainable weights, which often scores better than the last ones.

Expects weights that are whole on every process; refuses sharded ones. Knows nothing of steps and files.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """
    Args:
        model: its trainable parameters are averaged, in float32.
        decay: share of the old average that each `update` keeps.

    Raises:
        ValueError: the parameters are sharded over processes.
    """

    def __init__(self, model: nn.Module, decay: float):
        self.decay = decay
        self._parameters = {name: value for name, value in model.named_parameters() if value.requires_grad}
        if any(hasattr(value, "device_mesh") or value.numel() == 0 for value in self._parameters.values()):
            raise ValueError(
                "ema_decay needs weights that are whole on every process: leave it out with FSDP or ZeRO 3."
            )
        self._average = {name: value.detach().float().clone() for name, value in self._parameters.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take the current weights in; to be called after each optimiser step."""
        current = [value.detach().float() for value in self._parameters.values()]
        torch._foreach_lerp_(list(self._average.values()), current, 1 - self.decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within the context the model's weights are the average."""
        kept = {name: value.detach().clone() for name, value in self._parameters.items()}
        self._write(self._average)
        try:
            yield
        finally:
            self._write(kept)

    def state_dict(self) -> dict[str, Tensor]:
        return self._average

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Raises ValueError if `state` is of other parameters."""
        if state.keys() != self._average.keys():
            raise ValueError(
                "the checkpoint's average is of other parameters than those that train now: "
                f"{sorted(state.keys() ^ self._average.keys())[:3]} …; start in another output_dir"
            )
        for name, value in state.items():
            self._average[name].copy_(value)

    @torch.no_grad()
    def _write(self, values: dict[str, Tensor]) -> None:
        for name, parameter in self._parameters.items():
            parameter.copy_(values[name])
