"""`PbrecProcessor`: pictures, expressions and detector proposals in; answers in original pixels out.

It joins the image processor, the tokenizer and up to two frozen detectors: one that proposes boxes, one that proposes
masks. Detectors are saved in sub-folders of their own; `processor_config.json` names their model types alone. Any
detector that `AutoModel` knows and that keeps the contract of `detectors/base.py` serves.
"""

import copy
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers.feature_extraction_utils import BatchFeature
from transformers.processing_utils import ProcessingKwargs, ProcessorMixin, Unpack

from .comprehension.expressions import as_groups, is_nested
from .comprehension.unread import read_expressions, words_in
from .detectors.base import Held, is_detector
from .detectors.references import DetectorReference
from .detectors.running import run_detectors
from .detectors.saved import load_saved_detectors, parts_of, save_detector
from .hub.loading import require_there
from .hub.opening import clear_errors
from .hub.uploading import upload_saved
from .images.containers import plain
from .images.reading import PictureSource
from .selection.answers import answers
from .selection.calibration import Calibration, limits_of
from .selection.choose import PROPOSALS, rank_and_choose
from .selection.groups import Group
from .selection.referents import Referents, any_referents, only_referent
from .selection.settings import SelectionSettings

_FOLDERS = {"boxes": "box_detector", "masks": "mask_detector"}
_HUB_ARGUMENTS = (
    "cache_dir", "force_download", "local_files_only", "token", "revision", "code_revision", "trust_remote_code",
)  # fmt: skip
_TEXT_OUTPUTS = ("input_ids", "attention_mask", "image_index", "truncated", "unread", "readable", "expressions")


class PbrecProcessorKwargs(ProcessingKwargs, total=False):
    """Arguments of `PbrecProcessor.__call__` beside pictures and expressions."""

    return_proposals: bool


class PbrecProcessor(ProcessorMixin):
    r"""
    Args:
        image_processor ([`PbrecImageProcessor`])
        tokenizer (a transformers tokenizer): of the model's text encoder.
        max_text_length (`int`, defaults to 40): longer expressions are cut, and reported.
        selection (`dict`, *optional*): fields of [`SelectionSettings`].
        detectors (`dict`, *optional*): by kind, `{"boxes": …, "masks": …}`, the model type of a detector that is saved
            with the processor, or where it comes from ([`DetectorReference`]); filled by the detectors given.
        calibration (`dict` or [`Calibration`], *optional*): what raw scores mean. None = scores stay raw.
        known_words (`str`, *optional*): words, separated by spaces, that the tokenizer spells in pieces and the
            model was trained with; others of that sort are reported as unread. None = all are read.
        box_detector, mask_detector (*optional*): detectors as `detectors/base.py` describes them.
    """

    valid_processor_kwargs = PbrecProcessorKwargs

    def __init__(
        self,
        image_processor: Any = None,
        tokenizer: Any = None,
        max_text_length: int = 40,
        selection: dict[str, Any] | None = None,
        detectors: dict[str, Any] | None = None,
        calibration: dict[str, Any] | Calibration | None = None,
        known_words: str | None = None,
        **kwargs: Any,
    ):
        given = {kind: kwargs.pop(name, None) for kind, name in _FOLDERS.items()}
        super().__init__(image_processor, tokenizer, **kwargs)
        if not isinstance(max_text_length, int) or not 3 <= max_text_length <= 8192:
            raise ValueError(f"max_text_length={max_text_length!r}: give a number of tokens from 3 to 8192.")
        longest = getattr(tokenizer, "model_max_length", 0)
        if isinstance(longest, bool) or not isinstance(longest, (int, float)):
            raise ValueError(f"model_max_length={longest!r} of the tokenizer: give a number of tokens, such as 512.")
        self.max_text_length = max_text_length
        self.settings = SelectionSettings.of(selection)
        self.selection = dict(selection or {})
        self.calibration = calibration
        self.known_words, self._known = known_words, words_in(known_words)
        if not isinstance(detectors or {}, Mapping) or set(detectors or {}) - set(_FOLDERS):
            raise ValueError(f"detectors={detectors!r}: give a dict with model types for {' and '.join(_FOLDERS)}.")
        self.detectors = dict(detectors or {})
        self._held = {kind: Held(None) for kind in _FOLDERS}
        self._shared = Held(None)
        for kind, detector in given.items():
            if detector is not None:
                self.replace_detector(kind, detector)

    @property
    def box_detector(self) -> Any:
        """The detector that proposes boxes, or None."""
        return self._held["boxes"].detector

    @property
    def mask_detector(self) -> Any:
        """The detector that proposes masks, or None."""
        return self._held["masks"].detector

    @property
    def calibration(self) -> Calibration | None:
        """What raw scores mean, or None; a [`Calibration`] or its dict may be assigned, and is saved."""
        return self._calibration

    @calibration.setter
    def calibration(self, calibration: Mapping[str, Any] | Calibration | None) -> None:
        self._calibration = Calibration.of(calibration)

    def to_dict(self) -> dict[str, Any]:
        """The fields of `processor_config.json`."""
        known = {} if self.calibration is None else {"calibration": self.calibration.to_dict()}
        return super().to_dict() | known

    @property
    def held_detectors(self) -> dict[str, Any]:
        """The detectors by kind; a kind without one is left out."""
        return {kind: holder.detector for kind, holder in self._held.items() if holder.detector is not None}

    def replace_detector(self, kind: str, detector: Any, reference: DetectorReference | None = None) -> None:
        """
        Use `detector` for `kind` ("boxes" or "masks") from now on.

        It is saved with the processor, or named, where a `reference` says from where it can be loaded again.
        """
        if kind not in _FOLDERS:
            raise ValueError(f"kind={kind!r}: give one of {', '.join(map(repr, _FOLDERS))}.")
        if not is_detector(detector) or not hasattr(detector, "config"):
            raise TypeError(
                f"{type(detector).__name__} is no detector: it needs `config` and `propose`, see "
                "pbrec_hf.detectors.base.ProposalSource."
            )
        self.detectors |= parts_of(kind, self.detectors, self.held_detectors)  # these are saved on their own now
        self._held[kind] = Held(detector.eval())
        self.detectors[kind] = detector.config.model_type if reference is None else reference.to_dict()

    def __deepcopy__(self, memo: dict[int, Any]) -> "PbrecProcessor":
        # Detectors of its own, too, which move on their own; attributes alone are copied to print or save them.
        copied = memo[id(self)] = copy.copy(self)
        copied.__dict__.update(copy.deepcopy(self.__dict__, memo))
        copied._held = {kind: holder.copied(memo) for kind, holder in self._held.items()}
        copied._shared = self._shared.copied(memo)
        return copied

    def share(self, network: Any) -> None:
        """
        Pass the outputs of `network` on to the model, whose backbone runs the same module.

        Args:
            network: the `source` of a detector of this processor; None = nothing is shared.
        """
        self._shared = Held(network)

    def without_detectors(self) -> "PbrecProcessor":
        """A copy that reads pictures and tokenizes, and holds no network: cheap to hand to another process."""
        light = copy.copy(self)
        light._held = {kind: Held(None) for kind in _FOLDERS}
        light._shared = Held(None)
        return light

    @property
    def model_input_names(self) -> list[str]:
        """The names of everything that a call with pictures and expressions returns."""
        proposals = [PROPOSALS[kind] for kind in self.held_detectors]
        return [*self.image_processor.model_input_names, *_TEXT_OUTPUTS, *proposals]

    def to(self, *args: Any, **kwargs: Any) -> "PbrecProcessor":
        """Move the detectors as `torch.nn.Module.to` does."""
        for detector in self.held_detectors.values():
            detector.to(*args, **kwargs)
        return self

    def __call__(
        self,
        images: PictureSource | Sequence[PictureSource] | None = None,
        text: str | Sequence[str] | Sequence[Sequence[str]] | None = None,
        **kwargs: Unpack[PbrecProcessorKwargs],
    ) -> BatchFeature:
        """
        Args:
            images: one picture or a list of them, in any form `PbrecImageProcessor` takes.
            text: one expression, a list, or a list of lists. For a list of I pictures: I entries, each an expression
                or a list of expressions. For one picture: an expression or a list of them. Without pictures, for
                features that are known already: either form.
            return_proposals: whether the detectors run on the pictures; default True.
            return_tensors: "pt", the only kind there is.
            images_kwargs, text_kwargs, common_kwargs: as in transformers. Arguments of the image processor and the
                tokenizer (`size`, `padding` …) may also be given as they are.

        Returns:
            pixel_values (I, 3, H, W), pixel_mask (I, H, W), letterbox (I, 6); input_ids and attention_mask (E, L),
            image_index (E,) (None for a plain list without pictures: one expression for each picture of the features
            they are given with, or all for a single one), truncated, unread, readable and expressions of
            `read_expressions`; box_proposals and mask_proposals ([`Proposals`] of I pictures, or
            [`RequestedMasks`]) where there is a detector.

        Raises:
            TypeError: an unknown argument.
            ValueError: an expression that is empty or no string; numbers of pictures and expressions that do not fit.
        """
        if images is None and text is None:
            raise ValueError("Give `images`, `text`, or both.")
        options = self._options(kwargs)
        batch = BatchFeature()
        images, text = plain(images), plain(text)
        if isinstance(images, (np.ndarray, Tensor)) and images.ndim == 4:
            images = list(images)
        if images is not None:
            batch.update(self.image_processor(images, **options["images_kwargs"]))
        if text is not None:
            nested = isinstance(images, (list, tuple)) or is_nested(text)
            pictures = len(images) if isinstance(images, (list, tuple)) else 1
            if images is None and nested:
                pictures = len(text)
            groups = as_groups(text, pictures, nested)
            expressions = [expression for group in groups for expression in group]
            settings = {"max_length": self.max_text_length, **options["text_kwargs"]}
            batch.update(read_expressions(self.tokenizer, expressions, self._known, **settings))
            sizes = torch.tensor([len(group) for group in groups])
            known = images is not None or nested
            batch["image_index"] = torch.repeat_interleave(torch.arange(len(groups)), sizes) if known else None
        if images is not None and options.get("return_proposals", True):
            asked: dict[str, Any] = {name: batch.get(name) for name in ("expressions", "image_index")}
            batch.update(self.propose(batch["pixel_values"], batch["pixel_mask"], **asked))
        return batch

    def _options(self, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments by who reads them."""
        parts = {"text_kwargs", "images_kwargs", "common_kwargs", "return_proposals"}
        flat = set(self.image_processor.valid_kwargs.__annotations__)
        flat |= set(PbrecProcessorKwargs.__annotations__["text_kwargs"].__annotations__)
        if unknown := kwargs.keys() - parts - flat:
            raise TypeError(
                f"Unknown arguments {', '.join(sorted(unknown))}: give images, text, {', '.join(sorted(parts))} or "
                f"one of {', '.join(sorted(flat))}."
            )
        options = self._merge_kwargs(**kwargs)
        for part in ("images_kwargs", "text_kwargs"):
            if options[part].setdefault("return_tensors", "pt") != "pt":
                raise ValueError(f"return_tensors={options[part]['return_tensors']!r}: give 'pt', the only kind.")
        return options

    def propose(
        self,
        pixel_values: Tensor,
        pixel_mask: Tensor | None = None,
        kinds: Collection[str] = tuple(_FOLDERS),
        expressions: Sequence[str] | None = None,
        image_index: Tensor | None = None,
    ) -> dict[str, Any]:
        """
        Run the detectors of these kinds on canvases. A network that several of them share runs once.

        Args:
            pixel_values: (I, 3, H, W).
            pixel_mask: (I, H, W), 1 = picture.
            kinds: "boxes" and/or "masks".
            expressions, image_index: E expressions and their pictures, for detectors that are asked with words.

        Returns:
            `{"box_proposals": …, "mask_proposals": …}`, and "detected", the output of the network shared with the
            model (see `share`), if it ran.

        Raises:
            ValueError: a detector is asked with words, and there are no expressions.
        """
        wanted = {kind: detector for kind, detector in self.held_detectors.items() if kind in kinds}
        proposals, outputs = run_detectors(wanted, pixel_values, pixel_mask, expressions, image_index)
        found: dict[str, Any] = {PROPOSALS[kind]: value for kind, value in proposals.items()}
        if (shared := outputs.get(id(self._shared.detector))) is not None:
            found["detected"] = shared
        return found

    def rank(
        self, outputs: Any, inputs: Mapping[str, Any], top_k: int | None = None, return_masks: bool = True
    ) -> dict[str, Group]:
        """
        The proposals behind each answer, on the canvas: [`Group`] under "boxes" and/or "masks".

        Without `return_masks`, masks that would have to be made of the chosen boxes are left out.
        """
        settings = self.settings if top_k is None else replace(self.settings, top_k=top_k)
        return rank_and_choose(outputs, inputs, settings, return_masks)

    def post_process_referring_expression(
        self,
        outputs: Any,
        inputs: Mapping[str, Any],
        top_k: int | None = None,
        threshold: float | str | None = None,
        target_sizes: Tensor | list[tuple[int, int]] | None = None,
        return_masks: bool = True,
        referents: str = "one",
    ) -> list[dict[str, Any]]:
        """
        Answers in pixels of the original pictures.

        Args:
            outputs: of the model, with center_logits and/or mass_logits (E, P).
            inputs: what this processor returned for the same pictures and expressions.
            top_k: proposals that vote, by default as in the processor's settings (12 in the paper).
            threshold: an answer that scores less is left out; "auto" = the threshold of the calibration. By default 0
                with `referents="one"` and "auto" with `referents="any"`.
            target_sizes: (height, width) of each picture in which to answer, by default its own.
            return_masks: whether to make masks, which have as many pixels as the pictures.
            referents: "one" (the paper: one answer) or "any" (as many as there are, at most `max_referents` of the
                settings).

        Returns:
            One dict per expression, with n answers, the best first; n = 0 where nothing reaches the threshold:
            `scores` (n,) in [0, 1], probabilities of being right if there is a calibration; `raw_scores` (n,),
            probability × quality; `labels` (n,) int64, the number of the expression within its picture;
            `text_labels` (n strings); `boxes` (n, 4) XYXY; `masks` bool (n, 1, H, W); `exists`, the probability that
            there is a referent, None without a calibration; `unread`, the words that were not read (an expression of
            such words alone has no answer); `box_source`, `mask_source`: "detector", or what it was
            derived from ("mask" or "box"), or "prompt" for a mask that a network was asked for with the box.

        Raises:
            ValueError: `inputs` has no proposals, or does not fit the outputs; or "auto" without a calibration.
        """
        limits_of(threshold, referents, self.calibration)  # before anything takes time
        groups = self.rank(outputs, inputs, top_k, return_masks and referents == "one")
        found = self.select(groups, inputs, threshold, referents, return_masks)
        return answers(found, inputs, self.settings.mask_threshold, return_masks, target_sizes)

    def select(
        self,
        groups: Mapping[str, Group],
        inputs: Mapping[str, Any],
        threshold: float | str | None = None,
        referents: str = "one",
        make_masks: bool = True,
    ) -> Referents:
        """The answers among what `rank` returned, on the canvas; see `post_process_referring_expression`."""
        limits = limits_of(threshold, referents, self.calibration)
        if referents == "one":
            return only_referent(groups, limits, self.calibration)
        return any_referents(groups, inputs, self.settings, limits, self.calibration, make_masks)

    def save_pretrained(
        self, save_directory: str | os.PathLike[str], push_to_hub: bool = False, **kwargs: Any
    ) -> list[str]:
        """As of every processor, and each detector into its sub-folder; one commit with them if it is pushed."""
        missing = sorted(set(self.detectors) - set(self.held_detectors))
        if missing:
            raise ValueError(
                f"This processor was loaded without its detectors ({', '.join(missing)}), and cannot be saved as a "
                "whole: load it with load_detectors=True, or give them with `replace_detector`."
            )
        # `push_to_hub` of every class passes it on; the tokenizer and the image processor have no shards.
        shards = {"max_shard_size": size} if (size := kwargs.pop("max_shard_size", None)) else {}
        if kwargs and not push_to_hub:
            raise TypeError(f"Unknown arguments {', '.join(sorted(kwargs))}: they are those of push_to_hub=True.")
        saved = super().save_pretrained(save_directory)
        for kind, detector in self.held_detectors.items():
            save_detector(detector, self.detectors[kind], Path(save_directory), _FOLDERS[kind], **shards)
        if push_to_hub:
            upload_saved(save_directory, kwargs, "Upload processor")
        return saved

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str],
        *args: Any,
        load_detectors: bool = True,
        **kwargs: Any,
    ) -> Any:
        """
        As of every processor; the detectors that were saved with it are loaded, too.

        Args:
            load_detectors: False where proposals are not needed; such a processor cannot be saved.

        Raises:
            OSError: a detector that the processor was saved with cannot be loaded.
            ValueError: no detector is registered for the model type.
        """
        require_there(pretrained_model_name_or_path)
        with clear_errors(pretrained_model_name_or_path, files_alone=True):
            processor = super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
        if load_detectors:
            hub = {name: kwargs[name] for name in _HUB_ARGUMENTS if kwargs.get(name) is not None}
            load_saved_detectors(processor, pretrained_model_name_or_path, _FOLDERS, kwargs.get("subfolder", ""), hub)
        return processor


__all__ = ["PbrecProcessor", "PbrecProcessorKwargs"]
