"""The page of the trends: Tables 4 and 5 with means and standard errors, and which of the paper's claims they show."""

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any

from .trends_claims import BOTH, CLAIMS, Cell, Mean, difference, figures, mean_of, verdict
from .trends_data import KINDS
from .trends_scores import TOP_K
from .variants import TABLE_4

# Points on RefCOCO+ val: of Table 4 by variant (accuracy, overall IoU), of Table 5 by ranking and k.
PAPER_4: dict[str, tuple[float | None, float | None]] = {
    "center-hard": (71.93, None), "mass-hard": (None, 61.20), "center-soft": (72.63, None), "mass-soft": (None, 62.99),
    "center-hard_mass-hard": (72.17, 62.25), "center-hard_mass-soft": (71.96, 62.45),
    "center-soft_mass-hard": (72.75, 62.04), "center-soft_mass-soft": (74.85, 63.76),
}  # fmt: skip
PAPER_5 = {
    "center": (73.55, 74.14, 74.33, 74.51, 74.25),
    "center+conf": (73.24, 74.13, 74.46, 74.85, 74.64),
    "mass": (63.34, 64.07, 64.08, 63.76, 62.23),
}
_HEADINGS = {"center": "boxes by center-ness", "center+conf": "boxes by center-ness × confidence", "mass": "masks"}
Report = Mapping[str, Any]


def page(report: Report) -> str:
    """Markdown of a report that `trends.py` wrote, with whatever runs it holds."""
    runs = report["runs"]
    seeds = sorted({run["seed"] for run in runs})
    parts = [_introduction(report, seeds), "## Does it hold?", _claims(runs)]
    parts += ["## Table 4: targets and tasks", _TABLE_4, _table_4(runs)]
    parts += ["## Table 5: the vote", _TABLE_5.format(both=BOTH), _table_5(runs)]
    return "\n\n".join(parts) + "\n"


_TABLE_4 = (
    "Answers as the paper's: votes of 12, boxes ranked by center-ness × the detector's confidence, masks by "
    "mass-ness. Boxes: share with an IoU above 0.5. Masks: mean IoU. In percent; mean over the seeds ± standard error."
)
_TABLE_5 = "Of the trainings {both}."


def _introduction(report: Report, seeds: Sequence[int]) -> str:
    recipe, phase = report["recipe"], report["recipe"]["phase"]
    photographs, composed = (report["runs"][0]["scores"][kind]["count"] for kind in KINDS)
    minutes = sum(one["seconds"] for one in report["runs"]) / 60
    named = " ".join(map(str, seeds))
    levels, weighed = "", ""
    if report["levels"] is not None:
        levels = " --levels " + " ".join(f"{level:g}" for level in report["levels"])
        weighed = " (`--levels` are their weights, fine to coarse; the paper uses P5 alone)"
    half = " --bf16" if report["bf16"] else ""
    command = (
        "```bash\n"
        f"python scripts/paper/trends.py --data DATA --out RUN --seeds {named} --chunks {recipe['chunks']} \\\n"
        f"    --pictures {report['pictures']}{levels}{half} --json docs/trends/small.json --page docs/trends.md\n"
        "```"
    )
    return "\n".join(
        [
            "# Trends of the paper on a small network",
            _wrapped(
                "The paper's ablations (Tables 4 and 5) on what one processor core can train. This page says which of "
                "their trends show at this scale, and nothing of the published models' accuracy. A command writes it:"
            ),
            command,
            _wrapped(
                "What is frozen is pbrec-mt-small's: a NanoDet with grids of strides "
                f"{', '.join(map(str, report['strides']))}, which proposes boxes and masks and describes the picture, "
                f"and the encoder of the words. A small fusion encoder and both heads ({_named(recipe['model'])}) are "
                f"trained from nothing: {phase['steps']} steps of {phase['images']} pictures × {phase['expressions']} "
                "expressions, with the paper's loss (equation 6); the paper's trainings have thousands. They train on "
                "photographs and on scenes composed of them. The expressions "
                "are generated, or written by people about "
                "other pictures, and mean one object each."
            ),
            "",
            _wrapped(
                f"Measured on held-out photographs ({photographs} expressions, so one is {100 / photographs:.2f} "
                f"points) and on scenes composed of these ({composed}), with generated expressions. Proposals are "
                f"those of the detector's grids{weighed}. Nothing was chosen "
                f"by these figures. The frozen mask head has seen "
                "the held-out photographs in its own training, alike for all rows."
            ),
            "",
            _wrapped(
                f"Runs of one seed start from the same weights and see the same batches. Seeds: {named}; "
                f"{len(report['runs'])} trainings of {len(TABLE_4) * len(seeds)}, {minutes:.0f} minutes altogether "
                f"({report['machine']}; {_named(report['versions'])}){report.get('remark', '')}. "
                "A standard error is over the seeds: what other pictures would change is not in it."
            ),
        ]
    )


def _wrapped(text: str) -> str:
    return fill(text, width=118, break_long_words=False, break_on_hyphens=False)


def _named(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _claims(runs: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        'A difference is taken between runs of the same seed. "yes": its mean is more than two standard errors above '
        '0, and every seed agrees; "the opposite": the same below 0; "not clear": neither.',
        "",
        "| the paper says | paper, points | " + " | ".join(f"{kind} | holds?" for kind in KINDS) + " |",
        "|---|---|" + "---|---|" * len(KINDS),
    ]
    for claim in CLAIMS:
        cells = [difference(runs, kind, claim) for kind in KINDS]
        shown = [f"{_shown(found, signed=True)} | {verdict(found)}" for found in cells]
        lines.append(f"| {claim.text} | {claim.paper:+.2f} | {' | '.join(shown)} |")
    return "\n".join(lines)


def _table_4(runs: Sequence[Mapping[str, Any]]) -> str:
    heads = " | ".join(f"{kind}: boxes | {kind}: masks" for kind in KINDS)
    lines = [
        f"| center-ness | mass-ness | paper: boxes | paper: masks | {heads} |",
        "|---|---|---|---|" + "---|---|" * len(KINDS),
    ]
    for variant in TABLE_4:
        paper = ["" if value is None else f"{value:.2f}" for value in PAPER_4[variant.name]]
        cells = []
        for kind in KINDS:
            for style, ranking in ((variant.center, "center+conf"), (variant.mass, "mass")):
                cells.append(_shown(_mean(runs, kind, Cell(variant.name, ranking))) if style else "")
        lines.append("| " + " | ".join([variant.center or "", variant.mass or "", *paper, *cells]) + " |")
    return "\n".join(lines)


def _table_5(runs: Sequence[Mapping[str, Any]]) -> str:
    lines = []
    for ranking, heading in _HEADINGS.items():
        lines += [f"| k, {heading} | paper | {' | '.join(KINDS)} |", "|---|---|" + "---|" * len(KINDS)]
        for k, paper in zip(TOP_K, PAPER_5[ranking], strict=True):
            cells = [_shown(_mean(runs, kind, Cell(BOTH, ranking, str(k)))) for kind in KINDS]
            lines.append(f"| {k} | {paper:.2f} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines).rstrip()


def _mean(runs: Sequence[Mapping[str, Any]], kind: str, cell: Cell) -> Mean | None:
    return mean_of(list(figures(runs, kind, cell).values()))


def _shown(found: Mean | None, signed: bool = False) -> str:
    if found is None:
        return "-"
    value = f"{found.value:+.2f}" if signed else f"{found.value:.2f}"
    return value if found.seeds < 2 else f"{value} ± {found.error:.2f}"


__all__ = ["PAPER_4", "PAPER_5", "page"]
