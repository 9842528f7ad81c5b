#!/usr/bin/env python
"""Train a detector on photographs with COCO-format instance annotations.

One GPU or a CPU:
    python scripts/train_detector.py --model DETECTOR_FOLDER --images PHOTOS --annotations instances.json --out RUN
N GPUs:
    accelerate launch --multi_gpu --num_processes N scripts/train_detector.py (same arguments)
N processes on a CPU:
    torchrun --nproc_per_node N scripts/train_detector.py --cpu (same arguments)

DETECTOR_FOLDER is a `save_pretrained` folder, or one with a config.json alone (random weights); --part_weights fills a
part of it from another detector's folder. RUN/last holds the detector. Interrupted runs go on: give the same command.
Images named in --exclude (JSON lines with "image_id") are never read; --held_out of the others measure the masks.
"""

import argparse
import json
import math
import sys
import time
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration, set_seed
from torch.utils.data import DataLoader, Dataset, Subset
from transformers import AutoConfig, AutoModel, get_cosine_schedule_with_warmup

import pbrec_hf  # noqa: F401  (registers the detectors)
from pbrec_hf.training.checkpoints import CheckpointFolder, replaced_folder
from pbrec_hf.training.detection.coco_instances import CocoInstances, image_ids
from pbrec_hf.training.detection.mask_quality import mask_quality
from pbrec_hf.training.detection.objectives import collate, objective_of
from pbrec_hf.training.detection.scene_augmentation import Augmentation, AugmentationConfig, plain

TRUNK_NAMES = ("trunk", "detector", "backbone", "body")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="folder with config.json and, unless new, weights")
    parser.add_argument("--part_weights", nargs=2, metavar=("PART", "FOLDER"), help="e.g. detector NANODET_FOLDER")
    parser.add_argument("--freeze_trunk", action="store_true", help="train the heads alone")
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--annotations", type=Path, nargs="+", required=True)
    parser.add_argument("--exclude", type=Path, nargs="*", default=[], help="JSON lines whose image_ids are left out")
    parser.add_argument("--held_out", type=float, default=0.15, help="share of the images for measuring")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--canvas", type=int, default=320)
    parser.add_argument("--paste", type=float, default=0.5, help="probability of pasting another photograph's objects")
    parser.add_argument("--scale", type=float, nargs=2, default=(0.6, 1.5))
    parser.add_argument("--epochs", type=int, default=36)
    parser.add_argument("--batch_size", type=int, default=8, help="per process")
    parser.add_argument("--learning_rate", type=float, default=1e-3)
    parser.add_argument("--weight_decay", type=float, default=1e-2)
    parser.add_argument("--clip_norm", type=float, default=10.0)
    parser.add_argument("--warmup_steps", type=int, default=50)
    parser.add_argument("--measure_every", type=int, default=5, help="epochs between measurements of the masks")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--mixed_precision", default="no", choices=("no", "bf16", "fp16"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cpu", action="store_true")
    args = parser.parse_args()
    if not 0 <= args.held_out < 1:
        parser.error(f"--held_out {args.held_out}: give a share of at least 0 and less than 1")
    if not (args.model / "config.json").is_file():
        parser.error(f"--model {args.model}: there is no config.json in this folder")
    return args


class Scenes(Dataset):
    """Augmented canvases of photographs, each with a random second one to paste from."""

    def __init__(self, photographs: Dataset, augmentation: Augmentation):
        self.photographs, self.augmentation = photographs, augmentation

    def __len__(self) -> int:
        return len(self.photographs)

    def __getitem__(self, index: int) -> dict:
        other = int(torch.randint(len(self), ()))
        return self.augmentation(self.photographs[index], self.photographs[other])


def build_detector(args: argparse.Namespace) -> torch.nn.Module:
    if list(args.model.glob("*.safetensors")):
        model = AutoModel.from_pretrained(args.model, dtype=torch.float32)
    else:
        model = AutoModel.from_config(AutoConfig.from_pretrained(args.model))
    if args.part_weights:
        part, folder = args.part_weights
        source = AutoModel.from_pretrained(folder, dtype=torch.float32)
        model.get_submodule(part).load_state_dict(source.state_dict())
    if args.freeze_trunk:
        next(getattr(model, name) for name in TRUNK_NAMES if hasattr(model, name)).requires_grad_(False)
    return model


def split(photographs: Dataset, share: float, seed: int) -> tuple[Subset, Subset]:
    order = torch.randperm(len(photographs), generator=torch.Generator().manual_seed(seed)).tolist()
    held_out = math.ceil(share * len(order))
    return Subset(photographs, order[held_out:]), Subset(photographs, order[:held_out])


def main() -> None:
    args = parse_arguments()
    accelerator = Accelerator(
        cpu=args.cpu,
        mixed_precision=args.mixed_precision,
        dataloader_config=DataLoaderConfiguration(use_seedable_sampler=True),
    )
    set_seed(args.seed, device_specific=False)
    model = build_detector(args)
    class_names = [name for _, name in sorted(model.config.id2label.items())]
    photographs = CocoInstances(args.annotations, args.images, class_names, exclude=image_ids(args.exclude))
    training, held_out = split(photographs, args.held_out, args.seed)
    augmentation = Augmentation(AugmentationConfig(canvas=args.canvas, scale=tuple(args.scale), paste=args.paste))
    loader = DataLoader(
        Scenes(training, augmentation),
        batch_size=args.batch_size,
        shuffle=True,
        drop_last=len(training) >= args.batch_size,
        num_workers=args.workers,
        collate_fn=collate,
    )
    optimizer = torch.optim.AdamW(
        [parameter for parameter in model.parameters() if parameter.requires_grad],
        lr=args.learning_rate,
        weight_decay=args.weight_decay,
    )
    # accelerate advances the schedule once per process and step.
    steps = args.epochs * len(loader)
    schedule = get_cosine_schedule_with_warmup(optimizer, args.warmup_steps * accelerator.num_processes, steps)
    model, optimizer, loader, schedule = accelerator.prepare(model, optimizer, loader, schedule)
    checkpoints = CheckpointFolder(args.out / "checkpoints", accelerator)
    start = 0
    if checkpoint := checkpoints.last():
        checkpoints.load(checkpoint)
        start = checkpoint.position["step"]
    accelerator.print(f"{len(training)} photographs to train on, {len(held_out)} held out, from epoch {start}")
    detector = accelerator.unwrap_model(model)
    objective = objective_of(detector.config)
    for epoch in range(start, args.epochs):
        # Seeded by the epoch, so that a resumed run draws what an uninterrupted one would have drawn.
        set_seed(args.seed + epoch, device_specific=True)
        report = train_epoch(accelerator, model, objective, optimizer, schedule, loader, epoch, args.clip_norm)
        if accelerator.is_main_process:
            if len(held_out) and ((epoch + 1) % args.measure_every == 0 or epoch + 1 == args.epochs):
                report |= measure(detector, held_out, args.canvas)
            with replaced_folder(args.out / "last") as folder:
                detector.save_pretrained(folder)
            with (args.out / "log.jsonl").open("a") as log:
                log.write(json.dumps({"epoch": epoch + 1, **report}) + "\n")
        accelerator.print(f"epoch {epoch + 1}: " + ", ".join(f"{name} {value:.4g}" for name, value in report.items()))
        checkpoints.save({"step": epoch + 1})
    accelerator.end_training()


def train_epoch(accelerator, model, objective, optimizer, schedule, loader, epoch, clip_norm) -> dict[str, float]:
    """One pass; returns mean losses and seconds."""
    model.train()
    loader.set_epoch(epoch)
    config, sums, start = accelerator.unwrap_model(model).config, {}, time.monotonic()
    for batch in loader:
        losses = objective(model(batch["pixel_values"]), batch, config)
        accelerator.backward(sum(losses.values()))
        accelerator.clip_grad_norm_(model.parameters(), clip_norm)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        for name, loss in losses.items():
            sums[name] = sums.get(name, 0.0) + loss.item() / len(loader)
    return {**sums, "seconds": time.monotonic() - start}


def measure(detector, photographs: Dataset, canvas: int) -> dict[str, float]:
    """Quality of the proposed masks on held-out photographs; nothing for a detector without masks."""
    detector.eval()
    probe = detector.propose(torch.zeros(1, 3, canvas, canvas, device=detector.device))
    return mask_quality(detector, (plain(item, canvas) for item in photographs)) if probe.masks is not None else {}


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
