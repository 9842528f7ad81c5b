"""What ships with the package: a checkpoint, and photographs."""

from pathlib import Path


def bundled_checkpoint() -> str:
    """The folder of pbrec-mt-small, for `from_pretrained` and `pipeline`; nothing is downloaded."""
    return str(Path(__file__).parents[1] / "checkpoints" / "pbrec-mt-small")


def bundled_photographs() -> Path:
    """The folder of annotated photographs: `images/`, `instances.json`, `demo.json`, `ORIGINS.json`."""
    return Path(__file__).parents[1] / "assets" / "photographs"
