"""Model cards, rendered from data: what a checkpoint is, was trained on and scores, and what it is not fit for.

`CardInfo` is one checkpoint's data, read from YAML; `render_card` turns it into the README.md of a Hub repository,
with the measured results as `model-index`. What was measured on data that chose something of the checkpoint is shown
and labelled, and does not enter `model-index`; nor do numbers of the paper, which are of other weights.
"""

from dataclasses import dataclass, field, fields
from pathlib import Path

import yaml
from huggingface_hub import EvalResult, EvalResultEntry, ModelCard, ModelCardData, eval_result_entries_to_yaml

from ..configuration_pbrec import TASKS
from ..selection.settings import SelectionSettings
from .results import HUB, Reliability, Result, reliability_table, require_choice, table_of, unchosen
from .selection_words import selection_in_words
from .writing import replaced_file

TEMPLATE = Path(__file__).parents[1] / "assets" / "model_card.md"
# The closest task that the Hub knows.
PIPELINE_TAG = "zero-shot-object-detection"


@dataclass(frozen=True)
class CardInfo:
    """
    Data of one card.

    Attributes:
        name: of the repository, such as "pbrec-mt-refcoco".
        summary: one or two sentences.
        trained: whether there are weights.
        tasks: some of `TASKS`.
        data: what it is, or is to be, trained on; a sentence.
        leakage: which test images the detectors or the data have seen.
        datasets, base_models: ids for the Hub.
        detectors: a sentence for each frozen detector.
        selection: how its processor selects answers.
        limits: further limits, a sentence each.
        results: measured on these weights.
        reliability: the same, of how far its scores can be believed.
        paper: published by the authors for their weights.
        paper_note: remark on these.

    Raises:
        ValueError: a task is unknown, or there are results without weights.
    """

    name: str
    summary: str
    trained: bool
    tasks: list[str]
    data: str
    leakage: str
    datasets: list[str] = field(default_factory=list)
    base_models: list[str] = field(default_factory=list)
    detectors: list[str] = field(default_factory=list)
    selection: SelectionSettings = field(default_factory=SelectionSettings)
    limits: list[str] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    reliability: list[Reliability] = field(default_factory=list)
    paper: list[Result] = field(default_factory=list)
    paper_note: str = ""

    def __post_init__(self) -> None:
        for task in self.tasks:
            require_choice("tasks", task, TASKS)
        if (self.results or self.reliability) and not self.trained:
            raise ValueError(
                f"{self.name} has results but trained is false, so what was measured? Set trained, or drop them."
            )


def read_cards(path: str | Path) -> dict[str, CardInfo]:
    """
    The cards of a YAML file.

    Args:
        path: a mapping from name to the fields of [`CardInfo`]; names with a leading dot are fragments for YAML's
            merge keys.

    Returns:
        The cards by name.

    Raises:
        ValueError: a card has an unknown field, lacks one, or a value is not legal.
    """
    cards: dict[str, CardInfo] = {}
    for name, values in yaml.safe_load(Path(path).read_text(encoding="utf-8")).items():
        if name.startswith("."):
            continue
        unknown = set(values) - {field.name for field in fields(CardInfo)}
        if unknown:
            legal = ", ".join(field.name for field in fields(CardInfo))
            raise ValueError(f"{path}: {name} has unknown fields {', '.join(sorted(unknown))}: give some of {legal}.")
        values = dict(values)
        try:
            for kind in ("results", "paper"):
                values[kind] = [Result(**row) for row in values.get(kind, [])]
            values["selection"] = SelectionSettings.of(values.get("selection"))
            values["reliability"] = [Reliability(**row) for row in values.get("reliability", [])]
            cards[name] = CardInfo(name=name, **values)
        except TypeError as error:
            raise ValueError(f"{path}: {name}: {error}. Give the field, or correct its name.") from error
    return cards


def render_card(info: CardInfo, repo: str | None = None) -> str:
    """
    The text of a repository's README.md.

    Args:
        info: the data of the card.
        repo: id on the Hub for the examples; default "org/<name>".
    """
    data = ModelCardData(
        language="en",
        license="apache-2.0",
        library_name="pbrec_hf",
        pipeline_tag=PIPELINE_TAG,
        tags=["referring-expression-comprehension", "visual-grounding", "referring-expression"],
        datasets=info.datasets or None,
        base_model=info.base_models or None,
        model_name=info.name,
        eval_results=[_eval_result(result) for result in unchosen(info.results)] or None,
    )
    card = ModelCard.from_template(
        data,
        template_path=str(TEMPLATE),
        info=info,
        repo=repo or f"org/{info.name}",
        results=table_of(info.results),
        paper=table_of(info.paper),
        reliability=reliability_table(info.reliability),
        selection=selection_in_words(info.selection),
    )
    return str(card).rstrip() + "\n"


def render_cards(folder: str | Path) -> list[Path]:
    """
    Render every card of `folder`/cards.yaml to `folder`/NAME.md.

    Returns:
        The files written.

    Raises:
        ValueError: the data are wrong; see `read_cards`.
    """
    written = []
    for name, info in read_cards(Path(folder) / "cards.yaml").items():
        path = Path(folder) / f"{name}.md"
        with replaced_file(path) as partial:
            partial.write_text(render_card(info), encoding="utf-8")
        written.append(path)
    return written


def _eval_result(result: Result) -> EvalResult:
    return EvalResult(
        task_type=PIPELINE_TAG if result.task == "grounding" else "image-segmentation",
        dataset_type=result.dataset.removeprefix(HUB),
        dataset_name=result.dataset_name,
        dataset_split=result.split,
        metric_type=result.metric,
        metric_name=result.metric_name,
        metric_value=result.value,
        dataset_args=None if result.count is None else {"cases": result.count},
    )


def hub_results(info: CardInfo) -> str | None:
    """
    The text of `.eval_results/pbrec_hf.yaml`, from which the Hub makes leaderboards; None without results for it.

    Only results on data sets of the Hub ("hub:owner/name") are told, and only where nothing was chosen on them.
    """
    entries = [
        EvalResultEntry(
            dataset_id=result.dataset.removeprefix(HUB),
            task_id=f"{result.split}_{result.metric}",
            value=result.value,
            notes=", ".join(
                [f"{result.metric_name}, split {result.split}"]
                + ([] if result.count is None else [f"{result.count:,} expressions"])
            ),
        )
        for result in unchosen(info.results)
        if result.dataset.startswith(HUB)
    ]
    return yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False) if entries else None


__all__ = ["CardInfo", "Reliability", "Result", "hub_results", "read_cards", "render_card", "render_cards"]
