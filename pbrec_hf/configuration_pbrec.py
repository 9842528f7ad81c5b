"""`PbrecConfig`: every number of the comprehension stage, checked before anything is allocated.

The image backbone and the text encoder are sub-configs of transformers: any backbone that `AutoBackbone` builds, any
encoder that `AutoModel` builds. Their last feature map and last hidden state are what the fusion encoder reads.
Knows nothing of detectors: those have configs of their own and live in the processor.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

from .hub.loading import StrictConfig

TASKS = ("grounding", "segmentation")
SOFT_TARGETS = ("paper", "released_code", "hard")

# Far above any model in use and far below what exhausts memory: a damaged or hostile file stops here.
_LIMITS = {
    "image_size": (16, 8192),
    "stride": (1, 512),
    "d_model": (4, 16384),
    "num_hidden_layers": (1, 256),
    "num_attention_heads": (1, 256),
    "intermediate_size": (1, 65536),
    "max_text_length": (3, 8192),
}
_LARGEST_SUB_CONFIG_INTEGER = 10_000_000
_MOST_LAYERS = 1000
# Each expression has a vector per point, and points attend to each other: limits of the products.
_MOST_POINTS = 2**16
_MOST_POINT_NUMBERS = 2**27


@strict
class PbrecConfig(StrictConfig):
    r"""
    Configuration of [`PbrecForReferringExpression`]. The defaults are the published PBREC-MT.

    Args:
        backbone_config (`PreTrainedConfig` or `dict`, *optional*):
            Image backbone; its last output feature must have `stride`. Default: ResNet-101, last stage.
        text_config (`PreTrainedConfig` or `dict`, *optional*):
            Text encoder. Default: BERT-base.
        image_size (`int`, defaults to 640): side of the square canvas in pixels, a multiple of `stride`.
        stride (`int`, defaults to 32): width of a grid cell in pixels; the grid has `(image_size / stride)²` points.
        d_model (`int`, defaults to 256): width of the fusion encoder, a multiple of 4 and of `num_attention_heads`.
        num_hidden_layers (`int`, defaults to 6): layers of the fusion encoder.
        num_attention_heads (`int`, defaults to 8): attention heads of the fusion encoder.
        intermediate_size (`int`, defaults to 1024): width of the feed-forward layers.
        hidden_act (`str`, defaults to `"gelu"`): activation of the feed-forward layers.
        dropout (`float`, defaults to 0.1): on the attention output and twice in the feed-forward layer.
        attention_dropout (`float`, defaults to 0.1):
            On the attention weights. Above 0, training on a CPU leaves the fast attention kernel.
        layer_norm_eps (`float`, defaults to 1e-5)
        initializer_range (`float`, defaults to 0.02): for sub-models; the fusion is Xavier-uniform.
        tasks (`list[str]`, defaults to both): heads to build, out of `"grounding"` and `"segmentation"`.
        max_text_length (`int`, defaults to 40): tokens per expression, special tokens included.
        soft_targets (`str` or `dict[str, str]`, defaults to `"paper"`):
            How training targets are made, `"paper"`, `"released_code"` or `"hard"`; or one of these for each of the
            tasks, `{"grounding": "hard", "segmentation": "paper"}`.
        freeze_batch_norm (`bool`, defaults to `True`): BatchNorm of the backbone with fixed statistics and weights.
        frozen_backbone_modules (`list[str]`, defaults to ResNet's stem and first stage):
            Sub-modules of the backbone that do not train; `["*"]` freezes all of it, `[]` nothing.

    Raises:
        `ValueError` (inside huggingface_hub's strict-dataclass errors) that names field, value, legal set and remedy.
    """

    model_type = "pbrec"
    sub_configs_defaults = {
        "backbone_config": SubConfigSpec(
            config_class=AutoConfig,
            model_type="resnet",
            init_kwargs={"depths": [3, 4, 23, 3], "out_features": ["stage4"]},
        ),
        "text_config": SubConfigSpec(config_class=AutoConfig, model_type="bert"),
    }
    attribute_map = {"hidden_size": "d_model"}

    backbone_config: dict[str, Any] | PreTrainedConfig | None = None
    text_config: dict[str, Any] | PreTrainedConfig | None = None
    image_size: int = 640
    stride: int = 32
    d_model: int = 256
    num_hidden_layers: int = 6
    num_attention_heads: int = 8
    intermediate_size: int = 1024
    hidden_act: str = "gelu"
    dropout: float | int = 0.1
    attention_dropout: float | int = 0.1
    layer_norm_eps: float = 1e-5
    initializer_range: float = 0.02
    tasks: list[str] | tuple[str, ...] = TASKS
    max_text_length: int = 40
    soft_targets: str | dict[str, str] = "paper"
    freeze_batch_norm: bool = True
    frozen_backbone_modules: list[str] | tuple[str, ...] = ("embedder", "encoder.stages.0")

    def __post_init__(self, **kwargs: Any) -> None:
        if "backbone" in kwargs:
            raise ValueError(
                f"backbone={kwargs['backbone']!r}: give `backbone_config` (a dict with `model_type`, "
                "or a config object) instead of a name or path."
            )
        self.tasks = list(self.tasks)
        self.frozen_backbone_modules = list(self.frozen_backbone_modules)
        # Numbers first: a sub-config must not be built for a config that is refused anyway.
        self._check_numbers()
        for name in ("backbone_config", "text_config"):
            _check_sub_config(name, getattr(self, name))
        super().__post_init__(**kwargs)

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """As of every config; the pipeline's code in a folder is only named to those who lack this package."""
        # Where the package is installed, the entry would make `pipeline` ask for trust in code that nobody needs.
        if not cls.__module__.startswith("transformers_modules."):
            config_dict = {name: value for name, value in config_dict.items() if name != "custom_pipelines"}
        return super().from_dict(config_dict, **kwargs)

    @property
    def free_points(self) -> bool:
        """Whether the backbone chooses its points inside the cells; otherwise they are the centres of the cells."""
        return bool(getattr(self.backbone_config, "free_points", False))

    @property
    def target_styles(self) -> dict[str, str]:
        """The style of each task's targets; see `soft_targets`."""
        return target_styles(self.soft_targets, self.tasks)

    @property
    def targets_at_points(self) -> bool:
        """Whether the model makes its center-ness targets itself, from boxes, at the points that it chooses."""
        # "released_code" is only defined for the centres of cells.
        return self.free_points and self.target_styles.get("grounding") in ("paper", "hard")

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the grid of points."""
        return self.image_size // self.stride, self.image_size // self.stride

    def validate_architecture(self) -> None:
        """
        Raises:
            ValueError: see the class.
        """
        self._check_numbers()
        for name in ("backbone_config", "text_config"):
            _check_sub_config(name, getattr(self, name))
        positions = getattr(self.text_config, "max_position_embeddings", None)
        if isinstance(positions, int) and self.max_text_length > positions:
            raise ValueError(
                f"max_text_length={self.max_text_length} is more than the max_position_embeddings={positions} of "
                "text_config: a long expression would fail. Give at most these."
            )

    def _check_numbers(self) -> None:
        for field, (low, high) in _LIMITS.items():
            value = getattr(self, field)
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                raise ValueError(f"{field}={value!r} is not an integer from {low} to {high}: correct the config.")
        for field in ("dropout", "attention_dropout"):
            value = getattr(self, field)
            if not 0 <= value < 1:
                raise ValueError(f"{field}={value!r} is not in [0, 1): give a probability such as 0.1.")
        if self.image_size % self.stride:
            nearest = max(self.stride, round(self.image_size / self.stride) * self.stride)
            raise ValueError(
                f"image_size={self.image_size} is not a multiple of stride={self.stride}: take {nearest}, for example."
            )
        points = (self.image_size // self.stride) ** 2
        if points > _MOST_POINTS or points * self.d_model > _MOST_POINT_NUMBERS:
            raise ValueError(
                f"image_size={self.image_size} with stride={self.stride} and d_model={self.d_model} are {points:,} "
                f"points of {self.d_model} numbers, more than {_MOST_POINTS:,} points or {_MOST_POINT_NUMBERS:,} "
                "numbers in all: take a larger stride or a smaller picture."
            )
        if self.d_model % self.num_attention_heads or self.d_model % 4:
            raise ValueError(
                f"d_model={self.d_model} must be a multiple of num_attention_heads={self.num_attention_heads} and "
                "of 4 (sine and cosine for two axes): change one of them."
            )
        _check_choices("tasks", self.tasks, TASKS)
        target_styles(self.soft_targets, self.tasks)


def target_styles(soft_targets: str | Mapping[str, str], tasks: Sequence[str]) -> dict[str, str]:
    """
    The style of the targets of each of `tasks`.

    Args:
        soft_targets: one of `SOFT_TARGETS` for all tasks, or a mapping task → style.
        tasks: those that targets are made for, out of `TASKS`.

    Raises:
        ValueError: an unknown style or task, or a task of `tasks` has none.
    """
    given = dict(soft_targets) if isinstance(soft_targets, Mapping) else dict.fromkeys(tasks, soft_targets)
    wrong = [style for style in given.values() if style not in SOFT_TARGETS]
    if wrong or not set(tasks) <= given.keys() <= set(TASKS):
        styles = " or ".join(map(repr, SOFT_TARGETS))
        heads = " and ".join(map(repr, tasks))
        raise ValueError(
            f"soft_targets={soft_targets!r}: give {styles}, or a dict that has one of these for each of the tasks, "
            f"{heads}."
        )
    return {task: given[task] for task in tasks}


def _check_choices(field: str, values: Sequence[str], legal: tuple[str, ...]) -> None:
    wrong = [value for value in values if value not in legal]
    if wrong or not values or len(set(values)) != len(values):
        raise ValueError(f"{field}={values!r}: give one or more of {', '.join(map(repr, legal))}, each once.")


def _check_sub_config(field: str, config: dict[str, Any] | PreTrainedConfig | None) -> None:
    """Refuse sizes in a sub-config that no real encoder has, before transformers builds from it."""
    if config is None:
        return
    values = config if isinstance(config, dict) else config.to_dict()
    for key, value in values.items():
        for number in value if isinstance(value, (list, tuple)) else [value]:
            if not isinstance(number, int) or isinstance(number, bool):
                continue
            counts_layers = key in ("num_hidden_layers", "num_layers", "num_attention_heads", "depths")
            high = _MOST_LAYERS if counts_layers else _LARGEST_SUB_CONFIG_INTEGER
            sized = counts_layers or key.endswith(("_size", "_sizes", "_dim", "_channels"))
            low = 1 if sized and not key.startswith("chunk_size") else -high
            if not low <= number <= high:
                raise ValueError(f"{field}.{key}={number} is not from {low} to {high}: the config is damaged.")


__all__ = ["SOFT_TARGETS", "TASKS", "PbrecConfig", "target_styles"]
