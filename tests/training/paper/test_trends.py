"""The trends at small scale: one pass gives what a run for each k would, and a page says what the figures show."""

import json
import shutil

import pytest
import torch
from places import SCENES

from pbrec_hf.geometry.letterbox import Letterbox
from pbrec_hf.geometry.proposals import Proposals
from pbrec_hf.modeling_pbrec import PbrecOutput
from pbrec_hf.selection.choose import rank_and_choose
from pbrec_hf.selection.settings import SelectionSettings
from pbrec_hf.training.paper import trends
from pbrec_hf.training.paper.trends_claims import CLAIMS, Mean, difference, mean_of, verdict
from pbrec_hf.training.paper.trends_page import PAPER_4, PAPER_5, page
from pbrec_hf.training.paper.trends_scores import TOP_K, winners
from pbrec_hf.training.paper.trends_train import styled
from pbrec_hf.training.paper.variants import TABLE_4
from pbrec_hf.training.small import pool as pools

KINDS = ("photographs", "composed")


def test_the_votes_of_one_pass_are_those_of_a_selection_for_each_k():
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(1, 64, 2, generator=generator) * 150
    boxes = torch.cat((corners, corners + 20 + 60 * torch.rand(1, 64, 2, generator=generator)), dim=2)
    proposals = Proposals(((8, 8),), (256, 256), torch.rand(1, 64, generator=generator), boxes)
    inputs = {"letterbox": torch.tensor([list(Letterbox.fit(256, 256, 256))]), "box_proposals": proposals}
    outputs = PbrecOutput(center_logits=torch.randn(5, 64, generator=generator))
    inputs["image_index"] = torch.zeros(5, dtype=torch.int64)
    group = rank_and_choose(outputs, inputs, SelectionSettings(top_k=max(TOP_K)))["boxes"]
    at_once = winners(group)
    for k in TOP_K:
        alone = rank_and_choose(outputs, inputs, SelectionSettings(top_k=k))["boxes"]
        assert torch.equal(group.boxes[torch.arange(5), at_once[k]], alone.chosen("boxes"))
    assert len({tuple(winner.tolist()) for winner in at_once.values()}) > 1


def test_hard_targets_are_one_wherever_soft_ones_are_positive():
    soft = torch.tensor([[0.0, 0.2, 1.0], [0.0, 0.0, 0.001]])
    assert styled(soft, "hard").tolist() == [[0, 1, 1], [0, 0, 1]]
    assert styled(soft, "soft") is soft


def runs_of(figures):
    """Runs whose every figure of a variant is the one in `figures`[variant][seed], in percent."""
    made = []
    for variant, of_seed in figures.items():
        for seed, value in of_seed.items():
            cells = {str(k): value / 100 for k in TOP_K}
            scores = dict.fromkeys(("center", "center+conf", "mass"), cells) | {"count": 200}
            made.append({"variant": variant, "seed": seed, "seconds": 60.0, "scores": dict.fromkeys(KINDS, scores)})
    return made


def test_a_difference_is_taken_between_runs_of_one_seed():
    runs = runs_of({"center-soft": {1: 60.0, 2: 50.0, 3: 41.0}, "center-hard": {1: 57.0, 2: 48.0}})
    found = difference(runs, "composed", CLAIMS[0])
    assert CLAIMS[0].text == "soft over hard, grounding alone"
    assert found.value == pytest.approx(2.5) and found.error == pytest.approx(0.5) and found.seeds == 2
    assert verdict(found) == "yes"
    assert difference(runs, "composed", CLAIMS[1]) is None


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (Mean(1.0, 0.6, 3, True), "not clear"),
        (Mean(1.5, 0.6, 3, False), "not clear"),
        (Mean(1.5, 0.6, 3, True), "yes"),
        (Mean(-1.5, 0.6, 3, True), "the opposite"),
        (mean_of([2.0]), "-"),
        (None, "-"),
    ],
)
def test_a_trend_counts_as_shown_only_where_the_seeds_agree_and_the_error_is_small(found, said):
    assert verdict(found) == said


def test_the_papers_differences_follow_from_its_tables():
    for claim in CLAIMS:
        values = []
        for cell in (claim.more, claim.less):
            boxes, masks = PAPER_4[cell.variant]
            of_table_5 = PAPER_5[cell.ranking][[str(k) for k in TOP_K].index(cell.k)]
            of_table_4 = masks if cell.ranking == "mass" else boxes
            values.append(of_table_4 if cell.k == "12" and cell.ranking != "center" else of_table_5)
        assert values[0] - values[1] == pytest.approx(claim.paper), claim.text


def test_the_page_has_a_row_for_each_training_and_k_and_tells_unfinished_ones():
    figures = {variant.name: {1: 50.0 + n, 2: 52.0 + n} for n, variant in enumerate(TABLE_4[:7])}
    phase = {"steps": 5, "images": 2, "expressions": 3, "rate": 0.1}
    recipe = {"phase": phase, "weight_decay": 0.02, "model": {"d_model": 8}, "chunks": 1}
    report = {"runs": runs_of(figures), "recipe": recipe, "levels": [0.0, 1.0], "strides": [8, 16], "machine": "x"}
    report |= {"versions": {"torch": "2"}, "pictures": 4, "bf16": False}
    text = page(report)
    assert "--pictures 4 --levels 0 1 --json" in text and "14 trainings of 16" in text
    assert "| hard |  | 71.93 |  | 51.00 ± 1.00 |  | 51.00 ± 1.00 |  |" in text
    assert "| hard | hard | 72.17 | 62.25 | 55.00 ± 1.00 | 55.00 ± 1.00 |" in text
    assert "| soft | soft | 74.85 | 63.76 | - | - | - | - |" in text
    assert "| soft over hard, grounding alone | +0.70 | +2.00 ± 0.00 | yes | +2.00 ± 0.00 | yes |" in text
    assert text.count("\n| 12 |") == 3


@pytest.fixture
def photographs(tmp_path, monkeypatch):
    """A folder as the pool reads it, of the photographs of the tests."""
    monkeypatch.setattr(pools, "SCENES_PER_CHUNK", 3)
    data = tmp_path / "data"
    shutil.copytree(SCENES / "images", data / "images")
    shutil.copy(SCENES / "instances.json", data / "instances_train2017.json")
    nothing = json.loads((SCENES / "instances.json").read_text()) | {"images": [], "annotations": []}
    (data / "instances_val2017.json").write_text(json.dumps(nothing))
    (data / "refcoco_expressions.txt").write_text("the left person\nred car\nman on the right\n")
    return data


def test_the_command_trains_measures_and_goes_on(photographs, tmp_path):
    recipe = tmp_path / "trends.yaml"
    recipe.write_text(
        "{seed: 1, model: {d_model: 16, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 16}, "
        "weight_decay: 0.0, clip: 1.0, ranking: 0.0, mass_weight: 1.0, negatives: 0.0, fillers: 0.0, "
        "neck_dropout: 0.5, phases: [{kinds: [photographs, composed], points: 20, images: 2, expressions: 3, "
        "steps: 2, rate: 0.01, warmup: 1, evaluate: 2}]}"
    )
    common = ["--data", str(photographs), "--out", str(tmp_path / "run"), "--recipe", str(recipe), "--chunks", "1"]
    common += ["--pictures", "2", "--seeds", "1", "--json", str(tmp_path / "trends.json")]
    trends.main([*common, "--variants", "center-soft_mass-hard", "--page", str(tmp_path / "trends.md")])
    report = json.loads((tmp_path / "trends.json").read_text())
    (run,) = report["runs"]
    assert run["variant"] == "center-soft_mass-hard" and set(run["losses"]) == {"center", "mass"}
    for kind in KINDS:
        scores = run["scores"][kind]
        assert scores["count"] > 0 and set(scores["mass"]) == {str(k) for k in TOP_K}
        assert all(0 <= value <= 1 for name in ("center", "center+conf", "mass") for value in scores[name].values())
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*") if path.is_file()}
    trends.main([*common, "--variants", "center-soft_mass-hard", "mass-soft", "--at_hand"])
    assert {path: path.stat().st_mtime_ns for path in made} == made
    assert json.loads((tmp_path / "trends.json").read_text())["runs"] == [run]
    with pytest.raises(
        ValueError, match=r"made with other settings \(pictures; see .*give the same, or another --out"
    ):
        trends.main([*common, "--pictures", "3", "--at_hand"])
    with pytest.raises(ValueError, match="has no figures of these seeds"):
        trends.main([*common, "--variants", "mass-soft", "--at_hand"])


def test_weights_for_grids_that_are_not_there_are_told(photographs, tmp_path):
    arguments = ["--data", str(photographs), "--out", str(tmp_path / "runs"), "--levels", "0", "0", "1"]
    with pytest.raises(ValueError, match="has 0 grids on the canvas"):
        trends.main(arguments)
