"""Answers of a checkpoint for every expression of a set of pictures, in any number of processes.

Each picture is encoded once for all its expressions, and its proposals are computed once or come from a cache. Every
answer comes with what the detector could have given at best, and with the released rule of model selection. Knows
nothing of how answers are scored (`predictions.py`).
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import datasets
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object, tqdm
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from transformers.utils import logging

from ..comprehension.labels import center_targets
from ..configuration_pbrec import PbrecConfig
from ..data.collator import PbrecCollator
from ..data.referents import referents_of
from ..geometry.requested_masks import are_requested
from ..images.segmentation import mask_to_rle
from ..modeling_pbrec import PbrecForReferringExpression, PbrecOutput
from ..processing_pbrec import PbrecProcessor
from ..selection.choose import PROPOSALS
from .oracles import MaskOracle, box_oracles
from .predictions import Prediction
from .proposal_cache import KINDS, ProposalCache, image_hash, row_keys

logger = logging.get_logger(__name__)

_Item = tuple[dict[str, Any], int, bool]  # a row, its number, and whether it counts


@dataclass(frozen=True)
class Way:
    """
    How expressions are answered; see `PbrecProcessor.post_process_referring_expression`.

    Attributes:
        referents: "one" or "any".
        threshold: a number, "auto", or None for the default of `referents`.
        masks: whether to make masks, which take time.
        kinds: answer with these proposals alone, such as ("masks",); () = all that there are.
        selection: fields of the processor's selection settings that are changed, such as {"top_k": 4}. A calibration
            is of the processor's own settings and is left out then: scores are raw.
    """

    referents: str = "one"
    threshold: float | str | None = None
    masks: bool = True
    kinds: tuple[str, ...] = ()
    selection: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.kinds) - set(PROPOSALS)):
            raise ValueError(f"kinds={unknown}: choose from {', '.join(PROPOSALS)}, or give none for all.")


EVERYTHING = (Way("one", 0.0, masks=False), Way("any", 0.0, masks=False))  # what a calibration is fitted to


def predict(
    model: PbrecForReferringExpression,
    processor: PbrecProcessor,
    rows: datasets.Dataset,
    accelerator: Accelerator | None = None,
    batch_size: int = 8,
    way: Way = Way(),
    **options: Any,
) -> list[Prediction]:
    """Answer every expression in one way; the arguments are those of `predict_in_ways`."""
    return predict_in_ways(model, processor, rows, [way], accelerator, batch_size, **options)[0]


@torch.no_grad()
def predict_in_ways(
    model: PbrecForReferringExpression,
    processor: PbrecProcessor,
    rows: datasets.Dataset,
    ways: Sequence[Way],
    accelerator: Accelerator | None = None,
    batch_size: int = 8,
    caches: Mapping[str, ProposalCache] | None = None,
    num_workers: int = 0,
    oracles: bool = True,
    progress: bool = False,
) -> list[list[Prediction]]:
    """
    Answer every expression in several ways, with one pass of the model; see `predictions.py` for the fields.

    Args:
        model: not wrapped for several processes.
        rows: of the image view, images not decoded.
        ways: how to answer.
        accelerator: of several processes that share the pictures.
        batch_size: pictures per pass and process.
        caches: proposals by kind ("boxes", "masks"), instead of the processor's detector of that kind.
        num_workers: loader processes.
        oracles: also find the best of all boxes, and of the 1,000 masks of the highest quality.
        progress: show a progress bar.

    Returns:
        For each way one prediction per expression, the same lists in every process.

    Raises:
        ValueError: there are no proposals, a cache does not hold a picture, or the threshold is "auto" without a
            calibration.
    """
    index, number = (accelerator.process_index, accelerator.num_processes) if accelerator else (0, 1)
    # Every process makes as many passes, since with sharded weights they wait for each other; repeats are dropped.
    share = [(row % len(rows), row < len(rows)) for row in range(index, -(-len(rows) // number) * number, number)]
    loader = DataLoader(
        _Share(rows, share),
        batch_size=batch_size,
        collate_fn=_Collate(model, processor, hashes=bool(caches)),
        num_workers=num_workers,
        generator=torch.Generator(),  # leaves the generator of dropout alone
    )
    was_training = model.training
    model.eval()
    processor.to(model.device)
    answering = [_answering(processor, way) for way in ways]
    predictions: list[list[Prediction]] = [[] for _ in ways]
    for batch in tqdm(loader, desc="predictions", disable=not progress):
        found = _predict_batch(model, processor, batch, list(zip(ways, answering, strict=True)), caches or {}, oracles)
        for known, more in zip(predictions, found, strict=True):
            known += more
    model.train(was_training)
    if number > 1:
        predictions = [gather_object(known) for known in predictions]
    return [sorted(known, key=lambda prediction: (prediction["row"], prediction["index"])) for known in predictions]


def _predict_batch(
    model: PbrecForReferringExpression,
    processor: PbrecProcessor,
    batch: dict[str, Any],
    ways: Sequence[tuple[Way, PbrecProcessor]],
    caches: Mapping[str, ProposalCache],
    oracles: bool,
) -> list[list[Prediction]]:
    images = batch["pixel_values"].to(model.device)
    mask = batch["pixel_mask"].to(model.device)
    asked = (batch["expressions"], batch["image_index"])
    found = {}
    for kind, cache in caches.items():
        keys = row_keys(cache.detector, batch["hashes"], batch["expressions"], batch["image_index"].tolist())
        found[PROPOSALS[kind]] = cache.get(keys).to(model.device)
    found |= processor.propose(images, mask, [kind for kind in KINDS if kind not in caches], *asked)
    outputs = model(
        pixel_values=images,
        pixel_mask=mask,
        input_ids=batch["input_ids"].to(model.device),
        attention_mask=batch["attention_mask"].to(model.device),
        image_index=batch["image_index"].to(model.device),
        detected=found.pop("detected", None),
    )
    inputs = {name: batch[name] for name in ("letterbox", "image_index", "expressions")} | found
    shared = _shared_fields(outputs, batch, found, model.config, oracles)
    predictions = []
    for way, answering in ways:
        left_out = {PROPOSALS[kind] for kind in PROPOSALS if way.kinds and kind not in way.kinds}
        answers = answering.post_process_referring_expression(
            outputs,
            {name: value for name, value in inputs.items() if name not in left_out},
            threshold=way.threshold,
            referents=way.referents,
            return_masks=way.masks,
        )
        pairs = zip(shared, answers, strict=True)
        predictions.append([fields | _answer_fields(answer) for fields, answer in pairs if fields is not None])
    return predictions


def _answering(processor: PbrecProcessor, way: Way) -> PbrecProcessor:
    """The processor, with the settings of `way`; its networks are shared."""
    if not way.selection:
        return processor
    changed = copy.copy(processor)
    changed.settings = replace(processor.settings, **way.selection)
    changed.calibration = None
    return changed


def _answer_fields(answer: dict[str, Any]) -> Prediction:
    """What a prediction takes from an answer of the processor."""
    masks = answer.get("masks") if answer["mask_source"] != "box" else None
    return {
        "scores": answer["scores"].tolist(),
        "raw_scores": answer["raw_scores"].tolist(),
        "exists": answer["exists"],
        "boxes": [[round(value, 3) for value in box] for box in answer["boxes"].tolist()],
        "masks": None if masks is None else [mask_to_rle(mask[0].cpu()) for mask in masks],
    }


def _shared_fields(
    outputs: PbrecOutput, batch: dict[str, Any], found: dict[str, Any], config: PbrecConfig, oracles: bool
) -> list[Prediction | None]:
    """What every way of answering has in common; None for the expressions of repeated pictures."""
    hits = _point_hits(outputs, batch, config)
    shared: list[Prediction | None] = []
    drawn: dict[int, MaskOracle] = {}
    for number, (place, sentence) in enumerate(zip(batch["places"], batch["sentences"], strict=True)):
        if place is None:
            shared.append(None)
            continue
        fields = {
            **place,
            "ref_id": sentence.get("ref_id"),
            "sent_id": sentence.get("sent_id"),
            "expression": sentence["expression"],
            "point_hit": hits[number],
        }
        if oracles:
            image = int(batch["image_index"][number])
            letterbox, referents = batch["letterbox"][image], referents_of(sentence)
            boxes, masks = found.get("box_proposals"), found.get("mask_proposals")
            row = number if boxes is not None and boxes.per_expression else image
            fields["box_oracles"] = box_oracles(boxes, row, letterbox, referents)
            fields["mask_oracles"] = None
            if masks is not None and not are_requested(masks) and all(one.segmentation for one in referents):
                row = number if masks.per_expression else image
                if referents and row not in drawn:
                    drawn = {row: MaskOracle(masks, row, letterbox)}
                fields["mask_oracles"] = [drawn[row].best(one.segmentation) for one in referents if one.segmentation]
        shared.append(fields)
    return shared


def _point_hits(outputs: PbrecOutput, batch: dict[str, Any], config: PbrecConfig) -> list[bool | None]:
    """
    The released rule of model selection: whether the best point of all, padding included, has a target above 0.

    Returns:
        For each of E expressions; of several referents any counts. None where there is none, and where targets are
        not known.
    """
    owners, expressions = batch["referent_index"], len(batch["image_index"])
    targets: Tensor | None
    if outputs.center_logits is not None:
        logits = outputs.center_logits
        assert outputs.image_features is not None  # every forward pass on pictures returns them
        points = outputs.image_features.points
        targets = center_targets(batch["boxes"], owners, points, batch["image_index"], config).cpu()
    else:
        targets = batch.get("massness_labels")
        if targets is None or outputs.mass_logits is None:
            return [None] * expressions
        logits = outputs.mass_logits
    best = logits.float().argmax(dim=1).cpu()
    hits = (targets[torch.arange(expressions), best] > 0).tolist()
    there = set(owners.tolist())
    return [hit if number in there else None for number, hit in enumerate(hits)]


class _Share(Dataset[_Item]):
    """The pictures of one process."""

    def __init__(self, rows: datasets.Dataset, share: Sequence[tuple[int, bool]]):
        self.rows, self.share = rows, share

    def __len__(self) -> int:
        return len(self.share)

    def __getitem__(self, position: int) -> _Item:
        row, counts = self.share[position]
        return self.rows[row], row, counts


class _Collate:
    """The collator's test-time batch, and what `predict` needs of the rows."""

    def __init__(self, model: PbrecForReferringExpression, processor: PbrecProcessor, hashes: bool):
        collator = PbrecCollator.for_model(model.config, processor.image_processor, processor.tokenizer, targets=False)
        # Center-ness is compared at the points, which the model alone knows; mass-ness in the cells.
        self.masks_alone = "grounding" not in model.config.tasks
        self.without_targets = collator
        self.with_targets = replace(collator, targets=True)
        self.hashes = hashes

    def __call__(self, items: Sequence[_Item]) -> dict[str, Any]:
        sentences = [sentence for row, _, _ in items for sentence in row["expressions"]]
        known = self.masks_alone and all(
            referent.segmentation is not None for sentence in sentences for referent in referents_of(sentence)
        )
        collator = self.with_targets if known else self.without_targets
        batch: dict[str, Any] = collator([row for row, _, _ in items])
        batch["sentences"] = sentences
        batch["expressions"] = [sentence["expression"] for sentence in sentences]
        batch["places"] = [
            {"row": place, "index": index, "image_id": row["image_id"]} if counts else None
            for row, place, counts in items
            for index in range(len(row["expressions"]))
        ]
        if self.hashes:
            batch["hashes"] = [image_hash(row["image"]) for row, _, _ in items]
        return batch
