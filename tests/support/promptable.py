"""Tiny networks of the SAM family with random weights, and their processors."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskGeneration,
    EdgeTamConfig,
    EdgeTamMaskDecoderConfig,
    EdgeTamPromptEncoderConfig,
    EdgeTamVisionConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Sam2Config,
    Sam2HieraDetConfig,
    Sam2ImageProcessor,
    Sam2MaskDecoderConfig,
    Sam2Processor,
    Sam2PromptEncoderConfig,
    Sam2VisionConfig,
    Sam3ImageProcessor,
    Sam3TrackerConfig,
    Sam3TrackerMaskDecoderConfig,
    Sam3TrackerProcessor,
    Sam3TrackerPromptEncoderConfig,
    Sam3VisionConfig,
    Sam3ViTConfig,
    SamConfig,
    SamImageProcessor,
    SamMaskDecoderConfig,
    SamProcessor,
    SamPromptEncoderConfig,
    SamVisionConfig,
)
from transformers.modeling_outputs import BaseModelOutput

from pbrec_hf.detectors.prompted_masks import PromptedMasks, PromptedMasksConfig

SIDE = 64  # of the frame in which the networks see
_DECODER = {
    "hidden_size": 32, "mlp_dim": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "iou_head_hidden_dim": 16,
}  # fmt: skip
_SIZE = {"height": SIDE, "width": SIDE}


def _prompts(patch: int) -> dict[str, Any]:
    return {"hidden_size": 32, "image_size": SIDE, "patch_size": patch, "mask_input_channels": 4}


def _sam() -> tuple[Any, Any]:
    vision = SamVisionConfig(
        hidden_size=16, output_channels=32, num_hidden_layers=1, num_attention_heads=2, image_size=SIDE, patch_size=8,
        window_size=4, global_attn_indexes=[0], num_pos_feats=16, mlp_dim=16, initializer_range=0.2,
    )  # fmt: skip
    config = SamConfig(
        vision_config=vision,
        prompt_encoder_config=SamPromptEncoderConfig(**_prompts(8)),
        mask_decoder_config=SamMaskDecoderConfig(**_DECODER),
        initializer_range=0.2,
    )
    return config, SamProcessor(SamImageProcessor(size={"longest_edge": SIDE}, pad_size=_SIZE))


def _sam2() -> tuple[Any, Any]:
    backbone = Sam2HieraDetConfig(
        hidden_size=8, num_attention_heads=1, image_size=[SIDE, SIDE], blocks_per_stage=[1, 2, 1, 1],
        embed_dim_per_stage=[8, 16, 32, 64], num_attention_heads_per_stage=[1, 1, 1, 1],
        window_size_per_stage=[4, 2, 2, 2], global_attention_blocks=[2], initializer_range=0.2,
    )  # fmt: skip
    vision = Sam2VisionConfig(
        backbone_config=backbone, backbone_channel_list=[64, 32, 16, 8], fpn_hidden_size=32,
        backbone_feature_sizes=[[16, 16], [8, 8], [4, 4]], initializer_range=0.2,
    )  # fmt: skip
    config = Sam2Config(
        vision_config=vision,
        prompt_encoder_config=Sam2PromptEncoderConfig(**_prompts(16)),
        mask_decoder_config=Sam2MaskDecoderConfig(**_DECODER),
        initializer_range=0.2,
    )
    return config, Sam2Processor(Sam2ImageProcessor(size=_SIZE, mask_size={"height": 16, "width": 16}))


class PyramidConfig(PreTrainedConfig):
    """Stands in for timm's RepViT, the trunk of EdgeTAM's checkpoints."""

    model_type = "tiny_pyramid"


class Pyramid(PreTrainedModel):
    """Maps at strides 4, 8, 16 and 32."""

    config_class = PyramidConfig
    main_input_name = "pixel_values"

    def __init__(self, config: PyramidConfig):
        super().__init__(config)
        channels = [3, 8, 16, 32, 64]
        self.stages = nn.ModuleList(
            nn.Conv2d(channels[index], channels[index + 1], 2 if index else 4, stride=2 if index else 4)
            for index in range(4)
        )
        self.post_init()

    def forward(self, pixel_values: torch.Tensor, **kwargs: Any) -> BaseModelOutput:
        """All maps, fine to coarse."""
        maps = []
        for stage in self.stages:
            pixel_values = stage(pixel_values).relu()
            maps.append(pixel_values)
        return BaseModelOutput(last_hidden_state=maps)


def _edgetam() -> tuple[Any, Any]:
    AutoConfig.register(PyramidConfig.model_type, PyramidConfig, exist_ok=True)
    AutoModel.register(PyramidConfig, Pyramid, exist_ok=True)
    vision = EdgeTamVisionConfig(
        backbone_config=PyramidConfig(), backbone_channel_list=[64, 32, 16, 8], fpn_hidden_size=32,
        backbone_feature_sizes=[[16, 16], [8, 8], [4, 4]], initializer_range=0.2,
    )  # fmt: skip
    config = EdgeTamConfig(
        vision_config=vision,
        prompt_encoder_config=EdgeTamPromptEncoderConfig(**_prompts(16)),
        mask_decoder_config=EdgeTamMaskDecoderConfig(**_DECODER),
        initializer_range=0.2,
    )
    return config, Sam2Processor(Sam2ImageProcessor(size=_SIZE, mask_size={"height": 16, "width": 16}))


def _sam3_tracker() -> tuple[Any, Any]:
    backbone = Sam3ViTConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=SIDE,
        patch_size=8, window_size=4, global_attn_indexes=[0], pretrain_image_size=SIDE, initializer_range=0.2,
    )  # fmt: skip
    vision = Sam3VisionConfig(
        backbone_config=backbone, fpn_hidden_size=32, backbone_feature_sizes=[[32, 32], [16, 16], [8, 8]]
    )
    config = Sam3TrackerConfig(
        vision_config=vision,
        prompt_encoder_config=Sam3TrackerPromptEncoderConfig(**_prompts(8)),
        mask_decoder_config=Sam3TrackerMaskDecoderConfig(**_DECODER),
        initializer_range=0.2,
    )
    return config, Sam3TrackerProcessor(Sam3ImageProcessor(size=_SIZE, mask_size={"height": 32, "width": 32}))


FAMILIES: dict[str, Callable[[], tuple[Any, Any]]] = {
    "sam": _sam,
    "sam2": _sam2,
    "edgetam": _edgetam,
    "sam3_tracker": _sam3_tracker,
}


def tiny_network(family: str, seed: int = 0) -> tuple[PreTrainedModel, Any]:
    """A network with random weights, and its processor."""
    torch.manual_seed(seed)
    config, processor = FAMILIES[family]()
    return AutoModelForMaskGeneration.from_config(config).eval(), processor


def tiny_prompted(family: str = "sam", seed: int = 0) -> PromptedMasks:
    """The masks around it."""
    torch.manual_seed(seed)
    config, processor = FAMILIES[family]()
    return PromptedMasks(PromptedMasksConfig(network_config=config), processor).eval()
