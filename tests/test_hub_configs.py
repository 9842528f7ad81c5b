"""The published configs: models, canvases, recipes and launcher files, without any weights."""

import pytest
import torch
from accelerate.commands.config.config_args import load_config_from_file
from places import ROOT

from pbrec_hf import PbrecConfig, PbrecForReferringExpression, PbrecImageProcessor
from pbrec_hf.data.refer.refcoco import published_counts
from pbrec_hf.training.config import TrainingConfig, read_yaml

FOLDERS = sorted(path.parent for path in ROOT.glob("hub_configs/pbrec-*/training.yaml"))
LENGTHS = {"refcoco": 30, "refcocoplus": 30, "refcocog-umd": 40, "referit": 30}
TRAINABLE = 156_788_738  # 158.96 M as released, less 2.17 M weights that no output reads
ONE_HEAD = 2 * (256 * 256 + 256) + 256 + 1


def test_every_data_set_has_both_models():
    assert {path.name for path in FOLDERS} == {f"pbrec{kind}-{name}" for kind in ("", "-mt") for name in LENGTHS}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_the_model_is_the_papers(folder):
    config = PbrecConfig.from_pretrained(folder)
    both = folder.name.startswith("pbrec-mt-")
    assert config.max_text_length == LENGTHS[folder.name.removeprefix("pbrec-").removeprefix("mt-")]
    assert (config.image_size, config.grid) == (640, (20, 20))
    with torch.device("meta"):
        model = PbrecForReferringExpression(config)
    trainable = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert trainable == TRAINABLE - (0 if both else ONE_HEAD)
    assert PbrecImageProcessor.from_pretrained(folder).size["longest_edge"] == 640


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_the_recipe_is_the_papers(folder):
    config = TrainingConfig(refer_dir="R", **read_yaml(folder / "training.yaml"))
    assert (config.epochs, config.batch_size, config.learning_rate) == (15, 64, 1e-4)
    assert (config.backbone_learning_rate, config.text_learning_rate) == (1e-6, 1e-6)
    assert config.model_config == folder.name
    splits = published_counts(config.dataset, config.split_by)
    assert {config.train_split, config.validation_split} <= splits.keys()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("multi_gpu", "MULTI_GPU"),
        ("multi_cpu", "MULTI_GPU"),
        ("fsdp2", "FSDP"),
        ("deepspeed_zero2", "DEEPSPEED"),
    ],
)
def test_the_launcher_understands_its_files(name, kind):
    found = load_config_from_file(str(ROOT / f"hub_configs/accelerate/{name}.yaml"))
    assert str(found.distributed_type).endswith(kind)
    assert found.num_processes > 1
