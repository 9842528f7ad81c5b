"""`PbrecConfig` refuses what no model can be, before anything is allocated, and says what would be right."""

import json

import pytest
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, BertConfig, ConvNextConfig

from pbrec_hf import PbrecConfig
from pbrec_hf.small.backbone import GroundingBackboneConfig


def test_defaults_are_the_published_model():
    config = PbrecConfig()
    assert (config.image_size, config.stride, config.grid) == (640, 32, (20, 20))
    assert (config.d_model, config.num_hidden_layers, config.num_attention_heads) == (256, 6, 8)
    assert config.backbone_config.depths == [3, 4, 23, 3] and config.backbone_config.out_features == ["stage4"]
    assert config.text_config.hidden_size == 768
    assert config.tasks == ["grounding", "segmentation"]


def test_round_trip_through_json_keeps_every_field(tmp_path):
    config = PbrecConfig(
        tasks=["grounding"],
        dropout=0,
        backbone_config=ConvNextConfig(out_features=["stage4"]),
        text_config=BertConfig(num_hidden_layers=2),
        frozen_backbone_modules=[],
    )
    config.save_pretrained(tmp_path)
    loaded = PbrecConfig.from_pretrained(tmp_path)
    same_name = {"_name_or_path": ""}
    assert loaded.to_dict() | same_name == config.to_dict() | same_name
    assert AutoConfig.from_pretrained(tmp_path).to_dict() | same_name == config.to_dict() | same_name


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"image_size": -640}, "image_size=-640"),
        ({"image_size": 600}, "multiple of stride=32: take 608"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers=1000000000 is not an integer from 1 to 256"),
        ({"d_model": 250}, "d_model=250"),
        ({"image_size": 8192, "stride": 16}, "image_size=8192 with stride=16 and d_model=256 are 262,144 points"),
        ({"image_size": 8192, "d_model": 16384}, "65,536 points of 16384 numbers"),
        ({"max_text_length": 513}, "max_text_length=513 is more than the max_position_embeddings=512 of text_config"),
        ({"dropout": 1.5}, r"dropout=1.5 is not in \[0, 1\)"),
        ({"tasks": ["detection"]}, "'grounding', 'segmentation'"),
        ({"tasks": []}, "one or more"),
        ({"soft_targets": "soft"}, "soft_targets='soft': give 'paper' or 'released_code' or 'hard', or a dict"),
        ({"soft_targets": {"grounding": "soft", "segmentation": "hard"}}, "give 'paper' or"),
        ({"soft_targets": {"grounding": "hard"}}, "each of the tasks, 'grounding' and 'segmentation'"),
        ({"soft_targets": {"grounding": "hard", "boxes": "hard"}, "tasks": ["grounding"]}, "each of the tasks"),
        ({"soft_targets": {}}, "soft_targets={}"),
        ({"soft_targets": 3}, "soft_targets"),
        ({"soft_targets": {"grounding": 3, "segmentation": ["hard"]}}, "soft_targets"),
        ({"backbone": "../../etc/passwd"}, "backbone_config"),
        ({"text_config": {"model_type": "bert", "num_hidden_layers": 10**9}}, "text_config.num_hidden_layers"),
        ({"text_config": {"model_type": "bert", "hidden_size": -1}}, "text_config.hidden_size=-1"),
        ({"backbone_config": {"model_type": "resnet", "depths": [3, 10**9, 1, 1]}}, "backbone_config.depths"),
    ],
)
def test_a_hostile_or_damaged_value_is_named_with_the_remedy(fields, message):
    with pytest.raises((ValueError, StrictDataclassError), match=message):
        PbrecConfig(**fields)


@pytest.mark.parametrize(
    "given", ["hard", "released_code", {"grounding": "hard", "segmentation": "paper"}, {"grounding": "hard"}]
)
def test_the_style_of_targets_is_saved_as_it_was_given(tmp_path, given):
    tasks = ["grounding"] if given == {"grounding": "hard"} else ["grounding", "segmentation"]
    PbrecConfig(tasks=tasks, soft_targets=given).save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["soft_targets"] == given
    loaded = PbrecConfig.from_pretrained(tmp_path)
    assert loaded.soft_targets == given
    each = given if isinstance(given, dict) else {"grounding": given, "segmentation": given}
    assert loaded.target_styles == each


def test_a_style_may_be_given_for_heads_that_the_model_lacks():
    config = PbrecConfig(tasks=["segmentation"], soft_targets={"grounding": "paper", "segmentation": "hard"})
    assert config.target_styles == {"segmentation": "hard"} and not config.targets_at_points


@pytest.mark.parametrize(
    ("tasks", "soft_targets", "expected"),
    [
        (["grounding", "segmentation"], "paper", True),
        (["grounding", "segmentation"], "hard", True),
        (["grounding", "segmentation"], "released_code", False),
        (["grounding", "segmentation"], {"grounding": "hard", "segmentation": "released_code"}, True),
        (["segmentation"], "paper", False),
    ],
)
def test_which_models_make_their_targets_themselves(tasks, soft_targets, expected):
    free = PbrecConfig(tasks=tasks, soft_targets=soft_targets, backbone_config=GroundingBackboneConfig(places=2))
    assert free.targets_at_points == expected
    assert not PbrecConfig(tasks=tasks, soft_targets=soft_targets).targets_at_points


def test_a_damaged_file_is_refused(tmp_path):
    PbrecConfig().save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "d_model": -256}))
    with pytest.raises((ValueError, StrictDataclassError), match="d_model=-256"):
        PbrecConfig.from_pretrained(tmp_path)


def test_a_changed_field_is_checked_again_when_saved(tmp_path):
    config = PbrecConfig()
    config.num_attention_heads = 7
    with pytest.raises((ValueError, StrictDataclassError), match="num_attention_heads=7"):
        config.save_pretrained(tmp_path)
