"""Cards say what their data say, on the Hub's terms, and plainly where there are no weights."""

from dataclasses import replace

import pytest
from huggingface_hub import ModelCard
from places import ROOT

from pbrec_hf.hub.cards import CardInfo, Result, read_cards, render_card

CARDS = read_cards(ROOT / "model_cards" / "cards.yaml")
RESULT = Result("grounding", "refcoco", "RefCOCO", "testA", "accuracy", 12.345)
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
    assert metadata.base_model == ["google-bert/bert-base-uncased"] and metadata.datasets == ["refcoco"]
    assert "86.31" in text and "86.31" not in str(metadata)
    assert "one box and one mask in pixels" in text and 'model="me/mine"' in text
    assert "None\n" not in text and "\n\n\n" not in text


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("mine: {trained: true, scores: 3}", "unknown fields scores"),
        ("mine: {trained: true}", "mine: .*missing"),
        ("mine: {trained: true, results: [{task: grounding}]}", "mine: .*dataset"),
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
