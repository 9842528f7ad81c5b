"""A complete training run: what `TrainingConfig` names, assembled, trained, validated, saved and uploaded.

Expects to be one of the processes that a launcher started, or the only one. Configures no logging and prints nothing
but progress bars, if wanted.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import datasets
from accelerate import Accelerator, DistributedType
from accelerate.tracking import get_available_trackers
from accelerate.utils import ProjectConfiguration, set_seed
from filelock import FileLock, Timeout
from transformers.utils import logging

from ..hub.publishing import upload
from ..hub.writing import replaced_file
from ..modeling_pbrec import PbrecForReferringExpression
from ..processing_pbrec import PbrecProcessor
from ..selection.calibration import Calibration
from .batches import rows_digest
from .build import (
    load_model_and_processor,
    measured_on,
    require_targets,
    trained_on,
    training_collator,
    training_rows,
    validation_rows,
)
from .card import write_card
from .config import TrainingConfig
from .export import save_checkpoint
from .memory_layout import use_channels_last
from .origin import Origin
from .scores import Scores, possible_scores
from .trainer import Export, Trainer
from .validation import referents_of_validation, validation

logger = logging.get_logger(__name__)


def train(config: TrainingConfig) -> Scores:
    """
    Run `config`.

    `output_dir` gets the folders last and best (for `from_pretrained`), checkpoints, logs, and scores.json with the
    scores, `repaired_targets`, the number of targets that had no positive point, and `calibrations` of the folders.
    Whoever validates gets calibrated checkpoints; their calibrations are fitted on the validation set.

    Returns:
        The scores; see `Trainer.fit`.

    Raises:
        OSError, ValueError, FloatingPointError: each says what to do.
    """
    _require_output_dir(config)
    accelerator = _accelerator(config)
    set_seed(config.seed)
    model, processor = load_model_and_processor(config)
    processor.calibration = None  # what `init` has is of its own weights; validation fits another
    if config.channels_last:
        use_channels_last(model, sharded=accelerator.distributed_type == DistributedType.FSDP)
    if config.compile:
        model.compile()
    rows, held_out = training_rows(config), validation_rows(config)
    require_targets(rows, model.config.tasks)
    if held_out is not None and config.metric not in (names := possible_scores(held_out)):
        raise ValueError(f"metric={config.metric!r} is not measured in validation: give one of {', '.join(names)}.")
    if held_out is not None and not processor.detectors:
        raise ValueError(
            "Validation needs proposals, but the processor has no detector: give box_detector or mask_detector, or "
            "validate on nothing (an empty validation_split)."
        )
    with _alone_in(config.output_dir) if accelerator.is_main_process else nullcontext():
        return _fit(config, model, processor, rows, held_out, accelerator)


def _fit(
    config: TrainingConfig,
    model: PbrecForReferringExpression,
    processor: PbrecProcessor,
    rows: datasets.Dataset,
    held_out: datasets.Dataset | None,
    accelerator: Accelerator,
) -> Scores:
    set_seed(config.seed, device_specific=True)
    accelerator.init_trackers("logs", {name: str(value) for name, value in asdict(config).items()})
    trainer = Trainer(
        model,
        rows,
        training_collator(config, model, processor),
        config,
        accelerator,
        validation(config, processor, held_out, accelerator) if held_out is not None else None,
        _export(config, processor, accelerator),
        measured=rows_digest(held_out) if held_out is not None else None,
    )
    scores = trainer.fit()
    if accelerator.is_main_process:
        report = {
            "scores": scores,
            "repaired_targets": trainer.repaired_targets,
            "calibrations": {name: _calibration(Path(config.output_dir, name)) for name in ("best", "last")},
            "config": asdict(config),
        }
        if held_out is not None:
            report["referents"] = referents_of_validation(config, held_out)
        with replaced_file(Path(config.output_dir) / "scores.json") as partial:
            partial.write_text(json.dumps(report, indent=1), encoding="utf-8")
        if config.push_to_hub == "end":
            _push(config, "last" if held_out is None else "best")
    accelerator.end_training()
    return scores


def _calibration(folder: Path) -> dict[str, Any] | None:
    """What scores.json says of the calibration of a saved folder; None without one."""
    path = folder / "processor_config.json"
    calibration = Calibration.of(json.loads(path.read_text()).get("calibration")) if path.is_file() else None
    if calibration is None:
        return None
    told = {name: getattr(calibration, name) for name in ("fitted_on", "answers", "threshold", "exists_threshold")}
    return told | {"scores_are_of_the_same_set": True}


def _require_output_dir(config: TrainingConfig) -> None:
    folder = Path(config.output_dir).absolute()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        wrong = "cannot be written to" if there.is_dir() else "is a file"
        raise ValueError(f"output_dir={config.output_dir!r}: {there} {wrong}; give a folder of your own.")


@contextmanager
def _alone_in(folder: str) -> Iterator[None]:
    """Keep a second training out of `folder`, where each would overwrite the other's files."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    lock = FileLock(Path(folder) / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise ValueError(
            f"Another training is running in output_dir={folder!r}: wait for its end, or give another output_dir."
        ) from error
    except NotImplementedError:
        logger.warning(f"The file system of {folder} has no locks: start no second training there.")
    try:
        yield
    finally:
        lock.release()


def require_joined(accelerator: Accelerator) -> None:
    """
    Check that the processes that a launcher started work together.

    Raises:
        ValueError: each would work alone, on everything and into the same folder.
    """
    launched = int(os.environ.get("WORLD_SIZE", 1))
    if launched != accelerator.num_processes:
        raise ValueError(
            f"{launched} processes were started, but Accelerate joined {accelerator.num_processes}: pass --cpu to "
            "work on CPUs, or start as many processes as there are GPUs."
        )


def _accelerator(config: TrainingConfig) -> Accelerator:
    installed = {str(tracker.value) for tracker in get_available_trackers()}
    if missing := [name for name in config.trackers if name not in installed]:
        logger.warning(
            f"trackers={missing} are not installed and record nothing: pip install 'pbrec_hf[train]' for tensorboard, "
            "or give trackers=none."
        )
    accelerator = Accelerator(
        cpu=config.cpu,
        mixed_precision=config.mixed_precision,
        gradient_accumulation_steps=config.gradient_accumulation_steps,
        log_with=config.trackers or None,
        project_config=ProjectConfiguration(project_dir=config.output_dir),
    )
    require_joined(accelerator)
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        # Accelerate would read it off a prepared loader, but the loop divides batches itself.
        parts = accelerator.num_processes * config.gradient_accumulation_steps
        settings = accelerator.state.deepspeed_plugin.deepspeed_config
        settings["train_micro_batch_size_per_gpu"] = max(1, config.batch_size // parts)
    return accelerator


def _export(config: TrainingConfig, processor: PbrecProcessor, accelerator: Accelerator) -> Export:
    def export(
        model: PbrecForReferringExpression, state_dict: dict[str, Any] | None, name: str, scores: Scores
    ) -> None:
        if not scores:
            processor.calibration = None  # of the epoch that was validated last
        if accelerator.is_main_process:
            card = write_card(config, model, processor, scores)
            chosen_on = " ".join(measured_on(config) or ()) if name == "best" else ""
            origin = Origin(trained_on(config), chosen_on or None, config.metric if chosen_on else None)
            save_checkpoint(f"{config.output_dir}/{name}", model, processor, state_dict, card, origin)
            if config.push_to_hub == "epoch" and name == "last":
                _push(config, name)

    return export


def _push(config: TrainingConfig, name: str) -> None:
    assert config.hub_model_id is not None  # as TrainingConfig requires of whoever pushes
    upload(f"{config.output_dir}/{name}", config.hub_model_id, private=config.hub_private, message="Trained weights")
