"""Open-vocabulary detectors of transformers: Grounding DINO, MM Grounding DINO, OmDet-Turbo, OWL-ViT and OWLv2.

They are asked for a fixed list of classes, once per picture, or with the words of each expression. Then proposals
belong to expressions, and the comprehension stage ranks what was found for its own words. Sources: arXiv 2303.05499,
2401.02361, 2403.06892, 2205.06230, 2306.09683.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor
from transformers import AutoConfig, AutoModelForZeroShotObjectDetection, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec
from transformers.utils import logging

from ..geometry.image_index import image_of_each
from ..geometry.letterbox import canvas_of
from ..geometry.proposals import Proposals
from .base import Detector, DetectorConfig
from .vocabularies import VOCABULARIES, Found, Vocabulary, share_rows
from .wrapped import WrappedNetwork, as_pictures, best_boxes, float32_by_default

logger = logging.get_logger(__name__)
ASKS = ("classes", "expression")


@strict
class OpenVocabularyConfig(DetectorConfig):
    """
    How an open-vocabulary detector is asked.

    Args:
        network_config: of the network, any that `AutoModelForZeroShotObjectDetection` and `VOCABULARIES` know.
        ask: "classes" (the names in `id2label`, once per picture) or "expression" (the words of each expression).
        prompt: what is said, with {} for a class or an expression: "a photo of a {}".
        top_n: proposals per picture or expression, at most.
        min_score: proposals that score less do not count.
        rows_per_pass: pictures or expressions that are computed at once, which bounds the memory.
        id2label: the classes, by default the 80 of COCO; with ask="expression" one, which stands for the expression.
    """

    model_type = "pbrec_open_vocabulary"
    sub_configs_defaults = {"network_config": SubConfigSpec(config_class=AutoConfig, model_type="grounding-dino")}

    network_config: dict[str, Any] | PreTrainedConfig | None = None
    ask: str = "classes"
    prompt: str = "{}"
    top_n: int = 100
    min_score: float | int = 0.0
    rows_per_pass: int = 16

    limits: ClassVar = {"top_n": (1, 10_000), "min_score": (0, 1), "rows_per_pass": (1, 4096)}

    def __post_init__(self, **kwargs: Any) -> None:
        if self.ask == "expression" and self.id2label is None and "num_labels" not in kwargs:
            self.id2label = {0: "expression"}
            self.label2id = {"expression": 0}
        super().__post_init__(**kwargs)

    def validate_architecture(self) -> None:
        """
        Check the fields; transformers calls it after construction.

        Raises:
            ValueError: a field is not legal.
        """
        self.check_limits()
        self.check_choice("ask", ASKS)
        if "{}" not in self.prompt:
            raise ValueError(f"prompt={self.prompt!r}: write {{}} where the class or the expression belongs.")
        family = getattr(self.network_config, "model_type", None)
        if family not in VOCABULARIES:
            raise ValueError(
                f"network_config is of the type {family!r}: give an open-vocabulary detector of one of "
                f"{', '.join(map(repr, VOCABULARIES))}."
            )


class OpenVocabularyDetector(WrappedNetwork, Detector):
    """
    An open-vocabulary detector; see the module docstring.

    ```python
    OpenVocabularyDetector.wrap("IDEA-Research/grounding-dino-tiny", ask="expression", top_n=20)
    OpenVocabularyDetector.wrap("google/owlv2-base-patch16-ensemble", classes=["cat", "dog"], prompt="a photo of a {}")
    ```
    """

    config: OpenVocabularyConfig
    auto = AutoModelForZeroShotObjectDetection

    def __init__(self, config: OpenVocabularyConfig, processor: Any = None):
        super().__init__(config, processor)
        self._prepare()

    def _prepare(self) -> None:
        if self._vocabulary.backbone is not None:
            share_rows(self.network.get_submodule(self._vocabulary.backbone))

    @property
    def _vocabulary(self) -> Vocabulary:
        return VOCABULARIES[self.network.config.model_type]

    @property
    def source(self) -> None:
        """None: what the network is given depends on more than the canvas."""
        return None

    @property
    def asks_expressions(self) -> bool:
        """Whether `propose` wants the expressions."""
        return self.config.ask == "expression"

    @classmethod
    def serves(cls, network_config: Any) -> bool:
        """Whether this class wraps networks that have this config."""
        return network_config.model_type in VOCABULARIES

    @classmethod
    def wrap(cls, source: Any, *, classes: Sequence[str] | None = None, **options: Any) -> "OpenVocabularyDetector":
        """
        Wrap a network of transformers; see [`WrappedNetwork.wrap`].

        Args:
            source: Hub id or folder.
            classes: to ask for, if `ask` is "classes".
            options: fields of [`OpenVocabularyConfig`], and options of `from_pretrained`.
        """
        if classes is not None:
            options["id2label"] = dict(enumerate(classes))
        return super().wrap(source, **options)

    def forward(self, pixel_values: Tensor, phrases: list[list[str]], image_index: Tensor) -> Found:
        """
        Everything that the network finds.

        Args:
            pixel_values: (I, 3, H, W) RGB, ImageNet-normalised.
            phrases: R lists of as many phrases each.
            image_index: (R,) int64, the picture of each.
        """
        pictures = as_pictures(pixel_values)
        parts = []
        for first in range(0, len(phrases), self.config.rows_per_pass):
            rows = slice(first, first + self.config.rows_per_pass)
            seen, index = image_index[rows].to(self.device).unique(return_inverse=True)
            some = [pictures[picture] for picture in seen.tolist()]
            with float32_by_default():
                parts.append(self._vocabulary.find(self.network, self.processor, some, phrases[rows], index))
        return Found(*map(torch.cat, zip(*parts, strict=True)))

    @torch.no_grad()
    def propose(
        self,
        pixel_values: Tensor,
        pixel_mask: Tensor | None = None,
        output: None = None,
        expressions: Sequence[str] | None = None,
        image_index: Tensor | None = None,
    ) -> Proposals:
        """
        The best boxes, at their centres, with the network's scores as quality and the best class of each.

        Args:
            pixel_values: (I, 3, H, W) RGB, ImageNet-normalised.
            pixel_mask: (I, H, W), 1 = picture; boxes whose centres lie in the padding are not valid.
            output: not used; there is no output to share.
            expressions: E of them, if the detector is asked with words.
            image_index: (E,) int64, their pictures.

        Raises:
            ValueError: the detector is asked with words, and there are none; or a class is longer than it can read.
        """
        if self.asks_expressions:
            if expressions is None:
                raise ValueError('This detector is asked with words (ask="expression"): give `expressions`.')
            asked = [[said] for said in expressions]
            index = image_of_each(image_index, len(asked), len(pixel_values))
        else:
            asked = [self.config.class_names] * len(pixel_values)
            index = torch.arange(len(pixel_values))
        phrases = [[self.config.prompt.replace("{}", said) for said in row] for row in asked]
        self._report_unread(phrases)
        index = index.to(pixel_values.device)
        found = self(pixel_values, phrases, index)
        return best_boxes(
            canvas_of(pixel_values),
            found.boxes,
            found.scores,
            found.labels,
            pixel_mask=None if pixel_mask is None else pixel_mask.to(pixel_values.device)[index],
            top_n=self.config.top_n,
            min_score=self.config.min_score,
            per_expression=self.asks_expressions,
        )

    def _report_unread(self, phrases: list[list[str]]) -> None:
        """Classes that cannot be read are a mistake of whoever chose them; of expressions, only the end is lost."""
        tokenizer, most = self.processor.tokenizer, self._vocabulary.most(self.network.config)
        rows = phrases if self.asks_expressions else phrases[:1]  # all alike
        texts = [text for row in rows for text in self._vocabulary.sentences(row)]
        for text, tokens in zip(texts, tokenizer(texts, verbose=False)["input_ids"], strict=True):
            if len(tokens) <= most:
                continue
            if not self.asks_expressions:
                raise ValueError(
                    f"The classes {text[:40]!r}… have {len(tokens)} tokens, but this detector reads {most}: give "
                    "fewer or shorter ones."
                )
            logger.warning(
                f"Expression {text[:40]!r}… has {len(tokens)} tokens; the open-vocabulary detector reads only the "
                f"first {most}."
            )


__all__ = ["ASKS", "OpenVocabularyConfig", "OpenVocabularyDetector"]
