"""The card of a checkpoint that was just trained: what it was trained on, and what validation measured."""

from pathlib import Path

from ..hub.cards import CardInfo, Result, render_card
from ..modeling_pbrec import PbrecForReferringExpression
from ..processing_pbrec import PbrecProcessor
from .build import measured_on
from .config import TrainingConfig
from .predictions import Scores

# Scores of `predictions.score` that a card shows: score → (task, metric of the card).
_METRICS = {
    "accuracy@0.5": ("grounding", "accuracy"),
    "overall_iou": ("segmentation", "overall_iou"),
    "mask_mean_iou": ("segmentation", "mean_iou"),
}


def write_card(
    config: TrainingConfig, model: PbrecForReferringExpression, processor: PbrecProcessor, scores: Scores
) -> str:
    """
    The text of README.md.

    Args:
        config: the run.
        scores: of the validation of these weights, which become measured results.
    """
    trained_on = config.dataset or Path(str(config.data)).stem
    measured = measured_on(config)
    results = [
        Result(task, measured[0], *measured, metric, 100 * scores[name])
        for name, (task, metric) in _METRICS.items()
        if measured is not None and name in scores
    ]
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
        results=results,
    )
    return render_card(info, repo=config.hub_model_id)


def _detectors(config: TrainingConfig, processor: PbrecProcessor) -> list[str]:
    """A sentence for each detector: what it is, and from where, unless that is a folder of this machine."""
    given = {"boxes": config.box_detector, "masks": config.mask_detector}
    sentences = []
    for kind, detector in processor.held_detectors.items():
        source = given[kind] or config.init
        origin = f", from {source}" if source and not Path(source).exists() else ""
        sentences.append(f"{kind}: {detector.config.model_type}{origin}, frozen.")
    return sentences
