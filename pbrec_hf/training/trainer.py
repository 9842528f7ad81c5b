"""The training loop: batches in, trained weights out, in any number of processes.

The loss is the mean over the expressions of the *global* batch, whatever the shares of the processes: each part's mean
is weighted by its number of expressions, so that N processes, or N accumulation steps, train like one. Validation,
export and tracking are passed in by the caller; this module knows nothing of detectors and pictures.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import datasets
import torch
from accelerate import Accelerator, DistributedType
from accelerate.utils import tqdm
from transformers.utils import logging

from ..data.collator import PbrecCollator
from ..modeling_pbrec import PbrecForReferringExpression
from .batches import EpochPlan, expression_counts, rows_digest, training_loader
from .checkpoints import Checkpoint, CheckpointFolder
from .config import TrainingConfig
from .ema import WeightAverage
from .meter import Meter
from .optimizer import build_optimizer, build_schedule, freeze_towers
from .scores import Scores

logger = logging.get_logger(__name__)

Validate = Callable[[PbrecForReferringExpression], Scores]
Export = Callable[[PbrecForReferringExpression, dict[str, Any] | None, str, Scores], None]

# Fields of the config that may change when a run resumes: what it started from, where the data are (digests tell
# whether they are the same), how fast it runs, and what is shown, kept and uploaded.
_FREE = {
    "init", "model_config", "backbone_checkpoint", "text_checkpoint", "output_dir", "data", "validation_data",
    "refer_dir", "image_dir", "instances", "proposals", "check_counts", "validation_batch_size",
    "gradient_accumulation_steps", "gradient_checkpointing", "compile", "channels_last", "cpu", "num_workers",
    "resume", "save_steps", "checkpoints_to_keep", "validation_epochs", "trackers", "log_steps", "progress",
    "push_to_hub", "hub_model_id", "hub_private",
}  # fmt: skip


class Trainer:
    """
    A run that can be interrupted.

    Args:
        model: a `PbrecForReferringExpression`.
        rows: training rows of the image view, images not decoded.
        collator: with targets that fit the model.
        config: the run.
        accelerator: without dataloaders of its own; its accumulation steps are the config's.
        validate: returns the scores of the model it is called with, the same in every process. Called by all.
        export: called by all with the unwrapped model, its state dict (or None), "last" or "best", and its scores.
        measured: digest of what `validate` measures on; a run does not resume with another one.
    """

    def __init__(
        self,
        model: PbrecForReferringExpression,
        rows: datasets.Dataset,
        collator: PbrecCollator,
        config: TrainingConfig,
        accelerator: Accelerator,
        validate: Validate | None = None,
        export: Export | None = None,
        measured: str | None = None,
    ):
        self.rows, self.collator, self.config, self.accelerator = rows, collator, config, accelerator
        self.digests = {"rows": rows_digest(rows), "validation rows": measured}
        self.validate, self.export = validate, export
        self.plan = EpochPlan(
            expression_counts(rows),
            config.expressions_per_image,
            config.batch_size,
            config.gradient_accumulation_steps,
            (accelerator.process_index, accelerator.num_processes),
            config.seed,
        )
        self.total_steps = config.epochs * len(self.plan)
        freeze_towers(model, config)
        optimizer = build_optimizer(model, config)
        self.schedule = build_schedule(optimizer, config, self.total_steps)
        self.model, self.optimizer = accelerator.prepare(model, optimizer)
        accelerator.register_for_checkpointing(self.schedule)
        self.average = None
        if config.ema_decay is not None:
            self.average = WeightAverage(accelerator.unwrap_model(self.model), config.ema_decay)
            accelerator.register_for_checkpointing(self.average)
        self.checkpoints = CheckpointFolder(
            f"{config.output_dir}/checkpoints", accelerator, keep=config.checkpoints_to_keep
        )
        self.saved: tuple[int, Path] | None = None  # step and place of the last checkpoint
        self.position: dict[str, Any] = {
            "step": 0, "epoch": 0, "batch": 0, "repaired": 0, "best": None, "scores": {}
        }  # fmt: skip

    def fit(self) -> Scores:
        """
        Train to the end, from the last complete checkpoint on if `config.resume`.

        Returns:
            The last validation's scores, with the best value of `config.metric` under "best".

        Raises:
            ValueError: the checkpoint is of a run with other settings or other rows.
            FloatingPointError: the loss or a weight is not finite; what was saved before stays.
        """
        if self.config.resume and (checkpoint := self.checkpoints.last()):
            self._resume(checkpoint)
        self.meter = Meter(self.total_steps - self.position["step"], self.accelerator)
        for epoch in range(self.position["epoch"], self.config.epochs):
            self._train_epoch(epoch)
            self._end_epoch(epoch)
        if self.repaired_targets:
            logger.info(
                f"{self.repaired_targets} targets had no positive point and got the nearest one: their objects are "
                "small for the stride"
            )
        scores = dict(self.position["scores"])
        return scores if self.position["best"] is None else scores | {"best": self.position["best"]}

    @property
    def repaired_targets(self) -> int:
        """Targets so far, over all epochs and processes, that had no positive point and got the nearest one."""
        return int(self.position["repaired"])

    def _train_epoch(self, epoch: int) -> None:
        self.model.train()
        loader = training_loader(
            self.rows,
            self.plan,
            self.collator,
            epoch,
            self.position["batch"],
            num_workers=self.config.num_workers,
            pin_memory=self.accelerator.device.type == "cuda",
        )
        parts = iter(loader)
        batches = range(self.position["batch"], len(self.plan))
        shown = tqdm(batches, desc=f"epoch {epoch + 1}/{self.config.epochs}", disable=not self.config.progress)
        for batch in shown:
            self._step([next(parts) for _ in range(self.config.gradient_accumulation_steps)])
            self.position["step"] += 1
            self.position["batch"] = batch + 1
            step = self.position["step"]
            if step % self.config.log_steps == 0 or step == self.total_steps:
                self._log()
            if self.config.save_steps and step % self.config.save_steps == 0 and batch + 1 < len(self.plan):
                self._save()

    def _step(self, parts: list[dict[str, Any]]) -> None:
        """One optimiser step on this process's parts of a global batch."""
        accelerator = self.accelerator
        repaired = sum(int(part["repaired"].sum()) for part in parts if part["count"])
        counts = torch.tensor([float(sum(part["count"] for part in parts)), repaired], device=accelerator.device)
        total, repaired = accelerator.reduce(counts, reduction="sum").tolist()
        self.position["repaired"] += int(repaired)
        # Accelerate divides by the accumulation steps, and averages gradients over the processes: undo both.
        scale = accelerator.gradient_accumulation_steps * accelerator.num_processes / total
        loss_sum = torch.zeros((), device=accelerator.device)
        for part in parts:
            weight = part["count"] * scale
            with accelerator.accumulate(self.model):
                loss = self.model(**_to_device(part, accelerator.device)).loss
                accelerator.backward(loss * weight)
                if accelerator.sync_gradients and self.config.clip_norm is not None:
                    accelerator.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
                self.optimizer.step()
                self.optimizer.zero_grad()
            loss_sum += loss.detach() * part["count"]
        if not self.optimizer.step_was_skipped:
            self.schedule.step()
            if self.average is not None:
                self.average.update()
        self.meter.add(loss_sum / total, total)

    def _end_epoch(self, epoch: int) -> None:
        # Saved before validation, which may fail, and as unfinished, so that a resumed run validates this epoch.
        step = self.position["step"]
        saved = self.saved[1] if self.saved is not None and self.saved[0] == step else self._save()
        self.position |= {"epoch": epoch + 1, "batch": 0}
        improved, scores = False, {}
        due = (epoch + 1) % self.config.validation_epochs == 0 or epoch + 1 == self.config.epochs
        if self.validate is not None and due:
            with self._averaged():
                scores = self.validate(self.accelerator.unwrap_model(self.model))
            if self.config.metric not in scores:
                raise ValueError(
                    f"metric={self.config.metric!r} is not measured in validation: give one of {', '.join(scores)}."
                )
            best = self.position["best"]
            improved = best is None or scores[self.config.metric] > best
            self.position["scores"] = scores
            if improved:
                self.position["best"] = scores[self.config.metric]
            self.accelerator.log(
                {f"validation/{name}": value for name, value in scores.items()}, self.position["step"]
            )
            logger.info(f"epoch {epoch + 1}: " + ", ".join(f"{name} {value:.4g}" for name, value in scores.items()))
        if self.export is not None:
            self._export(self.export, "best" if improved else None, scores)
        self.checkpoints.amend(saved, self._saved_position())

    def _export(self, export: Export, best: str | None, scores: Scores) -> None:
        with self._averaged():
            # Sharded weights must be gathered; None leaves it to `save_pretrained`.
            whole = self.accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED)
            state = self.accelerator.get_state_dict(self.model) if whole else None
            for name in filter(None, (best, "last")):
                export(self.accelerator.unwrap_model(self.model), state, name, scores)

    def _averaged(self) -> AbstractContextManager[None]:
        return nullcontext() if self.average is None else self.average.applied()

    def _save(self) -> Path:
        self._require_finite()
        path = self.checkpoints.save(self._saved_position())
        self.saved = (self.position["step"], path)
        return path

    def _require_finite(self) -> None:
        """Weights that are not finite must not replace good ones."""
        tensors = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        tensors += [buffer for buffer in self.model.buffers() if buffer.is_floating_point()]
        with torch.no_grad():
            finite = all(_local(tensor).isfinite().all() for tensor in tensors)
        broken = torch.tensor(float(not finite))
        if self.accelerator.reduce(broken.to(self.accelerator.device), reduction="sum") > 0:
            raise FloatingPointError(self._diverged("Weights are not finite"))

    def _diverged(self, what: str) -> str:
        return (
            f"{what} at step {self.position['step']}: lower the learning rate, set clip_norm, or use bf16 instead of "
            f"fp16, in another output_dir. {self.checkpoints.folder} keeps the checkpoints from before."
        )

    def _saved_position(self) -> dict[str, Any]:
        return self.position | {"settings": self._settings()}

    def _resume(self, checkpoint: Checkpoint) -> None:
        position = dict(checkpoint.position)
        saved, now = position.pop("settings", None), self._settings()
        if saved is None:
            raise ValueError(f"{checkpoint.path} is of an older version of pbrec_hf: start in another output_dir.")
        if position["best"] is None:
            saved.pop("metric", None)  # nothing was measured with it
        changed = [f"{name} {saved[name]} → {now[name]}" for name in now if saved.get(name, now[name]) != now[name]]
        if changed:
            last = Path(self.config.output_dir, "last")
            weights = f", if you like from its weights (init={str(last)!r})" if last.is_dir() else ""
            raise ValueError(
                f"The run in {self.config.output_dir} was started with other settings ({', '.join(changed)}): resume "
                f"with the same ones, or start in another output_dir{weights}."
            )
        self.checkpoints.load(checkpoint)
        self.position = {"repaired": 0} | position  # which older checkpoints do not say
        self.saved = (position["step"], checkpoint.path)
        logger.info(f"resuming from {checkpoint.path}")

    def _settings(self) -> dict[str, Any]:
        """What must not change for a run to resume as if it had never been interrupted."""
        values = {name: value for name, value in asdict(self.config).items() if name not in _FREE}
        return values | {"groups": self.plan.num_groups} | self.digests

    def _log(self) -> None:
        step = self.position["step"]
        values = self.meter.read()
        if not torch.isfinite(torch.tensor(values["loss"])):
            raise FloatingPointError(self._diverged(f"The loss is {values['loss']}"))
        rates = {f"rate/{group['name']}": group["lr"] for group in self.optimizer.param_groups}
        self.accelerator.log({f"train/{name}": value for name, value in values.items()} | rates, step)
        logger.info(
            f"step {step}/{self.total_steps}: loss {values['loss']:.4f}, "
            f"{values['expressions_per_second']:.1f} expressions/s, {values['memory_gib']:.1f} GiB, "
            f"{values['hours_left']:.2f} h left"
        )


def _local(tensor: torch.Tensor) -> torch.Tensor:
    """This process's part of a tensor that FSDP2 or ZeRO-3 sharded, or the tensor."""
    tensor = getattr(tensor, "ds_tensor", tensor)
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


_INPUTS = (
    "pixel_values",
    "pixel_mask",
    "input_ids",
    "attention_mask",
    "image_index",
    "centerness_labels",
    "massness_labels",
)
_REFERENTS = ("boxes", "referent_index")


def _to_device(batch: dict[str, Any], device: torch.device) -> dict[str, torch.Tensor]:
    # A model that chooses its points makes the center-ness itself. For others, tensors with another shape in each
    # batch would only make `torch.compile` compile again.
    names = _INPUTS if "centerness_labels" in batch else (*_INPUTS, *_REFERENTS)
    return {name: batch[name].to(device, non_blocking=True) for name in names if name in batch}
