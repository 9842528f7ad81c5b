"""The card of a checkpoint that was just trained: what it was trained on, and what validation measured."""

from pathlib import Path
from typing import Any

from ..hub.cards import CardInfo, render_card
from ..hub.results import Reliability, Result
from ..modeling_pbrec import PbrecForReferringExpression
from ..processing_pbrec import PbrecProcessor
from ..selection.calibration import Calibration
from .build import measured_on
from .config import TrainingConfig
from .scores import Scores

# Scores of `scores.measure` that a card shows: score → (task, metric of the card).
_METRICS = {
    "accuracy@0.5": ("grounding", "accuracy"),
    "overall_iou": ("segmentation", "overall_iou"),
    "mask_mean_iou": ("segmentation", "mean_iou"),
    "f1_precision": ("grounding", "f1_precision"),
    "giou": ("segmentation", "giou"),
    "ciou": ("segmentation", "ciou"),
}


def write_card(
    config: TrainingConfig, model: PbrecForReferringExpression, processor: PbrecProcessor, scores: Scores
) -> str:
    """
    The text of README.md.

    Args:
        config: the run.
        scores: of the validation of these weights, which become measured results, labelled as chosen on these cases.
    """
    trained_on = config.dataset or Path(str(config.data)).stem
    measured = measured_on(config)
    results = [
        # Validation chose the epoch and fitted the calibration, so its scores flatter and are labelled.
        Result(task, measured[0], *measured, metric, 100 * scores[name], int(scores["count"]), chosen=True)
        for name, (task, metric) in _METRICS.items()
        if measured is not None and name in scores
    ]
    reliability = []
    if measured is not None and processor.calibration is not None and scores.get("answers"):
        reliability.append(_reliability(config, measured, processor.calibration, scores))
    start = config.init or f"the recipe {config.model_config}"
    name = (config.hub_model_id or Path(config.output_dir).resolve().name).split("/")[-1]
    info = CardInfo(
        name=name,
        summary=f"Finds what an expression means in a photograph. Trained from {start} on {trained_on}.",
        trained=True,
        tasks=list(model.config.tasks),
        data=f"{trained_on}, {config.epochs} epochs in batches of {config.batch_size} pictures.",
        leakage="Not examined: whoever publishes this checkpoint should say which test images its parts have seen.",
        base_models=[config.init] if config.init and not Path(config.init).exists() else [],
        detectors=_detectors(config, processor),
        selection=processor.settings,
        results=results,
        reliability=reliability,
    )
    return render_card(info, repo=config.hub_model_id)


def _reliability(
    config: TrainingConfig, measured: tuple[str, str], calibration: Calibration, scores: Scores
) -> Reliability:
    """What validation found of scores that were calibrated on the same set."""
    known: dict[str, Any] = {name: scores.get(name) for name in ("auroc", "present_auroc", "n_acc", "t_acc")}
    referents = config.referents or ("any" if "f1_precision" in scores else "one")
    return Reliability(
        *measured,
        referents=referents,
        answers=int(scores["answers"]),
        ece=scores["ece"],
        same_set=True,
        threshold=calibration.threshold if referents == "any" else None,
        exists_threshold=calibration.exists_threshold if referents == "any" else None,
        **known,
    )


def _detectors(config: TrainingConfig, processor: PbrecProcessor) -> list[str]:
    """A sentence for each detector: what it is, and from where, unless that is a folder of this machine."""
    given = {"boxes": config.box_detector, "masks": config.mask_detector}
    sentences = []
    for kind, detector in processor.held_detectors.items():
        source = given[kind] or config.init
        origin = f", from {source}" if source and not Path(source).exists() else ""
        sentences.append(f"{kind}: {detector.config.model_type}{origin}, frozen.")
    return sentences
