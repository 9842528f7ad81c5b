"""Networks of transformers with a processor of their own, as parts of this package's processor.

A wrapped network sees the canvas as its own library would see a picture: as uint8 pixels that its own processor
resizes and normalises. The processor is saved beside the network and loaded with it. Knows nothing of what the network
finds.
"""

import json
import os
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from torchvision.ops import clip_boxes_to_image
from transformers import AutoConfig, AutoProcessor, PreTrainedConfig, PreTrainedModel
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from ..geometry.boxes import box_centers
from ..geometry.proposals import Proposals
from ..hub.loading import StrictModel, load_network, require_there
from .base import Held

_HUB = (
    "cache_dir", "code_revision", "force_download", "local_files_only", "revision", "subfolder", "token",
    "trust_remote_code",
)  # fmt: skip
_OPTIONS = (*_HUB, "dtype")


class WrappedNetwork(StrictModel):
    """
    A network of transformers and its processor.

    A subclass names the Auto class of its networks; its config has a field `network_config`.

    Args:
        config: with the config of the network.
        processor: of the network, as `reader` loads it.

    Attributes:
        auto: the Auto class of the networks.
        reader: the Auto class of their processors.
    """

    auto: ClassVar[Any]
    reader: ClassVar[Any] = AutoProcessor

    def __init__(self, config: Any, processor: Any = None):
        super().__init__(config)
        self.network: PreTrainedModel = self.auto_of(config.network_config).from_config(config.network_config)
        self._processor = Held(processor)
        self.post_init()

    def __getstate__(self) -> Any:
        # transformers hooks into networks on their first call, by functions that cannot be pickled, and does so again
        # where they are gone.
        for module in self.network.modules():
            hooks = module._forward_hooks
            for number in [number for number, hook in hooks.items() if "output_capturing_hook" in repr(hook)]:
                del hooks[number]
            if "_output_capturing_hooks_installed" in vars(module):
                vars(module)["_output_capturing_hooks_installed"] = False
        return object.__getstate__(self)

    @classmethod
    def auto_of(cls, network_config: Any) -> Any:
        """The Auto class of the network that has this config; `auto`, unless a subclass chooses among several."""
        return cls.auto

    @classmethod
    def reader_of(cls, network_config: Any) -> Any:
        """The Auto class, or the class, of the processor of the network that has this config."""
        return cls.reader

    @classmethod
    @abstractmethod
    def serves(cls, network_config: Any) -> bool:
        """Whether this class wraps networks that have this config."""

    @property
    def processor(self) -> Any:
        """
        The network's own processor.

        Raises:
            ValueError: there is none.
        """
        if self._processor.detector is None:
            raise ValueError(
                f"This {type(self).__name__} has no processor: give it as `processor`, or load both with "
                "`from_pretrained` or `wrap`."
            )
        return self._processor.detector

    @property
    def reading(self) -> dict[str, Any]:
        """What the processor does, as plain values, since what is found depends on it."""
        settings: dict[str, Any] = self.processor.to_dict()
        if (tokenizer := getattr(self.processor, "tokenizer", None)) is not None:
            # Every call leaves its padding and truncation there.
            kept = {"padding": None, "truncation": None}
            settings["tokenizer"] = json.loads(tokenizer.backend_tokenizer.to_str()) | kept
        return settings

    @classmethod
    def wrap(cls, source: str | os.PathLike[str], **given: Any) -> Self:
        """
        Wrap the network and the processor of a repository of transformers.

        Args:
            source: Hub id or folder.
            given: fields of the config; and of `from_pretrained` `revision`, `token`, `cache_dir` …, and `dtype`, by
                default float32.

        Raises:
            OSError: there is no such repository, or its network cannot be read.
            TypeError: an argument that is neither.
            ValueError: its weights are not complete, or a field is not legal.
        """
        require_there(source)
        config_class: Any = cls.config_class
        options = {"dtype": torch.float32} | {name: given.pop(name) for name in _OPTIONS if name in given}
        own = {one.name for one in fields(config_class)} - {one.name for one in fields(PreTrainedConfig)} | {
            "id2label"
        }
        if unknown := sorted(set(given) - own):
            raise TypeError(
                f"Unknown arguments {', '.join(unknown)}: give some of {', '.join(sorted(own - {'network_config'}))}, "
                f"or of {', '.join(_OPTIONS)}."
            )
        network_config = AutoConfig.from_pretrained(source, **_hub(options))
        network = load_network(cls.auto_of(network_config), source, **options)
        processor = cls.reader_of(network_config).from_pretrained(source, **_hub(options))
        config = config_class(network_config=network.config, **given)
        with torch.device("meta"):  # its weights are there already
            wrapped = cls(config, processor)
        wrapped.network = network
        return wrapped.eval()

    def save_pretrained(  # type: ignore[override]
        self, save_directory: str | os.PathLike[str], push_to_hub: bool = False, **kwargs: Any
    ) -> None:
        """As of every model; the processor's files lie beside the weights."""
        super().save_pretrained(save_directory, push_to_hub=push_to_hub, **{"save_original_format": False, **kwargs})
        pushed = {name: kwargs[name] for name in ("repo_id", "token", "private", "revision") if name in kwargs}
        self.processor.save_pretrained(save_directory, push_to_hub=push_to_hub, **(pushed if push_to_hub else {}))

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike[str], *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        """As of every model; its processor is loaded, too."""
        loaded = super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
        wrapped = loaded[0] if isinstance(loaded, tuple) else loaded
        reader = cls.reader_of(wrapped.config.network_config)
        wrapped._processor = Held(reader.from_pretrained(pretrained_model_name_or_path, **_hub(kwargs)))
        return loaded

    @staticmethod
    def _load_pretrained_model(
        model: PreTrainedModel, state_dict: Any, checkpoint_files: Any, load_config: Any, *args: Any, **kwargs: Any
    ) -> Any:
        # Weights are saved under the names of the modules. What transformers renames, it renames in checkpoints of the
        # network itself; of a part, not everything can be renamed back.
        if load_config.hf_quantizer is None:
            load_config = replace(load_config, weight_mapping=[])
        return StrictModel._load_pretrained_model(model, state_dict, checkpoint_files, load_config, *args, **kwargs)


def _hub(options: dict[str, Any]) -> dict[str, Any]:
    return {name: options[name] for name in _HUB if options.get(name) is not None}


def as_pictures(pixel_values: Tensor) -> list[Tensor]:
    """
    The pixels of canvases, exactly as they were before they were normalised.

    Args:
        pixel_values: (I, 3, H, W) RGB, ImageNet-normalised.

    Returns:
        I tensors, uint8 (3, H, W).
    """
    mean, std = (
        torch.tensor(colors, dtype=torch.float32, device=pixel_values.device)[:, None, None]
        for colors in (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
    )
    return list(((pixel_values.float() * std + mean) * 255).round().clamp(0, 255).to(torch.uint8))


@contextmanager
def float32_by_default() -> Iterator[None]:
    """Other libraries make means, factors and anchors in torch's default type, whatever the pixels have."""
    before = torch.get_default_dtype()
    if before == torch.float32:
        yield
        return
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def best_first(
    scores: Tensor, points: Tensor, pixel_mask: Tensor | None, top_n: int, min_score: float
) -> tuple[Tensor, Tensor]:
    """
    The best of what a network found: those that are valid, in descending order of their scores, then others.

    Args:
        scores: (R, Q) in [0, 1]; negative for what is not there at all.
        points: (R, Q, 2) XY in canvas pixels, where the things stand.
        pixel_mask: (R, H, W), 1 = picture; things that stand elsewhere are not valid. None = no padding.
        top_n: things that are kept, at most.
        min_score: things that score less are not valid.

    Returns:
        Indices int64 (R, N) into Q, and bool (R, N), which of these are valid.
    """
    valid = scores >= min_score
    if pixel_mask is not None:
        height, width = pixel_mask.shape[-2:]
        x, y = points.long().unbind(-1)
        rows = torch.arange(len(points), device=points.device)[:, None]
        valid = valid & (pixel_mask.to(points.device)[rows, y.clamp(0, height - 1), x.clamp(0, width - 1)] > 0)
    order = torch.where(valid, scores, scores - 2).sort(dim=1, descending=True, stable=True).indices[:, :top_n]
    return order, valid.gather(1, order)


def best_boxes(
    canvas: tuple[int, int],
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor | None = None,
    pixel_mask: Tensor | None = None,
    top_n: int = 100,
    min_score: float = 0.0,
    **fields: Any,
) -> Proposals:
    """
    The best of a set of boxes, as proposals that stand at their centres, in descending order of their scores.

    Args:
        canvas: (H, W) in pixels.
        boxes: (R, Q, 4) XYXY in canvas pixels, which may lie partly outside.
        scores: (R, Q) in [0, 1].
        labels: int64 (R, Q).
        pixel_mask: (R, H, W), 1 = picture; boxes whose centres lie elsewhere are not valid.
        top_n: boxes that are kept, at most.
        min_score: boxes that score less are not valid.
        fields: others of [`Proposals`].
    """
    boxes, scores = clip_boxes_to_image(boxes.float(), canvas), scores.float()
    order, valid = best_first(scores, box_centers(boxes), pixel_mask, top_n, min_score)
    return Proposals.at_boxes(
        canvas,
        boxes.gather(1, order[..., None].expand(-1, -1, 4)),
        quality=scores.gather(1, order),
        labels=None if labels is None else labels.gather(1, order),
        valid=valid,
        **fields,
    )


__all__ = ["WrappedNetwork", "as_pictures", "best_boxes", "best_first", "float32_by_default"]
