"""The rows of Table 4 as settings of a training."""

import argparse

import pytest

from pbrec_hf.configuration_pbrec import target_styles
from pbrec_hf.training.config import TrainingConfig
from pbrec_hf.training.paper.train import with_variant
from pbrec_hf.training.paper.variants import TABLE_4, Variant, variant_named


def test_the_table_has_eight_trainings_of_different_names():
    names = [variant.name for variant in TABLE_4]
    assert names == [
        "center-hard", "mass-hard", "center-soft", "mass-soft", "center-hard_mass-hard", "center-hard_mass-soft",
        "center-soft_mass-hard", "center-soft_mass-soft",
    ]  # fmt: skip
    assert [variant_named(name) for name in names] == list(TABLE_4)


def test_a_variant_is_a_legal_training_of_its_heads_and_targets():
    for variant in TABLE_4:
        fields = variant.training_fields("released_code")
        config = TrainingConfig(init="a", data="b", **fields)
        assert set(config.tasks) == set(variant.styles)
        styles = target_styles(config.target_styles, config.tasks)
        soft = {"soft": "released_code", "hard": "hard"}
        assert styles == {task: soft[style] for task, style in variant.styles.items()}


def test_the_variant_of_a_command_wins_over_its_other_flags():
    options = argparse.Namespace(tasks=["grounding"], soft_targets=["paper"], epochs=3)
    changed = with_variant(options, "center-hard_mass-soft", "paper")
    assert changed.tasks == ["grounding", "segmentation"]
    assert changed.soft_targets == ["grounding=hard", "segmentation=paper"]
    assert changed.epochs == 3


def test_what_is_no_variant_is_refused():
    with pytest.raises(ValueError, match="center='firm': give 'hard', 'soft', or None"):
        Variant("firm", None)
    with pytest.raises(ValueError, match="at least one of the two"):
        Variant(None, None)
    with pytest.raises(ValueError, match=r"variant='soft': give one of center-hard, mass-hard"):
        variant_named("soft")
