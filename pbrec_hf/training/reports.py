"""A checkpoint evaluated split by split: predictions and scores on disk, and a table for people.

Works in any number of processes that a launcher started. Configures no logging and prints nothing but progress bars.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import datasets
from accelerate import Accelerator

from ..hub.opening import opening
from ..hub.writing import replaced_file
from ..inference.folding import prepare_to_answer
from ..modeling_pbrec import PbrecForReferringExpression
from ..processing_pbrec import PbrecProcessor
from .build import add_detectors
from .evaluation import predict
from .predictions import Scores, score, write_predictions
from .proposal_cache import filled_caches
from .run import require_joined

_VERSIONS = ("pbrec_hf", "torch", "transformers", "torchvision")


def evaluate_checkpoint(
    checkpoint: str,
    splits: Mapping[str, Callable[[], datasets.Dataset]],
    output_dir: str | Path,
    *,
    box_detector: str | None = None,
    mask_detector: str | None = None,
    proposals: str | None = None,
    top_k: int | None = None,
    threshold: float = 0.0,
    batch_size: int | None = None,
    num_workers: int = 0,
    mixed_precision: str = "no",
    cpu: bool = False,
    made_with: Mapping[str, str] | None = None,
) -> dict[str, Scores]:
    """
    Answer every expression of some splits and score the answers.

    Writes predictions-SPLIT.jsonl (ids, box, run-length mask, score) and scores.json (scores, the SHA-256 of the
    predictions, what they were made with) to `output_dir`.

    Args:
        checkpoint: folder or Hub id.
        splits: by name, what loads the rows of the image view, images not decoded.
        box_detector, mask_detector: folders or Hub ids, instead of the checkpoint's own.
        proposals: folder of caches, instead of running the detectors.
        top_k: proposals that vote, instead of the processor's number.
        threshold: answers that score less count as none.
        batch_size: pictures per process and pass; by default 8, and 1 on a CPU.
        num_workers: loader processes per process.
        mixed_precision: "no", "bf16" or "fp16".
        cpu: compute on the CPU even if there is a GPU.
        made_with: further settings to record in scores.json.

    Returns:
        Scores by split; none in all processes but the first.

    Raises:
        OSError, ValueError: each says what to do.
    """
    accelerator = Accelerator(cpu=cpu, mixed_precision=mixed_precision)
    require_joined(accelerator)
    with opening(checkpoint) as found:
        model = PbrecForReferringExpression.from_pretrained(checkpoint, dtype="float32", **found)
        processor = PbrecProcessor.from_pretrained(checkpoint, **found)
    model.to(accelerator.device)
    processor = add_detectors(processor, box_detector, mask_detector)
    if top_k is not None:
        processor.settings = replace(processor.settings, top_k=top_k)
    batch_size = batch_size or (1 if accelerator.device.type == "cpu" else 8)
    caches = filled_caches(proposals, processor) if proposals else None
    prepare_to_answer(model.eval(), processor)  # after the caches, which know a detector by its weights
    scores: dict[str, Scores] = {}
    digests: dict[str, str] = {}
    for split, load in splits.items():
        rows = load()
        with accelerator.autocast():
            predictions = predict(
                model, processor, rows, accelerator, batch_size, threshold, caches, num_workers, progress=True
            )
        if accelerator.is_main_process:
            digests[split] = write_predictions(Path(output_dir) / f"predictions-{split}.jsonl", predictions)
            scores[split] = score(predictions, rows)
    if accelerator.is_main_process:
        report = {
            "scores": scores,
            "sha256": digests,
            "config": dict(made_with or {}),
            "model": model.config.to_dict(),
            "versions": {name: version(name) for name in _VERSIONS},
        }
        with replaced_file(Path(output_dir) / "scores.json") as partial:
            partial.write_text(json.dumps(report, indent=1), encoding="utf-8")
    return scores


def table(scores: Mapping[str, Scores]) -> str:
    """Markdown with a row per score and a column per split."""
    names = list(dict.fromkeys(name for values in scores.values() for name in values))
    lines = ["| score | " + " | ".join(scores) + " |", "|---" * (len(scores) + 1) + "|"]
    for name in names:
        cells = [values.get(name) for values in scores.values()]
        shown = ["" if cell is None else str(cell) if name == "count" else f"{cell:.4f}" for cell in cells]
        lines.append(f"| {name} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


__all__ = ["evaluate_checkpoint", "table"]
