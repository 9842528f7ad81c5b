"""How each family of open-vocabulary detectors is asked, and how its answer is read.

A row is a picture and its phrases. Each family is asked as its library's own processor asks it, and its scores and
boxes are read by its library's own post-processing with nothing left out. What is the same for all rows of a picture
is computed once: pixels, and the features of the backbone, as far as the network's own interface leaves them apart
from the words.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only
from transformers import PreTrainedModel


class Found(NamedTuple):
    """
    What a network found in R rows.

    Attributes:
        boxes: (R, Q, 4) XYXY in pixels of the picture.
        scores: (R, Q) in [0, 1].
        labels: int64 (R, Q), the phrase of the row that fits best.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor


class Vocabulary(NamedTuple):
    """
    A family.

    Attributes:
        sentences: the texts that its text encoder reads for the phrases of a row.
        most: config of the network → tokens that a text may have.
        backbone: name of the module that sees pixels alone, if it would else see each picture once per row.
        find: (network, processor, I pictures uint8 (3, H, W), R lists of as many phrases, the picture (R,) of each) →
            [`Found`].
    """

    sentences: Callable[[Sequence[str]], list[str]]
    most: Callable[[Any], int]
    backbone: str | None
    find: Callable[[PreTrainedModel, Any, list[Tensor], list[list[str]], Tensor], Found]


def _sentence(phrases: Sequence[str]) -> list[str]:
    """One text; the signs that separate phrases may not be part of them."""
    return ["".join(f"{part}. " for part in map(_without_separators, phrases)).strip()]


def _without_separators(phrase: str) -> str:
    return " ".join(phrase.lower().replace(".", " ").replace("?", " ").split())


def _find_grounding_dino(
    network: PreTrainedModel, processor: Any, pictures: list[Tensor], phrases: list[list[str]], index: Tensor
) -> Found:
    seen = processor.image_processor(pictures, return_tensors="pt").to(network.device)
    texts = [text for row in phrases for text in _sentence(row)]
    most = network.config.max_text_len
    asked = processor(text=texts, padding=True, truncation=True, max_length=most, return_tensors="pt")
    pixels = {name: value[index] for name, value in seen.items()}
    with _once_per_picture(index):
        output = network(**_cast(pixels, network), **asked.to(network.device))
    found = _post_processed(processor.image_processor, output, pictures)
    owners = torch.stack([_owners(processor.tokenizer, row, asked["input_ids"].shape[1]) for row in phrases])
    return found._replace(labels=_best_phrase(output.logits, owners.to(network.device), len(phrases[0])))


def _owners(tokenizer: Any, phrases: list[str], length: int) -> Tensor:
    """int64 (length,): the phrase that each token is part of, or the number of phrases for all other tokens."""
    (text,) = _sentence(phrases)
    ends = torch.tensor([len(_without_separators(phrase)) + 2 for phrase in phrases]).cumsum(0)
    offsets = torch.tensor(
        tokenizer(text, truncation=True, max_length=length, return_offsets_mapping=True)["offset_mapping"]
    )
    owners = torch.full((length,), len(phrases), dtype=torch.int64)
    start, end = offsets.T.contiguous()
    inside = (end > start) & torch.tensor([text[int(position)] != "." for position in start])
    owners[: len(offsets)] = torch.where(inside, torch.bucketize(start, ends, right=True), len(phrases))
    return owners


def _best_phrase(logits: Tensor, owners: Tensor, count: int) -> Tensor:
    """The phrase (R, Q) with the highest logit of a token of its own."""
    tokens = logits[..., : owners.shape[1]].float()
    best = tokens.new_full((*tokens.shape[:2], count + 1), -torch.inf)
    best = best.scatter_reduce(2, owners[:, None].expand_as(tokens), tokens, "amax")
    return best[..., :count].argmax(-1)


def _find_owl(
    network: PreTrainedModel, processor: Any, pictures: list[Tensor], phrases: list[list[str]], index: Tensor
) -> Found:
    seen = processor.image_processor(pictures, return_tensors="pt").to(network.device)
    asked: list[list[str]] = [[] for _ in pictures]
    firsts = []
    for row, picture in zip(phrases, index.tolist(), strict=True):
        firsts.append(len(asked[picture]))
        asked[picture] += row
    most = network.config.text_config.max_position_embeddings
    words = processor(text=asked, padding="max_length", truncation=True, max_length=most, return_tensors="pt")
    output = network(**_cast(seen, network), **words.to(network.device))
    columns = torch.tensor(firsts)[:, None] + torch.arange(len(phrases[0]))
    logits = output.logits[index[:, None], :, columns.to(network.device)].transpose(1, 2)
    rows = SimpleNamespace(logits=logits, pred_boxes=output.pred_boxes[index])
    return _post_processed(processor.image_processor, rows, pictures)


def _find_omdet_turbo(
    network: PreTrainedModel, processor: Any, pictures: list[Tensor], phrases: list[list[str]], index: Tensor
) -> Found:
    asked = processor(images=pictures, text=phrases, return_tensors="pt").to(network.device)
    asked["pixel_values"] = asked["pixel_values"][index]
    with _once_per_picture(index):
        output = network(**_cast(asked, network))
    for name in ("decoder_coord_logits", "decoder_class_logits"):
        output[name] = output[name].float()  # torchvision's suppression knows no half precision
    sizes = [tuple(pictures[0].shape[-2:])] * len(phrases)
    # As many as there are queries, and nothing suppressed: overlapping proposals vote.
    found = processor.post_process_grounded_object_detection(
        output, threshold=-1.0, nms_threshold=1.0, target_sizes=sizes
    )
    return Found(*(torch.stack([row[name] for row in found]) for name in ("boxes", "scores", "labels")))


def _cast(inputs: Any, network: PreTrainedModel) -> dict[str, Any]:
    """The inputs with pixels in the network's precision."""
    return {name: value.to(network.dtype) if name == "pixel_values" else value for name, value in inputs.items()}


def _post_processed(image_processor: Any, output: Any, pictures: list[Tensor]) -> Found:
    sizes = [tuple(pictures[0].shape[-2:])] * len(output.logits)
    found = image_processor.post_process_object_detection(output, threshold=-1.0, target_sizes=sizes)
    return Found(*(torch.stack([row[name] for row in found]) for name in ("boxes", "scores", "labels")))


_ROWS: ContextVar[Tensor | None] = ContextVar("_ROWS", default=None)


@contextmanager
def _once_per_picture(index: Tensor) -> Iterator[None]:
    """In this block, modules that `share_rows` prepared run once per picture; `index` (R,) are the pictures."""
    token = _ROWS.set(index)
    try:
        yield
    finally:
        _ROWS.reset(token)


def share_rows(backbone: nn.Module) -> None:
    """Let a module that sees pixels alone see each picture of a batch of rows once."""
    backbone.register_forward_pre_hook(_first_rows)
    backbone.register_forward_hook(_for_all_rows)


def _first_rows(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
    if (index := _ROWS.get()) is None:
        return None
    pictures = index.tolist()
    firsts = torch.tensor([pictures.index(picture) for picture in range(max(pictures) + 1)], device=index.device)
    return tuple(rows[firsts] for rows in inputs)


def _for_all_rows(module: nn.Module, inputs: tuple[Tensor, ...], output: Any) -> Any:
    if (index := _ROWS.get()) is None:
        return None
    return tree_map_only(Tensor, lambda maps: maps[index], output)


_GROUNDING_DINO = Vocabulary(_sentence, lambda config: config.max_text_len, "model.backbone", _find_grounding_dino)
_OWL = Vocabulary(list, lambda config: config.text_config.max_position_embeddings, None, _find_owl)
VOCABULARIES = {
    "grounding-dino": _GROUNDING_DINO,
    "mm-grounding-dino": _GROUNDING_DINO,
    "omdet-turbo": Vocabulary(
        list, lambda config: config.text_config.max_position_embeddings, "vision_backbone", _find_omdet_turbo
    ),
    "owlv2": _OWL,
    "owlvit": _OWL,
}


__all__ = ["VOCABULARIES", "Found", "Vocabulary", "share_rows"]
