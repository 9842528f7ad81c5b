"""How cost grows: time and memory against expressions per photograph, photographs, and points.

    python -m scripts.benchmarks.growth --out growth.png

Each measurement runs in a process of its own, because a process never gives its peak memory back. The network is the
bundled checkpoint's comprehension stage; more points come from a larger canvas.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
AXES = {
    "expressions per photograph": [1, 2, 4, 8, 16, 32, 64],
    "photographs": [1, 2, 4, 8, 16, 32, 64],
    "points": [400, 576, 784, 1024, 1296, 1600],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("growth.png"), help="picture to write (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--one", nargs=2, metavar=("AXIS", "VALUE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(_measure(options.one[0], int(options.one[1]), options.threads)))
        return
    rows = {axis: [_in_a_process(axis, value, options.threads) for value in values] for axis, values in AXES.items()}
    for axis, measured in rows.items():
        for value, row in zip(AXES[axis], measured, strict=True):
            print(f"{axis:<28} {value:5d}  {row['seconds'] * 1000:9.1f} ms  {row['megabytes']:8.1f} MB")
    _plot(rows, options.out)
    print(f"picture written to {options.out}")


def _in_a_process(axis: str, value: int, threads: int) -> dict:
    command = [sys.executable, "-m", "scripts.benchmarks.growth", "--threads", str(threads), "--one", axis, str(value)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout)


def _measure(axis: str, value: int, threads: int) -> dict:
    import torch

    from pbrec_hf import PbrecForReferringExpression, bundled_checkpoint

    from .peak import MEGABYTE, PeakMemory
    from .timing import median_seconds

    torch.set_num_threads(threads)
    model = PbrecForReferringExpression.from_pretrained(bundled_checkpoint()).eval()
    side = round(value**0.5) * model.config.stride if axis == "points" else model.config.image_size
    images = value if axis == "photographs" else 1
    expressions = value if axis == "expressions per photograph" else images
    inputs = {
        "pixel_values": torch.randn(images, 3, side, side),
        "input_ids": torch.randint(5, 100, (expressions, 8)),
        "image_index": torch.arange(expressions) % images,
    }
    with torch.inference_mode(), PeakMemory() as memory:
        seconds = median_seconds(lambda: model(**inputs), 3)
    return {"seconds": seconds, "megabytes": (memory.peak - memory.before) / MEGABYTE}


def _plot(rows: dict, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, len(AXES), figsize=(4 * len(AXES), 6), layout="constrained")
    for column, (axis, values) in enumerate(AXES.items()):
        for row, (key, label) in enumerate((("seconds", "seconds"), ("megabytes", "MB above the loaded model"))):
            plot = axes[row][column]
            plot.plot(values, [measured[key] for measured in rows[axis]], marker="o")
            plot.set(xlabel=axis, ylabel=label if column == 0 else None, ylim=(0, None), xlim=(0, None))
            plot.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
