"""Rows of training: a step of the package on a batch that the device already holds, in bf16 with fused AdamW.

`sharded` starts gpu_sharded.py with Accelerate's launcher and the repository's FSDP2 configuration.
"""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml

from pbrec_hf.hub.configs import recipe_file, shipped_folder

from .gpu_timing import Bench, operations_of
from .train_step import OUR_LENGTH, Choices, Steps

ROOT = Path(__file__).parents[2]
RECIPE, SPLIT = "pbrec-mt-refcoco", "refcoco/unc"


def training(bench: Bench, batch: int, choices: Choices, autotuned: bool = False) -> dict[str, Any]:
    """A row: steps on `batch` pictures; `autotuned`: cuDNN tries its convolutions out first."""
    steps = Steps(bench.repeats, batch, bench.size, bench.canvas, device=bench.device)
    choices = replace(choices, tokens=OUR_LENGTH)
    expressions = batch * choices.expressions
    torch.backends.cudnn.benchmark = autotuned
    try:
        if expressions not in bench.operations:
            optimizer, loss = steps.built(replace(choices, compiled=False))
            bench.operations[expressions] = operations_of(lambda: loss().backward())
            del optimizer, loss
            bench.free()
        seconds = steps.time(*steps.built(choices))
        figures = bench.figures(seconds, expressions, bench.operations[expressions])
    finally:
        torch.backends.cudnn.benchmark = False
        torch.compiler.reset()
    return figures | {"hours": _hours(figures["expressions per second"])}


def _hours(expressions_per_second: float) -> float:
    """Hours of the recipe's epochs over RefCOCO's training split."""
    sets = yaml.safe_load((ROOT / "pbrec_hf/data/refer/refcoco_configs.yaml").read_text())
    epochs = yaml.safe_load(recipe_file(RECIPE).read_text())["epochs"]
    return sets[SPLIT]["splits"]["train"]["sentences"] * epochs / expressions_per_second / 3600


def sharded(bench: Bench, seconds: float) -> dict[str, Any]:
    """A row: the step with four expressions per picture under FSDP2 of one device, in a process of its own."""
    config = shipped_folder("hub_configs") / "accelerate" / "fsdp2.yaml"
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(config)]
    launcher += ["--num_processes", "1", "--main_process_port", "0", "--module", "scripts.benchmarks.gpu_sharded"]
    options = ["--device", bench.device.type, "--repeats", str(bench.repeats)] + ["--tiny"] * bench.tiny
    process = subprocess.Popen(
        [*launcher, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    try:
        told, errors = process.communicate(timeout=seconds)
    finally:
        process.terminate()  # the launcher ends its workers; nothing happens if it has ended
    if process.returncode:
        named = [text for text in errors.splitlines() if "Error" in text]
        raise RuntimeError("\n".join([*named[:1], errors]))
    found: dict[str, Any] = json.loads(told.splitlines()[-1])
    figures = bench.figures(found["seconds"], found["expressions"], found["operations"])
    note = f"loss {found['loss']:.4f}, without FSDP {found['expected']:.4f}"
    return figures | {"memory": found["memory"], "note": note, "hours": _hours(figures["expressions per second"])}
