"""An exponential moving average of the trainable weights, which often scores better than the last ones.

Expects weights that are whole on every process; refuses sharded ones. Knows nothing of steps and files.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class WeightAverage:
    """
    Args:
        model: its trainable parameters are averaged, in float32.
        decay: share of the old average that each `update` keeps.

    Raises:
        ValueError: the parameters are sharded over processes.
    """

    def __init__(self, model: nn.Module, decay: float):
        self._parameters = {name: value for name, value in model.named_parameters() if value.requires_grad}
        if any(hasattr(value, "device_mesh") or value.numel() == 0 for value in self._parameters.values()):
            raise ValueError(
                "ema_decay needs weights that are whole on every process: leave it out with FSDP or ZeRO 3."
            )
        self._average = AveragedModel(self._current(), multi_avg_fn=get_ema_multi_avg_fn(decay))
        self.update()  # the first update copies, so that the average starts at the weights as they are

    def update(self) -> None:
        """Take in the current weights; to be called after each optimiser step."""
        self._average.update_parameters(self._current())

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within the context the model's weights are the average."""
        kept = {name: value.detach().clone() for name, value in self._parameters.items()}
        self._write(self.state_dict())
        try:
            yield
        finally:
            self._write(kept)

    def state_dict(self) -> dict[str, Tensor]:
        """The average, float32, by the names of the parameters."""
        averages = (value.detach() for value in self._average.module.parameters())
        return dict(zip(self._parameters, averages, strict=True))

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """
        Go on from an average that `state_dict` gave.

        Raises:
            ValueError: it is of other parameters.
        """
        averages = self.state_dict()
        if state.keys() != averages.keys():
            raise ValueError(
                "The average in the checkpoint is of other parameters than those that train now "
                f"({', '.join(sorted(state.keys() ^ averages.keys())[:3])} …): start in another output_dir."
            )
        for name, value in state.items():
            averages[name].copy_(value)

    def _current(self) -> nn.ParameterList:
        """The parameters as they are, in float32: only these of the model, for frozen towers need no average."""
        values = [value.detach().float() for value in self._parameters.values()]
        return nn.ParameterList([nn.Parameter(value, requires_grad=False) for value in values])

    @torch.no_grad()
    def _write(self, values: Mapping[str, Tensor]) -> None:
        for name, parameter in self._parameters.items():
            parameter.copy_(values[name])
