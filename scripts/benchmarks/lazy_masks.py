"""Time and memory of SOLO's masks: only those that selection asks for, against all of the level's.

What is measured starts behind SOLO's mask tower (SOLO-R101's sizes, P4, 24×24 points): the last 1×1 convolution,
sigmoid and resize. Everything before is the same for both. Memory is all that torch allocates on the way.

    python -m scripts.benchmarks.lazy_masks
"""

import argparse
from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile

from pbrec_hf.detectors.solo import SoloConfig
from pbrec_hf.geometry.proposed_masks import LazyMasks

from .timing import Figure, median_seconds, report


def measure(repeats: int = 5, k: int = 12, canvas: int = 640) -> list[Figure]:
    """Ratios of k lazy masks to all masks of one image, and the largest difference between the two."""
    config = SoloConfig()
    level = config.proposal_level
    points = config.num_grids[level] ** 2
    torch.manual_seed(0)
    side = 2 * canvas // config.strides[level]
    masks = LazyMasks(
        features=torch.randn(1, config.channels, side, side),
        weight=torch.randn(points, config.channels) * config.channels**-0.5,
        bias=torch.zeros(points),
        size=(2 * canvas // config.strides[0],) * 2,
    )
    chosen = torch.randperm(points)[:k]

    @torch.inference_mode()
    def draw(index: torch.Tensor) -> torch.Tensor:
        return masks.at(torch.zeros_like(index), index)

    def lazy() -> torch.Tensor:
        return draw(chosen)

    def full() -> torch.Tensor:
        return draw(torch.arange(points))

    difference = (lazy() - full()[chosen]).abs().max().item()
    times = [median_seconds(run, repeats) for run in (lazy, full)]
    memory = [_allocated(run) for run in (lazy, full)]
    name = f"SOLO masks at {canvas}, {k} of {points}"
    return [
        Figure(f"{name}, time lazy ÷ full", times[0] / times[1], "≤ 0.1", f"{times[0]:.4f} s, {times[1]:.4f} s"),
        Figure(
            f"{name}, memory lazy ÷ full",
            memory[0] / memory[1],
            "≤ 0.1",
            f"{memory[0] / 1e6:.1f} MB, {memory[1] / 1e6:.1f} MB",
        ),
        Figure(f"{name}, largest difference", difference, "≤ 1e-5"),
    ]


def _allocated(run: Callable[[], object]) -> int:
    """Bytes that torch allocates during `run`."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    return sum(max(event.self_cpu_memory_usage, 0) for event in profiler.events())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--k", type=int, default=12)
    parser.add_argument("--canvas", type=int, default=640)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    report(measure(args.repeats, args.k, args.canvas), args.json)


if __name__ == "__main__":
    main()
