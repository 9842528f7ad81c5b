"""Detectors by reference: a processor may name a repository and a revision instead of carrying a copy of the weights.

`processor_config.json` then holds `{"repo_id": …, "revision": …, "settings": …}` where it otherwise holds a model
type. A repository may hold a detector of this package, one of a user's own, or a plain network of transformers, around
which the detector is made; `settings` are what it is made with.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from transformers import AutoConfig, AutoModel
from transformers.models.auto.modeling_auto import MODEL_MAPPING

from ..hub.opening import clear_errors
from ..hub.reaching import split_revision
from .base import is_detector

# Detectors that are made around a network of transformers: whether a config is of such a network, and what makes one.
_MAKERS: list[tuple[Callable[[Any], bool], Callable[..., Any]]] = []
# Libraries with published weights of their own, by what stands before the colon in "torchvision:fcos_p5".
_LIBRARIES: dict[str, Callable[..., Any]] = {}


@dataclass(frozen=True)
class DetectorReference:
    """
    Where a processor's detector comes from.

    Args:
        repo_id: id on the Hub, a folder, or the name of a library's weights, such as "torchvision:fcos_p5".
        revision: branch, tag or commit; None = the newest. A commit never changes.
        settings: of a detector that is made around the network there.
        part_of: kind of the processor's other detector, whose `source` it is; then the rest is left out.

    Raises:
        ValueError: a field of another type.
    """

    repo_id: str = ""
    revision: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    part_of: str | None = None

    def __post_init__(self) -> None:
        if self.part_of is not None:
            if self.part_of not in ("boxes", "masks") or self.repo_id or self.revision or self.settings:
                raise ValueError(f"part_of={self.part_of!r}: give 'boxes' or 'masks', and nothing else.")
            return
        if not isinstance(self.repo_id, str) or not self.repo_id:
            raise ValueError(f"repo_id={self.repo_id!r}: give the id of a detector on the Hub, or a folder.")
        if self.revision is not None and not isinstance(self.revision, str):
            raise ValueError(f"revision={self.revision!r}: give a branch, a tag or a commit.")
        if not isinstance(self.settings, dict):
            raise ValueError(f"settings={self.settings!r}: give a dict of what the detector is made with.")

    @classmethod
    def of(cls, value: object) -> "DetectorReference":
        """
        What a processor's config says of a detector that it does not carry.

        Raises:
            ValueError: it is no dict of these fields.
        """
        if not isinstance(value, Mapping) or not value.keys() <= cls.__dataclass_fields__.keys():
            raise ValueError(f"{value!r} names no detector: give a dict of {', '.join(cls.__dataclass_fields__)}.")
        return cls(**value)

    @classmethod
    def parse(cls, text: str) -> "DetectorReference":
        """`org/name` or `org/name@revision`; a folder as it is, whatever it is called."""
        return cls(*split_revision(text))

    def to_dict(self) -> dict[str, Any]:
        """As the processor's config holds it."""
        return {name: value for name, value in asdict(self).items() if value}

    def load(self, options: Mapping[str, Any]) -> Any:
        """
        The detector.

        Args:
            options: of `from_pretrained` beside the revision, such as `cache_dir` and `trust_remote_code`.

        Raises:
            OSError: it cannot be fetched or read.
            ValueError: there is no detector in the repository, or it is part of another one, which alone is loaded.
        """
        if self.part_of is not None:
            raise ValueError(f"This detector is part of that of {self.part_of!r}: load their processor.")
        options = {**options, "revision": self.revision} if self.revision else dict(options)
        return open_detector(self.repo_id, self.settings, options)


def register_maker(serves: Callable[[Any], bool], make: Callable[..., Any]) -> None:
    """
    Let networks of transformers serve as detectors.

    Args:
        serves: whether a config is of such a network; the first maker that serves is taken.
        make: (source, **settings and options of `from_pretrained`) → detector.
    """
    if (serves, make) not in _MAKERS:
        _MAKERS.append((serves, make))


def register_library(name: str, make: Callable[..., Any]) -> None:
    """
    Let "name:weights" stand for a detector with weights that a library publishes.

    Args:
        name: of the library.
        make: (weights, **settings) → detector.
    """
    _LIBRARIES[name] = make


def open_detector(source: str, settings: Mapping[str, Any], options: Mapping[str, Any]) -> Any:
    """
    The detector in a folder or repository, or one around the network there.

    Args:
        source: folder, Hub id, or a library's weights.
        settings: of a detector that is made around a network.
        options: of `from_pretrained`.

    Raises:
        OSError: it cannot be fetched or read.
        ValueError: there is no detector, or `settings` are given for one that has its own.
    """
    library, colon, weights = source.partition(":")
    if colon and library in _LIBRARIES:
        return _LIBRARIES[library](weights, **settings)
    with clear_errors(source):
        config = AutoConfig.from_pretrained(source, **options)
        known: Any = MODEL_MAPPING.get(type(config), None)
        if is_detector(known) or type(config).__module__.startswith("transformers_modules."):
            if settings:
                raise ValueError(f"{source} holds a detector with settings of its own: leave {dict(settings)} out.")
            return (known or AutoModel).from_pretrained(source, **options)
        for serves, make in _MAKERS:
            if serves(config):
                return make(source, **settings, **options)
    raise ValueError(
        f"{source} holds a network of the type {config.model_type!r}, which proposes nothing: give a detector of "
        "transformers or of pbrec_hf."
    )


__all__ = ["DetectorReference", "open_detector", "register_library", "register_maker"]
