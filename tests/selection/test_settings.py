"""Settings: the defaults are the paper's, every limit is inclusive or not as its message says."""

import pytest

from pbrec_hf.selection.settings import SelectionSettings, require_threshold


def test_the_defaults_are_the_papers():
    settings = SelectionSettings()
    assert (settings.choose, settings.top_k, settings.ranking) == ("vote", 12, "score_times_quality")
    assert (settings.quality_power, settings.candidates_only, settings.level_weights) == (1.0, False, None)
    assert (settings.interpolate, settings.masks_follow_boxes, settings.mask_threshold) == (
        "probabilities",
        False,
        0.5,
    )


@pytest.mark.parametrize(
    ("field", "legal", "illegal"),
    [
        ("choose", ["vote", "fit"], ["best", None]),
        ("top_k", [1, 2, 10_000], [0, -1, 1.0, "12"]),
        ("ranking", ["score", "score_times_quality"], ["quality"]),
        ("interpolate", ["probabilities", "logits"], ["masks"]),
        ("quality_power", [0, 0.5, 10], [-0.01, 10.01, float("nan")]),
        ("max_referents", [1, 100], [0, 2.0, True]),
        ("several_quality_power", [None, 1.0, 10], [0.5, 10.01, float("nan")]),
        ("part_covered", [0, 1], [-0.1, 1.1, None]),
        ("part_value", [0, 1], [-0.1, 1.1, None]),
        ("least_share", [0, 1], [-0.1, 1.1, None]),
        ("mask_threshold", [0.001, 0.999], [0, 1, -0.5, 1.5, float("nan")]),
        ("level_weights", [None, [0.0, 1.0], []], [[1.0, -0.1], [1.0, 1.1], [float("nan")]]),
    ],
)
def test_limits(field, legal, illegal):
    for value in legal:
        assert getattr(SelectionSettings(**{field: value}), field) == value
    for value in illegal:
        with pytest.raises(ValueError, match=f"^{field}="):
            SelectionSettings(**{field: value})


def test_a_threshold_is_a_number_from_0_to_1():
    for threshold in (0, 0.0, 0.3, 1, 1.0):
        require_threshold(threshold)
    for threshold in (-0.01, 1.01, "0.3", None, float("nan")):
        with pytest.raises(ValueError, match=r"^threshold=.*: give a number from 0 to 1"):
            require_threshold(threshold)
