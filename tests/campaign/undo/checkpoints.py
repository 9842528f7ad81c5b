"""Undone mends of checkpoints: configs that are written, weights that are judged, files that converters read."""

from typing import Any

from transformers import PreTrainedConfig, PreTrainedModel

from .base import Undo, replaced


def _norms_of_others() -> tuple[Any, str, Any]:
    from pbrec_hf.hub.loading import StrictModel

    return StrictModel, "initialize_weights", PreTrainedModel.initialize_weights


def _forgotten_names() -> tuple[Any, str, Any]:
    from pbrec_hf.detectors.base import DetectorConfig

    return DetectorConfig, "to_diff_dict", PreTrainedConfig.to_diff_dict


def _any_size() -> tuple[Any, str, Any]:
    from pbrec_hf.hub.loading import StrictModel

    return StrictModel, "_load_pretrained_model", staticmethod(PreTrainedModel._load_pretrained_model)


def _any_kind() -> tuple[Any, str, Any]:
    from pbrec_hf.hub import loading

    real = loading.misfits
    return (
        loading,
        "misfits",
        lambda *args, **kwargs: {
            trouble: names for trouble, names in real(*args, **kwargs).items() if trouble != "of another kind"
        },
    )


def _raw_errors() -> tuple[Any, str, Any]:
    from pbrec_hf.hub import opening

    return opening, "_told", lambda source, error: error


def _ring() -> tuple[Any, str, Any]:
    from pbrec_hf.convert import loading

    def state_dict_in(content: Any) -> Any:
        while inner := next((content[n] for n in loading.CONTAINERS if isinstance(content.get(n), dict)), None):
            content = inner
        return content

    return loading, "_state_dict_in", state_dict_in


def _expanded() -> tuple[Any, str, Any]:
    from pbrec_hf.convert import loading

    def copied(tensors: dict[str, Any], size: int) -> dict[str, Any]:
        return {key: value.clone().contiguous() for key, value in tensors.items()}

    return loading, "_copied", copied


def _tensors_only() -> tuple[Any, str, Any]:
    from pbrec_hf.convert import loading

    return loading, "_plain_data", lambda: []


def _one_prefix() -> tuple[Any, str, Any]:
    from pbrec_hf.convert import loading

    return loading, "PREFIXES", ("module.",)


UNDOS: dict[str, Undo] = {
    "D2 frozen norms": replaced("weights", _norms_of_others),
    "D3 two classes": replaced("configs", _forgotten_names),
    "D9 products": replaced("checkpoint_json", _any_size),
    "D10 ring": replaced("archives", _ring),
    "D10 expanded": replaced("archives", _expanded),
    "D11 raw errors": replaced("checkpoint_json", _raw_errors),
    "D14 kinds of numbers": replaced("weights", _any_kind),
    "checkpoint_numpy_scalar": replaced("archives", _tensors_only),
    "checkpoint prefixes": replaced("archives", _one_prefix),
}
