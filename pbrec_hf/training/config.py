"""`TrainingConfig`: every setting of a training run, checked before anything is loaded.

Read from YAML and from flags (`config_of`: every field is a flag, flags win). The defaults are the paper's recipe.
Knows nothing of how the settings are used.
"""

# ruff: noqa: RUF009 (the calls in the class make its fields)

from argparse import HelpFormatter, Namespace
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from transformers import HfArgumentParser

from ..hub.configs import recipe_file

PRECISIONS = ("no", "bf16", "fp16")
PUSHES = ("no", "end", "epoch")
_NOT_GIVEN = object()  # the value of a flag that is not on the command line

_AT_LEAST_ONE = (
    "epochs",
    "batch_size",
    "gradient_accumulation_steps",
    "expressions_per_image",
    "checkpoints_to_keep",
    "validation_epochs",
    "validation_batch_size",
    "log_steps",
)
_NOT_NEGATIVE = (
    "learning_rate",
    "backbone_learning_rate",
    "text_learning_rate",
    "min_learning_rate",
    "weight_decay",
    "warmup_steps",
    "num_workers",
    "save_steps",
    "seed",
)
_SHARES = ("flip_probability", "crop_probability", "blur_probability")


def _say(default: Any, text: str) -> Any:
    """A field with its explanation, which is also the help of its flag."""
    help_text = (f"{text} (default: {default})" if default not in (None, []) else text).replace("%", "%%")
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata={"help": help_text})
    return field(default=default, metadata={"help": help_text})


@dataclass
class TrainingConfig:
    """
    The settings of a run. Each field is explained beside it; the same text is the help of its flag.

    Raises:
        ValueError: a value is not legal; names the field, the value and the legal ones.
    """

    output_dir: str = _say("runs/pbrec", "Folder of checkpoints, logs and the trained model.")
    init: str | None = _say(None, "Checkpoint to start from: folder or Hub id with model and processor.")
    model_config: str | None = _say(None, "Instead of `init`: configuration of a new model, published or a folder.")
    backbone_checkpoint: str | None = _say(None, "Weights of a new model's backbone: folder or Hub id.")
    text_checkpoint: str | None = _say(None, "Weights and tokenizer of a new model's text encoder: folder or Hub id.")
    box_detector: str | None = _say(None, "Folder or Hub id of the box detector, if the processor has none.")
    mask_detector: str | None = _say(None, "Folder or Hub id of the mask detector, if the processor has none.")
    tasks: list[str] = _say([], "Heads to train, grounding and/or segmentation. Default: those of the model.")
    soft_targets: list[str] = _say(
        [],
        "Targets: paper, released_code or hard, or one of these for each head, such as grounding=hard "
        "segmentation=paper. Default: those of the model.",
    )

    data: str | None = _say(None, "Own training data: JSONL, JSON, CSV, TSV or Parquet.")
    validation_data: str | None = _say(None, "Own validation data.")
    bbox_format: str = _say("xyxy", "Form of the boxes in own data: xyxy or xywh, in pixels.")
    instances: str | None = _say(None, "COCO instances file whose objects the expressions of own data name.")
    dataset: str | None = _say(None, "Instead of `data`: refcoco, refcoco+ … or several, as refcoco/unc,refcocog/umd.")
    split_by: str | None = _say(None, "unc, google, umd or berkeley. Default: the data set's first.")
    refer_dir: str | None = _say(None, "Folder of the REFER annotations.")
    image_dir: str | None = _say(None, "Folder of the images.")
    train_split: str = _say("train", "Split to train on.")
    validation_split: str | None = _say("val", "Split to validate on; empty = none.")
    drop_no_target: bool = _say(False, "Leave out training expressions that refer to nothing in their picture.")
    check_counts: bool = _say(True, "Compare the splits with their published sizes.")

    epochs: int = _say(15, "Passes over all expressions.")
    batch_size: int = _say(64, "Pictures, each with its group of expressions, per optimiser step over all processes.")
    gradient_accumulation_steps: int = _say(1, "Parts into which each process divides its share of a batch.")
    expressions_per_image: int = _say(1, "Expressions of a picture that share a pass through the backbone.")
    learning_rate: float = _say(1e-4, "Peak rate of fusion, projections and heads.")
    backbone_learning_rate: float = _say(1e-6, "Peak rate of the image backbone; 0 freezes it.")
    text_learning_rate: float = _say(1e-6, "Peak rate of the text encoder; 0 freezes it.")
    min_learning_rate: float = _say(1e-6, "End of the cosine; lower peaks stay constant.")
    warmup_steps: int = _say(0, "Optimiser steps of linear warm-up.")
    weight_decay: float = _say(1e-4, "AdamW's weight decay.")
    decay_norms_and_biases: bool = _say(True, "Also decay norms and biases, as released.")
    layer_decay: float = _say(1.0, "Factor on a tower's rate for each layer away from its output; 1 = none.")
    clip_norm: float | None = _say(None, "Largest norm of the gradient. Default: no clipping.")
    ema_decay: float | None = _say(None, "Decay of a running average of the weights, which is validated and saved.")
    augment: bool = _say(True, "Use the released augmentation; off = the test-time view.")
    flip_probability: float = _say(0.5, "Probability of mirroring a picture and its words left and right.")
    crop_probability: float = _say(0.0, "Probability of TransVG's crop, which the released recipe leaves out.")
    blur_probability: float = _say(0.0, "Probability of Gaussian blur.")
    seed: int = _say(13, "Seed of weights, order, views and dropout.")

    mixed_precision: str = _say("no", "no, bf16 or fp16.")
    gradient_checkpointing: bool = _say(False, "Recompute activations of fusion and text encoder to save memory.")
    compile: bool = _say(False, "torch.compile the model.")
    channels_last: bool = _say(True, "Use the memory layout that convolutions prefer, where it is safe.")
    cpu: bool = _say(False, "Train on the CPU even if there is a GPU.")
    num_workers: int = _say(4, "Loader processes per training process.")

    resume: bool = _say(True, "Go on from the last complete checkpoint of `output_dir`, if there is one.")
    save_steps: int = _say(1000, "Steps between checkpoints; one is saved after each epoch, too. 0 = only then.")
    checkpoints_to_keep: int = _say(2, "Number of checkpoints to keep; older ones are deleted.")
    metric: str = _say("accuracy@0.5", "Validation score that chooses the best weights; larger is better.")
    referents: str | None = _say(
        None, "How validation answers, one or any. Default: any where expressions may mean several things or none."
    )
    validation_epochs: int = _say(1, "Epochs between validations; the last epoch is always validated.")
    validation_batch_size: int = _say(8, "Pictures per process and pass in validation.")
    proposals: str | None = _say(None, "Folder that `pbrec-hf precompute` wrote, for validation.")
    trackers: list[str] = _say(["tensorboard"], "Accelerate's trackers, such as tensorboard, or none.")
    log_steps: int = _say(50, "Steps between lines of loss, throughput, memory and time left.")
    progress: bool = _say(True, "Show progress bars.")

    push_to_hub: str = _say("no", "no, end or epoch: when to upload model, processor, detectors and card.")
    hub_model_id: str | None = _say(None, "Repository to upload to.")
    hub_private: bool = _say(False, "Create the repository as a private one.")

    def __post_init__(self) -> None:
        # Late: a mistyped flag should not wait for torch.
        from ..configuration_pbrec import TASKS, target_styles
        from ..data.own_data import BBOX_FORMATS
        from ..selection.calibration import REFERENTS

        self.validation_split = self.validation_split or None
        self.trackers = [name for name in self.trackers if name != "none"]
        for name in _AT_LEAST_ONE:
            self._check(name, getattr(self, name) >= 1, "a whole number of at least 1")
        for name in _NOT_NEGATIVE:
            self._check(name, 0 <= getattr(self, name) < float("inf"), "a number of at least 0")
        for name in _SHARES:
            self._check(name, 0 <= getattr(self, name) <= 1, "a probability from 0 to 1")
        self._check("layer_decay", 0 < self.layer_decay <= 1, "a factor in (0, 1]")
        self._check("clip_norm", self.clip_norm is None or self.clip_norm > 0, "a number above 0, or leave it out")
        self._check("ema_decay", self.ema_decay is None or 0 < self.ema_decay < 1, "a number in (0, 1) such as 0.999")
        self._check("mixed_precision", self.mixed_precision in PRECISIONS, f"one of {', '.join(PRECISIONS)}")
        self._check("push_to_hub", self.push_to_hub in PUSHES, f"one of {', '.join(PUSHES)}")
        self._check("bbox_format", self.bbox_format in BBOX_FORMATS, f"one of {', '.join(BBOX_FORMATS)}")
        self._check(
            "referents", self.referents in (None, *REFERENTS), f"one of {', '.join(REFERENTS)}, or leave it out"
        )
        self._check("tasks", set(self.tasks) <= set(TASKS), f"one or both of {', '.join(TASKS)}")
        if (styles := self.target_styles) is not None:
            target_styles(styles, TASKS if isinstance(styles, str) else list(styles))
        self._check(
            "hub_model_id",
            bool(self.hub_model_id) or self.push_to_hub == "no",
            "the repository, or leave `push_to_hub` out",
        )
        if (self.init is None) == (self.model_config is None):
            raise ValueError(
                "Give `init` (a checkpoint to start from) or `model_config` (of a new model): one of the two."
            )
        if (self.data is None) == (self.dataset is None):
            raise ValueError("Give `data` (a file of your own) or `dataset` (such as refcoco): one of the two.")
        if self.dataset is not None and self.refer_dir is None:
            raise ValueError(f"dataset={self.dataset!r} needs the folder of its annotations: give `refer_dir`.")

    @property
    def target_styles(self) -> str | dict[str, str] | None:
        """What `soft_targets` means for the model's config; None = leave that as it is."""
        if len(self.soft_targets) == 1 and "=" not in self.soft_targets[0]:
            return self.soft_targets[0]
        pairs = [entry.partition("=") for entry in self.soft_targets]
        heads = [head for head, _, _ in pairs]
        legal = "one style, or HEAD=STYLE for each head, such as grounding=hard segmentation=paper"
        self._check("soft_targets", all(sign for _, sign, _ in pairs) and len(set(heads)) == len(heads), legal)
        return {head: style for head, _, style in pairs} or None

    @property
    def validates(self) -> bool:
        """Whether there is anything to validate on."""
        return self.validation_data is not None or (self.dataset is not None and self.validation_split is not None)

    def _check(self, name: str, holds: bool, legal: str) -> None:
        if not holds:
            raise ValueError(f"{name}={getattr(self, name)!r}: give {legal}.")


def training_parser(add_help: bool = True) -> HfArgumentParser:
    """A parser with a flag for every field, and `--config`; `config_of` makes the config of what it parses."""
    kind: Any = TrainingConfig  # the parser's own type does not match a class
    parser = HfArgumentParser(kind, add_help=add_help, formatter_class=HelpFormatter)
    parser.add_argument("--config", help="Published recipe (such as pbrec-mt-refcoco) or YAML file of fields.")
    # Distinguishes flags that were given from defaults, which the recipe overrides.
    parser.set_defaults(**{entry.name: _NOT_GIVEN for entry in fields(TrainingConfig)})
    return parser


def config_of(options: Namespace) -> TrainingConfig:
    """
    The config of parsed options: the recipe of `--config`, then flags, which win.

    Raises:
        ValueError: there is no such recipe, it has a key that is not a field, or a value is not legal.
    """
    names = {entry.name for entry in fields(TrainingConfig)}
    given = {name: value for name, value in vars(options).items() if name in names and value is not _NOT_GIVEN}
    recipe = read_yaml(recipe_file(options.config)) if options.config else {}
    return TrainingConfig(**recipe | given)


def parse_arguments(arguments: Sequence[str] | None = None) -> TrainingConfig:
    """The config of a command line; see `config_of`."""
    return config_of(training_parser().parse_args(arguments))


def read_yaml(path: str | Path) -> dict[str, Any]:
    """
    The fields in a YAML file.

    Raises:
        ValueError: it is not YAML, has a key that is not a field, or a value of another type.
    """
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML ({' '.join(str(error).split())}): correct it.") from error
    types = {entry.name: entry.type for entry in fields(TrainingConfig)}
    if not isinstance(values, dict) or (unknown := values.keys() - types.keys()):
        wrong = sorted(unknown) if isinstance(values, dict) else values
        raise ValueError(f"{path}: {wrong} are not fields: give some of {', '.join(types)}.")
    for name, value in values.items():
        legal = get_args(types[name]) or (types[name],)
        if float in legal:
            if isinstance(value, str):  # YAML 1.1 reads 1e-4 as a string
                values[name] = value = _number(value)
            legal = (*legal, int)
        mistaken = isinstance(value, bool) and bool not in legal  # True is an int, too
        if mistaken or not isinstance(value, list if get_origin(types[name]) is list else legal):
            raise ValueError(f"{path}: {name}={value!r} has the wrong type: give {types[name]}.")
    return values


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
