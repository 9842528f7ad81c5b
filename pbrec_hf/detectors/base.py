"""The detector contract, and what detectors of this package are made from.

A detector is frozen and knows nothing of expressions. It sees the letterboxed, ImageNet-normalised canvases that
`PbrecImageProcessor` makes and hands over `Proposals`: one box and/or mask, and a quality, at every point. Whatever is
a `PreTrainedModel` with `propose` as below and class names in its config (`id2label`) serves; deriving from `Detector`
and `DetectorConfig` gives the rest: checked sizes, class names, strict loading, initialisation.
`register_detector` makes a detector known, so that a processor that was saved with it can be loaded again.
"""

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

from torch import Tensor
from transformers import AutoConfig, AutoModel, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.utils import ModelOutput

from ..geometry.proposals import Proposals
from ..hub.loading import StrictConfig, StrictModel
from .coco_classes import COCO_CLASSES


@runtime_checkable
class ProposalSource(Protocol):
    """What a processor asks of a detector; see the module's text."""

    config: Any

    def propose(self, pixel_values: Tensor, pixel_mask: Tensor | None = None) -> Proposals:
        """
        Proposals of I canvases, under no_grad, in evaluation mode.

        Args:
            pixel_values: (I, 3, H, W) RGB, ImageNet-normalised canvases.
            pixel_mask: (I, H, W), 1 = picture, 0 = padding; None = all picture.
        """


class DetectorConfig(StrictConfig):
    """
    Base of detector configs. A subclass is decorated with `huggingface_hub.dataclasses.strict` and sets `model_type`.

    Attributes:
        default_classes: the class names if neither `id2label` nor `num_labels` is given.
        limits: field → (low, high), both legal; a field may hold a number or a list of numbers.
    """

    default_classes: ClassVar[Sequence[str]] = COCO_CLASSES
    limits: ClassVar[dict[str, tuple[float, float]]] = {}

    def __post_init__(self, **kwargs: Any) -> None:
        if self.id2label is None and "num_labels" not in kwargs:
            self.id2label = dict(enumerate(self.default_classes))
            # Names that repeat, as torchvision's place holders do, have no inverse.
            if len(set(self.default_classes)) == len(self.default_classes):
                self.label2id = {name: index for index, name in self.id2label.items()}
        super().__post_init__(**kwargs)

    def to_diff_dict(self) -> dict[str, Any]:
        """What is saved, always with the class names: transformers leaves two out that have its default names."""
        return {"id2label": dict(self.id2label)} | super().to_diff_dict()

    @property
    def class_names(self) -> list[str]:
        """The names of the classes, in order."""
        return [name for _, name in sorted(self.id2label.items())]

    def validate_architecture(self) -> None:
        """
        Raises:
            ValueError: a number of `limits` is out of range.
        """
        self.check_limits()

    def check_limits(self) -> None:
        """See `validate_architecture`; for subclasses that check more."""
        for name, (low, high) in self.limits.items():
            value = getattr(self, name)
            numbers = value if isinstance(value, Iterable) else [value]
            if not all(low <= number <= high for number in numbers):
                raise ValueError(f"{name}={value!r}: give {_numbers(value)} from {low} to {high}.")

    def check_choice(self, name: str, legal: Sequence[Any]) -> None:
        """
        Raises:
            ValueError: the field `name` has none of the `legal` values.
        """
        if getattr(self, name) not in legal:
            raise ValueError(f"{name}={getattr(self, name)!r}: give one of {', '.join(map(repr, legal))}.")


class Detector(StrictModel):
    """
    Base of detectors: strict loading, initialisation by leaves (`layers/initialization.py`), checks of the canvas.

    A subclass annotates its `config`, and writes `forward` and `propose`.
    """

    config: DetectorConfig
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    base_model_prefix = "detector"

    @property
    def source(self) -> PreTrainedModel:
        """The network whose output `propose` is made from: several detectors may have one in common."""
        return self

    @abstractmethod
    def propose(
        self, pixel_values: Tensor, pixel_mask: Tensor | None = None, output: ModelOutput | None = None
    ) -> Proposals:
        """
        See [`ProposalSource.propose`].

        Args:
            output: of `source` for these canvases, if it has run already.
        """


def require_multiple(canvas: Sequence[int], multiple: int) -> tuple[int, int]:
    """
    Height and width of the canvas (…, H, W).

    Raises:
        ValueError: a side is no multiple of `multiple`.
    """
    height, width = canvas[-2:]
    if height % multiple or width % multiple:
        raise ValueError(
            f"The canvas has {height}×{width} pixels, but both sides must be multiples of {multiple}: choose such a "
            "`size` in the image processor."
        )
    return height, width


DetectorClass = TypeVar("DetectorClass", bound=type[PreTrainedModel])


def register_detector(detector: DetectorClass) -> DetectorClass:
    """
    Make a detector class known, so that processors saved with it can be loaded; may be used as a decorator.

    `AutoConfig` and `AutoModel` know it from then on, by the `model_type` of its config.

    Raises:
        TypeError: the class is no `PreTrainedModel` with a config of its own, or has no `propose`.
        ValueError: another class has the same `model_type`.
    """
    config_class = getattr(detector, "config_class", None)
    model_type = getattr(config_class, "model_type", "")
    if not (isinstance(detector, type) and issubclass(detector, PreTrainedModel) and model_type):
        raise TypeError(
            f"{detector!r} is no detector: derive it from pbrec_hf.detectors.base.Detector, and annotate its `config` "
            "with a config class that has a `model_type`."
        )
    if not callable(getattr(detector, "propose", None)):
        raise TypeError(f"{detector.__name__} has no method `propose`: write one as ProposalSource describes it.")
    # The mapping's `get` knows only what transformers itself has.
    known = CONFIG_MAPPING[model_type] if model_type in CONFIG_MAPPING else config_class  # noqa: SIM401
    if (known.__module__, known.__qualname__) != (config_class.__module__, config_class.__qualname__):
        raise ValueError(
            f"model_type={model_type!r} of {config_class.__name__} is taken by {known.__module__}."
            f"{known.__qualname__}: choose another, such as one that starts with the name of your project."
        )
    AutoConfig.register(model_type, config_class, exist_ok=True)
    AutoModel.register(config_class, detector, exist_ok=True)
    return detector


def _numbers(value: object) -> str:
    return "numbers" if isinstance(value, Iterable) else "a number"


__all__ = ["Detector", "DetectorConfig", "ProposalSource", "register_detector", "require_multiple"]
