"""The published configs: models, canvases, recipes and launcher files, without any weights."""

from dataclasses import asdict

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
    assert (config.image_size, config.grid, config.stride) == (640, (20, 20), 32)
    assert (config.num_hidden_layers, config.soft_targets) == (6, "paper")
    assert config.tasks == (["grounding", "segmentation"] if both else ["grounding"])
    assert (config.backbone_config.depths, config.text_config.num_hidden_layers) == ([3, 4, 23, 3], 12)
    # Left open by the paper; as released.
    assert (config.d_model, config.num_attention_heads, config.intermediate_size) == (256, 8, 1024)
    assert (config.dropout, config.attention_dropout, config.hidden_act) == (0.1, 0.1, "gelu")
    with torch.device("meta"):
        model = PbrecForReferringExpression(config)
    trainable = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert trainable == TRAINABLE - (0 if both else ONE_HEAD)
    assert PbrecImageProcessor.from_pretrained(folder).size["longest_edge"] == 640


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_the_recipe_is_the_papers(folder):
    config = TrainingConfig(refer_dir="R", **read_yaml(folder / "training.yaml"))
    fields = asdict(config)
    # "batch size to 64 […] initial learning rate to 1 × 10⁻⁴ for comprehension module […] 1 × 10⁻⁶ for ResNet and BERT
    # […] 15 epochs by AdamW and CosineAnnealing": the paper. What it leaves open is as released.
    paper = {
        "epochs": 15,
        "batch_size": 64,
        "learning_rate": 1e-4,
        "backbone_learning_rate": 1e-6,
        "text_learning_rate": 1e-6,
        "train_split": "train",
        "tasks": [],
        "soft_targets": [],  # both of the model's config, which is tested above
    }
    released = {
        "min_learning_rate": 1e-6,
        "warmup_steps": 0,
        "weight_decay": 1e-4,
        "decay_norms_and_biases": True,
        "layer_decay": 1.0,
        "clip_norm": None,
        "ema_decay": None,
        "augment": True,
        "flip_probability": 0.5,
        "crop_probability": 0.0,
        "blur_probability": 0.0,
        "seed": 13,
        "expressions_per_image": 1,
        "gradient_accumulation_steps": 1,
        "backbone_checkpoint": "microsoft/resnet-101",
        "text_checkpoint": "google-bert/bert-base-uncased",
        "validation_split": "val",
        "drop_no_target": False,
    }
    ours = {"mixed_precision": "bf16", "metric": "accuracy@0.5", "box_detector": "torchvision:fcos_p5"}
    for told in (paper, released, ours):
        assert {name: fields[name] for name in told} == told
    ours["mask_detector"] = "torchvision:maskrcnn_resnet50_fpn"
    assert config.mask_detector == (ours["mask_detector"] if folder.name.startswith("pbrec-mt-") else None)
    named = {"model_config", "dataset", "split_by", "refer_dir"}
    defaults = asdict(TrainingConfig(model_config="x", dataset="refcoco", refer_dir="R"))
    changed = {name for name, value in fields.items() if value != defaults[name]} - named
    # Whatever else a recipe sets is about the machine.
    assert changed - paper.keys() - released.keys() - ours.keys() <= {"num_workers"}
    assert config.model_config == folder.name
    page = (ROOT / "docs" / "deviations.md").read_text()
    assert all(word in page for word in ("bf16", "--crop_probability", "ResNet-50", "Mask R-CNN"))
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
