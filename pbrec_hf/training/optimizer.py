"""AdamW with a rate for each tower, and the cosine that all rates follow.

Towers are the image backbone, the text encoder, and the rest (projections, fusion, heads). Expects a
`PbrecForReferringExpression`; knows nothing of data and devices.
"""

import math
import re
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from torch import nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from .config import TrainingConfig

TOWERS = {"backbone": "model.backbone.", "text": "model.text_model."}
_LAYER = re.compile(r"\.(?:layer|layers|stages)\.(\d+)\.")


def tower_of(name: str) -> str:
    """Tower ("backbone", "text" or "fusion") of the parameter `name`."""
    return next((tower for tower, prefix in TOWERS.items() if name.startswith(prefix)), "fusion")


def freeze_towers(model: nn.Module, config: TrainingConfig) -> None:
    """Freeze the towers whose rate is 0. To be called before the model is wrapped for several processes."""
    rates = _rates(config)
    for name, parameter in model.named_parameters():
        if rates[tower_of(name)] == 0:
            parameter.requires_grad_(False)


def parameter_groups(model: nn.Module, config: TrainingConfig) -> list[dict[str, Any]]:
    """
    Trainable parameters by rate and weight decay, in the form of torch's optimisers, with a "name" each.

    With `layer_decay` d < 1 the layer at distance n from its tower's output has the rate of the tower times dⁿ; what
    comes before the first layer (embeddings, stem) counts as one more layer.

    Raises:
        ValueError: nothing is trainable.
    """
    depths = _depths(model)
    rates = _rates(config)
    members: dict[tuple[str, float, float], list[nn.Parameter]] = defaultdict(list)
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        tower = tower_of(name)
        rate = rates[tower] * config.layer_decay ** _distance(name, depths.get(tower, 0))
        decays = config.decay_norms_and_biases or parameter.ndim > 1
        members[tower, rate, config.weight_decay if decays else 0.0].append(parameter)
    if not members:
        raise ValueError("No parameter is trainable: set at least one of the learning rates to a value above 0.")
    return [
        {"params": parameters, "lr": rate, "weight_decay": decay, "name": tower}
        for (tower, rate, decay), parameters in members.items()
    ]


def build_optimizer(model: nn.Module, config: TrainingConfig) -> AdamW:
    """AdamW over `parameter_groups`, fused, which takes a third of the time on a CPU."""
    return AdamW(parameter_groups(model, config), fused=True)


def build_schedule(optimizer: Optimizer, config: TrainingConfig, total_steps: int) -> LambdaLR:
    """
    Linear warm-up, then a cosine per optimiser step down to `min_learning_rate`.

    A group whose peak is not above `min_learning_rate` stays constant after the warm-up, as in the released recipe.
    """

    def factor(peak: float) -> Callable[[int], float]:
        floor = min(config.min_learning_rate, peak) / peak

        def at(step: int) -> float:
            if step < config.warmup_steps:
                return (step + 1) / (config.warmup_steps + 1)
            progress = (step - config.warmup_steps) / max(1, total_steps - config.warmup_steps)
            return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))

        return at

    return LambdaLR(optimizer, [factor(group["lr"]) for group in optimizer.param_groups])


def _rates(config: TrainingConfig) -> dict[str, float]:
    return {
        "backbone": config.backbone_learning_rate,
        "text": config.text_learning_rate,
        "fusion": config.learning_rate,
    }


def _depths(model: nn.Module) -> dict[str, int]:
    """Number of layers of the backbone and of the text encoder."""
    depths: dict[str, int] = {}
    for name, _ in model.named_parameters():
        if (tower := tower_of(name)) in TOWERS and (found := _LAYER.search(name)):
            depths[tower] = max(depths.get(tower, 0), int(found[1]) + 1)
    return depths


def _distance(name: str, depth: int) -> int:
    """Layers between a parameter and the output of its tower of `depth` layers; 0 where the tower has none."""
    found = _LAYER.search(name)
    return depth - 1 - int(found[1]) if found and depth else depth
