"""What pbrec-mt-small brings along, made known to transformers: two backbones and two detectors.

A config names its backbone, and a processor its detectors, by model type alone; whoever loads one needs the types
registered first. Nothing outside this room has to know them.
"""

from transformers import AutoBackbone, AutoConfig

from ..detectors.base import register_detector
from .backbone import GroundingBackbone
from .nanodet import NanoDetDetector
from .nanodet_masks import NanoDetMasksDetector
from .nanodet_trunk import NanoDetBackbone


def register_small() -> None:
    """May be called again."""
    for backbone in (GroundingBackbone, NanoDetBackbone):
        AutoConfig.register(backbone.config_class.model_type, backbone.config_class, exist_ok=True)
        AutoBackbone.register(backbone.config_class, backbone, exist_ok=True)
    for detector in (NanoDetDetector, NanoDetMasksDetector):
        register_detector(detector)
