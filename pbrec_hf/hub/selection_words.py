"""How a checkpoint selects its answers, in the words of its card: from its settings, beside what the paper does."""

from ..selection.settings import SelectionSettings, paper_selection


def selection_in_words(settings: SelectionSettings) -> str:
    """A paragraph: what is ranked, how the answer is chosen, and whether that is the paper's way."""
    ranked = " that survive the detector's suppression" if settings.candidates_only else ""
    quality = "the detector's quality" + ("" if settings.quality_power == 1 else f"^{settings.quality_power:g}")
    if settings.choose == "fit":
        how = f"Of the boxes{ranked}, the answer is the one whose center-ness is most similar to the map of scores"
        how += f", weighed by {quality}" if settings.ranking == "score_times_quality" else ""
    else:
        weight = "the score at their point"
        weight += f" × {quality}, if it has one" if settings.ranking == "score_times_quality" else ""
        if settings.level_weights is not None:
            weight += f" × a weight for each of the detector's grids ({', '.join(map(str, settings.level_weights))})"
        how = (
            f"Proposals{ranked} are ranked by {weight}; of the best {settings.top_k}, the one that the others overlap"
        )
        how += " most is the answer (equation 7)"
    masks = " Its mask is the one proposed at the point of the box." if settings.masks_follow_boxes else ""
    differs = [name for name, value in paper_selection().items() if getattr(settings, name) != value]
    named = ", ".join(f"{name}={getattr(settings, name)!r}" for name in differs)
    paper = f" This is not the paper's selection ({named}), which is a vote of 12." if differs else ""
    paper = paper or " This is the paper's selection."
    return f"{how}.{masks}{paper}"


__all__ = ["selection_in_words"]
