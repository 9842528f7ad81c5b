"""Tiny checkpoints with random weights: a model, a processor with detectors, a folder with both."""

import torch
from transformers import BertConfig, BertTokenizer, ResNetConfig

from pbrec_hf import PbrecConfig, PbrecForReferringExpression, PbrecImageProcessor, PbrecProcessor
from pbrec_hf.detectors.solo import SoloConfig, SoloDetector
from pbrec_hf.small.nanodet import NanoDetConfig, NanoDetDetector

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "left",
    "right",
    "dog",
    "red",
    "car",
    "the",
    "cat",
    "girl",
    "on",
]


def tiny_model(seed: int = 0, **fields) -> PbrecForReferringExpression:
    """Canvas 128, stride 32: a grid of 4 × 4 points."""
    torch.manual_seed(seed)
    config = PbrecConfig(
        **{
            "backbone_config": ResNetConfig(
                depths=[1, 1, 1, 1],
                hidden_sizes=[8, 8, 8, 16],
                embedding_size=8,
                layer_type="basic",
                out_features=["stage4"],
            ),
            "text_config": BertConfig(
                vocab_size=len(WORDS),
                hidden_size=16,
                num_hidden_layers=1,
                num_attention_heads=2,
                intermediate_size=16,
                max_position_embeddings=64,
            ),
            "image_size": 128,
            "d_model": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "max_text_length": 8,
            **fields,
        }
    )
    return PbrecForReferringExpression(config).eval()


def tiny_box_detector(seed: int = 0) -> NanoDetDetector:
    """Grids of 16 × 16, 8 × 8 and 4 × 4 points on a canvas of 128."""
    torch.manual_seed(seed)
    trunk = {"stem_channels": 8, "stage_channels": [8, 16, 16], "stage_depths": [1, 1, 1], "neck_channels": 8}
    return NanoDetDetector(NanoDetConfig(trunk_config=trunk)).eval()


def tiny_mask_detector(seed: int = 0) -> SoloDetector:
    """One level of 4 × 4 masks on a canvas of 128."""
    torch.manual_seed(seed)
    backbone = {
        "model_type": "resnet",
        "depths": [1, 1, 1, 1],
        "hidden_sizes": [8, 8, 8, 8],
        "embedding_size": 8,
        "layer_type": "basic",
        "out_features": ["stage1", "stage2", "stage3", "stage4"],
    }
    config = SoloConfig(backbone_config=backbone, neck_channels=32, channels=32, num_labels=3)
    detector = SoloDetector(config).eval()
    for output in detector.head.mask_outputs:
        output.reset_parameters()  # torch's own start; as initialised, a new detector proposes empty masks
    return detector


def tiny_processor(**detectors) -> PbrecProcessor:
    tokenizer = BertTokenizer(vocab={word: index for index, word in enumerate(WORDS)})
    return PbrecProcessor(PbrecImageProcessor(size={"longest_edge": 128}), tokenizer, max_text_length=8, **detectors)


def save_tiny_checkpoint(folder, masks: bool = False) -> None:
    """Model and processor with a box detector, and a mask detector if asked for."""
    tiny_model().save_pretrained(folder)
    detectors = {"box_detector": tiny_box_detector()}
    if masks:
        detectors["mask_detector"] = tiny_mask_detector()
    tiny_processor(**detectors).save_pretrained(folder)
