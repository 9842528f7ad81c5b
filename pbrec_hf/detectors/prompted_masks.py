"""Masks of the SAM family: SAM, SAM 2, EdgeTAM and SAM 3's tracker make the mask of the chosen box.

There is nothing to rank: such a network proposes nothing. It takes the place of a processor's mask detector, and is
prompted with the box of each answer. A picture is encoded once for all its expressions, and only if somebody wants
masks. Sources: arXiv 2304.02643, 2408.00714, 2501.07256, 2511.16719.
"""

from typing import Any

import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForMaskGeneration,
    PreTrainedConfig,
    Sam2Processor,
    Sam3TrackerProcessor,
    SamProcessor,
)
from transformers.configuration_utils import SubConfigSpec

from ..geometry.requested_masks import RequestedMasks
from ..hub.loading import StrictConfig
from .wrapped import WrappedNetwork, as_pictures, float32_by_default

# Repositories of SAM 2, EdgeTAM and SAM 3 are of their networks for videos, whose parts for pictures are loaded.
_READERS = {
    "edgetam": Sam2Processor,
    "edgetam_video": Sam2Processor,
    "sam": SamProcessor,
    "sam2": Sam2Processor,
    "sam2_video": Sam2Processor,
    "sam3_tracker": Sam3TrackerProcessor,
    "sam3_video": Sam3TrackerProcessor,
}


@strict
class PromptedMasksConfig(StrictConfig):
    """
    Which network makes the masks.

    Args:
        network_config: of a network of the SAM family.
    """

    model_type = "pbrec_prompted_masks"
    sub_configs_defaults = {"network_config": SubConfigSpec(config_class=AutoConfig, model_type="sam")}

    network_config: dict[str, Any] | PreTrainedConfig | None = None

    def validate_architecture(self) -> None:
        """
        Check the fields; transformers calls it after construction.

        Raises:
            ValueError: the network is of another family.
        """
        family = getattr(self.network_config, "model_type", None)
        if family not in _READERS:
            raise ValueError(
                f"network_config is of the type {family!r}: give a network that makes masks of boxes, one of "
                f"{', '.join(map(repr, _READERS))}."
            )


class PromptedMasks(WrappedNetwork):
    """
    A network that makes the mask of a box; see the module docstring.

    ```python
    processor.replace_detector("masks", PromptedMasks.wrap("facebook/sam2.1-hiera-tiny"))
    ```
    """

    config: PromptedMasksConfig
    main_input_name = "pixel_values"
    input_modalities = ["image"]
    base_model_prefix = "prompted"
    auto = AutoModelForMaskGeneration

    @classmethod
    def reader_of(cls, network_config: Any) -> Any:
        """The processor's class; that of a network for videos would read videos."""
        return _READERS.get(network_config.model_type, cls.reader)

    @classmethod
    def serves(cls, network_config: Any) -> bool:
        """Whether this class wraps networks with this config."""
        return network_config.model_type in _READERS

    def forward(self, pixel_values: Tensor, image_index: Tensor, boxes: Tensor) -> Tensor:
        """
        Masks of boxes; see [`RequestedMasks.of_boxes`].

        Args:
            pixel_values: (I, 3, H, W) RGB, ImageNet-normalised.
            image_index: (n,) int64, the canvas of each box.
            boxes: (n, 4) XYXY in canvas pixels.

        Returns:
            (n, H, W) probabilities.
        """
        return self.prompt(pixel_values).of_boxes(image_index, boxes)

    def prompt(self, pixel_values: Tensor) -> RequestedMasks:
        """Masks of any boxes on canvases (I, 3, H, W), RGB, ImageNet-normalised."""
        return RequestedMasks(pixel_values, self._features, self._masks)

    @torch.no_grad()
    def _features(self, canvas: Tensor) -> tuple[Tensor, Any]:
        (picture,) = as_pictures(canvas[None])
        network: Any = self.network
        with float32_by_default():
            pixels = self.processor.image_processor([picture], return_tensors="pt")["pixel_values"]
            return picture, network.get_image_embeddings(pixels.to(self.device, self.dtype))

    @torch.no_grad()
    def _masks(self, features: tuple[Tensor, Any], boxes: Tensor) -> Tensor:
        picture, embeddings = features
        # The processor leads boxes to where the picture lies in the network's frame, and masks back.
        asked = self.processor(images=[picture], input_boxes=[boxes.tolist()], return_tensors="pt")
        sizes = {name: asked[name] for name in ("original_sizes", "reshaped_input_sizes") if name in asked}
        prompts = asked["input_boxes"].to(self.device, self.dtype)
        with float32_by_default():
            output = self.network(image_embeddings=embeddings, input_boxes=prompts, multimask_output=False)
        (logits,) = self.processor.post_process_masks(output.pred_masks.float(), **sizes, binarize=False)
        masks: Tensor = logits[:, 0].sigmoid()
        return masks


__all__ = ["PromptedMasks", "PromptedMasksConfig"]
