"""Mends of known faults, taken away one at a time: a campaign that does not find the fault again is worth little.

Each entry names the family that must find the fault, and a context in which the package behaves as it did before the
mend. Everything happens in a worker's process, before its family is made.
"""

from . import answers, checkpoints, files, inputs
from .base import Undo

UNDOS: dict[str, Undo] = {**answers.UNDOS, **checkpoints.UNDOS, **files.UNDOS, **inputs.UNDOS}

__all__ = ["UNDOS", "Undo"]
