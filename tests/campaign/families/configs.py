"""Random small configs: build, save, load again. Oracle: the network before it was saved, and the fields as given."""

import json
import shutil
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from checkpoints import WORDS
from numpy.random import Generator
from transformers import AutoModel, BertConfig, PreTrainedModel, ResNetConfig

from pbrec_hf import PbrecConfig, PbrecForReferringExpression
from pbrec_hf.detectors.fcos import FcosConfig, FcosDetector
from pbrec_hf.detectors.solo import SoloConfig, SoloDetector
from pbrec_hf.small.nanodet import NanoDetConfig, NanoDetDetector
from pbrec_hf.small.nanodet_masks import NanoDetMasksConfig, NanoDetMasksDetector

from ..family import Case, Family, pick
from ..outcome import Outcome, answered, wrong

_STAGES = ["stage1", "stage2", "stage3", "stage4"]
_TRUNK = {"stem_channels": 8, "stage_channels": [8, 16, 16], "stage_depths": [1, 1, 1], "neck_channels": 8}
_RESNET = {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 8, 8, 16], "embedding_size": 8, "layer_type": "basic"}
_LABELS = (1, 2, 3, 5, 80, 91)

# Fields that a case may set, and legal values of them.
_FIELDS: dict[str, dict[str, tuple[Any, ...]]] = {
    "pbrec": {
        "d_model": (16, 32), "num_hidden_layers": (1, 2), "num_attention_heads": (1, 2, 4), "dropout": (0, 0.3),
        "intermediate_size": (8, 40), "hidden_act": ("gelu", "relu", "silu"), "layer_norm_eps": (1e-5, 1e-12),
        "tasks": (["grounding"], ["segmentation"], ["grounding", "segmentation"]), "max_text_length": (3, 8, 40),
        "soft_targets": ("paper", "released_code", "hard"), "freeze_batch_norm": (True, False),
        "image_size": (64, 128),
        "frozen_backbone_modules": ([], ["*"], ["embedder"]), "initializer_range": (0.01, 0.1),
    },
    "nanodet": {
        "num_labels": _LABELS, "tower_depth": (1, 2, 3), "num_bins": (2, 8, 9), "mirrored": (True, False),
        "candidate_nms_iou": (None, 0, 0.5), "scales": ([1.0], [0.5, 1], [2]), "candidate_min_quality": (0, 0.2, 1),
        "tower_kernel": (3, 5), "points": ("center", "corner"),
    },
    "solo": {
        "num_labels": _LABELS, "stacked_convs": (1, 2), "channels": (32, 64), "proposal_level": (0, 2, 4),
        "freeze_backbone": (True, False),
    },
    "fcos": {
        "num_labels": _LABELS, "tower_depth": (1, 2), "points": ("corner", "center"), "neck_channels": (32, 64),
        "distance_activation": ("relu", "exp"), "centerness_tower": ("regression", "classification"),
        "pixel_offset": ([0.0, 0.0, 0.0], [0.1, 0, -1]),
    },
    "nanodet_masks": {
        "num_labels": _LABELS, "channels": (8, 16), "mask_channels": (4, 8), "stacked_convs": (1, 2),
        "freeze_detector": (True, False),
    },
}  # fmt: skip


def _pbrec(fields: dict[str, Any]) -> PreTrainedModel:
    text = BertConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    small = {"image_size": 128, "d_model": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    backbone = ResNetConfig(**_RESNET, out_features=["stage4"])
    return PbrecForReferringExpression(
        PbrecConfig(**{"backbone_config": backbone, "text_config": text, **small, "intermediate_size": 16, **fields})
    )


def _solo(fields: dict[str, Any]) -> PreTrainedModel:
    backbone = {"model_type": "resnet", **_RESNET, "out_features": _STAGES}
    small = {"backbone_config": backbone, "neck_channels": 32, "channels": 32, "stacked_convs": 1}
    return SoloDetector(SoloConfig(**(small | fields)))


def _fcos(fields: dict[str, Any]) -> PreTrainedModel:
    return FcosDetector(FcosConfig(**({"depth": 18, "neck_channels": 32, "tower_depth": 1} | fields)))


def _nanodet_masks(fields: dict[str, Any]) -> PreTrainedModel:
    classes = {name: fields[name] for name in ("num_labels",) if name in fields}  # they are the detector's
    small = {"detector_config": {"trunk_config": _TRUNK, **classes}, "channels": 8, "mask_channels": 4}
    own = {name: value for name, value in fields.items() if name not in classes}
    return NanoDetMasksDetector(NanoDetMasksConfig(**(small | {"picture_channels": 8, "stacked_convs": 1} | own)))


_BUILDERS: dict[str, Callable[[dict[str, Any]], PreTrainedModel]] = {
    "pbrec": _pbrec,
    "nanodet": lambda fields: NanoDetDetector(NanoDetConfig(**({"trunk_config": _TRUNK} | fields))),
    "solo": _solo,
    "fcos": _fcos,
    "nanodet_masks": _nanodet_masks,
}


class Configs(Family):
    """A step sets a field; ("dtype", name) stores the weights in that type."""

    memory: ClassVar[int] = 2**30

    @staticmethod
    def draw(rng: Generator) -> Case:
        # FCOS has no trunk smaller than ResNet-18: a case of it takes a second.
        subject = pick(rng, ("pbrec", "nanodet", "solo", "nanodet_masks", "nanodet", "nanodet_masks", "fcos"))
        fields = _FIELDS[subject]
        names = sorted(set(rng.choice(sorted(fields), size=int(rng.integers(1, 5))).tolist()))
        steps = [("dtype", pick(rng, ("float32", "bfloat16")))]
        return Case(subject, (*steps, *((name, pick(rng, fields[name])) for name in names)))

    def run(self, case: Case) -> Outcome:
        given = dict(case.steps)
        dtype = getattr(torch, given.pop("dtype", "float32"))
        torch.manual_seed(0)
        try:
            model = _BUILDERS[case.subject](given).to(dtype).eval()
            folder = self.folder / "saved"
            shutil.rmtree(folder, ignore_errors=True)
            model.save_pretrained(folder)
            loaded = AutoModel.from_pretrained(folder, dtype=dtype).eval()
        except Exception as error:  # every case is legal
            return wrong(f"{type(error).__name__}: {error}")
        for name, value in given.items():
            for which, config in (("built", model.config), ("loaded", loaded.config)):
                if getattr(config, name) != value:
                    return wrong(f"{name}={value!r} became {getattr(config, name)!r} in the {which} config")
        if case.subject != "pbrec" and loaded.config.id2label != model.config.id2label:
            return wrong("id2label changed")
        stored = json.loads((folder / "config.json").read_text())
        if stored["dtype"] != str(dtype).removeprefix("torch."):
            return wrong(f"config.json says dtype {stored['dtype']}")
        before, after = model.state_dict(), loaded.state_dict()
        if before.keys() != after.keys():
            return wrong(f"other keys: {sorted(before.keys() ^ after.keys())[:5]}")
        changed = [name for name in before if not torch.equal(before[name], after[name])]
        if changed:
            return wrong(f"other weights: {changed[:5]}")
        return _same_outputs(model, loaded)


def _same_outputs(model: PreTrainedModel, loaded: PreTrainedModel) -> Outcome:
    side = getattr(model.config, "image_size", 128)
    inputs: dict[str, Any] = {"pixel_values": torch.randn(1, 3, side, side).to(model.dtype)}
    if isinstance(model, PbrecForReferringExpression):
        inputs["input_ids"] = torch.tensor([[2, 5, 7, 3]])
    with torch.no_grad():
        outputs, again = model(**inputs), loaded(**inputs)
    for name, value in outputs.items():
        if isinstance(value, torch.Tensor):
            if not value.isfinite().all():
                return wrong(f"{name} is not finite")
            if not torch.equal(value, again[name]):
                return wrong(f"{name} differs after loading")
    return answered()


FAMILY = Configs
