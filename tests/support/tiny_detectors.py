"""Set detectors of transformers with few weights, drawn at random, and their image processors; saved as on the Hub."""

from pathlib import Path

import torch
import transformers
from transformers import (
    ConditionalDetrConfig,
    DeformableDetrConfig,
    DetrConfig,
    DFineConfig,
    HGNetV2Config,
    LwDetrConfig,
    Mask2FormerConfig,
    MaskFormerConfig,
    ResNetConfig,
    RfDetrConfig,
    RTDetrConfig,
    RTDetrResNetConfig,
    RTDetrV2Config,
    SwinConfig,
    YolosConfig,
)

CLASSES = {0: "dog", 1: "car", 2: "girl"}
QUERIES = 12

_RESNET = {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 8, 8, 16], "embedding_size": 8, "layer_type": "basic"}
_DETR = {
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 8,
    "decoder_attention_heads": 8,
    "encoder_ffn_dim": 16,
    "decoder_ffn_dim": 16,
    "num_queries": QUERIES,
}
_RT_DETR = {
    "encoder_hidden_dim": 16,
    "encoder_in_channels": [8, 8, 16],
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 16,
    "d_model": 16,
    "num_queries": QUERIES,
    "decoder_in_channels": [16, 16, 16],
    "decoder_ffn_dim": 16,
    "decoder_n_points": 2,
    "decoder_layers": 2,
    "decoder_attention_heads": 2,
}
_LW_DETR = {
    "d_model": 16,
    "num_queries": QUERIES,
    "group_detr": 1,
    "decoder_layers": 2,
    "decoder_ffn_dim": 16,
    "decoder_self_attention_heads": 2,
    "decoder_cross_attention_heads": 2,
    "decoder_n_points": 2,
}
_SWIN = {
    "image_size": 32,
    "embed_dim": 8,
    "depths": [1, 1, 1, 1],
    "num_heads": [1, 1, 1, 1],
    "window_size": 4,
    "out_features": ["stage1", "stage2", "stage3", "stage4"],
}


def _resnet(*stages: int) -> ResNetConfig:
    return ResNetConfig(**_RESNET, out_features=[f"stage{stage}" for stage in stages])


def _rt_resnet() -> RTDetrResNetConfig:
    return RTDetrResNetConfig(**_RESNET, out_features=["stage2", "stage3", "stage4"])


def _hgnet() -> HGNetV2Config:
    return HGNetV2Config(
        stem_channels=[3, 8, 8],
        stage_in_channels=[8, 8, 8, 8],
        stage_mid_channels=[8, 8, 8, 8],
        stage_out_channels=[8, 8, 8, 16],
        stage_num_blocks=[1, 1, 1, 1],
        stage_numb_of_layers=[1, 1, 1, 1],
        depths=[1, 1, 1, 1],
        hidden_sizes=[8, 8, 8, 16],
        embedding_size=8,
        out_features=["stage2", "stage3", "stage4"],
    )


def _lw_vit() -> dict:
    return {
        "model_type": "lw_detr_vit",
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "window_block_indices": [0],
        "num_windows": 4,
        "image_size": 64,
        "pretrain_image_size": 64,
        "out_indices": [1, 2],
    }


def _dinov2() -> dict:
    return {
        "model_type": "rf_detr_dinov2",
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_windows": 2,
        "image_size": 64,
        "patch_size": 16,
        "out_features": ["stage1", "stage2"],
    }


_HALF = {"size": {"height": 96, "width": 96}}
_EDGES = {"size": {"shortest_edge": 96, "longest_edge": 160}}

# Family → network, its config, image processor, settings of it. Sizes differ from the canvas's on purpose.
DETECTION = {
    "detr": ("DetrForObjectDetection", lambda: DetrConfig(**_DETR, backbone_config=_resnet(4)), "Detr", _EDGES),
    "conditional_detr": (
        "ConditionalDetrForObjectDetection",
        lambda: ConditionalDetrConfig(**_DETR, backbone_config=_resnet(4)),
        "ConditionalDetr",
        _EDGES,
    ),
    "deformable_detr": (
        "DeformableDetrForObjectDetection",
        lambda: DeformableDetrConfig(
            **_DETR | {"d_model": 32},
            backbone_config=_resnet(2, 3, 4),
            with_box_refine=True,
            two_stage=True,
            two_stage_num_proposals=12,
        ),
        "DeformableDetr",
        _EDGES,
    ),
    "yolos": (
        "YolosForObjectDetection",
        lambda: YolosConfig(
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=16,
            image_size=[96, 96],
            num_detection_tokens=QUERIES,
        ),
        "Yolos",
        _EDGES,
    ),
    "rt_detr": (
        "RTDetrForObjectDetection",
        lambda: RTDetrConfig(**_RT_DETR, backbone_config=_rt_resnet()),
        "RTDetr",
        _HALF,
    ),
    "rt_detr_v2": (
        "RTDetrV2ForObjectDetection",
        lambda: RTDetrV2Config(**_RT_DETR, backbone_config=_rt_resnet()),
        "RTDetr",
        _HALF,
    ),
    "d_fine": (
        "DFineForObjectDetection",
        lambda: DFineConfig(**_RT_DETR, backbone_config=_hgnet(), max_num_bins=8, lqe_hidden_dim=8),
        "RTDetr",
        _HALF,
    ),
    "rf_detr": (
        "RfDetrForObjectDetection",
        lambda: RfDetrConfig(**_LW_DETR, backbone_config=_dinov2()),
        "RfDetr",
        _HALF,
    ),
    "lw_detr": (
        "LwDetrForObjectDetection",
        lambda: LwDetrConfig(**_LW_DETR, backbone_config=_lw_vit(), projector_scale_factors=[1.0]),
        "DeformableDetr",
        _HALF | {"do_pad": False},
    ),
}
SEGMENTATION = {
    "detr": ("DetrForSegmentation", lambda: DetrConfig(**_DETR, backbone_config=_resnet(1, 2, 3, 4)), "Detr", _EDGES),
    "rf_detr": (
        "RfDetrForInstanceSegmentation",
        lambda: RfDetrConfig(**_LW_DETR, backbone_config=_dinov2()),
        "RfDetr",
        _HALF,
    ),
    "maskformer": (
        "MaskFormerForInstanceSegmentation",
        lambda: MaskFormerConfig(
            fpn_feature_size=32,
            mask_feature_size=16,
            backbone_config=SwinConfig(**_SWIN),
            decoder_config=DetrConfig(**_DETR, backbone_config=_resnet(4)),
        ),
        "MaskFormer",
        _EDGES,
    ),
    "mask2former": (
        "Mask2FormerForUniversalSegmentation",
        lambda: Mask2FormerConfig(
            feature_size=32,
            mask_feature_size=32,
            hidden_dim=32,
            encoder_feedforward_dim=16,
            encoder_layers=1,
            decoder_layers=2,
            num_attention_heads=2,
            dim_feedforward=16,
            num_queries=QUERIES,
            backbone_config=SwinConfig(**_SWIN),
        ),
        "Mask2Former",
        _EDGES,
    ),
}
FAMILIES = {"detection": DETECTION, "segmentation": SEGMENTATION}


def save_network(folder: Path, task: str, family: str, classes: dict[int, str] = CLASSES, seed: int = 0) -> Path:
    """Network and image processor as transformers saves them; returns the folder."""
    name, config, processor, settings = FAMILIES[task][family]
    made = config()
    made.id2label, made.label2id = dict(classes), {label: index for index, label in classes.items()}
    torch.manual_seed(seed)
    network = getattr(transformers, name)(made).eval()
    scatter(network)
    network.save_pretrained(folder)
    getattr(transformers, f"{processor}ImageProcessor")(**settings).save_pretrained(folder)
    return folder


@torch.no_grad()
def scatter(network: torch.nn.Module) -> None:
    """Weights large enough that what is found differs between pictures and queries."""
    for parameter in network.parameters():
        if parameter.ndim > 1:
            parameter.normal_(std=1.0 / parameter[0].numel() ** 0.5)
        else:
            parameter.add_(torch.randn_like(parameter) * 0.2)
    if hasattr(network, "mask_head"):
        # DETR's masks differ by their attention alone, one of many small shares.
        for name, weight in network.mask_head.conv1.named_parameters():
            if weight.ndim == 4:
                assert weight.shape[1] == 24, name  # 16 features, 8 heads
                weight[:, 16:] *= 100
