"""What a converter did with every key of a checkpoint: nothing is dropped silently."""

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass
class ConversionReport:
    """
    What became of every key.

    Attributes:
        used: source keys whose values are in the result.
        dead: source key → why no output reads it.
        missing: keys of the result that the source does not fill.
    """

    used: list[str] = field(default_factory=list)
    dead: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)

    def require_complete(self, source_keys: Iterable[str]) -> None:
        """
        Check that nothing was forgotten.

        Raises:
            ValueError: a source key is neither used nor dead, or a key of the result is missing.
        """
        unknown = sorted(set(source_keys) - set(self.used) - set(self.dead))
        if unknown or self.missing:
            raise ValueError(
                f"The checkpoint has another layout than expected. Unknown keys: {_some(unknown)}; "
                f"missing: {_some(self.missing)}. Check that it is of the kind that this converter reads."
            )

    def summary(self) -> str:
        """A few lines for a person: counts, and every dead or missing key."""
        lines = [f"{len(self.used)} keys used, {len(self.dead)} dead, {len(self.missing)} missing"]
        lines += [f"  dead: {key} ({reason})" for key, reason in self.dead.items()]
        lines += [f"  missing: {key}" for key in self.missing]
        return "\n".join(lines)


def _some(keys: list[str], most: int = 5) -> str:
    if not keys:
        return "none"
    rest = f" and {len(keys) - most} more" if len(keys) > most else ""
    return ", ".join(keys[:most]) + rest
