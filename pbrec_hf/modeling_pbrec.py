"""The comprehension stage: how well does each point of a grid fit a referring expression?

backbone and text encoder → one vector per point and per token → fusion encoder → two MLP heads → logits per point.

Notable features:

- many expressions share an image: `image_index` says which, and the image is encoded once;
- `get_image_features` + `forward(image_features=…)` serve a cache of encoded images;
- arithmetic of the released code (see `comprehension/fusion.py`), without its weights that no output reads.

Knows nothing of detectors, boxes or pixels of the original picture.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig
from transformers.modeling_outputs import BaseModelOutput
from transformers.processing_utils import Unpack
from transformers.utils import ModelOutput, TransformersKwargs
from transformers.utils.generic import can_return_tuple

from .comprehension.encoders import freeze_modules, image_backbone, text_encoder
from .comprehension.fusion import PbrecFusionEncoder, PbrecHead, PbrecPreTrainedModel, linear
from .comprehension.labels import center_targets
from .comprehension.loss import point_loss
from .comprehension.positions import sine_positions_1d, sine_positions_2d
from .configuration_pbrec import PbrecConfig
from .geometry.image_index import image_of_each
from .geometry.points import feature_mask, grid_points, near_mask
from .layers.frozen_norm import freeze_batch_norm
from .layers.initialization import constant, starting, uniform


@dataclass
class PbrecImageFeatures(ModelOutput):
    """
    Encoded images, reusable for any number of expressions.

    Attributes:
        features: (I, P, d_model), one vector per point, row-major.
        positions: (I, P, d_model), their position codes.
        mask: bool (I, P), True where the point's cell holds picture.
        points: (I, P, 2) XY canvas pixels, positions of the points; None = the centres of their cells.
        attended: bool (I, P), the points that take part in attention as keys; None = those of `mask`.
        near: bool (I, P), the points whose scores a proposal in the picture can depend on; None = all.
    """

    # transformers' outputs need defaults; the first three are always there.
    features: Tensor = None  # type: ignore[assignment]
    positions: Tensor = None  # type: ignore[assignment]
    mask: Tensor = None  # type: ignore[assignment]
    points: Tensor | None = None
    attended: Tensor | None = None
    near: Tensor | None = None

    @property
    def attention_mask(self) -> Tensor:
        """bool (I, P), the points to attend to."""
        return self.mask if self.attended is None else self.attended

    def gather(self, index: Tensor, points: Tensor | None = None) -> "PbrecImageFeatures":
        """The features of images `index` (E,), in that order; of some `points` int64 (K,), or of all."""
        at: Any = index if points is None else (index[:, None], points)
        return PbrecImageFeatures(**{name: value[at] for name, value in self.items()})

    def near_points(self, index: Tensor) -> Tensor | None:
        """The points int64 (K,) that are `near` in any of the images `index` (E,); None = all."""
        if self.near is None or torch.compiler.is_compiling():
            return None
        near = self.near[index].any(dim=0)
        return None if near.all() else near.nonzero().squeeze(1)


@dataclass
class PbrecOutput(ModelOutput):
    """
    Attributes:
        loss: (), the sum of the two losses, if labels were given.
        center_loss: (), loss of the center-ness head.
        mass_loss: (), loss of the mass-ness head.
        center_logits: (E, P), before the sigmoid; None without the task "grounding".
        mass_logits: (E, P), before the sigmoid; None without the task "segmentation".
        image_features: what `get_image_features` gave, to be passed again with other expressions.
        hidden_states: input of the first fusion layer and output of each, (E, P + L, d_model), if asked for.
        attentions: attention weights of each fusion layer, (E, heads, P + L, P + L), if asked for (eager attention).
    """

    loss: Tensor | None = None
    center_loss: Tensor | None = None
    mass_loss: Tensor | None = None
    center_logits: Tensor | None = None
    mass_logits: Tensor | None = None
    image_features: PbrecImageFeatures | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


# Further outputs of the processor, the collator and transformers' Trainer, which `forward` ignores.
_UNREAD = {
    "letterbox",
    "truncated",
    "unread",
    "readable",
    "expressions",
    "box_proposals",
    "mask_proposals",
    "repaired",
    "image_ids",
    "ref_ids",
    "sent_ids",
    "num_items_in_batch",
}


_AT_ONCE = 8  # expressions that a CPU scores together
HIDDEN = -1e4  # the logit of a point that is not scored; none in a picture has it


class PbrecModel(PbrecPreTrainedModel):
    """Backbone, text encoder and fusion encoder, without heads."""

    main_input_name = "input_ids"

    def __init__(self, config: PbrecConfig):
        super().__init__(config)
        self.backbone = image_backbone(cast(PreTrainedConfig, config.backbone_config))
        # CODEPATH: on in every published recipe; off for those who train a backbone with statistics of its own.
        if config.freeze_batch_norm:
            freeze_batch_norm(self.backbone)
        channels = self.backbone.channels[-1]
        bound = math.sqrt(3 / channels)  # Kaiming-uniform with a = 1
        projection = nn.Conv2d(channels, config.d_model, kernel_size=1)
        self.image_projection = starting(projection, weight=uniform(bound), bias=constant(0))
        self.text_model = text_encoder(cast(PreTrainedConfig, config.text_config))
        self.text_projection = linear(self.text_model.config.hidden_size, config.d_model)
        self.fusion = PbrecFusionEncoder(config)
        self.post_init()
        self.freeze_parts()

    def freeze_parts(self) -> None:
        """Stop the training of the backbone's modules that the config names; loading a checkpoint does so again."""
        freeze_modules(self.backbone, self.config.frozen_backbone_modules)

    def get_input_embeddings(self) -> nn.Module:
        """The token embeddings of the text encoder."""
        return self.text_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the token embeddings of the text encoder."""
        self.text_model.set_input_embeddings(value)

    def get_image_features(
        self, pixel_values: Tensor, pixel_mask: Tensor | None = None, detected: ModelOutput | None = None
    ) -> PbrecImageFeatures:
        """
        Encode images once.

        Args:
            pixel_values: (I, 3, H, W), normalised canvases; H and W multiples of `config.stride`.
            pixel_mask: (I, H, W), 1 where the canvas holds picture; None = everywhere.
            detected: output of the detector inside the backbone for these canvases, if it has already run; only for a
                backbone that has one (see `share_detector`).

        Raises:
            ValueError: if the canvas does not give a grid of `config.stride`.
        """
        height, width = pixel_values.shape[-2:]
        rows, cols = height // self.config.stride, width // self.config.stride
        shared = {} if detected is None else {"detected": detected}
        seen = self.backbone(pixel_values.to(self.dtype), **shared)
        feature_map, points = seen.feature_maps[-1], seen.get("points")
        if feature_map.shape[-2:] != (rows, cols) or height % self.config.stride or width % self.config.stride:
            raise ValueError(
                f"A canvas of {height}×{width} pixels gave a feature map of {tuple(feature_map.shape[-2:])}, not the "
                f"{rows}×{cols} points of stride {self.config.stride}: use a canvas whose sides are multiples of the "
                "stride, and a backbone whose last feature has this stride."
            )
        features = self.image_projection(feature_map).flatten(2).transpose(1, 2)
        if pixel_mask is None:
            pixel_mask = pixel_values.new_ones((len(pixel_values), height, width), dtype=torch.bool)
        mask = feature_mask(pixel_mask, rows, cols)
        shift = None
        if points is not None:
            middles = grid_points(rows, cols, self.config.stride, device=points.device)
            shift = (points - middles) / self.config.stride
        positions = sine_positions_2d(mask.view(-1, rows, cols), self.config.d_model, shift)
        attended = seen.get("attended")
        if attended is not None:
            attended = attended & mask
        near = near_mask(pixel_mask, rows, cols)
        return PbrecImageFeatures(features, positions.to(features.dtype), mask, points, attended, near)

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor,
        image_features: PbrecImageFeatures,
        attention_mask: Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> BaseModelOutput:
        """
        Fuse expressions with the features of their images (one row of `image_features` per expression).

        Args:
            input_ids: (E, L) tokens.
            image_features: of E images, see [`PbrecImageFeatures.gather`].
            attention_mask: (E, L), 1 = token.
        """
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        return self.fuse(self.read(input_ids, attention_mask), attention_mask, image_features, **kwargs)

    def read(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The text encoder's last hidden states (E, L, its hidden size) of tokens and mask (E, L)."""
        words: Tensor = self.text_model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return words

    def fuse(
        self,
        words: Tensor,
        attention_mask: Tensor,
        image_features: PbrecImageFeatures,
        **kwargs: Unpack[TransformersKwargs],
    ) -> BaseModelOutput:
        """
        The same for expressions that the text encoder has read already.

        Args:
            words: (E, L, hidden size of the text encoder), its last hidden states.
            attention_mask: (E, L), 1 = token.
            image_features: of E images.
        """
        words = self.text_projection(words)
        word_positions = sine_positions_1d(words.shape[1], words.shape[2], words.device).to(words.dtype)
        return self.fusion(
            torch.cat((image_features.features, words), dim=1),
            torch.cat((image_features.positions, word_positions.expand_as(words)), dim=1),
            torch.cat((image_features.attention_mask, attention_mask.bool()), dim=1),
            **kwargs,
        )


class PbrecForReferringExpression(PbrecPreTrainedModel):
    """The comprehension stage with its heads: center-ness (boxes) and mass-ness (masks) per point."""

    def __init__(self, config: PbrecConfig):
        super().__init__(config)
        self.model = PbrecModel(config)
        # CODEPATH: pbrec-mt-* have both heads, pbrec-* the one for boxes.
        self.center_head = PbrecHead(config) if "grounding" in config.tasks else None
        # CODEPATH: as above.
        self.mass_head = PbrecHead(config) if "segmentation" in config.tasks else None
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The token embeddings of the text encoder."""
        return self.model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the token embeddings of the text encoder."""
        self.model.set_input_embeddings(value)

    def get_image_features(
        self, pixel_values: Tensor, pixel_mask: Tensor | None = None, detected: ModelOutput | None = None
    ) -> PbrecImageFeatures:
        """See [`PbrecModel.get_image_features`]."""
        return self.model.get_image_features(pixel_values, pixel_mask, detected)

    @can_return_tuple
    def forward(
        self,
        pixel_values: Tensor | None = None,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        pixel_mask: Tensor | None = None,
        image_index: Tensor | None = None,
        image_features: PbrecImageFeatures | None = None,
        centerness_labels: Tensor | None = None,
        massness_labels: Tensor | None = None,
        boxes: Tensor | None = None,
        referent_index: Tensor | None = None,
        detected: ModelOutput | None = None,
        skip_padding: bool = False,
        **kwargs: Unpack[TransformersKwargs],
    ) -> PbrecOutput:
        """
        Score every point of each expression's image.

        Args:
            pixel_values: (I, 3, H, W), normalised canvases; or give `image_features`.
            input_ids: (E, L) tokens of the expressions.
            attention_mask: (E, L), 1 = token.
            pixel_mask: (I, H, W), 1 = picture.
            image_index: (E,), the image of each expression. None: one expression per image, or a single image.
            image_features: cached result of `get_image_features`, instead of `pixel_values`.
            centerness_labels: (E, P) soft targets in [0, 1] (eq. 2).
            massness_labels: (E, P) soft targets in [0, 1] (eq. 4).
            boxes: (R, 4) XYXY in canvas pixels, the referents of all expressions. Without `centerness_labels`, a
                model with a center-ness head computes these from the boxes, at the points of its backbone.
            referent_index: (R,), the expression of each box; an expression may have several or none. None: one box
                per expression.
            detected: see `get_image_features`.
            skip_padding: whether to leave out the points that no proposal in the picture reads, a quarter of all for a
                photograph of 3:2. Their logits are -10,000; the others do not change. Ignored where a graph is traced.
            kwargs: those of transformers, such as output_hidden_states and output_attentions (the config has their
                defaults). Other outputs of the processor and the collator (letterbox, proposals …) are accepted and
                ignored.

        Raises:
            TypeError: an argument that nothing here reads or gives.
            ValueError: inputs are missing or do not fit each other.
        """
        passed_on = {name: value for name, value in kwargs.items() if name in TransformersKwargs.__annotations__}
        if unknown := kwargs.keys() - passed_on.keys() - _UNREAD:
            raise TypeError(
                f"Unknown arguments {', '.join(sorted(unknown))}: labels are `centerness_labels`, `massness_labels` "
                f"or `boxes`; accepted and ignored are {', '.join(sorted(_UNREAD))}."
            )
        if input_ids is None or (pixel_values is None) == (image_features is None):
            raise ValueError("Give `input_ids` and either `pixel_values` or `image_features` (one of the two).")
        if image_features is None:
            image_features = self.get_image_features(cast(Tensor, pixel_values), pixel_mask, detected)
        index = image_of_each(image_index, input_ids.shape[0], image_features.features.shape[0])
        passed_on.pop("num_items_in_batch", None)  # the Trainer's; the loss is a mean over points
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        index = index.to(image_features.features.device)
        words = self.model.read(input_ids, attention_mask)
        count = image_features.features.shape[1]
        fused, centers, masses = [], [], []
        for some in _parts(words.shape[0], words.device, passed_on):
            near = image_features.near_points(index[some]) if skip_padding else None
            features = image_features.gather(index[some], near)
            fused.append(self.model.fuse(words[some], attention_mask[some], features, **passed_on))
            points = fused[-1].last_hidden_state[:, : features.features.shape[1]]
            if self.center_head is not None:
                centers.append(_of_all(self.center_head(points), near, count))
            if self.mass_head is not None:
                masses.append(_of_all(self.mass_head(points), near, count))
        center_logits, mass_logits = (torch.cat(parts) if parts else None for parts in (centers, masses))
        if centerness_labels is None and boxes is not None and center_logits is not None:
            centerness_labels = center_targets(boxes, referent_index, image_features.points, index, self.config)
        center_loss = _loss("centerness_labels", "grounding", center_logits, centerness_labels)
        mass_loss = _loss("massness_labels", "segmentation", mass_logits, massness_labels)
        losses = [loss for loss in (center_loss, mass_loss) if loss is not None]
        return PbrecOutput(
            loss=torch.stack(losses).sum() if losses else None,
            center_loss=center_loss,
            mass_loss=mass_loss,
            center_logits=center_logits,
            mass_logits=mass_logits,
            image_features=image_features,
            hidden_states=fused[0].hidden_states,
            attentions=fused[0].attentions,
        )


def _parts(expressions: int, device: torch.device, asked: Mapping[str, Any]) -> list[slice]:
    """
    Slices of expressions to score one after the other.

    On a CPU, tensors of a few expressions stay in its cache, which those of many do not.

    Args:
        expressions: E.
        device: of the model.
        asked: further outputs that were asked for; those are of all expressions at once.
    """
    whole = torch.is_grad_enabled() or torch.compiler.is_compiling() or device.type != "cpu" or any(asked.values())
    if whole or expressions <= _AT_ONCE:
        return [slice(None)]
    return [slice(start, start + _AT_ONCE) for start in range(0, expressions, _AT_ONCE)]


def _of_all(logits: Tensor, points: Tensor | None, count: int) -> Tensor:
    """Logits (E, count) of all points, from those (E, K) of some `points` (K,), or of all."""
    if points is None:
        return logits
    return logits.new_full((logits.shape[0], count), HIDDEN).index_copy(1, points, logits)


def _loss(argument: str, task: str, logits: Tensor | None, labels: Tensor | None) -> Tensor | None:
    if labels is None:
        return None
    if logits is None:
        raise ValueError(f"`{argument}` given, but the model has no head for {task!r}: add it to `config.tasks`.")
    return point_loss(logits, labels)


__all__ = ["PbrecForReferringExpression", "PbrecImageFeatures", "PbrecModel", "PbrecOutput", "PbrecPreTrainedModel"]
