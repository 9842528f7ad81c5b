"""The checkpoint that ships with the package."""

from pathlib import Path


def bundled_checkpoint() -> str:
    """The folder of pbrec-mt-small, for `from_pretrained` and `pipeline`; nothing is downloaded."""
    return str(Path(__file__).parents[1] / "checkpoints" / "pbrec-mt-small")
