"""Trained checkpoints on disk and on the Hub (one on loopback), with their cards."""

import pytest
from checkpoints import tiny_box_detector, tiny_model, tiny_processor
from huggingface_hub import ModelCard

from pbrec_hf import PbrecForReferringExpression, PbrecProcessor
from pbrec_hf.hub.publishing import upload, write_checkpoint
from pbrec_hf.training.card import write_card
from pbrec_hf.training.config import TrainingConfig
from pbrec_hf.training.export import save_checkpoint
from pbrec_hf.training.origin import Origin, origin_of

SCORES = {"accuracy@0.5": 0.75, "box_mean_iou": 0.6, "count": 8}


def test_a_trained_checkpoint_is_uploaded_with_its_scores_labelled(hub, tmp_path):
    model, processor = tiny_model(tasks=["grounding"]), tiny_processor(box_detector=tiny_box_detector())
    config = TrainingConfig(
        init=str(tmp_path),
        data="dogs.jsonl",
        validation_data="cats.jsonl",
        hub_model_id="me/dogs",
        output_dir="runs/x",
    )
    save_checkpoint(tmp_path / "last", model, processor, card=write_card(config, model, processor, SCORES))
    upload(tmp_path / "last", "me/dogs")
    again = PbrecForReferringExpression.from_pretrained("me/dogs")
    assert again.state_dict().keys() == model.state_dict().keys()
    assert PbrecProcessor.from_pretrained("me/dogs").box_detector is not None
    card = ModelCard.load("me/dogs")
    assert (
        "| cats | validation | grounding | Acc@0.5 | 75.00 | 8 | chosen on these cases, which flatters |" in card.text
    )
    assert card.data.eval_results is None  # what chose the epoch is no result


def test_without_validation_there_are_no_results(tmp_path):
    model, processor = tiny_model(), tiny_processor(box_detector=tiny_box_detector())
    config = TrainingConfig(init=str(tmp_path), data="dogs.jsonl", output_dir="runs/dogs")
    card = ModelCard(write_card(config, model, processor, {}))
    assert card.data.eval_results is None
    assert card.data.model_name == "dogs"


def test_a_mixture_claims_results_of_the_set_that_was_measured(tmp_path):
    model, processor = tiny_model(tasks=["grounding"]), tiny_processor(box_detector=tiny_box_detector())
    config = TrainingConfig(init=str(tmp_path), dataset="refcoco,refcoco+", split_by="unc", refer_dir="data")
    assert "| refcoco/unc | val | grounding | Acc@0.5 | 75.00 | 8 |" in write_card(config, model, processor, SCORES)


def test_a_checkpoint_says_what_it_was_trained_and_chosen_on(tmp_path):
    model, processor = tiny_model(tasks=["grounding"]), tiny_processor(box_detector=tiny_box_detector())
    origin = Origin(["refcoco/unc train"], "refcoco/unc val", "accuracy@0.5")
    save_checkpoint(tmp_path / "best", model, processor, origin=origin)
    assert origin_of(tmp_path / "best") == origin
    write_checkpoint(str(tmp_path / "best"), tmp_path / "published")
    assert origin_of(tmp_path / "published") == origin
    (tmp_path / "best" / "training_data.json").write_text('{"trained": 3}')
    with pytest.raises(ValueError, match="does not say what was trained on"):
        origin_of(tmp_path / "best")


def test_the_card_says_which_detectors_were_used(tmp_path):
    processor = tiny_processor(box_detector=tiny_box_detector())
    config = TrainingConfig(init=str(tmp_path), data="dogs.jsonl", box_detector="torchvision:fcos_p5")
    assert "- boxes: pbrec_nanodet, from torchvision:fcos_p5, frozen." in write_card(
        config, tiny_model(), processor, {}
    )
    config = TrainingConfig(init=str(tmp_path), data="dogs.jsonl")
    assert "- boxes: pbrec_nanodet, frozen." in write_card(config, tiny_model(), processor, {})
