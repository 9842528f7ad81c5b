"""Answers of a checkpoint for every expression of a set of pictures, in any number of processes.

Each picture is encoded once for all its expressions, and its proposals are computed once or come from a cache. Every
answer comes with what the detector could have given at best, and with the released rule of model selection. Knows
nothing of how answers are scored (`predictions.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
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
from .oracles import MaskOracle, box_oracle
from .predictions import Prediction
from .proposal_cache import KINDS, ProposalCache, image_hash, row_keys

logger = logging.get_logger(__name__)

_Item = tuple[dict[str, Any], int, bool]  # a row, its number, and whether it counts


@torch.no_grad()
def predict(
    model: PbrecForReferringExpression,
    processor: PbrecProcessor,
    rows: datasets.Dataset,
    accelerator: Accelerator | None = None,
    batch_size: int = 8,
    threshold: float = 0.0,
    caches: Mapping[str, ProposalCache] | None = None,
    num_workers: int = 0,
    oracles: bool = True,
    progress: bool = False,
) -> list[Prediction]:
    """
    Answer every expression; see `predictions.py` for the fields of a prediction.

    Args:
        model: not wrapped for several processes.
        rows: of the image view, images not decoded.
        accelerator: of several processes that share the pictures.
        batch_size: pictures per pass and process.
        threshold: answers that score less are left out.
        caches: proposals by kind ("boxes", "masks"), instead of the processor's detector of that kind.
        num_workers: loader processes.
        oracles: also find the best of all boxes, and of the 1,000 masks of the highest quality.
        progress: show a progress bar.

    Returns:
        One prediction per expression, the same list in every process.

    Raises:
        ValueError: there are no proposals, or a cache does not hold a picture.
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
    predictions: list[Prediction] = []
    for batch in tqdm(loader, desc="predictions", disable=not progress):
        predictions += _predict_batch(model, processor, batch, caches or {}, threshold, oracles)
    model.train(was_training)
    if number > 1:
        predictions = gather_object(predictions)
    return sorted(predictions, key=lambda prediction: (prediction["row"], prediction["index"]))


def _predict_batch(
    model: PbrecForReferringExpression,
    processor: PbrecProcessor,
    batch: dict[str, Any],
    caches: Mapping[str, ProposalCache],
    threshold: float,
    oracles: bool,
) -> list[Prediction]:
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
    answers = processor.post_process_referring_expression(outputs, inputs, threshold=threshold)
    hits = _point_hits(outputs, batch, model.config)
    predictions = []
    drawn: dict[int, MaskOracle] = {}
    for number, (place, sentence, answer) in enumerate(zip(batch["places"], batch["sentences"], answers, strict=True)):
        if place is None:
            continue
        image = int(batch["image_index"][number])
        there = len(answer["boxes"]) > 0
        masked = there and answer["mask_source"] != "box"
        prediction = {
            **place,
            "ref_id": sentence.get("ref_id"),
            "sent_id": sentence.get("sent_id"),
            "expression": sentence["expression"],
            "score": answer["scores"][0].item() if there else None,
            "box": [round(value, 3) for value in answer["boxes"][0].tolist()] if there else None,
            "mask": mask_to_rle(answer["masks"][0, 0].cpu()) if masked else None,
            "point_hit": hits[number],
        }
        if oracles:
            letterbox = batch["letterbox"][image]
            boxes, masks = found.get("box_proposals"), found.get("mask_proposals")
            row = number if boxes is not None and boxes.per_expression else image
            prediction["box_oracle"] = box_oracle(boxes, row, letterbox, sentence)
            prediction["mask_oracle"] = None
            if masks is not None and not are_requested(masks) and sentence.get("segmentation") is not None:
                row = number if masks.per_expression else image
                if row not in drawn:
                    drawn = {row: MaskOracle(masks, row, letterbox)}
                prediction["mask_oracle"] = drawn[row].best(sentence["segmentation"])
        predictions.append(prediction)
    return predictions


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
