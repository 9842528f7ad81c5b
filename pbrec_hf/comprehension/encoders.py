"""The encoders of a model, by their configs: any backbone of `AutoBackbone`, any text encoder of `AutoModel`.

Knows nothing of what is done with their features.
"""

import inspect
from collections.abc import Sequence
from typing import Any

from torch import nn
from transformers import AutoBackbone, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_MAPPING

# Kinds of attention, and what transformers' classes say of them.
_ATTENTION = {"sdpa": "_supports_sdpa", "flash": "_supports_flash_attn", "flex": "_supports_flex_attn"}


def image_backbone(config: PreTrainedConfig) -> Any:
    """
    Any backbone of `AutoBackbone`.

    transformers hands the attention that a model is loaded with down to its parts, and refuses convolutional networks
    for not having it: they keep their own.
    """
    asked = config._attn_implementation or ""
    backbone_class = AutoBackbone._model_mapping.get(type(config), None)
    flag = next((flag for kind, flag in _ATTENTION.items() if asked.startswith(kind)), None)
    if flag is not None and backbone_class is not None and not getattr(backbone_class, flag, False):
        config._attn_implementation = "eager"
    return AutoBackbone.from_config(config)


def text_encoder(config: PreTrainedConfig) -> PreTrainedModel:
    """Any encoder of `AutoModel`, without the pooler that some of them carry and nothing here reads."""
    model_class: Any = MODEL_MAPPING.get(type(config), None)
    poolable = model_class is not None and "add_pooling_layer" in inspect.signature(model_class).parameters
    return AutoModel.from_config(config, **({"add_pooling_layer": False} if poolable else {}))


def freeze_modules(backbone: nn.Module, names: Sequence[str]) -> None:
    """
    Stop the training of modules of a backbone.

    Args:
        backbone: that has them.
        names: of the modules; "*" = all of it.

    Raises:
        ValueError: there is no module of that name.
    """
    for name in names:
        try:
            module = backbone if name == "*" else backbone.get_submodule(name)
        except AttributeError as error:
            raise ValueError(
                f"frozen_backbone_modules has {name!r}, which {type(backbone).__name__} does not have; its parts are "
                f"{', '.join(child for child, _ in backbone.named_children())}. Give names of its modules, or ['*']."
            ) from error
        module.requires_grad_(False)


__all__ = ["freeze_modules", "image_backbone", "text_encoder"]
