"""The image backbones of this package, made known to AutoConfig and AutoBackbone.

`PbrecConfig` names its backbone by model type alone; whoever loads a config needs the type registered first, also
where these modules came with a Hub folder and the package is not installed.
"""

from transformers import AutoBackbone, AutoConfig

from .backbone_grounding import GroundingBackbone
from .backbone_nanodet import NanoDetBackbone


def register_backbones() -> None:
    """May be called again."""
    for backbone in (GroundingBackbone, NanoDetBackbone):
        AutoConfig.register(backbone.config_class.model_type, backbone.config_class, exist_ok=True)
        AutoBackbone.register(backbone.config_class, backbone, exist_ok=True)
