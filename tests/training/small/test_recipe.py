"""The recipe of the bundled checkpoint: its files are understood, and mistakes in them are told."""

import re

import pytest
from places import ROOT

from pbrec_hf.training.small.pool_batches import Pool
from pbrec_hf.training.small.recipe import read_recipe

RECIPES = sorted((ROOT / "hub_configs/pbrec-mt-small").glob("train*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_published_recipes_start_each_phase_from_earlier_ones(path):
    recipe = read_recipe(path)
    assert sum(phase.steps for phase in recipe.phases) > 1000
    for number, phase in enumerate(recipe.phases):
        assert all(earlier < number for earlier in phase.start)
        assert phase.steps or phase.start


def test_the_shell_script_runs_every_step():
    folder = ROOT / "scripts/small"
    text = (folder / "run.sh").read_text(encoding="utf-8")
    assert set(re.findall(r"\$here/(\w+\.py)", text)) == {path.name for path in folder.glob("*.py")}
    assert all(f"{path.name})" in text for path in RECIPES)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("weight_decay:", "wait_decay:", "wait_decay are not fields"),
        ("clip: 1.0\n", "", "clip are missing"),
        ("steps:", "step:", "step are not fields"),
        ("evaluate: 250", "evaluate: 0", "lacks evaluate"),
    ],
)
def test_mistakes_are_told(tmp_path, before, after, told):
    text = (ROOT / "hub_configs/pbrec-mt-small/train.yaml").read_text(encoding="utf-8")
    assert before in text
    (tmp_path / "train.yaml").write_text(text.replace(before, after), encoding="utf-8")
    with pytest.raises(ValueError, match=told):
        read_recipe(tmp_path / "train.yaml")


def test_a_pool_without_files_is_told():
    with pytest.raises(ValueError, match="no files of these kinds"):
        Pool([], words=None, neck=96)
