"""Registers the networks of pbrec-mt-small with transformers: two backbones and two detectors.

A config names its backbone, and a processor its detectors, by model type alone, so the types must be registered before
either is loaded. Nothing outside this room depends on them.
"""

from transformers import AutoBackbone, AutoConfig

from ..detectors.base import register_detector
from .backbone import GroundingBackbone, GroundingBackboneConfig
from .nanodet import NanoDetDetector
from .nanodet_masks import NanoDetMasksDetector
from .nanodet_trunk import NanoDetBackbone, NanoDetTrunkConfig


def register_small() -> None:
    """Register backbones and detectors with the Auto classes; may be repeated."""
    for config, backbone in ((GroundingBackboneConfig, GroundingBackbone), (NanoDetTrunkConfig, NanoDetBackbone)):
        AutoConfig.register(config.model_type, config, exist_ok=True)
        AutoBackbone.register(config, backbone, exist_ok=True)
    for detector in (NanoDetDetector, NanoDetMasksDetector):
        register_detector(detector)


__all__ = ["register_small"]
