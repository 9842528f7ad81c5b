"""`pipeline("referring-expression")`: pictures and expressions in, answers in original pixels out.

A picture is encoded once, however many expressions it has; `batch_size` counts pictures. Lists, datasets and
generators stream through a DataLoader, whose workers read pictures and tokenize; the detectors run beside the model.
"""

import copy
from collections.abc import Iterator, Sized
from os import PathLike
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader
from transformers.feature_extraction_utils import BatchFeature
from transformers.pipelines.base import Pipeline
from transformers.pipelines.pt_utils import PipelineDataset, PipelineIterator
from transformers.utils import logging

from .images.containers import plain
from .images.reading import load_pixels
from .images.sources import TIMEOUT
from .inference.devices import require_device
from .inference.looking import ByTorch, looking
from .inference.rows import MISFORTUNES, as_rows, image_and_text, is_one, require_form, with_text
from .inference.runtimes import require_runtime
from .inference.sharing import require_known_words, share_detector
from .processing_pbrec import PbrecProcessor
from .selection.calibration import require_referents, require_threshold_or_auto

logger = logging.get_logger(__name__)


class ReferringExpressionPipeline(Pipeline):
    """
    Find what expressions refer to.

    ```python
    pipe = pipeline("referring-expression", model="org/pbrec-mt")
    pipe("photo.jpg", "left dog")                                # [{"label", "score", "box"}]
    pipe("photo.jpg", "all the dogs", referents="any")           # as many as there are
    pipe("photo.jpg", ["left dog", "red car"])                   # one such list per expression
    pipe([{"image": "a.jpg", "text": "left dog"}, …], batch_size=8)  # one result per picture
    ```
    """

    _load_processor = True  # type: ignore[assignment]
    _load_image_processor = False  # type: ignore[assignment]
    _load_feature_extractor = False  # type: ignore[assignment]
    _load_tokenizer = False  # type: ignore[assignment]

    processor: PbrecProcessor  # always there, by `_load_processor`

    def __init__(
        self, *args: Any, runtime: str = "torch", precision: str = "fp32", compile: bool = False, **kwargs: Any
    ):
        """
        Args:
            runtime, precision, compile: what computes the networks, and in what; see [`Grounder`].
            args, kwargs: as of every pipeline.
        """
        device = kwargs.get("device")
        require_runtime(runtime, precision, "cpu" if device in (None, -1) else device, compile)
        # The base class takes the CPU without a word where there is no GPU of this number.
        if device is not None and not (isinstance(device, int) and device < 0):
            require_device(device)
        super().__init__(*args, **kwargs)
        self.model.eval()
        self.processor.to(self.device)
        require_known_words(self.model, self.processor)
        share_detector(self.model, self.processor)
        look = looking(self.model, self.processor, runtime, precision, compile=compile)
        self._graphs = None if runtime == "torch" else look

    def __call__(  # type: ignore[override]
        self, inputs: Any = None, text: Any = None, *, image: Any = None, images: Any = None, **kwargs: Any
    ) -> Any:
        """
        Args:
            inputs: a picture (path, URL, base64 text, bytes, PIL image, array, tensor), a dict with `image` and
                `text` (or `expression`, `expressions`), or a list, dataset or generator of dicts; with `text`, of
                pictures, or of dicts with `image`.
            text: an expression or a list of them for one picture; for several pictures one entry each, or one
                expression for all.
            image, images: other names of `inputs`.
            top_k: proposals that vote for the answer, if the checkpoint votes; by default its own number (12 in the
                paper).
            threshold: answers that score less are left out (an empty list); "auto" = the checkpoint's own threshold.
                By default 0 with `referents="one"` and "auto" with `referents="any"`.
            referents: "one" (the default: one answer) or "any": as many as there are, or none.
            return_masks: True adds `mask` (PIL, 255 = object), "rle" adds it as COCO RLE; and `mask_source`, which is
                "box" where there is only the box, filled.
            on_error: "raise", or "skip": a picture that cannot be read gives `{"error": message}` instead of a
                result. By default one input raises and several skip. Rows without the keys above always raise.
            timeout: seconds to wait for a URL.
            batch_size, num_workers: as in every pipeline.

        Returns:
            For one expression a list of dicts, the best first, one at most with `referents="one"`: `label`, `score`,
            `box` (xmin, ymin, xmax, ymax in pixels of the upright original); and `raw_score` where the checkpoint is
            calibrated, so that `score` is the probability of being right. For several expressions a list of lists.
            For several pictures these one after the other: a list for a list, an iterator that reads pictures as they
            are asked for if they came as a dataset or generator.
        """
        given = [value for value in (inputs, image, images) if value is not None]
        if len(given) != 1:
            raise TypeError("Give the picture or pictures once: as the first argument, as `image` or as `images`.")
        inputs, text = plain(given[0]), plain(text)
        several = not is_one(inputs)
        if several and isinstance(inputs, Sized) and not len(inputs):
            return []
        if several:
            inputs = as_rows(inputs, text)
        elif text is not None:
            inputs = with_text(inputs, text)
        if "on_error" not in self._preprocess_params:
            kwargs.setdefault("on_error", "skip" if several else "raise")
        return super().__call__(inputs, **kwargs)

    def _sanitize_parameters(
        self,
        top_k: int | None = None,
        threshold: float | str | None = None,
        return_masks: bool | str | None = None,
        referents: str | None = None,
        on_error: str | None = None,
        timeout: float | None = None,
        **unknown: Any,
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        if unknown:
            raise TypeError(
                f"Unknown arguments {', '.join(unknown)}: the pipeline takes top_k, threshold, return_masks, "
                "referents, on_error, timeout, batch_size and num_workers."
            )
        if return_masks not in (None, False, True, "rle"):
            raise ValueError(f"return_masks={return_masks!r}: give False, True (PIL images) or 'rle'.")
        require_threshold_or_auto(threshold)
        if referents is not None:
            require_referents(referents)
        if on_error not in (None, "raise", "skip"):
            raise ValueError(f"on_error={on_error!r}: give 'raise' or 'skip'.")
        given = (
            {"on_error": on_error, "timeout": timeout},
            {"top_k": top_k, "threshold": threshold, "return_masks": return_masks, "referents": referents},
            {"return_masks": return_masks},
        )
        pre, forward, post = ({name: value for name, value in part.items() if value is not None} for part in given)
        return pre, forward, post

    def preprocess(  # type: ignore[override]
        self, inputs: Any, on_error: str = "raise", timeout: float | None = TIMEOUT
    ) -> dict[str, Any]:
        """Read the picture and tokenize its expressions; runs in the loader's processes."""
        require_form(inputs)
        try:
            image, text = image_and_text(inputs)
            batch = self.processor(load_pixels(image, timeout), text, return_proposals=False)
            return {"batch": batch, "single": isinstance(text, str)}
        except (*MISFORTUNES, TypeError, ValueError) as error:
            if on_error == "raise":
                raise
            logger.warning(f"Skipped: {error}")
            return {"error": str(error)}

    def _forward(  # type: ignore[override]
        self,
        model_inputs: dict[str, Any],
        top_k: int | None = None,
        threshold: float | str | None = None,
        return_masks: bool | str = False,
        referents: str = "one",
    ) -> dict[str, Any]:
        items = model_inputs.get("items", [model_inputs])
        good = [item for item in items if "batch" in item]
        answers: Iterator[dict[str, Any]] = iter(())
        if good:
            batch = join_batches([item["batch"] for item in good])
            outputs = (self._graphs or ByTorch(self.model, self.processor))(batch)
            answers = iter(
                self.processor.post_process_referring_expression(
                    outputs, batch, top_k, threshold, return_masks=bool(return_masks), referents=referents
                )
            )
        entries = []
        for item in items:
            if "batch" in item:
                item = {
                    "answers": [next(answers) for _ in item["batch"]["expressions"]],
                    "single": item["single"],
                }
            entries.append(item)
        return {"entries": entries}

    def postprocess(  # type: ignore[override]
        self, model_outputs: dict[str, Any], return_masks: bool | str = False
    ) -> Any:
        """One picture's answers as plain values."""
        entry = model_outputs["entries"]
        entry = entry[0] if isinstance(entry, list) else entry  # a batch has been unrolled already
        if "error" in entry:
            return entry
        results = [_plain(answer, return_masks) for answer in entry["answers"]]
        return results[0] if entry["single"] else results

    def get_iterator(
        self,
        inputs: Any,
        num_workers: int,
        batch_size: int,
        preprocess_params: dict[str, Any],
        forward_params: dict[str, Any],
        postprocess_params: dict[str, Any],
    ) -> PipelineIterator:
        """Answers of many pictures, one after the other."""
        # As in the base class, but batched by joining pictures with their expressions, not by padding tensors.
        source = PipelineDataset if isinstance(inputs, Sized) else PipelineIterator
        dataset = source(inputs, self._reader().preprocess, preprocess_params)
        workers = num_workers if source is PipelineDataset else min(num_workers, 1)
        loader = DataLoader(dataset, num_workers=workers, batch_size=batch_size, collate_fn=_gathered)
        outputs = PipelineIterator(loader, self.forward, forward_params, loader_batch_size=batch_size)
        return PipelineIterator(outputs, self.postprocess, postprocess_params)

    def _reader(self) -> "ReferringExpressionPipeline":
        """This pipeline without networks, for the loader's processes: where they are spawned, all of it is copied."""
        reader = copy.copy(self)
        reader.model = reader._graphs = None  # type: ignore[assignment]  # reading needs none
        reader.processor = self.processor.without_detectors()
        return reader

    def save_pretrained(self, save_directory: str | PathLike[str], **kwargs: Any) -> None:
        """Model and processor with its detectors. (The base class would leave the processor out.)"""
        self.model.save_pretrained(save_directory, **kwargs)
        self.processor.save_pretrained(save_directory)


def _gathered(items: list[Any]) -> dict[str, list[Any]]:
    return {"items": items}  # not a lambda: processes that are spawned get it pickled


def join_batches(batches: list[BatchFeature]) -> BatchFeature:
    """
    Batches of single pictures, made without proposals → one batch; tokens are padded to the longest expression.

    Args:
        batches: what the processor returned for each.
    """
    merged = BatchFeature()
    for name in ("pixel_values", "pixel_mask", "letterbox", "truncated", "readable"):
        merged[name] = torch.cat([batch[name] for batch in batches])
    longest = max(batch["input_ids"].shape[1] for batch in batches)
    for name in ("input_ids", "attention_mask"):
        rows = [torch.nn.functional.pad(batch[name], (0, longest - batch[name].shape[1])) for batch in batches]
        merged[name] = torch.cat(rows)
    merged["image_index"] = torch.cat([batch["image_index"] + number for number, batch in enumerate(batches)])
    for name in ("expressions", "unread"):
        merged[name] = [entry for batch in batches for entry in batch[name]]
    return merged


def _plain(answer: dict[str, Any], return_masks: bool | str) -> list[dict[str, Any]]:
    results = []
    for row, score in enumerate(answer["scores"].tolist()):
        corners = dict(zip(("xmin", "ymin", "xmax", "ymax"), answer["boxes"][row].tolist(), strict=True))
        result = {"label": answer["text_labels"][row], "score": score, "box": corners}
        if answer["exists"] is not None:
            result["raw_score"] = answer["raw_scores"][row].item()
        if return_masks:
            mask = answer["masks"][row, 0].numpy()
            result["mask_source"] = answer["mask_source"]
            result["mask"] = _run_lengths(mask) if return_masks == "rle" else Image.fromarray(mask * np.uint8(255))
        results.append(result)
    return results


def _run_lengths(mask: np.ndarray) -> dict[str, Any]:
    from .images.segmentation import mask_to_rle  # late: pycocotools serves those alone who ask for run lengths

    return {**mask_to_rle(mask)}


__all__ = ["ReferringExpressionPipeline", "join_batches"]
