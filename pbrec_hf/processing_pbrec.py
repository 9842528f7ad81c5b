"""`PbrecProcessor`: pictures, expressions and detector proposals in; answers in original pixels out.

It joins the image processor, the tokenizer and up to two frozen detectors: one that proposes boxes, one that proposes
masks. The detectors are saved in sub-folders of their own and are no part of `processor_config.json`.
"""

import os
from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from transformers.feature_extraction_utils import BatchFeature
from transformers.processing_utils import ProcessorMixin
from transformers.utils import logging

from .answers_pbrec import Group, SelectionSettings
from .detection_fcos import FcosDetector
from .detection_nanodet import NanoDetDetector
from .detection_nanodet_masks import NanoDetMasksDetector
from .detection_solo import SoloDetector
from .loading_pbrec import require_there
from .post_processing_pbrec import answers, rank_and_choose

logger = logging.get_logger(__name__)

_DETECTOR_CLASSES = (FcosDetector, NanoDetDetector, NanoDetMasksDetector, SoloDetector)
DETECTORS = {cls.config_class.model_type: cls for cls in _DETECTOR_CLASSES}
_KINDS = {"boxes": "box_detector", "masks": "mask_detector"}
_HUB_ARGUMENTS = ("cache_dir", "force_download", "local_files_only", "token", "revision")


class _Holder:
    """Keeps a detector out of the deep copies that transformers makes of a processor to print or save it."""

    def __init__(self, detector):
        self.detector = detector

    def __deepcopy__(self, memo):
        return self


class PbrecProcessor(ProcessorMixin):
    r"""
    Args:
        image_processor ([`PbrecImageProcessor`])
        tokenizer (a transformers tokenizer): of the model's text encoder.
        max_text_length (`int`, defaults to 40): longer expressions are cut, and reported.
        selection (`dict`, *optional*): fields of [`SelectionSettings`].
        detectors (`dict`, *optional*): model types by kind, `{"boxes": …, "masks": …}`; filled by the detectors given.
        box_detector, mask_detector (*optional*): detectors as `proposals_pbrec` describes them.
    """

    def __init__(
        self, image_processor=None, tokenizer=None, max_text_length=40, selection=None, detectors=None, **kwargs
    ):
        given = {kind: kwargs.pop(name, None) for kind, name in _KINDS.items()}
        super().__init__(image_processor, tokenizer, **kwargs)
        if not isinstance(max_text_length, int) or not 3 <= max_text_length <= 8192:
            raise ValueError(f"max_text_length={max_text_length!r}: give a number of tokens from 3 to 8192.")
        self.max_text_length = max_text_length
        self.selection = dict(selection or {})
        self.settings = SelectionSettings(**self.selection)
        self.detectors = dict(detectors or {})
        self._held = {kind: _Holder(None) for kind in _KINDS}
        for kind, detector in given.items():
            if detector is not None:
                self._hold(kind, detector)

    @property
    def box_detector(self):
        """The detector that proposes boxes, or None."""
        return self._held["boxes"].detector

    @property
    def mask_detector(self):
        """The detector that proposes masks, or None."""
        return self._held["masks"].detector

    def _hold(self, kind: str, detector) -> None:
        self._held[kind] = _Holder(detector.eval())
        self.detectors[kind] = detector.config.model_type

    def replace_detector(self, kind: str, detector) -> None:
        """Use `detector` for `kind` ("boxes" or "masks") from now on; it is saved with the processor."""
        if kind not in _KINDS:
            raise ValueError(f"kind={kind!r}: give one of {', '.join(map(repr, _KINDS))}.")
        self._hold(kind, detector)

    def to(self, *args, **kwargs) -> "PbrecProcessor":
        """Move the detectors as `torch.nn.Module.to` does."""
        for holder in self._held.values():
            if holder.detector is not None:
                holder.detector.to(*args, **kwargs)
        return self

    def __call__(
        self,
        images=None,
        text: str | Sequence[str] | Sequence[Sequence[str]] | None = None,
        return_tensors: str | None = "pt",
        return_proposals: bool = True,
        **images_kwargs,
    ) -> BatchFeature:
        """
        Args:
            images: one picture or a list of them, in any form `PbrecImageProcessor` takes.
            text: one expression, a list, or a list of lists. For a list of I pictures: I entries, each an expression
                or a list of expressions. For one picture: an expression or a list of them. Without pictures, for
                features that are known already: either form.
            return_tensors: "pt", the only kind there is.
            return_proposals: whether the detectors run on the pictures.
            images_kwargs: passed to the image processor.

        Returns:
            pixel_values (I, 3, H, W), pixel_mask (I, H, W), letterbox (I, 6); input_ids and attention_mask (E, L),
            image_index (E,) (None for a plain list without pictures: one expression for each picture of the features
            they are given with, or all for a single one), truncated bool (E,), expressions (list of E strings);
            box_proposals and mask_proposals ([`Proposals`] of I images) where there is a detector.

        Raises:
            ValueError: an expression that is empty or no string; numbers of pictures and expressions that do not fit.
        """
        if images is None and text is None:
            raise ValueError("Give `images`, `text`, or both.")
        if return_tensors != "pt":
            raise ValueError(f"return_tensors={return_tensors!r}: only 'pt' is supported.")
        batch = BatchFeature()
        if isinstance(images, (np.ndarray, Tensor)) and images.ndim == 4:
            images = list(images)
        if images is not None:
            batch.update(self._canvases(images, images_kwargs))
            if return_proposals:
                batch.update(self.propose(batch["pixel_values"], batch["pixel_mask"]))
        if text is not None:
            several = isinstance(images, (list, tuple))
            nested = several or _is_nested(text)
            pictures = len(images) if several else len(text) if images is None and nested else 1
            groups = _groups(text, pictures, nested)
            batch.update(self._tokenize([expression for group in groups for expression in group]))
            sizes = torch.tensor([len(group) for group in groups])
            known = images is not None or nested
            batch["image_index"] = torch.repeat_interleave(torch.arange(len(groups)), sizes) if known else None
        return batch

    def _canvases(self, images, options: dict) -> BatchFeature:
        legal = set(self.image_processor.valid_kwargs.__annotations__)
        if unknown := options.keys() - legal:
            raise TypeError(
                f"Unknown arguments {', '.join(sorted(unknown))}: beside images, text, return_tensors and "
                f"return_proposals there are those of pictures, {', '.join(sorted(legal))}. The processor's "
                "max_text_length says how long texts may be."
            )
        return self.image_processor(images, return_tensors="pt", **options)

    def propose(
        self, pixel_values: Tensor, pixel_mask: Tensor | None = None, kinds: Collection[str] = ("boxes", "masks")
    ) -> dict:
        """
        Run the detectors of these kinds, as far as they are held, on canvases.

        Args:
            pixel_values: (I, 3, H, W).
            pixel_mask: (I, H, W), 1 = picture.
            kinds: "boxes" and/or "masks".

        Returns:
            `{"box_proposals": …, "mask_proposals": …}`.
        """
        proposals = {}
        for kind, name in (("boxes", "box_proposals"), ("masks", "mask_proposals")):
            detector = self.box_detector if kind == "boxes" else self.mask_detector
            if detector is not None and kind in kinds:
                on_device = pixel_values.to(detector.device, detector.dtype)
                proposals[name] = detector.propose(on_device, pixel_mask)
        return proposals

    def _tokenize(self, expressions: list[str]) -> dict:
        options = {"split_special_tokens": True, "return_token_type_ids": False, "verbose": False}
        lengths = [len(row) for row in self.tokenizer(expressions, **options)["input_ids"]]
        for expression, length in zip(expressions, lengths, strict=True):
            if length > self.max_text_length:
                logger.warning(
                    f"Expression {expression[:40]!r}… has {length} tokens; only the first {self.max_text_length} are "
                    "read. Shorten it, or raise `max_text_length` if the model was trained with more."
                )
        tokens = self.tokenizer(
            expressions,
            padding=True,
            truncation=True,
            max_length=self.max_text_length,
            return_tensors="pt",
            **options,
        )
        return {
            "input_ids": tokens["input_ids"],
            "attention_mask": tokens["attention_mask"],
            "truncated": torch.tensor(lengths) > self.max_text_length,
            "expressions": expressions,
        }

    def rank(self, outputs, inputs, top_k: int | None = None) -> dict[str, Group]:
        """The proposals behind each answer, on the canvas: [`Group`] under "boxes" and/or "masks"."""
        settings = self.settings if top_k is None else replace(self.settings, top_k=top_k)
        return rank_and_choose(outputs, inputs, settings)

    def post_process_referring_expression(
        self, outputs, inputs, top_k: int | None = None, threshold: float = 0.0
    ) -> list[dict]:
        """
        Answers in pixels of the original pictures.

        Args:
            outputs: of the model, with center_logits and/or mass_logits (E, P).
            inputs: what this processor returned for the same pictures and expressions.
            top_k: proposals that vote, by default as in the processor's settings (12 in the paper).
            threshold: an answer that scores less is left out.

        Returns:
            One dict per expression: `scores` (n,) in [0, 1], `labels` (n,) int64 zeros, `text_labels` (n strings),
            `boxes` (n, 4) XYXY, `masks` bool (n, 1, H, W), with n = 1, or 0 where nothing reaches the threshold; and
            `box_source`, `mask_source`: "detector", or what it was derived from ("mask" or "box").

        Raises:
            ValueError: without proposals, or if outputs and inputs do not fit.
        """
        return answers(self.rank(outputs, inputs, top_k), inputs, threshold, self.settings.mask_threshold)

    def save_pretrained(self, save_directory: str | os.PathLike, push_to_hub: bool = False, **kwargs):
        """As of every processor, and each detector into its sub-folder. To upload, call `push_to_hub(repo_id)`."""
        if push_to_hub:
            raise ValueError("Save first, then call `processor.push_to_hub(repo_id)`: one commit with the detectors.")
        saved = super().save_pretrained(save_directory, **kwargs)
        for kind, folder in _KINDS.items():
            if (detector := self._held[kind].detector) is not None:
                detector.save_pretrained(os.path.join(save_directory, folder))
        return saved

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *args, load_detectors: bool = True, **kwargs):
        """
        As of every processor; the detectors that were saved with it are loaded, too.

        Args:
            load_detectors: False where proposals are not needed, as in training.

        Raises:
            OSError: if a detector that the processor was saved with cannot be loaded.
        """
        require_there(pretrained_model_name_or_path)
        processor = super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
        if load_detectors:
            hub = {name: kwargs[name] for name in _HUB_ARGUMENTS if kwargs.get(name) is not None}
            for kind, model_type in processor.detectors.items():
                if kind not in _KINDS or model_type not in DETECTORS:
                    raise ValueError(
                        f"detectors={processor.detectors!r} of the processor: the kinds are {', '.join(_KINDS)}, "
                        f"the model types {', '.join(DETECTORS)}."
                    )
                subfolder = "/".join(filter(None, (kwargs.get("subfolder", ""), _KINDS[kind])))
                try:
                    detector = DETECTORS[model_type].from_pretrained(
                        pretrained_model_name_or_path, subfolder=subfolder, **hub
                    )
                except OSError as error:
                    raise OSError(
                        f"The processor's detector in {subfolder!r} cannot be loaded ({error}): get the folder again, "
                        "or pass load_detectors=False."
                    ) from error
                processor._hold(kind, detector)
        return processor


def _groups(text, images: int, nested: bool) -> list[list[str]]:
    """The expressions of each image, from the forms that `PbrecProcessor.__call__` takes."""
    if not nested:
        groups = [_as_list(text)]
    else:
        entries = _as_list(text)
        if len(entries) != images:
            raise ValueError(
                f"{len(entries)} entries in `text` for {images} pictures: give one expression, or one list of "
                "expressions, for each picture."
            )
        groups = [_as_list(entry) for entry in entries]
    for image, group in enumerate(groups):
        if not group:
            raise ValueError(f"Picture {image} has no expression: give at least one.")
        for expression in group:
            if not isinstance(expression, str) or not any(map(_is_visible, expression)):
                raise ValueError(
                    f"An expression of picture {image} is {expression!r}: give a string of words, such as 'left dog'."
                )
    return groups


def _is_visible(character: str) -> bool:
    return character.isprintable() and not character.isspace()


def _as_list(value) -> list:
    return [value] if isinstance(value, str) or not isinstance(value, Sequence) else list(value)


def _is_nested(text) -> bool:
    return isinstance(text, Sequence) and not isinstance(text, str) and any(isinstance(t, (list, tuple)) for t in text)


__all__ = ["PbrecProcessor"]
