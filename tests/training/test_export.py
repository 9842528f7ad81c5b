"""Trained checkpoints on disk and on the Hub (one on loopback), with their cards."""

from checkpoints import tiny_box_detector, tiny_model, tiny_processor
from huggingface_hub import ModelCard

from pbrec_hf import PbrecForReferringExpression, PbrecProcessor
from pbrec_hf.hub.publishing import upload
from pbrec_hf.training.card import write_card
from pbrec_hf.training.config import TrainingConfig
from pbrec_hf.training.export import save_checkpoint

SCORES = {"accuracy@0.5": 0.75, "box_mean_iou": 0.6, "count": 8}


def test_a_trained_checkpoint_is_uploaded_with_its_results(hub, tmp_path):
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
    (result,) = ModelCard.load("me/dogs").data.eval_results
    assert (result.metric_type, result.metric_value) == ("accuracy", 75.0)
    assert (result.dataset_type, result.dataset_split) == ("cats", "validation")


def test_without_validation_there_are_no_results(tmp_path):
    model, processor = tiny_model(), tiny_processor(box_detector=tiny_box_detector())
    config = TrainingConfig(init=str(tmp_path), data="dogs.jsonl", output_dir="runs/dogs")
    card = ModelCard(write_card(config, model, processor, {}))
    assert card.data.eval_results is None
    assert card.data.model_name == "dogs"


def test_a_mixture_claims_results_of_the_set_that_was_measured(tmp_path):
    model, processor = tiny_model(tasks=["grounding"]), tiny_processor(box_detector=tiny_box_detector())
    config = TrainingConfig(init=str(tmp_path), dataset="refcoco,refcoco+", split_by="unc", refer_dir="data")
    (result,) = ModelCard(write_card(config, model, processor, SCORES)).data.eval_results
    assert (result.dataset_type, result.dataset_split) == ("refcoco/unc", "val")


def test_the_card_says_which_detectors_were_used(tmp_path):
    processor = tiny_processor(box_detector=tiny_box_detector())
    config = TrainingConfig(init=str(tmp_path), data="dogs.jsonl", box_detector="torchvision:fcos_p5")
    assert "- boxes: pbrec_nanodet, from torchvision:fcos_p5, frozen." in write_card(
        config, tiny_model(), processor, {}
    )
    config = TrainingConfig(init=str(tmp_path), data="dogs.jsonl")
    assert "- boxes: pbrec_nanodet, frozen." in write_card(config, tiny_model(), processor, {})
