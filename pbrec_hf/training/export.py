"""A trained checkpoint as users get it: model, processor, detectors and card in one folder.

The folder is replaced whole, so that a reader never meets half of one. Knows nothing of training.
"""

from pathlib import Path
from typing import Any

from ..hub.writing import replaced_folder
from ..modeling_pbrec import PbrecForReferringExpression
from ..processing_pbrec import PbrecProcessor
from .origin import FILE, Origin


def save_checkpoint(
    folder: str | Path,
    model: PbrecForReferringExpression,
    processor: PbrecProcessor,
    state_dict: dict[str, Any] | None = None,
    card: str | None = None,
    origin: Origin | None = None,
) -> None:
    """
    Write a folder for `from_pretrained`, replacing an older one.

    Args:
        state_dict: the complete weights, where the model holds only this process's shard of them.
        card: text of README.md.
        origin: what it was trained and chosen on.

    Raises:
        OSError: it cannot be written, in one line.
    """
    with replaced_folder(Path(folder)) as partial:
        model.save_pretrained(partial, state_dict=state_dict)
        processor.save_pretrained(partial)
        if card is not None:
            (partial / "README.md").write_text(card, encoding="utf-8")
        if origin is not None:
            (partial / FILE).write_text(origin.text(), encoding="utf-8")
