"""The two parts of an answer that have graphs: what is seen in pictures, and how well expressions fit.

The image part turns canvases into image features and, where the detectors have graphs, too, into their proposals. The
expression part scores any number of expressions, each against the features of its picture. Between both and after them
remain letterbox, words and selection, which depend on what is found. Tensors in and out, by name.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from ..configuration_pbrec import PbrecConfig
from ..geometry.proposals import TENSORS, Proposals
from ..modeling_pbrec import PbrecForReferringExpression, PbrecImageFeatures
from ..processing_pbrec import PbrecProcessor
from ..selection.choose import PROPOSALS

IMAGE_INPUTS = ("pixel_values", "pixel_mask")
EXPRESSION_INPUTS = ("features", "positions", "mask", "input_ids", "attention_mask", "image_index")


class ImagePart(nn.Module):
    """
    pixel_values (I, 3, S, S), pixel_mask (I, S, S) → the values of `tensors_of`.

    Attributes:
        kinds: of the proposals among the outputs, "boxes" and/or "masks".
    """

    def __init__(self, model: PbrecForReferringExpression, processor: PbrecProcessor, with_proposals: bool = True):
        super().__init__()
        self.model, self._processor = model, processor
        detectors = processor.held_detectors.items() if with_proposals else ()
        self.kinds = tuple(kind for kind, detector in detectors if getattr(detector, "exportable", False))
        self._detectors = nn.ModuleList(processor.held_detectors[kind] for kind in self.kinds)

    def seen(self, pixel_values: Tensor, pixel_mask: Tensor) -> tuple[PbrecImageFeatures, dict[str, Proposals]]:
        """Image features and proposals by kind."""
        found = self._processor.propose(pixel_values, pixel_mask, self.kinds) if self.kinds else {}
        features = self.model.get_image_features(pixel_values, pixel_mask, found.get("detected"))
        return features, {kind: found[PROPOSALS[kind]] for kind in self.kinds}

    def forward(self, pixel_values: Tensor, pixel_mask: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        return tuple(tensors_of(*self.seen(pixel_values, pixel_mask)).values())


class ExpressionPart(nn.Module):
    """
    features, positions (I, P, D), mask (I, P), input_ids, attention_mask (E, L), image_index (E,) → logits (E, P) of
    each head.
    """

    def __init__(self, model: PbrecForReferringExpression):
        super().__init__()
        self.model = model

    def forward(
        self,
        features: Tensor,
        positions: Tensor,
        mask: Tensor,
        input_ids: Tensor,
        attention_mask: Tensor,
        image_index: Tensor,
    ) -> tuple[Tensor, ...]:
        """See the class."""
        image = PbrecImageFeatures(features, positions, mask)
        outputs = self.model(
            input_ids=input_ids, attention_mask=attention_mask, image_features=image, image_index=image_index
        )
        return tuple(logits for logits in (outputs.center_logits, outputs.mass_logits) if logits is not None)


def logits_names(config: PbrecConfig) -> list[str]:
    """Names of the outputs of the expression part."""
    heads = {"grounding": "center_logits", "segmentation": "mass_logits"}
    return [name for task, name in heads.items() if task in config.tasks]


def tensors_of(features: PbrecImageFeatures, proposals: Mapping[str, Proposals]) -> dict[str, Tensor]:
    """
    What the image part gives, by name: `features`, `positions`, `mask` (the points to attend to), `picture` (those of
    the picture), `points`; and fields of proposals such as `boxes.quality` and `masks.masks.features`.
    """
    named = {"features": features.features, "positions": features.positions, "mask": features.attention_mask}
    if features.attended is not None:
        named["picture"] = features.mask
    if features.points is not None:
        named["points"] = features.points
    for kind, proposed in proposals.items():
        for name in TENSORS:
            if (value := getattr(proposed, name)) is not None:
                named[f"{kind}.{name}"] = value
        if proposed.masks is not None:
            named |= {f"{kind}.masks.{name}": getattr(proposed.masks, name) for name in proposed.masks.PER_IMAGE}
    # A graph has no output that is another one, or an input.
    return {name: value.clone() for name, value in named.items()}


def seen_from(
    named: Mapping[str, Tensor], templates: Mapping[str, Proposals]
) -> tuple[PbrecImageFeatures, dict[str, Proposals]]:
    """
    Image features and proposals from the tensors of `tensors_of`.

    Args:
        named: the tensors.
        templates: by kind, proposals of the same detectors on any canvases of the same size; what is no tensor, or the
            same for all pictures, is theirs.
    """
    attended = named["mask"] if "picture" in named else None
    features = PbrecImageFeatures(
        named["features"], named["positions"], named.get("picture", named["mask"]), named.get("points"), attended
    )
    proposals = {}
    for kind, template in templates.items():
        tensors: dict[str, Any] = {
            name: named[f"{kind}.{name}"] for name in TENSORS if getattr(template, name) is not None
        }
        if template.masks is not None:
            parts = {name: named[f"{kind}.masks.{name}"] for name in template.masks.PER_IMAGE}
            tensors["masks"] = template.masks.with_tensors(parts)
        proposals[kind] = replace(template, **tensors)
    return features, proposals


__all__ = [
    "EXPRESSION_INPUTS",
    "IMAGE_INPUTS",
    "ExpressionPart",
    "ImagePart",
    "logits_names",
    "seen_from",
    "tensors_of",
]
