"""Trains a detector on photographs with instance annotations in COCO's format.

The model folder is a `save_pretrained` folder, or one with a config.json alone (random weights); --part_weights fills
a part of it from another detector's folder. OUT/last holds the detector, OUT/log.jsonl the losses of each epoch. To go
on after an interruption, run the same command again. Images named in --exclude (JSON lines with "image_id") are never
read; --held_out of the others measure the masks.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration, set_seed
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset
from transformers import AutoConfig, AutoModel, get_cosine_schedule_with_warmup

from ...hub.opening import clear_errors, opening
from ...hub.writing import replaced_folder
from ...small.nanodet import NanoDetDetector
from ..checkpoints import CheckpointFolder
from .coco_instances import CocoInstances, Photograph, image_ids
from .distillation import distillation_losses, lesson_of
from .instance_augmentation import DetectorInputs, InstanceAugmentation, InstanceAugmentationConfig, plain
from .mask_quality import mask_quality
from .objectives import DetectorBatch, Objective, collate, objective_of

# What detectors call the network in front of their heads.
TRUNK_NAMES = ("trunk", "detector", "backbone", "body")


def main(arguments: Sequence[str] | None = None) -> int:
    """
    The command line of scripts/train_detector.py.

    Returns:
        Exit status: 0 done, 2 bad input, reported in one line on standard error.
    """
    try:
        train_detector(parse_arguments(arguments))
    except (OSError, ValueError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)  # noqa: T201  (a command's own output)
        return 2
    return 0


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The settings of a command line, by default of this process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="folder with config.json and, unless new, weights")
    parser.add_argument("--part_weights", nargs=2, metavar=("PART", "FOLDER"), help="e.g. detector NANODET_FOLDER")
    parser.add_argument("--teacher", type=Path, help="folder of a NanoDet to learn from; annotations are not used")
    parser.add_argument("--freeze_trunk", action="store_true", help="train the heads alone")
    parser.add_argument("--images", type=Path, required=True, help="folder of the photographs")
    parser.add_argument("--annotations", type=Path, nargs="+", required=True, help="COCO instances with masks")
    parser.add_argument("--exclude", type=Path, nargs="*", default=[], help="JSON lines whose image_ids are left out")
    parser.add_argument("--held_out", type=float, default=0.15, help="share of the images for measuring")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--canvas", type=int, default=320, help="side in pixels")
    parser.add_argument("--paste", type=float, default=0.5, help="probability of pasting another photograph's objects")
    parser.add_argument("--scale", type=float, nargs=2, default=(0.6, 1.5), help="longer side ÷ canvas, from and to")
    parser.add_argument("--epochs", type=int, default=36)
    parser.add_argument("--batch_size", type=int, default=8, help="per process")
    parser.add_argument("--learning_rate", type=float, default=1e-3)
    parser.add_argument("--weight_decay", type=float, default=1e-2)
    parser.add_argument("--clip_norm", type=float, default=10.0)
    parser.add_argument("--warmup_steps", type=int, default=50)
    parser.add_argument("--measure_every", type=int, default=5, help="epochs between measurements of the masks")
    parser.add_argument("--workers", type=int, default=1, help="loader processes")
    parser.add_argument("--mixed_precision", default="no", choices=("no", "bf16", "fp16"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cpu", action="store_true")
    args = parser.parse_args(arguments)
    if not 0 <= args.held_out < 1:
        parser.error(f"--held_out {args.held_out}: give a share of at least 0 and less than 1.")
    if not (args.model / "config.json").is_file():
        parser.error(f"--model {args.model}: there is no config.json in this folder; give a detector's folder.")
    return args


class AugmentedPhotographs(Dataset[DetectorInputs]):
    """Augmented canvases of photographs, each with a random second one to paste from."""

    def __init__(self, photographs: "Subset[Photograph]", augmentation: InstanceAugmentation) -> None:
        self.photographs, self.augmentation = photographs, augmentation

    def __len__(self) -> int:
        return len(self.photographs)

    def __getitem__(self, index: int) -> DetectorInputs:
        other = int(torch.randint(len(self), ()))
        return self.augmentation(self.photographs[index], self.photographs[other])


def train_detector(args: argparse.Namespace) -> None:
    """
    Train by the settings of `parse_arguments`; goes on where an earlier run broke off.

    Raises:
        OSError: a file is missing, or the run's folder cannot be written.
        ValueError: the annotations, the pictures or the detector do not fit together.
    """
    accelerator = Accelerator(
        cpu=args.cpu,
        mixed_precision=args.mixed_precision,
        dataloader_config=DataLoaderConfiguration(use_seedable_sampler=True),
    )
    set_seed(args.seed, device_specific=False)
    model: Any = build_detector(args)
    objective = objective_of(model.config) if args.teacher is None else taught_by(args.teacher, model)
    class_names = [name for _, name in sorted(model.config.id2label.items())]
    photographs = CocoInstances(args.annotations, args.images, class_names, exclude=image_ids(args.exclude))
    training, held_out = split(photographs, args.held_out, args.seed)
    recipe = InstanceAugmentationConfig(canvas=args.canvas, scale=tuple(args.scale), paste=args.paste)
    loader: Any = DataLoader(
        AugmentedPhotographs(training, InstanceAugmentation(recipe)),
        batch_size=args.batch_size,
        shuffle=True,
        drop_last=len(training) >= args.batch_size,
        num_workers=args.workers,
        collate_fn=collate,
    )
    optimizer: Any = torch.optim.AdamW(
        [parameter for parameter in model.parameters() if parameter.requires_grad],
        lr=args.learning_rate,
        weight_decay=args.weight_decay,
    )
    # accelerate advances the schedule once per process and step.
    steps = args.epochs * len(loader)
    schedule: Any = get_cosine_schedule_with_warmup(optimizer, args.warmup_steps * accelerator.num_processes, steps)
    model, optimizer, loader, schedule = accelerator.prepare(model, optimizer, loader, schedule)
    checkpoints = CheckpointFolder(args.out / "checkpoints", accelerator)
    start = 0
    if checkpoint := checkpoints.last():
        checkpoints.load(checkpoint)
        start = checkpoint.position["step"]
    accelerator.print(f"{len(training)} photographs to train on, {len(held_out)} held out, from epoch {start}")
    detector = accelerator.unwrap_model(model)
    trained = _Trained(accelerator, model, objective, optimizer, schedule, loader, args.clip_norm)
    for epoch in range(start, args.epochs):
        # Seeded by the epoch, so that a resumed run draws what an uninterrupted one would have drawn.
        set_seed(args.seed + epoch, device_specific=True)
        report = trained.epoch(epoch)
        if accelerator.is_main_process:
            if len(held_out) and ((epoch + 1) % args.measure_every == 0 or epoch + 1 == args.epochs):
                report |= measure(detector, held_out, args.canvas)
            with replaced_folder(args.out / "last") as folder:
                detector.save_pretrained(folder)
            with (args.out / "log.jsonl").open("a", encoding="utf-8") as log:
                log.write(json.dumps({"epoch": epoch + 1, **report}) + "\n")
        accelerator.print(f"epoch {epoch + 1}: " + ", ".join(f"{name} {value:.4g}" for name, value in report.items()))
        checkpoints.save({"step": epoch + 1})
    accelerator.end_training()


def build_detector(args: argparse.Namespace) -> nn.Module:
    """
    The detector of --model, with the weights of --part_weights in one of its parts.

    Raises:
        OSError, ValueError: a folder does not hold a detector, or there is no part of this name or form.
    """
    with clear_errors(args.model):
        if list(args.model.glob("*.safetensors")):
            model = AutoModel.from_pretrained(args.model, dtype=torch.float32)
        else:
            model = AutoModel.from_config(AutoConfig.from_pretrained(args.model))
    if args.part_weights:
        part, folder = args.part_weights
        with opening(folder) as options:
            source = AutoModel.from_pretrained(folder, dtype=torch.float32, **options)
        try:
            model.get_submodule(part).load_state_dict(source.state_dict())
        except (AttributeError, RuntimeError) as error:
            names = ", ".join(name for name, _ in model.named_children())
            raise ValueError(
                f"--part_weights {part} {folder}: the weights do not fit this part ({str(error).splitlines()[0]}); "
                f"the detector has the parts {names}."
            ) from error
    if args.freeze_trunk:
        trunk: nn.Module | None = next((getattr(model, name) for name in TRUNK_NAMES if hasattr(model, name)), None)
        if trunk is None:
            raise ValueError(f"--freeze_trunk: the detector has no {', no '.join(TRUNK_NAMES)}; leave the flag out.")
        trunk.requires_grad_(False)
    built: nn.Module = model
    return built


def taught_by(folder: Path, student: nn.Module) -> Objective:
    """
    The objective of a NanoDet that learns from the one in `folder`.

    Raises:
        OSError: the folder holds no NanoDet.
        ValueError: teacher and student differ in their classes, points or bins.
    """
    with clear_errors(folder):
        teacher = NanoDetDetector.from_pretrained(folder, dtype=torch.float32).eval().requires_grad_(False)
    teacher.config.scales, teacher.config.mirrored = [1.0], False
    if not isinstance(student, NanoDetDetector):
        raise ValueError(f"--teacher {folder}: only a NanoDet learns from a NanoDet, not a {type(student).__name__}.")
    for name in ("class_names", "points", "num_bins"):
        if (taught := getattr(teacher.config, name)) != (own := getattr(student.config, name)):
            raise ValueError(
                f"--teacher {folder}: its {name} are {taught}, those of --model {own}; give an equal one."
            )

    def objective(output: Any, batch: DetectorBatch, config: Any) -> dict[str, torch.Tensor]:
        pixels = batch["pixel_values"]
        return distillation_losses(output, lesson_of(teacher.to(pixels.device), pixels))

    return objective


def split(photographs: CocoInstances, share: float, seed: int) -> tuple["Subset[Photograph]", "Subset[Photograph]"]:
    """Photographs to train on and a random `share` of them, rounded up, to measure on."""
    order = torch.randperm(len(photographs), generator=torch.Generator().manual_seed(seed)).tolist()
    held_out = math.ceil(share * len(order))
    return Subset(photographs, order[held_out:]), Subset(photographs, order[:held_out])


def measure(detector: Any, photographs: "Subset[Photograph]", canvas: int) -> dict[str, float]:
    """Quality of the proposed masks on held-out photographs; nothing for a detector without masks."""
    detector.eval()
    probe = detector.propose(torch.zeros(1, 3, canvas, canvas, device=detector.device))
    if probe.masks is None:
        return {}
    return mask_quality(detector, (plain(photographs[index], canvas) for index in range(len(photographs))))


@dataclass
class _Trained:
    """What an epoch needs, as accelerate prepared it."""

    accelerator: Accelerator
    model: nn.Module
    objective: Objective
    optimizer: Any
    schedule: Any
    loader: Any
    clip_norm: float

    def epoch(self, number: int) -> dict[str, float]:
        """One pass; mean losses and seconds."""
        self.model.train()
        self.loader.set_epoch(number)
        config, start = self.accelerator.unwrap_model(self.model).config, time.monotonic()
        sums: dict[str, float] = {}
        for batch in self.loader:
            losses = self.objective(self.model(batch["pixel_values"]), batch, config)
            self.accelerator.backward(sum(losses.values()))
            self.accelerator.clip_grad_norm_(self.model.parameters(), self.clip_norm)
            self.optimizer.step()
            self.schedule.step()
            self.optimizer.zero_grad()
            for name, loss in losses.items():
                sums[name] = sums.get(name, 0.0) + loss.item() / len(self.loader)
        return {**sums, "seconds": time.monotonic() - start}


__all__ = ["build_detector", "main", "measure", "parse_arguments", "split", "train_detector"]
