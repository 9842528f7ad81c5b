"""The last step as a graph: from logits and proposals to the one answer of each expression."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from ..configuration_pbrec import PbrecConfig
from ..geometry.letterbox import boxes_to_originals
from ..geometry.proposals import Proposals
from ..modeling_pbrec import PbrecOutput
from ..processing_pbrec import PbrecProcessor
from ..selection.choose import PROPOSALS, same_points
from .parts import logits_names, seen_from


class AnswerPart(nn.Module):
    """
    `logits_names` (E, P), image_index (E,), letterbox int64 (I, 6) and `tensors_of` I pictures → boxes (E, 4) XYXY in
    pixels of the original, raw_scores (E,), -inf = no proposal; scores and exists (E,), where there is a calibration;
    masks (E, h, w), probabilities over the canvas, where there are masks.

    What `referents="one"` answers without a threshold. Of equally good proposals any may win, and `choose="fit"`
    considers the `MOST_FITTED` best.

    Args:
        config: of the model.
        processor: ranks and selects.
        templates: by kind, the proposals of its detectors on any canvas.
        seen: names of `tensors_of`.

    Raises:
        ValueError: the proposals are no boxes.
    """

    def __init__(
        self, config: PbrecConfig, processor: PbrecProcessor, templates: Mapping[str, Proposals], seen: Sequence[str]
    ):
        super().__init__()
        if "boxes" not in templates:
            raise ValueError("There is no answer as a graph without a box detector that has one.")
        self._processor, self._templates = processor, templates
        follows = processor.settings.masks_follow_boxes and "masks" in templates
        self._same_points = follows and same_points(templates["boxes"], templates["masks"])
        self.input_names = [*logits_names(config), "image_index", "letterbox", *seen]

    @property
    def output_names(self) -> list[str]:
        """Names of the outputs."""
        calibrated = [] if self._processor.calibration is None else ["scores", "exists"]
        return ["boxes", "raw_scores", *calibrated, *(["masks"] if "masks" in self._templates else [])]

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """See the class; the inputs are `input_names`."""
        named = dict(zip(self.input_names, tensors, strict=True))
        unread = dict.fromkeys(("features", "positions"), tensors[0])  # of the networks alone
        features, proposals = seen_from(named | unread, self._templates)
        if self._same_points:
            proposals["masks"] = replace(proposals["masks"], points=proposals["boxes"].points)
        outputs = PbrecOutput(
            center_logits=named.get("center_logits"), mass_logits=named.get("mass_logits"), image_features=features
        )
        inputs: dict[str, Any] = {PROPOSALS[kind]: value for kind, value in proposals.items()}
        inputs |= {name: named[name] for name in ("letterbox", "image_index")}
        groups = self._processor.rank(outputs, inputs)
        boxes, raw = groups["boxes"].chosen("boxes"), groups["boxes"].score
        found = [boxes_to_originals(boxes, named["letterbox"][named["image_index"]]), raw]
        if (calibration := self._processor.calibration) is not None:
            found += [calibration.one(raw), calibration.exists(raw)]
        if "masks" in groups:
            found.append(groups["masks"].chosen("masks"))
        return tuple(found)


__all__ = ["AnswerPart"]
