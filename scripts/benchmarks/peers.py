"""Peers at their real sizes with random weights, from the installed transformers; in torch and, exported, in OpenVINO.

Each goes from a photograph's file to its answer, as its users have it.
"""

from collections.abc import Callable
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from transformers import (
    CLIPSegConfig,
    CLIPSegForImageSegmentation,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    GroundingDinoImageProcessor,
    Owlv2Config,
    Owlv2ForObjectDetection,
    Owlv2ImageProcessor,
    ViTImageProcessor,
)
from transformers.models.grounding_dino.modeling_grounding_dino import GroundingDinoObjectDetectionOutput


class Tensors(nn.Module):
    """A network that returns some of its outputs by place, as exporters want it."""

    def __init__(self, model: nn.Module, names: tuple[str, ...]):
        super().__init__()
        self.model, self.names = model, names

    def forward(self, pixel_values: Tensor, input_ids: Tensor) -> tuple[Tensor, ...]:
        outputs = self.model(pixel_values=pixel_values, input_ids=input_ids)
        return tuple(outputs[name] for name in self.names)


def float32_graph(network: nn.Module, given: tuple[Tensor, ...]) -> Any:
    """
    A network compiled by OpenVINO for inputs of the shapes of `given`, in float32 and as many threads as torch has.

    Raises:
        ImportError: OpenVINO is not installed.
        Exception: its own, if it cannot export the network.
    """
    import openvino

    with torch.inference_mode():
        graph = openvino.convert_model(network, example_input=given, input=[list(one.shape) for one in given])
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "INFERENCE_PRECISION_HINT": "f32",
    }
    return openvino.compile_model(graph, "CPU", settings)


class Peer:
    """
    A network, what it reads photographs with, and the words of an expression.

    Attributes:
        answer: from the photograph's file to the answer, in torch.
    """

    names: tuple[str, ...] = ("logits",)

    def __init__(self, path: object, model: nn.Module, image_processor: Any, words: Tensor):
        self.path, self.image_processor, self.words = path, image_processor, words
        self.network = Tensors(model, self.names).eval()

    def finish(self, tensors: tuple[Tensor, ...], photograph: Image.Image) -> object:
        """The answer from the tensors of the network."""
        return tensors[0].sigmoid()

    def _pixels(self, photograph: Image.Image) -> Tensor:
        return self.image_processor(photograph, return_tensors="pt")["pixel_values"]

    @torch.inference_mode()
    def answer(self) -> object:
        photograph = Image.open(self.path).convert("RGB")
        return self.finish(self.network(self._pixels(photograph), self.words), photograph)

    def in_openvino(self) -> Callable[[], object]:
        """`answer` with the network in OpenVINO; see `float32_graph`."""
        graph = float32_graph(self.network, (self._pixels(Image.open(self.path).convert("RGB")), self.words))

        def answer() -> object:
            photograph = Image.open(self.path).convert("RGB")
            found = graph([self._pixels(photograph).numpy(), self.words.numpy()])
            tensors = tuple(torch.from_numpy(found[place]) for place in range(len(self.names)))
            return self.finish(tensors, photograph)

        return answer


class ClipSeg(Peer):
    """CLIPSeg (ViT-B/16) at 352 × 352: a heat map."""

    def __init__(self, path: object):
        size = {"height": 352, "width": 352}
        words = torch.randint(1, 400, (1, 8))
        super().__init__(path, CLIPSegForImageSegmentation(CLIPSegConfig()), ViTImageProcessor(size=size), words)


class GroundingDino(Peer):
    """Grounding DINO (tiny) at its default size, 800 × 1066: boxes."""

    names = ("logits", "pred_boxes")

    def __init__(self, path: object):
        words = torch.randint(1000, 20000, (1, 8))
        words[0, 0], words[0, -1] = 101, 102
        model = GroundingDinoForObjectDetection(GroundingDinoConfig())
        super().__init__(path, model, GroundingDinoImageProcessor(), words)

    def finish(self, tensors: tuple[Tensor, ...], photograph: Image.Image) -> object:
        outputs = GroundingDinoObjectDetectionOutput(logits=tensors[0], pred_boxes=tensors[1])
        size = [(photograph.height, photograph.width)]
        return self.image_processor.post_process_object_detection(outputs, target_sizes=size)


class Owlv2(GroundingDino):
    """OWLv2 (base, patch 16) at its default size, 960 × 960: boxes."""

    def __init__(self, path: object):
        config = Owlv2Config()
        config.vision_config.image_size, config.vision_config.patch_size = 960, 16
        words = torch.randint(1, 400, (1, 16))
        Peer.__init__(self, path, Owlv2ForObjectDetection(config), Owlv2ImageProcessor(), words)
