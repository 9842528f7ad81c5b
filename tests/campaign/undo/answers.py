"""Undone mends of what answers: sharing, threads, streams, worker processes, switches, numbers that are none."""

import weakref
from collections.abc import Callable, Iterator
from typing import Any

import torch

from .base import Undo, replaced


class _LastLook:
    """A forward that gives its last output again for the very same tensor; another thread may write in between."""

    def __init__(self, forward: Callable[..., Any]):
        self.forward = forward
        self.seen: Callable[[], Any] = lambda: None
        self.output: Any = None

    def __call__(self, pixel_values: torch.Tensor, **kwargs: Any) -> Any:
        if kwargs or torch.is_grad_enabled():
            return self.forward(pixel_values, **kwargs)
        if self.seen() is not pixel_values:
            self.output = self.forward(pixel_values)
            self.seen = weakref.ref(pixel_values)
        return self.output


def _shared_by_memory() -> tuple[Any, str, Any]:
    """One detector, whose last output is kept in an attribute."""
    from pbrec_hf import pipeline_pbrec

    real = pipeline_pbrec.share_detector

    def share_detector(model: Any, processor: Any) -> bool:
        shared = real(model, processor)
        if shared:
            own = model.model.backbone.detector
            own.forward = _LastLook(own.forward)
        return shared

    return pipeline_pbrec, "share_detector", share_detector


def _sound_or_not() -> tuple[Any, str, Any]:
    from pbrec_hf.selection import choose

    return choose, "_require_sound", lambda *_: None


def _gathered_stream() -> tuple[Any, str, Any]:
    """A generator with text is read to its end before anything is answered."""
    from pbrec_hf import pipeline_pbrec

    real = pipeline_pbrec.as_rows

    def as_rows(inputs: Any, text: Any) -> Any:
        return real(list(inputs) if text is not None and isinstance(inputs, Iterator) else inputs, text)

    return pipeline_pbrec, "as_rows", as_rows


def _closure() -> tuple[Any, str, Any]:
    from pbrec_hf import pipeline_pbrec

    return pipeline_pbrec, "_gathered", lambda items: {"items": items}


def _rows_raise() -> tuple[Any, str, Any]:
    from pbrec_hf.inference import rows

    return rows, "_MISFORTUNES", ()


def _decoded_by_datasets() -> tuple[Any, str, Any]:
    from pbrec_hf.inference import rows

    return rows, "_undecoded", lambda table: table


def _deaf_config() -> tuple[Any, str, Any]:
    """The config's switches for hidden states and attentions have no effect."""
    from pbrec_hf.comprehension.fusion import PbrecFusionEncoder

    real = PbrecFusionEncoder.forward

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        kwargs.setdefault("output_hidden_states", False)
        kwargs.setdefault("output_attentions", False)
        return real(self, *args, **kwargs)

    return PbrecFusionEncoder, "forward", forward


def _own_arguments() -> tuple[Any, str, Any]:
    """The processor passes its arguments to the image processor, whatever they are."""
    from pbrec_hf import PbrecProcessor

    def options(self: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
        images = {name: value for name, value in kwargs.items() if name != "return_proposals"}
        if unknown := images.keys() - set(self.image_processor.valid_kwargs.__annotations__):
            raise TypeError(f"unexpected keyword arguments {sorted(unknown)}")
        return {
            "images_kwargs": {"return_tensors": "pt", **images},
            "text_kwargs": {"return_tensors": "pt"},
            "return_proposals": kwargs.get("return_proposals", True),
        }

    return PbrecProcessor, "_options", options


def _names_of_texts() -> tuple[Any, str, Any]:
    from pbrec_hf import PbrecProcessor

    def model_input_names(self: Any) -> list[str]:
        return [*self.image_processor.model_input_names, *self.tokenizer.model_input_names]

    return PbrecProcessor, "model_input_names", property(model_input_names)


def _waiting_metric() -> tuple[Any, str, Any]:
    """A process without a row opens no file, and process 0 waits for it."""
    import evaluate

    from pbrec_hf.metrics.protocol import SentenceMetric

    return SentenceMetric, "compute", evaluate.Metric.compute


UNDOS: dict[str, Undo] = {
    "D1 sharing": replaced("pipelines", _shared_by_memory),
    "D4 not finite": replaced("checkpoint_json", _sound_or_not),
    "D15 switches": replaced("conventions", _deaf_config),
    "D15 kwargs": replaced("conventions", _own_arguments),
    "D15 names": replaced("conventions", _names_of_texts),
    "stream_with_text": replaced("pipelines", _gathered_stream),
    "spawn_workers": replaced("pipelines", _closure),
    "corrupt_dataset_row": replaced("pipelines", _rows_raise, _decoded_by_datasets),
    "metric_empty_rank": replaced("metrics", _waiting_metric),
}
