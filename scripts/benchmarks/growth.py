"""How cost grows: time and memory against expressions per photograph, photographs, points, and queries.

    python -m scripts.benchmarks.growth --out growth.png --json growth.json

Each measurement runs in a process of its own, because a process never gives its peak memory back. Expressions,
photographs and points are those of the bundled checkpoint's network, all in one call; more points come from a larger
canvas. Queries are those of an RT-DETR (R18, random weights) that proposes boxes to it, from canvas to answer.

Time is that of the processor, in one thread: other work on the machine hardly weighs on it. A slope is the exponent of
a power law fitted to the upper half of the values: 0 is constant, 1 proportional, 2 quadratic.
"""

import argparse
import json
import math
import multiprocessing
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
import torch
from transformers import RTDetrConfig, RTDetrImageProcessor, RTDetrResNetConfig

from pbrec_hf import PbrecForReferringExpression, PbrecProcessor, bundled_checkpoint
from pbrec_hf.detectors.pretrained import PretrainedDetector, PretrainedDetectorConfig

from .full_size import EXPRESSIONS as ASKED
from .full_size import photograph
from .peak import MEGABYTE, PeakMemory

EXPRESSIONS, PHOTOGRAPHS, POINTS, QUERIES = (
    "expressions per photograph", "photographs", "points", "queries of a set detector"
)  # fmt: skip
AXES = {
    EXPRESSIONS: [1, 4, 16, 64, 128, 256],
    PHOTOGRAPHS: [1, 4, 16, 64, 128, 256],
    POINTS: [256, 400, 576, 784, 1024, 1296, 1600],
    QUERIES: [100, 300, 500, 700, 900],
}
MEASURES = {"seconds": "processor seconds, one thread", "megabytes": "MB above the loaded model"}
Row = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("growth.png"), help="picture to write (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--axes", nargs="+", choices=AXES, default=list(AXES), metavar="AXIS", help="only these")
    options = parser.parse_args()
    rows = {axis: _along(axis) for axis in options.axes}
    for axis, measured in rows.items():
        told = ", ".join(f"{key} ∝ n^{slope(measured, key):.2f}" for key in MEASURES)
        print(f"{axis}: {told}")
    if options.json is not None:
        slopes = {axis: {key: slope(measured, key) for key in MEASURES} for axis, measured in rows.items()}
        options.json.write_text(json.dumps({"rows": rows, "slopes": slopes}, indent=1) + "\n", encoding="utf-8")
    _plot(rows, options.out)
    print(f"picture written to {options.out}")


def _along(axis: str) -> list[Row]:
    """The rows of an axis, as far as memory reaches."""
    measured: list[Row] = []
    for value in AXES[axis]:
        last = measured[-1] if measured else {"value": 1, "megabytes": 0}
        need = last["megabytes"] * value / last["value"] * 1.2
        if need > psutil.virtual_memory().available / 2**20:
            print(f"{axis:<28} {value:5d}  not measured: needs about {need:.0f} MB", flush=True)
            break
        row = {"value": value, **_in_a_process(axis, value)}
        print(f"{axis:<28} {value:5d}  {row['seconds'] * 1000:9.1f} ms  {row['megabytes']:8.1f} MB", flush=True)
        measured.append(row)
    return measured


def _in_a_process(axis: str, value: int) -> Row:
    """Forked where that is possible, so that libraries are imported once."""
    method = "fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn"
    with multiprocessing.get_context(method).Pool(1) as pool:
        return pool.apply(_measure, (axis, value))


def slope(rows: Sequence[Row], key: str) -> float:
    """The exponent of the power law that fits `key` of the upper half of the rows best."""
    upper = rows[len(rows) // 2 :] if len(rows) > 3 else rows
    across = [math.log(row["value"]) for row in upper]
    up = [math.log(max(row[key], 1e-6)) for row in upper]
    middle, height = sum(across) / len(across), sum(up) / len(up)
    spread = sum((x - middle) ** 2 for x in across)
    return sum((x - middle) * (y - height) for x, y in zip(across, up, strict=True)) / spread


def _measure(axis: str, value: int) -> Row:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    run = _answering(value) if axis == QUERIES else _network(axis, value)
    with torch.inference_mode(), PeakMemory(0.005) as memory:
        run()
    times = []
    with torch.inference_mode():
        for _ in range(1 if value > 64 and axis == PHOTOGRAPHS else 3):
            start = time.process_time()
            run()
            times.append(time.process_time() - start)
    return {"seconds": sorted(times)[len(times) // 2], "megabytes": (memory.peak - memory.before) / MEGABYTE}


def _network(axis: str, value: int) -> Callable[[], object]:
    """The bundled checkpoint's network, all at once."""
    model = PbrecForReferringExpression.from_pretrained(bundled_checkpoint()).eval()
    side = round(value**0.5) * model.config.stride if axis == POINTS else model.config.image_size
    images = value if axis == PHOTOGRAPHS else 1
    expressions = value if axis == EXPRESSIONS else images
    inputs = {
        "pixel_values": torch.randn(images, 3, side, side),
        "input_ids": torch.randint(5, 100, (expressions, 8)),
        "image_index": torch.arange(expressions) % images,
    }
    return lambda: model(**inputs)


def _answering(queries: int) -> Callable[[], object]:
    """From a photograph to the answers to eight expressions, among the proposals of so many queries."""
    model = PbrecForReferringExpression.from_pretrained(bundled_checkpoint()).eval()
    small = RTDetrResNetConfig(
        depths=[2, 2, 2, 2], hidden_sizes=[64, 128, 256, 512], layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    network = RTDetrConfig(backbone_config=small, encoder_in_channels=[128, 256, 512], num_queries=queries)
    config = PretrainedDetectorConfig(network_config=network, top_n=queries)
    detector = PretrainedDetector(config, RTDetrImageProcessor()).eval()
    bundled = PbrecProcessor.from_pretrained(bundled_checkpoint())
    processor: Any = PbrecProcessor(bundled.image_processor, bundled.tokenizer, box_detector=detector)
    picture = photograph()

    def answer() -> object:
        inputs = processor(picture, ASKED)
        return processor.post_process_referring_expression(model(**inputs), inputs)

    return answer


def _plot(rows: dict[str, list[Row]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import LogLocator, NullLocator

    figure, axes = pyplot.subplots(
        len(MEASURES), len(rows), figsize=(3.6 * len(rows), 6), layout="constrained", squeeze=False
    )
    for column, (axis, measured) in enumerate(rows.items()):
        for plots, (key, label) in zip(axes, MEASURES.items(), strict=True):
            plot = plots[column]
            values, costs = ([row[name] for row in measured] for name in ("value", key))
            plot.loglog(values, costs, marker="o")
            plot.set(xlabel=axis, ylabel=label if column == 0 else None, title=f"∝ n^{slope(measured, key):.2f}")
            # Room above and below, so that what hardly grows looks flat.
            plot.set_ylim(min(costs) / 1.5, max(costs) * 1.5)
            plot.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            plot.set_xticks(values, [f"{value:g}" for value in values], rotation=45)
            for side in (plot.xaxis, plot.yaxis):
                side.set_minor_locator(NullLocator())
            plot.yaxis.set_major_formatter("{x:g}")
            plot.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
