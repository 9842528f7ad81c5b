"""What a trained checkpoint was trained and chosen on: `training_data.json` beside its weights.

Whoever measures a checkpoint reads it, to see which of its scores are of cases that training knew. Knows nothing of
models.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..hub.publishing import ORIGIN as FILE


@dataclass(frozen=True)
class Origin:
    """
    Attributes:
        trained_on: data sets, each with its split, such as ["refcoco/unc train"], or names of files.
        chosen_on: the set on which its epoch, and whatever else was chosen, such as "refcoco/unc val"; None = nothing
            was chosen.
        metric: what was largest in the epoch that was chosen.
    """

    trained_on: list[str] = field(default_factory=list)
    chosen_on: str | None = None
    metric: str | None = None

    def text(self) -> str:
        """JSON."""
        return json.dumps(asdict(self), indent=1) + "\n"


def origin_of(folder: str | Path) -> Origin | None:
    """
    What a folder says of its training; None where it says nothing, or is not a folder.

    Raises:
        ValueError: the file is damaged.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        return None
    try:
        return Origin(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{path} does not say what was trained on ({error}): write it again, or delete it."
        ) from error


__all__ = ["FILE", "Origin", "origin_of"]
