import pytest

from pbrec_hf.training.config import TrainingConfig, parse_arguments

NEEDED = {"init": "checkpoint", "data": "data.jsonl"}


def test_the_defaults_are_the_papers_recipe():
    config = TrainingConfig(**NEEDED)
    assert (config.epochs, config.batch_size, config.weight_decay) == (15, 64, 1e-4)
    assert (config.learning_rate, config.backbone_learning_rate, config.text_learning_rate) == (1e-4, 1e-6, 1e-6)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("batch_size", 0),
        ("learning_rate", -1.0),
        ("learning_rate", float("inf")),
        ("bbox_format", "cxcywh"),
        ("flip_probability", 1.5),
        ("layer_decay", 0.0),
        ("clip_norm", 0.0),
        ("ema_decay", 1.0),
        ("mixed_precision", "fp8"),
        ("push_to_hub", "always"),
        ("tasks", ["boxes"]),
        ("soft_targets", ["soft"]),
        ("soft_targets", ["grounding=soft"]),
        ("soft_targets", ["boxes=hard"]),
        ("soft_targets", ["hard", "paper"]),
        ("soft_targets", ["grounding=hard", "grounding=paper"]),
        ("soft_targets", ["grounding=hard", "paper"]),
    ],
)
def test_an_illegal_value_is_named(field, value):
    with pytest.raises(ValueError, match=field):
        TrainingConfig(**NEEDED | {field: value})


@pytest.mark.parametrize("fields", [{"init": "a"}, {"data": "a"}, NEEDED | {"dataset": "refcoco"}])
def test_there_is_one_model_and_one_data_set(fields):
    with pytest.raises(ValueError, match="one"):
        TrainingConfig(**fields)


def test_flags_win_over_the_file(tmp_path):
    path = tmp_path / "training.yaml"
    path.write_text("init: a\ndata: b\nbatch_size: 8\nlearning_rate: 1e-3\naugment: false\ntasks: [grounding]\n")
    config = parse_arguments(["--config", str(path), "--batch_size", "16", "--ema_decay", "0.9", "--no_resume"])
    assert (config.batch_size, config.learning_rate, config.ema_decay) == (16, 1e-3, 0.9)
    assert (config.augment, config.resume, config.tasks) == (False, False, ["grounding"])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], None),
        (["--soft_targets", "hard"], "hard"),
        (["--soft_targets", "grounding=hard", "segmentation=paper"], {"grounding": "hard", "segmentation": "paper"}),
        (["--soft_targets", "grounding=released_code"], {"grounding": "released_code"}),
    ],
)
def test_targets_have_one_style_or_one_for_each_head(given, expected):
    assert parse_arguments(["--init", "a", "--data", "b", *given]).target_styles == expected


@pytest.mark.parametrize("text", ["batch: 8\n", "- 8\n", "batch_size: many\n", "epochs: true\n", "epochs: [1\n"])
def test_a_wrong_file_is_refused(tmp_path, text):
    path = tmp_path / "training.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"training\.yaml"):
        parse_arguments(["--config", str(path)])


def test_own_validation_data_count_beside_a_published_set():
    config = TrainingConfig(
        init="a", dataset="refcoco", refer_dir="b", validation_data="own.jsonl", validation_split=""
    )
    assert config.validates
    assert not TrainingConfig(init="a", dataset="refcoco", refer_dir="b", validation_split="").validates
