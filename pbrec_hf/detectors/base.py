"""The detector contract, and base classes for detectors.

A detector is frozen and knows nothing of expressions. It takes the letterboxed, ImageNet-normalised canvases of
`PbrecImageProcessor` and returns `Proposals`: one box and/or mask, and a quality, at every point. A detector is any
`PreTrainedModel` with a `propose` method as below and class names in its config (`id2label`). An open-vocabulary
detector may be asked with words: it says so by `asks_expressions`, and proposes for each expression. The base classes
`Detector` and `DetectorConfig` add checked sizes, class names, strict loading and initialisation. `register_detector`
makes a detector known to transformers, so that a processor saved with it can be loaded again.
"""

import copy
import os
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Protocol, TypeVar, cast, runtime_checkable

from torch import Tensor
from transformers import AutoConfig, AutoModel, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_MAPPING

from ..geometry.proposals import Proposals
from ..hub.loading import StrictConfig, StrictModel
from .coco_classes import COCO_CLASSES


@runtime_checkable
class ProposalSource(Protocol):
    """The interface that a processor requires of a detector; see the module docstring."""

    config: Any

    def propose(self, pixel_values: Tensor, pixel_mask: Tensor | None = None) -> Proposals:
        """
        Proposals on I canvases, computed under no_grad and in evaluation mode.

        Args:
            pixel_values: (I, 3, H, W) RGB, ImageNet-normalised canvases.
            pixel_mask: (I, H, W), 1 = picture, 0 = padding; None = no padding.
        """
        ...


class DetectorConfig(StrictConfig):
    """
    Base class of detector configs. A subclass sets `model_type` and is decorated with huggingface_hub's `strict`.

    Attributes:
        default_classes: the class names if neither `id2label` nor `num_labels` is given.
        limits: field → (low, high), inclusive; a field may hold a number or a list of numbers.
    """

    default_classes: ClassVar[Sequence[str]] = COCO_CLASSES
    limits: ClassVar[dict[str, tuple[float, float]]] = {}

    def __post_init__(self, **kwargs: Any) -> None:
        if self.id2label is None and "num_labels" not in kwargs:
            self.id2label = dict(enumerate(self.default_classes))
        super().__post_init__(**kwargs)
        # Repeated names, such as torchvision's placeholders, have no inverse.
        if not self.label2id and len(set(self._classes.values())) == len(self._classes):
            self.label2id = {name: index for index, name in self._classes.items()}

    def to_diff_dict(self) -> dict[str, Any]:
        """The saved fields, always with the class names: transformers omits two classes with its default names."""
        return {"id2label": dict(self._classes)} | super().to_diff_dict()

    @property
    def _classes(self) -> dict[int, str]:
        """`id2label`, which holds every class after construction."""
        return cast(dict[int, str], self.id2label)

    @property
    def class_names(self) -> list[str]:
        """The class names, by index."""
        return [name for _, name in sorted(self._classes.items())]

    def validate_architecture(self) -> None:
        """
        Check the fields; transformers calls it after construction. A subclass that checks more calls `check_limits`.

        Raises:
            ValueError: a field of `limits` is out of range.
        """
        self.check_limits()

    def check_limits(self) -> None:
        """
        Check the fields named in `limits`.

        Raises:
            ValueError: a number is out of range.
        """
        for name, (low, high) in self.limits.items():
            value = getattr(self, name)
            numbers = value if isinstance(value, Iterable) else [value]
            if not all(low <= number <= high for number in numbers):
                raise ValueError(f"{name}={value!r}: give {_numbers(value)} from {low} to {high}.")

    def check_choice(self, name: str, legal: Sequence[Any]) -> None:
        """
        Check a field that takes one of several values.

        Raises:
            ValueError: the field `name` has none of the `legal` values.
        """
        if getattr(self, name) not in legal:
            raise ValueError(f"{name}={getattr(self, name)!r}: give one of {', '.join(map(repr, legal))}.")


class Detector(StrictModel):
    """
    Base class of detectors: strict loading, and initialisation by the layers' recipes (`layers/initialization.py`).

    A subclass annotates its `config` and implements `forward` and `propose`.
    """

    config: DetectorConfig
    main_input_name = "pixel_values"
    input_modalities = ["image"]
    base_model_prefix = "detector"

    @property
    def source(self) -> PreTrainedModel | None:
        """The network whose output `propose` accepts, possibly shared by several detectors; None = there is none."""
        return self

    @abstractmethod
    def propose(self, pixel_values: Tensor, pixel_mask: Tensor | None = None, output: Any = None) -> Proposals:
        """
        Proposals on I canvases; see [`ProposalSource.propose`].

        Args:
            pixel_values: (I, 3, H, W) RGB, ImageNet-normalised canvases.
            pixel_mask: (I, H, W), 1 = picture, 0 = padding; None = no padding.
            output: the output of `source` for these canvases, if it has been computed already.
        """


def require_multiple(canvas: Sequence[int], multiple: int) -> tuple[int, int]:
    """
    Check the size of a canvas.

    Args:
        canvas: a shape (…, H, W) in pixels.
        multiple: of which both sides must be multiples.

    Returns:
        (H, W).

    Raises:
        ValueError: a side is not a multiple of `multiple`.
    """
    height, width = canvas[-2:]
    if height % multiple or width % multiple:
        raise ValueError(
            f"The canvas has {height}×{width} pixels, but both sides must be multiples of {multiple}: set the image "
            "processor's `size` to one."
        )
    return height, width


def asks_expressions(detector: Any) -> bool:
    """Whether `propose` of this detector wants the expressions, and gives proposals for each of them."""
    return bool(getattr(detector, "asks_expressions", False))


def makes_masks_of_boxes(detector: Any) -> bool:
    """Whether this proposes nothing, and makes masks of the chosen boxes instead (see `prompted_masks.py`)."""
    return callable(getattr(detector, "prompt", None))


def is_detector(detector: Any) -> bool:
    """Whether an object, or a class, can take the place of a processor's detector, as far as its methods tell."""
    return callable(getattr(detector, "propose", None)) or makes_masks_of_boxes(detector)


DetectorClass = TypeVar("DetectorClass", bound=type[PreTrainedModel])


def register_detector(detector: DetectorClass) -> DetectorClass:
    """
    Register a detector class with `AutoConfig` and `AutoModel`, so that processors saved with it can be loaded.

    May be used as a decorator, and repeated. The class is registered under the `model_type` of its config.

    Returns:
        `detector` itself.

    Raises:
        TypeError: the class is not a `PreTrainedModel` with its own config class, or has no `propose`.
        ValueError: a different class has the same `model_type`.
    """
    config_class: Any = getattr(detector, "config_class", None)
    model_type: str = getattr(config_class, "model_type", "")
    if not (isinstance(detector, type) and issubclass(detector, PreTrainedModel) and model_type):
        raise TypeError(
            f"{detector!r} is not a detector: derive it from pbrec_hf.detectors.base.Detector, and annotate its "
            "`config` with a config class that has a `model_type`."
        )
    if not is_detector(detector):
        raise TypeError(f"{detector.__name__} has no method `propose`: implement ProposalSource.propose.")
    # `CONFIG_MAPPING.get` ignores registered classes.
    known: Any = CONFIG_MAPPING[model_type] if model_type in CONFIG_MAPPING else config_class  # noqa: SIM401
    if (known.__module__, known.__qualname__) != (config_class.__module__, config_class.__qualname__):
        raise ValueError(
            f"model_type={model_type!r} of {config_class.__name__} is taken by {known.__module__}."
            f"{known.__qualname__}: choose another, for example with your project's name as a prefix."
        )
    AutoConfig.register(model_type, config_class, exist_ok=True)
    AutoModel.register(config_class, detector, exist_ok=True)
    return detector


class Held:
    """Keeps a detector out of the copies that transformers makes of a processor's attributes to print or save it."""

    def __init__(self, detector: Any):
        self.detector = detector

    def __deepcopy__(self, memo: dict[int, Any]) -> "Held":
        return self

    def copied(self, memo: dict[int, Any]) -> "Held":
        """Holds a copy of the detector; `memo` is that of `copy.deepcopy`."""
        return Held(copy.deepcopy(self.detector, memo))


def load_detector(
    source: str | os.PathLike[str], subfolder: str, model_type: str, options: Mapping[str, Any]
) -> PreTrainedModel:
    """
    The detector that a processor was saved with.

    Args:
        source: folder or Hub id of the checkpoint.
        subfolder: of the detector.
        model_type: of the detector's config.
        options: of `from_pretrained`, such as `revision` and `trust_remote_code`.

    Raises:
        OSError: the detector cannot be read.
        ValueError: no detector is registered for `model_type`.
    """
    known: Any = MODEL_MAPPING.get(CONFIG_MAPPING[model_type], None) if model_type in CONFIG_MAPPING else None
    if known is None and not options.get("trust_remote_code"):
        raise ValueError(
            f"The processor's detector in {subfolder!r} is of the unknown type {model_type!r}: import the module that "
            "defines it (and calls `register_detector`) first, pass trust_remote_code=True if the folder carries its "
            "code, or pass load_detectors=False."
        )
    try:
        return (known or AutoModel).from_pretrained(source, subfolder=subfolder, **options)
    except OSError as error:
        raise OSError(
            f"The processor's detector in {subfolder!r} cannot be loaded ({error}): get the folder again, or pass "
            "load_detectors=False."
        ) from error


def _numbers(value: object) -> str:
    return "numbers" if isinstance(value, Iterable) else "a number"


__all__ = [
    "Detector",
    "DetectorConfig",
    "Held",
    "ProposalSource",
    "asks_expressions",
    "is_detector",
    "load_detector",
    "makes_masks_of_boxes",
    "register_detector",
    "require_multiple",
]
