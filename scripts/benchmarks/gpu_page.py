"""What docs/speed.md says of a GPU, from the file that gpu.py wrote.

    python -m scripts.benchmarks.gpu_page docs/benchmarks/h200.json --page docs/speed.md

Writes between the page's two marks; without `--page`, prints.
"""

import argparse
import json
from pathlib import Path
from textwrap import fill
from typing import Any

BEGIN, END = "<!-- gpu_page.py begins -->", "<!-- gpu_page.py ends -->"
COLUMNS = {
    "ms": "{:.1f}",
    "expressions per second": "{:.0f}",
    "TFLOP/s": "{:.0f}",
    "share": "{:.0%}",
    "memory": "{:.1f}",
    "hours": "{:.2f}",
}
HEADINGS = ("row", "ms", "expressions/s", "TFLOP/s", "share of the product", "GiB", "hours", "beside it")
Report = dict[str, Any]


def page(report: Report) -> str:
    """Markdown of a report with all rows of boxes and of training."""
    facts = report["machine"]
    versions = ", ".join(f"{name} {facts[name]}" for name in ("torch", "transformers", "accelerate", "python"))
    introduction = (
        f"On one {facts['device']} ({facts['machine']}; {versions}): the full-size model of random weights, "
        "640 × 640, bf16, on canvases that the GPU holds already; medians of ten. A share is of the speed of a bf16 "
        "matrix product in the same run; hours are of 15 epochs of RefCOCO, if the loader keeps up and every group of "
        "expressions is full."
    )
    return "\n".join([_wrapped(introduction), "", *_table(report), "", *_shown(report)]) + "\n"


def _table(report: Report) -> list[str]:
    lines = [_cells(HEADINGS), _cells(["---"] * len(HEADINGS))]
    for row in report["rows"]:
        values = [form.format(row[name]) if row.get(name) is not None else "" for name, form in COLUMNS.items()]
        lines.append(_cells([row["row"], *values, _beside(row)]))
    return lines


def _beside(row: Report) -> str:
    for name in ("not run", "failed"):
        if name in row:
            return f"**{name}**: {row[name]}"
    return row.get("note", "")


def _shown(report: Report) -> list[str]:
    """What the table shows, as a list."""
    rows = {row["row"]: row for row in report["rows"]}

    def value(name: str, column: str) -> float:
        if column not in rows.get(name, {}):
            raise ValueError(
                f"{name!r} was not measured: run scripts/benchmarks/gpu.sh with all rows and more --seconds."
            )
        return rows[name][column]

    one, four = (f"training, batch 64, expressions per picture {count}" for count in (1, 4))
    eager, graph, compiled = (f"inference, batch 1, {how}" for how in ("eager", "CUDA graph", "compile"))
    full, file = "inference, batch 64, CUDA graph", "photograph file to box, batch 1"
    fsdp = "FSDP2 on one device through Accelerate"
    tuned = f"{four}, cudnn.benchmark"
    longer, more = (value(four, name) / value(one, name) for name in ("ms", "expressions per second"))
    shown = [
        f"Training reaches {value(four, 'share'):.0%} of the speed of the matrix product, inference "
        f"{value(full, 'share'):.0%} with 64 pictures and {value(graph, 'share'):.0%} with one.",
        f"15 epochs of RefCOCO take {value(one, 'hours'):.2f} hours with one expression of a picture at a time, and "
        f"{value(four, 'hours'):.2f} with four: a step with four takes {longer:.2f} times as long, and learns from "
        f"{more:.1f} times as many expressions a second.",
        f"One picture takes {value(eager, 'ms'):.1f} ms eagerly, {value(graph, 'ms'):.1f} as a CUDA graph and "
        f"{value(compiled, 'ms'):.1f} compiled. From a photograph's file to its box, eagerly and with all that "
        f"surrounds the networks, it is {value(file, 'ms'):.0f} ms.",
        f"A step under FSDP2 takes {value(fsdp, 'ms') / value(four, 'ms'):.2f} times as long as without "
        f"({rows[fsdp]['note']}). One device has nothing to shard, so this is what FSDP2 costs, and none of its gain.",
        f"With `cudnn.benchmark`, a training step is {value(four, 'ms') / value(tuned, 'ms'):.2f} times as fast.",
    ]
    left = [row["row"] for row in report["rows"] if "not run" in row]
    if left:
        shown.append(f"Not run, because the time was over: {'; '.join(left)}.")
    return [fill(f"- {text}", 119, subsequent_indent="  ", break_long_words=False) for text in shown]


def _cells(values: Any) -> str:
    return "| " + " | ".join(values) + " |"


def _wrapped(text: str) -> str:
    return fill(text, 119, break_long_words=False, break_on_hyphens=False)


def between(text: str, new: str) -> str:
    """`text` with `new` between its marks.

    Raises:
        ValueError: it has not both marks, in their order.
    """
    before, begins, rest = text.partition(BEGIN)
    _, ends, after = rest.partition(END)
    if not (begins and ends):
        raise ValueError(f"the page needs the lines {BEGIN} and {END}, in this order.")
    return f"{before}{BEGIN}\n{new}{END}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path, help="gpu.json")
    parser.add_argument("--page", type=Path, help="Markdown to write into")
    options = parser.parse_args()
    text = page(json.loads(options.report.read_text(encoding="utf-8")))
    if options.page is None:
        print(text, end="")
        return
    options.page.write_text(between(options.page.read_text(encoding="utf-8"), text), encoding="utf-8")


if __name__ == "__main__":
    main()
