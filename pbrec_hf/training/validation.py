"""Validation after an epoch: every expression answered, a calibration fitted to the answers, and their scores.

The calibration is of the weights that were validated, so that whatever is saved with it is calibrated. It is fitted on
the set that it is measured on, which flatters; score files and cards say so.
"""

from dataclasses import replace
from typing import Any

import datasets
from accelerate import Accelerator
from transformers.utils import logging

from ..modeling_pbrec import PbrecForReferringExpression
from ..processing_pbrec import PbrecProcessor
from .build import measured_on
from .calibration import calibrated, fit_calibration
from .config import TrainingConfig
from .evaluation import EVERYTHING, Way, predict, predict_in_ways
from .predictions import Prediction, is_generalized
from .proposal_cache import filled_caches
from .scores import Scores, score
from .trainer import Validate

logger = logging.get_logger(__name__)


def referents_of_validation(config: TrainingConfig, rows: datasets.Dataset) -> str:
    """How validation answers: as the config says, by default with any number of referents on generalized data."""
    return config.referents or ("any" if is_generalized(rows) else "one")


def validation(
    config: TrainingConfig, processor: PbrecProcessor, rows: datasets.Dataset, accelerator: Accelerator
) -> Validate:
    """
    What a trainer calls to validate; it sets the calibration of `processor`.

    Args:
        config: the run.
        processor: with detectors.
        rows: of the image view.
        accelerator: of the processes that share the pictures.
    """
    caches = filled_caches(config.proposals, processor) if config.proposals else None
    referents = referents_of_validation(config, rows)
    fitted_on = "/".join(measured_on(config) or ())
    options: dict[str, Any] = {
        "accelerator": accelerator,
        "batch_size": config.validation_batch_size,
        "caches": caches,
        "num_workers": config.num_workers,
        "oracles": False,
        "progress": config.progress,
    }

    def validate(model: PbrecForReferringExpression) -> Scores:
        processor.calibration = None  # of other weights
        ways = [replace(way, masks=way.referents == referents == "one") for way in EVERYTHING]
        one, every = predict_in_ways(model, processor, rows, ways, **options)
        if not any(entry["raw_scores"] for entry in one):
            logger.warning(f"No expression of {fitted_on} has an answer: the checkpoint stays without a calibration.")
            return score(one, rows)
        processor.calibration = fit_calibration(one, every, rows, fitted_on)
        return score(_chosen(model, *calibrated(one, every, processor.calibration)), rows)

    def _chosen(
        model: PbrecForReferringExpression, one: list[Prediction], every: list[Prediction]
    ) -> list[Prediction]:
        if referents == "one":
            return one
        if processor.mask_detector is None:
            return every
        # Once more: masks of all answers, of which few reach the threshold, would take longer.
        return predict(model, processor, rows, way=Way("any"), **options)

    return validate


__all__ = ["referents_of_validation", "validation"]
