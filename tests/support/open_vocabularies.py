"""Tiny open-vocabulary detectors of transformers with random weights, and their processors."""

from collections.abc import Callable
from typing import Any

import torch
from transformers import (
    AutoModelForZeroShotObjectDetection,
    BertConfig,
    BertTokenizer,
    CLIPTextConfig,
    CLIPTokenizer,
    DetrImageProcessor,
    GroundingDinoConfig,
    GroundingDinoImageProcessor,
    GroundingDinoProcessor,
    MMGroundingDinoConfig,
    OmDetTurboConfig,
    OmDetTurboProcessor,
    Owlv2Config,
    Owlv2ImageProcessor,
    Owlv2Processor,
    PreTrainedModel,
    SwinConfig,
)

from pbrec_hf.detectors.open_vocabulary import OpenVocabularyConfig, OpenVocabularyDetector

WORDS = ("left", "right", "dog", "red", "car", "the", "cat", "girl", "on", "thing", "0", "1", "2", "3", "4")


def _bert_tokenizer() -> BertTokenizer:
    """The separators have the ids that Grounding DINO looks for."""
    fixed = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, "[MASK]": 103, ".": 1012, "?": 1029}
    words = {word: 200 + index for index, word in enumerate(WORDS)}
    known = fixed | words
    fill = {f"[unused{index}]": index for index in set(range(1030)) - set(known.values())}
    return BertTokenizer(vocab=known | fill)


def _clip_tokenizer() -> CLIPTokenizer:
    letters = [chr(code) for code in range(33, 127)]
    vocab = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={token: index for index, token in enumerate(vocab)}, merges=[])


def _swin() -> SwinConfig:
    return SwinConfig(
        image_size=64, window_size=2, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1], out_indices=[2, 3, 4]
    )


def _grounding_dino(kind: type) -> tuple[Any, Any]:
    text = BertConfig(
        vocab_size=1030, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    sizes = {"d_model": 32, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "num_queries": 40}
    layers = {"encoder_layers": 1, "decoder_layers": 2, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    config = kind(backbone_config=_swin(), text_config=text, num_feature_levels=4, init_std=0.2, **sizes, **layers)
    seen = GroundingDinoImageProcessor(size={"shortest_edge": 96, "longest_edge": 128})
    return config, GroundingDinoProcessor(seen, _bert_tokenizer())


def _owlv2() -> tuple[Any, Any]:
    tokenizer = _clip_tokenizer()
    text = {
        "vocab_size": len(tokenizer), "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
        "num_attention_heads": 2, "max_position_embeddings": 16, "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }  # fmt: skip
    vision = {
        "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
        "image_size": 48, "patch_size": 8,
    }  # fmt: skip
    config = Owlv2Config(text_config=text, vision_config=vision, projection_dim=16)
    return config, Owlv2Processor(Owlv2ImageProcessor(size={"height": 48, "width": 48}), tokenizer)


def _omdet_turbo() -> tuple[Any, Any]:
    tokenizer = _clip_tokenizer()
    text = CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=77, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    config = OmDetTurboConfig(
        backbone_config=_swin(), text_config=text, image_size=64, text_projection_in_dim=32,
        text_projection_out_dim=32, class_embed_dim=32, num_queries=12, vision_features_channels=[16, 16, 16],
        encoder_in_channels=[16, 32, 64], encoder_hidden_dim=16, encoder_attention_heads=2, encoder_dim_feedforward=16,
        decoder_hidden_dim=16, decoder_num_heads=2, decoder_num_layers=2, decoder_dim_feedforward=16,
        task_encoder_hidden_dim=16, apply_layernorm_after_vision_backbone=False,
    )  # fmt: skip
    seen = DetrImageProcessor(size={"height": 64, "width": 64})
    return config, OmDetTurboProcessor(seen, tokenizer)


FAMILIES: dict[str, Callable[[], tuple[Any, Any]]] = {
    "grounding-dino": lambda: _grounding_dino(GroundingDinoConfig),
    "mm-grounding-dino": lambda: _grounding_dino(MMGroundingDinoConfig),
    "owlv2": _owlv2,
    "omdet-turbo": _omdet_turbo,
}


def tiny_network(family: str, seed: int = 0) -> tuple[PreTrainedModel, Any]:
    """A network with random weights, and its processor."""
    torch.manual_seed(seed)
    config, processor = FAMILIES[family]()
    return _spread(AutoModelForZeroShotObjectDetection.from_config(config)).eval(), processor


def tiny_detector(family: str = "grounding-dino", seed: int = 0, **fields: Any) -> OpenVocabularyDetector:
    """The detector around it."""
    torch.manual_seed(seed)
    config, processor = FAMILIES[family]()
    detector = OpenVocabularyDetector(OpenVocabularyConfig(network_config=config, **fields), processor)
    _spread(detector.network)
    return detector.eval()


@torch.no_grad()
def _spread(network: PreTrainedModel) -> PreTrainedModel:
    """As initialised, nearly all scores are 0 or 1, and boxes are their anchors."""
    for name, weight in network.named_parameters():
        if "class_head.logit_" in name or name.endswith("decoder.layer_norm.weight"):
            weight.mul_(0.1)
        elif weight.ndim > 1 and not weight.any():
            weight.normal_(std=0.05)
    return network
