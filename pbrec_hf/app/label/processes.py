"""The processes that label together: which is this one, and where they wait for each other.

They are started by `accelerate launch` or torchrun. One process alone needs neither Accelerate nor a group.
"""

import os
from dataclasses import dataclass
from datetime import timedelta

_PATIENCE = timedelta(days=365)  # the last rows of a process may take longer than a group's usual half an hour


@dataclass(frozen=True)
class Processes:
    """
    Attributes:
        rank: of this process.
        count: of all.
        device: where this process runs.
    """

    rank: int = 0
    count: int = 1
    device: str = "cpu"

    @classmethod
    def started(cls, device: str) -> "Processes":
        """
        The group that a launcher started, or this process alone.

        Args:
            device: asked for; of several GPUs, each process gets its own.
        """
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls(device=device)
        from accelerate import PartialState

        state = PartialState(cpu=device == "cpu", timeout=_PATIENCE)
        return cls(state.process_index, state.num_processes, str(state.device) if device == "cuda" else device)

    @property
    def first(self) -> bool:
        """Whether this process does what is done once."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.count > 1:
            from accelerate import PartialState

            PartialState().wait_for_everyone()


__all__ = ["Processes"]
