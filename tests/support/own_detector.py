"""A detector of a user's own, in a module of their own: the whole picture, and its four quarters, as boxes."""

import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn

from pbrec_hf.detectors.base import Detector, DetectorConfig
from pbrec_hf.geometry.proposals import Proposals


@strict
class QuartersConfig(DetectorConfig):
    """How large the boxes are, as a share of a quarter."""

    model_type = "own_quarters"
    default_classes = ("quarter",)
    limits = {"share": (0.1, 1.0)}

    share: float | int = 1.0


class QuartersDetector(Detector):
    """Four boxes, one in the middle of each quarter of the canvas."""

    config: QuartersConfig

    def __init__(self, config: QuartersConfig):
        super().__init__(config)
        self.quality = nn.Linear(1, 4)
        self.post_init()

    def forward(self, pixel_values: Tensor) -> Tensor:
        """(I, 3, H, W) -> the quality of each quarter, (I, 4)."""
        return self.quality(pixel_values.mean((1, 2, 3))[:, None].to(self.dtype)).sigmoid()

    @torch.no_grad()
    def propose(
        self, pixel_values: Tensor, pixel_mask: Tensor | None = None, output: Tensor | None = None
    ) -> Proposals:
        """Four boxes on a grid of 2 × 2 points."""
        height, width = pixel_values.shape[-2:]
        x = torch.tensor([1.0, 3, 1, 3], dtype=torch.float32) * width / 4
        y = torch.tensor([1.0, 1, 3, 3], dtype=torch.float32) * height / 4
        half_width, half_height = self.config.share * width / 4, self.config.share * height / 4
        boxes = torch.stack((x - half_width, y - half_height, x + half_width, y + half_height), dim=-1)
        boxes = boxes.to(pixel_values.device).expand(len(pixel_values), -1, -1)
        quality = (self(pixel_values) if output is None else output).float()
        labels = torch.zeros(len(pixel_values), 4, dtype=torch.int64, device=pixel_values.device)
        return Proposals(((2, 2),), (height, width), quality=quality, boxes=boxes, labels=labels)
