"""The eight trainings of Table 4: which heads train, and whether on soft or on hard targets.

"soft" is center-ness (equation 2) or mass-ness (equation 4), "hard" is 1 wherever these are positive.
"""

from collections.abc import Sequence
from dataclasses import dataclass

STYLES = ("hard", "soft")


@dataclass(frozen=True)
class Variant:
    """
    One training of Table 4.

    Attributes:
        center: "hard" or "soft", the targets of the centre head; None = grounding is not trained.
        mass: the same of the mass head, and segmentation.

    Raises:
        ValueError: another style, or nothing is trained.
    """

    center: str | None
    mass: str | None

    def __post_init__(self) -> None:
        for name in ("center", "mass"):
            if (style := getattr(self, name)) not in (None, *STYLES):
                raise ValueError(f"{name}={style!r}: give 'hard', 'soft', or None where the head does not train.")
        if not self.styles:
            raise ValueError("center=None and mass=None: give a style to at least one of the two.")

    @property
    def name(self) -> str:
        """As files and tables call it, such as "center-soft_mass-hard"."""
        parts = {"center": self.center, "mass": self.mass}
        return "_".join(f"{head}-{style}" for head, style in parts.items() if style)

    @property
    def styles(self) -> dict[str, str]:
        """The style of each task that trains: "grounding" and "segmentation"."""
        given = {"grounding": self.center, "segmentation": self.mass}
        return {task: style for task, style in given.items() if style}

    def training_fields(self, soft: str = "paper") -> dict[str, list[str]]:
        """
        The fields of `TrainingConfig` that make this training.

        Args:
            soft: what soft targets are, "paper" or "released_code"; see `comprehension/targets.py`.
        """
        chosen = {task: soft if style == "soft" else style for task, style in self.styles.items()}
        return {"tasks": list(chosen), "soft_targets": [f"{task}={style}" for task, style in chosen.items()]}


# In the order of the table's rows.
TABLE_4: tuple[Variant, ...] = (
    Variant("hard", None), Variant(None, "hard"), Variant("soft", None), Variant(None, "soft"),
    Variant("hard", "hard"), Variant("hard", "soft"), Variant("soft", "hard"), Variant("soft", "soft"),
)  # fmt: skip


def variant_named(name: str, variants: Sequence[Variant] = TABLE_4) -> Variant:
    """
    The variant of this name.

    Raises:
        ValueError: there is none.
    """
    found = {variant.name: variant for variant in variants}
    if name not in found:
        raise ValueError(f"variant={name!r}: give one of {', '.join(found)}.")
    return found[name]


__all__ = ["STYLES", "TABLE_4", "Variant", "variant_named"]
