"""Checkpoints load completely or not at all.

transformers initialises missing weights at random with a warning, keeps unexpected ones out silently, and stores
unknown config fields as attributes. For a model that answers, each of these is a wrong answer later; here each is an
error now, naming keys and remedy. `from_pretrained(…, strict=False)` gives transformers' own behaviour, for starting
a training from part of a checkpoint.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import fields
from os import PathLike
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from torch import nn
from torchvision.ops import FrozenBatchNorm2d
from transformers import PreTrainedConfig, PreTrainedModel

from ..layers.initialization import initialize
from .opening import clear_errors
from .weights import is_too_large, misfits, numbers, read_headers

# Written into config.json beside the fields of the config, by transformers (its Trainer: `use_cache`), the Hub or a
# quantizer.
_FOREIGN_FIELDS = {
    "auto_map", "custom_pipelines", "model_type", "num_labels", "quantization_config", "torch_dtype", "use_cache",
}  # fmt: skip


# What is being loaded by `from_pretrained`: its name, whether all of it must be there, whether shapes may differ.
_UNDER_WAY: ContextVar[tuple[str, bool, bool] | None] = ContextVar("_UNDER_WAY", default=None)


class StrictConfig(PreTrainedConfig):
    """A config that refuses to load fields it does not have."""

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """
        Raises:
            ValueError: the dict has a field of another version, or a mistyped one.
        """
        known = {field.name for field in fields(cls)} | set(PreTrainedConfig().to_dict()) | _FOREIGN_FIELDS
        unknown = sorted(name for name in config_dict if name not in known and not name.startswith("_"))
        if unknown:
            raise ValueError(
                f"The config of this {cls.model_type} checkpoint has fields that this version does not know: "
                f"{', '.join(unknown)}. Update pbrec_hf if the checkpoint is newer; correct the names if they are "
                "mistyped."
            )
        return super().from_dict(config_dict, **kwargs)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | PathLike[str], *args: Any, **kwargs: Any) -> Any:
        """
        As of every config.

        Raises:
            OSError: there is no such checkpoint, or its file is damaged.
            ValueError: the file has fields or values that are not legal.
        """
        with clear_errors(pretrained_model_name_or_path, files_alone=True):
            return super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)


class StrictModel(PreTrainedModel):
    """
    A model that refuses checkpoints with missing, unexpected, mis-shaped or non-finite weights.

    Attributes:
        folded: whether `optimize_for_inference` changed the weights for answering only.
    """

    folded = False

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        initialize(module)

    def initialize_weights(self) -> None:
        """As of every model; nothing that a checkpoint lacks is left as the memory happens to be."""
        if _UNDER_WAY.get() is not None:
            # Some networks set parameters in their constructors alone, which have no memory while a file is loaded.
            with torch.no_grad():
                for parameter in self.parameters():
                    if not parameter.is_meta and not getattr(parameter, "_is_hf_initialized", False):
                        parameter.zero_()
        super().initialize_weights()
        with torch.no_grad():
            for module in self.modules():
                if isinstance(module, FrozenBatchNorm2d):
                    initialize(module)

    def save_pretrained(self, *args: Any, **kwargs: Any) -> None:
        """
        As of every model.

        Raises:
            ValueError: the model was folded for inference.
        """
        if self.folded:
            raise ValueError(
                "This model was folded for inference and holds its checkpoint no longer: load it again to save."
            )
        super().save_pretrained(*args, **kwargs)

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls, pretrained_model_name_or_path: str | PathLike[str], *args: Any, strict: bool = True, **kwargs: Any
    ) -> Any:
        """
        As of every model, but complete.

        Args:
            strict: False accepts missing and unexpected weights, and weights that are not finite.
            ignore_mismatched_sizes: True starts weights of another shape anew, as in transformers.

        Raises:
            OSError: there is no such checkpoint, or its file is damaged.
            ValueError: its weights do not fit this model; the keys are named.
        """
        require_there(pretrained_model_name_or_path)
        # CODEPATH: pickles run code when they are read; only the converter reads them, with a reader of its own.
        kwargs.setdefault("use_safetensors", True)
        where = "/".join(filter(None, (str(pretrained_model_name_or_path), kwargs.get("subfolder", ""))))
        wants_info = kwargs.pop("output_loading_info", False)
        resizes = kwargs.pop("ignore_mismatched_sizes", False)
        with clear_errors(pretrained_model_name_or_path, files_alone=True), _judging(where, strict, resizes):
            # Wrong shapes are collected here, and judged below with everything else.
            loaded = super().from_pretrained(
                pretrained_model_name_or_path,
                *args,
                output_loading_info=True,
                ignore_mismatched_sizes=strict or resizes,
                **kwargs,
            )
        model, info = cast(tuple[PreTrainedModel, dict[str, Any]], loaded)
        if strict:
            _require_fitting(where, info, resizes)
            _require_finite(where, model)
        _freeze_again(model)
        return (model, info) if wants_info else model

    @staticmethod
    def _load_pretrained_model(
        model: PreTrainedModel,
        state_dict: dict[str, Any] | None,
        checkpoint_files: list[str] | None,
        load_config: Any,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        # The model has no memory yet, and the files are known: the one moment to compare them.
        under_way = _UNDER_WAY.get()
        quantized = getattr(load_config, "hf_quantizer", None) is not None  # packs numbers into others
        if under_way is not None and state_dict is None and checkpoint_files and not quantized:
            _require_loadable(*under_way, read_headers(checkpoint_files), model.state_dict())
        return PreTrainedModel._load_pretrained_model(
            model, state_dict, checkpoint_files, load_config, *args, **kwargs
        )


def load_network(auto: Any, source: str | PathLike[str], **options: Any) -> PreTrainedModel:
    """
    A network of transformers, complete.

    Args:
        auto: its Auto class.
        source: folder or Hub id.
        options: of `from_pretrained`.

    Raises:
        OSError: there is no such repository, or its file is damaged.
        ValueError: weights are missing, of another shape or not finite. (Transformers reports those it does not use.)
    """
    require_there(source)
    # CODEPATH: as above.
    options = {"use_safetensors": True, **options, "output_loading_info": True, "ignore_mismatched_sizes": True}
    with _judging(str(source), strict=True, resizes=True):
        network, info = auto.from_pretrained(source, **options)
    _require_fitting(str(source), {**info, "unexpected_keys": ()}, resizes=False)
    _require_finite(str(source), network)
    return cast(PreTrainedModel, network)


@contextmanager
def _judging(where: str, strict: bool, resizes: bool) -> Iterator[None]:
    token = _UNDER_WAY.set((where, strict, resizes))
    try:
        yield
    except SafetensorError as error:
        raise OSError(f"The weights of {where} are damaged ({error}): fetch or save them again.") from error
    finally:
        _UNDER_WAY.reset(token)


def require_there(name: object) -> None:
    """
    Raises:
        OSError: `name` can only be a folder, and there is none. The Hub would call it an ill-formed id.
    """
    text = str(name)
    local = text.startswith(("/", ".", "~")) or text.count("/") > 1
    if local and not Path(text).exists():
        raise OSError(f"There is no folder {text}: correct the path, or give a Hub id such as org/name.")


def _freeze_again(model: PreTrainedModel) -> None:
    """Loading puts trainable parameters in the place of those that constructors had frozen (by `freeze_parts`)."""
    for module in model.modules():
        freeze: Any = getattr(module, "freeze_parts", None)
        if freeze is not None:
            freeze()


def _require_loadable(
    where: str,
    strict: bool,
    resizes: bool,
    headers: Mapping[str, tuple[tuple[int, ...], str]],
    tensors: Mapping[str, torch.Tensor],
) -> None:
    _require_none(where, misfits(headers, tensors, shapes=not resizes))
    stored = numbers(headers)
    if strict and is_too_large(tensors, stored):
        described = sum(tensor.numel() for tensor in tensors.values())
        raise ValueError(
            f"The config of {where} describes a model of {described:,} numbers, but its weights are {stored:,}: one "
            "of the two is damaged. Use the config they were saved with."
        )


def _require_fitting(where: str, info: dict[str, Any], resizes: bool) -> None:
    mismatched = {key: (tuple(found), tuple(expected)) for key, found, expected in info["mismatched_keys"]}
    shapes = [f"{key} {found} instead of {expected}" for key, (found, expected) in sorted(mismatched.items())]
    problems = {
        "missing": sorted(set(info["missing_keys"]) - set(mismatched)),
        "unexpected": sorted(info["unexpected_keys"]),
        "of another shape": [] if resizes else shapes,
    }
    _require_none(where, problems)


def _require_none(where: str, problems: Mapping[str, list[str]]) -> None:
    found = [f"{kind}: {_some(keys)}" for kind, keys in problems.items() if keys]
    if found:
        raise ValueError(
            f"The weights of {where} do not fit the model that its config describes. Weights {'; '.join(found)}. Use "
            "the config they were saved with; to start a training from a part of them, pass strict=False (and "
            "ignore_mismatched_sizes=True for other shapes)."
        )


def _require_finite(where: str, model: PreTrainedModel) -> None:
    broken = [
        name
        for name, tensor in model.state_dict().items()
        if tensor.is_floating_point() and not tensor.is_meta and not torch.isfinite(_plain(tensor)).all()
    ]
    if broken:
        raise ValueError(
            f"Weights of {where} are not finite numbers: {_some(broken)}. The training that wrote them diverged, or "
            "the file is damaged; take an earlier checkpoint."
        )


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    # A quantised tensor is a class of its library's, which knows little more than products.
    quantized = type(tensor).dequantize is not torch.Tensor.dequantize
    return tensor.dequantize() if quantized else tensor


def _some(keys: list[str], most: int = 5) -> str:
    rest = f" and {len(keys) - most} more" if len(keys) > most else ""
    return ", ".join(keys[:most]) + rest


__all__ = ["StrictConfig", "StrictModel", "load_network", "require_there"]
