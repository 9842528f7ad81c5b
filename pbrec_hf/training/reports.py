"""A checkpoint evaluated split by split: predictions and scores on disk, and a table for people.

Works in any number of processes that a launcher started. Configures no logging and prints nothing but progress bars.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import datasets
from accelerate import Accelerator

from ..data.provenance import provenance
from ..hub.opening import opening
from ..hub.writing import replaced_file
from ..inference.folding import prepare_to_answer
from ..modeling_pbrec import PbrecForReferringExpression
from ..processing_pbrec import PbrecProcessor
from ..selection.calibration import Calibration, Limits, limits_of
from .build import add_detectors
from .diagram import reliability_diagram
from .evaluation import Way, predict
from .predictions import is_generalized, write_predictions
from .proposal_cache import filled_caches
from .run import require_joined
from .scores import Measured, Scores, measure

_VERSIONS = ("pbrec_hf", "torch", "transformers", "torchvision")
_COUNTS = ("answers", "count")


def evaluate_checkpoint(
    checkpoint: str,
    splits: Mapping[str, Callable[[], datasets.Dataset]],
    output_dir: str | Path,
    *,
    box_detector: str | None = None,
    mask_detector: str | None = None,
    proposals: str | None = None,
    top_k: int | None = None,
    referents: str | None = None,
    threshold: float | str | None = None,
    batch_size: int | None = None,
    num_workers: int = 0,
    mixed_precision: str = "no",
    cpu: bool = False,
    made_with: Mapping[str, str] | None = None,
) -> dict[str, Scores]:
    """
    Answer every expression of some splits and score the answers.

    Writes to `output_dir`: for each split predictions-SPLIT.jsonl (ids, boxes, run-length masks, scores) and
    reliability-SPLIT.svg; and scores.json with the scores, what they were measured on, the reliability bins, how the
    questions were asked, the SHA-256 of the predictions, and what they were made with.

    Args:
        checkpoint: folder or Hub id.
        splits: by name, what loads the rows of the image view, images not decoded.
        box_detector, mask_detector: folders or Hub ids, instead of the checkpoint's own.
        proposals: folder of caches, instead of running the detectors.
        top_k: proposals that vote, instead of the processor's number.
        referents: "one" or "any" for all splits; None = "any" for generalized data, and "one" otherwise.
        threshold: answers that score less count as none: a number, or "auto" for the one of the checkpoint's
            calibration; None = "auto" for "any", and 0 for "one".
        batch_size: pictures per process and pass; by default 8, and 1 on a CPU.
        num_workers: loader processes per process.
        mixed_precision: "no", "bf16" or "fp16".
        cpu: compute on the CPU even if there is a GPU.
        made_with: further settings to record in scores.json.

    Returns:
        Scores by split; none in all processes but the first.

    Raises:
        OSError, ValueError: each says what to do, such as for a checkpoint that has no calibration.
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
    calibration = processor.calibration
    scores: dict[str, Scores] = {}
    told: dict[str, dict[str, Any]] = {"data": {}, "reliability": {}, "asked": {}, "sha256": {}}
    for split, load in splits.items():
        rows = load()
        way = Way(referents or ("any" if is_generalized(rows) else "one"), threshold)
        limits = limits_in(way, calibration, checkpoint)
        asked = {"referents": way.referents, "threshold": limits.score, "exists_threshold": limits.exists}
        with accelerator.autocast():
            predictions = predict(
                model, processor, rows, accelerator, batch_size, way, caches=caches, num_workers=num_workers,
                progress=True,
            )  # fmt: skip
        if accelerator.is_main_process:
            measured = measure(predictions, rows)
            scores[split] = measured.scores
            told["data"][split] = provenance(rows)
            told["asked"][split] = asked
            told["reliability"][split] = [asdict(entry) for entry in measured.bins]
            told["sha256"][split] = write_predictions(Path(output_dir) / f"predictions-{split}.jsonl", predictions)
            _draw(measured, split, Path(output_dir) / f"reliability-{split}.svg")
    if accelerator.is_main_process:
        report = {
            "scores": scores,
            **told,
            "calibrated_on": None if calibration is None else calibration.fitted_on,
            "config": dict(made_with or {}),
            "model": model.config.to_dict(),
            "versions": {name: version(name) for name in _VERSIONS},
        }
        with replaced_file(Path(output_dir) / "scores.json") as partial:
            partial.write_text(json.dumps(report, indent=1), encoding="utf-8")
    return scores


def limits_in(way: Way, calibration: Calibration | None, checkpoint: str) -> Limits:
    """
    The threshold of `way` as numbers.

    Raises:
        ValueError: it is the calibration's, and the checkpoint has none.
    """
    automatic = way.threshold == "auto" or (way.threshold is None and way.referents == "any")
    if automatic and calibration is None:
        raise ValueError(
            f"{checkpoint} has no calibration, so it has no threshold for referents={way.referents!r}: give "
            f"--threshold (a number from 0 to 1), or calibrate it: pbrec-hf calibrate {checkpoint} --data HELD_OUT."
        )
    return limits_of(way.threshold, way.referents, calibration)


def _draw(measured: Measured, split: str, path: Path) -> None:
    if measured.bins:
        with replaced_file(path) as partial:
            partial.write_text(reliability_diagram(measured.bins, split), encoding="utf-8")


def table(scores: Mapping[str, Scores]) -> str:
    """Markdown with a row per score and a column per split."""
    names = list(dict.fromkeys(name for values in scores.values() for name in values))
    lines = ["| score | " + " | ".join(scores) + " |", "|---" * (len(scores) + 1) + "|"]
    for name in names:
        cells = [values.get(name) for values in scores.values()]
        shown = ["" if cell is None else str(cell) if name in _COUNTS else f"{cell:.4f}" for cell in cells]
        lines.append(f"| {name} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


__all__ = ["evaluate_checkpoint", "limits_in", "table"]
