"""pbrec_hf: find the thing a sentence means in a picture.

Point-based referring expression comprehension (PBREC-MT, AAAI 2024) for the Hugging Face stack. Importing this package
makes transformers' Auto classes and `pipeline("referring-expression")` know it; names below are imported when used.
"""

import importlib
from typing import Any

from .hub.registration import watch
from .version import __version__

_PUBLIC = {
    "Detector": "detectors.base",
    "DetectorConfig": "detectors.base",
    "FcosConfig": "detectors.fcos",
    "FcosDetector": "detectors.fcos",
    "Grounder": "inference.grounder",
    "OpenVocabularyConfig": "detectors.open_vocabulary",
    "OpenVocabularyDetector": "detectors.open_vocabulary",
    "PbrecCollator": "data.collator",
    "PbrecConfig": "configuration_pbrec",
    "PbrecForReferringExpression": "modeling_pbrec",
    "PbrecImageFeatures": "modeling_pbrec",
    "PbrecImageProcessor": "image_processing_pbrec",
    "PbrecModel": "modeling_pbrec",
    "PbrecOutput": "modeling_pbrec",
    "PbrecProcessor": "processing_pbrec",
    "PretrainedDetector": "detectors.pretrained",
    "PretrainedDetectorConfig": "detectors.pretrained",
    "PromptedMasks": "detectors.prompted_masks",
    "PromptedMasksConfig": "detectors.prompted_masks",
    "Proposals": "geometry.proposals",
    "NanoDetConfig": "small.nanodet",
    "NanoDetDetector": "small.nanodet",
    "ReferringExpressionPipeline": "pipeline_pbrec",
    "SoloConfig": "detectors.solo",
    "SoloDetector": "detectors.solo",
    "TorchvisionDetector": "detectors.torchvision_models",
    "TorchvisionDetectorConfig": "detectors.torchvision_models",
    "bundled_checkpoint": "hub.bundled",
    "load_hub_set": "data.hub_sets.loading",
    "load_own_data": "data.own_data",
    "load_refcoco": "data.refer.refcoco",
    "register_detector": "detectors.base",
    "optimize_for_inference": "inference.folding",
    "share_detector": "inference.sharing",
    "with_soft_targets": "data.soft_targets",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_PUBLIC[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)


watch()
