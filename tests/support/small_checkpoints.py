"""Tiny checkpoints of the kind of pbrec-mt-small: a NanoDet in the backbone of a model with random weights."""

import torch
from checkpoints import tiny_model

from pbrec_hf.small.backbone import GroundingBackboneConfig
from pbrec_hf.small.nanodet import NanoDetConfig, NanoDetDetector
from pbrec_hf.small.nanodet_trunk import NanoDetTrunkConfig

CLASSES = {0: "dog", 1: "cat"}


def detector(neck="pan", channels=8, seed=0, classes=CLASSES):
    """A tiny NanoDet with random weights, some of whose detections count as objects."""
    torch.manual_seed(seed)
    trunk = NanoDetTrunkConfig(
        stem_channels=8, stage_channels=(8, 16, 16), stage_depths=(1, 1, 1), neck=neck, neck_channels=channels
    )
    points = {"pan": "center", "ghost_pan": "corner"}[neck]
    model = NanoDetDetector(NanoDetConfig(trunk_config=trunk, id2label=classes, points=points)).eval()
    for head in model.heads.values():
        torch.nn.init.normal_(head.output.weight, std=0.5)
        torch.nn.init.constant_(head.output.bias, -2.0)
    return model


def holding(found):
    """A tiny checkpoint with `found` in its backbone."""
    config = GroundingBackboneConfig(detector_config=found.config, stride=32, places=2)
    model = tiny_model(backbone_config=config, frozen_backbone_modules=["*"])
    model.model.backbone.detector.load_state_dict(found.state_dict())
    return model
