"""Cards say what their data say, on the Hub's terms, and plainly where there are no weights."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard
from places import ROOT

from pbrec_hf import bundled_checkpoint
from pbrec_hf.hub.cards import CardInfo, Reliability, Result, hub_results, read_cards, render_card
from pbrec_hf.selection.settings import DECIDES, SelectionSettings
from pbrec_hf.training.paper.report import published

CARDS = read_cards(ROOT / "model_cards" / "cards.yaml")
RESULT = Result("grounding", "refcoco", "RefCOCO", "testA", "accuracy", 12.345, count=5657)
INFO = CardInfo(
    name="mine",
    summary="A model of mine.",
    trained=True,
    tasks=["grounding", "segmentation"],
    data="My photographs.",
    leakage="Nothing.",
    datasets=["refcoco"],
    base_models=["google-bert/bert-base-uncased"],
    results=[RESULT],
    paper=[replace(RESULT, value=86.31)],
)


@pytest.mark.parametrize("name", sorted(CARDS))
def test_the_committed_cards_are_those_of_the_data(name):
    committed = (ROOT / "model_cards" / f"{name}.md").read_text(encoding="utf-8")
    assert committed == render_card(CARDS[name]), "run pbrec-hf cards"


def test_every_published_configuration_has_a_card():
    configurations = {path.parent.name for path in (ROOT / "hub_configs").glob("*/*.*")} - {"accelerate"}
    assert configurations <= CARDS.keys()


@pytest.mark.parametrize("name", sorted(CARDS))
def test_what_has_no_weights_says_so_and_claims_no_result(name):
    info, text = CARDS[name], render_card(CARDS[name])
    metadata = ModelCard(text).data
    assert ("Not trained yet, no weights." in text) is not info.trained
    assert metadata.license == "apache-2.0" and metadata.pipeline_tag == "zero-shot-object-detection"
    assert "## What it has seen" in text and "COCO" in info.leakage
    if info.paper:
        assert "Published by the authors for their own weights" in text
    if not info.trained:
        assert metadata.eval_results is None


def test_measured_results_become_the_model_index_and_the_papers_do_not():
    text = render_card(INFO, "me/mine")
    metadata = ModelCard(text).data
    (result,) = metadata.eval_results
    assert (result.metric_value, result.dataset_split, result.metric_name) == (12.345, "testA", "Acc@0.5")
    assert result.dataset_args == {"cases": 5657}
    assert "| RefCOCO | testA | grounding | Acc@0.5 | 12.35 | 5,657 |" in text or "| 12.34 | 5,657 |" in text
    assert metadata.base_model == ["google-bert/bert-base-uncased"] and metadata.datasets == ["refcoco"]
    assert "86.31" in text and "86.31" not in str(metadata)
    assert "one box and one mask in pixels" in text and 'model="me/mine"' in text
    assert "None\n" not in text and "\n\n\n" not in text


def test_what_chose_the_checkpoint_is_labelled_and_no_program_is_told():
    chosen = replace(RESULT, split="val", value=77.7, chosen=True)
    source = replace(RESULT, value=55.5, source="a set that cannot be shipped")
    text = render_card(replace(INFO, results=[chosen, source]))
    assert "| 77.70 | 5,657 | chosen on these cases, which flatters |" in text
    assert "| 55.50 | 5,657 | a set that cannot be shipped |" in text
    (result,) = ModelCard(text).data.eval_results
    assert result.metric_value == 55.5
    assert "| cases |" not in render_card(replace(INFO, results=[replace(RESULT, count=None)], paper=[]))


def test_leaderboards_are_told_of_data_sets_of_the_hub_on_which_nothing_was_chosen():
    public = replace(RESULT, dataset="hub:lmms-lab/RefCOCO")
    told = yaml.safe_load(hub_results(replace(INFO, results=[public, RESULT, replace(public, chosen=True)])))
    assert told == [
        {
            "dataset": {"id": "lmms-lab/RefCOCO", "task_id": "testA_accuracy"},
            "value": 12.345,
            "notes": "Acc@0.5, split testA, 5,657 expressions",
        }
    ]
    assert hub_results(INFO) is None
    (result,) = ModelCard(render_card(replace(INFO, results=[public]))).data.eval_results
    assert result.dataset_type == "lmms-lab/RefCOCO"


def test_a_card_says_which_selection_its_checkpoint_uses():
    assert "of the best 12, the one that the others overlap most is the answer (equation 7)." in render_card(INFO)
    assert "This is the paper's selection." in render_card(INFO)
    text = render_card(replace(INFO, selection=SelectionSettings(top_k=5, ranking="score", masks_follow_boxes=True)))
    assert "ranked by the score at their point; of the best 5" in text
    assert "This is not the paper's selection (top_k=5, ranking='score', masks_follow_boxes=True)" in text


def test_the_bundled_card_has_the_selection_of_the_bundled_checkpoint():
    saved = json.loads((Path(bundled_checkpoint()) / "processor_config.json").read_text())["selection"]
    real, told = SelectionSettings.of(saved), CARDS["pbrec-mt-small"].selection
    assert {name: getattr(told, name) for name in DECIDES} == {name: getattr(real, name) for name in DECIDES}
    assert "the answer is the one whose center-ness is most similar" in render_card(CARDS["pbrec-mt-small"])


def test_our_own_results_say_how_many_cases_they_are_of():
    assert all(result.count for info in CARDS.values() for result in info.results)


def test_the_papers_table_3_is_called_what_it_is():
    metrics = {row.metric for info in CARDS.values() for row in info.paper if row.task == "segmentation"}
    assert metrics == {"mean_iou"}
    for name in ("pbrec-mt-refcoco", "pbrec-mt-refcocoplus", "pbrec-mt-refcocog-umd"):
        key = {"refcoco": "refcoco/unc", "refcoco+": "refcoco+/unc", "refcocog": "refcocog/umd"}
        for row in CARDS[name].paper:
            table = "table2" if row.task == "grounding" else "table3"
            assert row.value == published()[table]["PBREC-MT"][f"{key[row.dataset]} {row.split}"]


def test_how_far_scores_can_be_believed_is_told_with_what_it_was_measured_on():
    measured = Reliability("My tools", "test", "any", 1234, 0.0312, False, 0.81, 0.88, 0.9, 0.86, 0.417, 0.5)
    text = render_card(replace(INFO, reliability=[measured]))
    assert "| My tools | test | any | 1234 | 0.031 | 0.810 | 0.880 | 0.900 | 0.860 | 0.417 | 0.500 |" in text
    assert "which flatters" not in text and "\n\n\n" not in text
    same = replace(measured, split="val", same_set=True, n_acc=None, present_auroc=None)
    text = render_card(replace(INFO, reliability=[measured, same]))
    assert "| My tools | val | any | 1234 | 0.031 | 0.810 | – | – | 0.860 | 0.417 | 0.500 |" in text
    assert "fitted on the same expressions (My tools val), which flatters" in text
    assert "How far its scores" not in render_card(INFO)


@pytest.mark.parametrize("change", [{"ece": 3.1}, {"answers": 0}, {"referents": "two"}, {"n_acc": -0.1}])
def test_reliability_that_cannot_be_is_refused(change):
    (name, _), *_ = change.items()
    with pytest.raises(ValueError, match=f"{name}="):
        replace(Reliability("My tools", "test", "any", 1234, 0.03, False), **change)


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("mine: {trained: true, scores: 3}", "unknown fields scores"),
        ("mine: {trained: true}", "mine: .*missing"),
        ("mine: {trained: true, results: [{task: grounding}]}", "mine: .*dataset"),
        ("mine: {trained: true, reliability: [{split: test}]}", "mine: .*dataset_name"),
        ("mine: {summary: s, trained: true, tasks: [counting], data: d, leakage: l}", "tasks='counting' is unknown"),
    ],
)
def test_wrong_data_are_named(tmp_path, yaml, message):
    (tmp_path / "cards.yaml").write_text(yaml)
    with pytest.raises(ValueError, match=message):
        read_cards(tmp_path / "cards.yaml")


def test_results_without_weights_are_refused():
    with pytest.raises(ValueError, match="what was measured"):
        replace(INFO, trained=False)
