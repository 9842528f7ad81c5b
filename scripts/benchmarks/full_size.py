"""Figures of the full-size model: 640 × 640, ResNet-101 + BERT-base, FCOS-R50 at P5 or SOLO-R50 at P4, random weights.

Compared with the bare backbones in the same runtime and precision, and with peers at their real sizes.
"""

import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork
from transformers import BertTokenizer, ResNetBackbone, ResNetConfig

from pbrec_hf import (
    FcosDetector,
    Grounder,
    PbrecConfig,
    PbrecForReferringExpression,
    PbrecImageProcessor,
    PbrecProcessor,
    Proposals,
    SoloDetector,
    optimize_for_inference,
)
from pbrec_hf.detectors.fcos import FcosConfig
from pbrec_hf.detectors.solo import SoloConfig

from .peers import GroundingDino, Owlv2, float32_graph
from .timing import Figure, compared, measured

WORDS = [
    "left",
    "right",
    "second",
    "from",
    "the",
    "a",
    "dog",
    "cat",
    "man",
    "woman",
    "red",
    "blue",
    "car",
    "on",
    "in",
    "with",
    "of",
    "holding",
    "plate",
    "giraffe",
]
EXPRESSIONS = [
    "the dog on the left",
    "second car from the right",
    "woman in red",
    "man with the blue plate",
    "giraffe on the right",
    "cat in the car",
    "a man holding a cat",
    "plate on the left",
]


class FullSize:
    """
    A photograph on disk and everything that answers expressions about it.

    Args:
        folder: for the photograph.
        masks: instead of boxes.
        folded: whether norms are folded, as `Grounder` does; a checkpoint is saved without.
    """

    def __init__(self, folder: str, masks: bool = False, folded: bool = True):
        self.path = str(Path(folder) / "photograph.jpg")
        photograph().save(self.path, quality=90)
        torch.manual_seed(0)
        self.model = PbrecForReferringExpression(PbrecConfig()).eval()
        detector = (SoloDetector(SoloConfig()) if masks else FcosDetector(FcosConfig())).eval()
        if folded:
            self.model, detector = optimize_for_inference(self.model), optimize_for_inference(detector)
        vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
        tokenizer = BertTokenizer(vocab={word: index for index, word in enumerate(vocabulary)})
        kind = {"mask_detector" if masks else "box_detector": detector}
        self.processor = PbrecProcessor(PbrecImageProcessor(), tokenizer, **kind)

    @torch.inference_mode()
    def answer(self, expressions: list[str]) -> list[dict]:
        """Photograph file → answers in original pixels."""
        inputs = self.processor(self.path, expressions)
        return self.processor.post_process_referring_expression(self.model(**inputs), inputs)

    @torch.inference_mode()
    def answer_many(self, photographs: int, expressions: list[str], batch: int) -> None:
        """The photograph `photographs` times, `batch` at once, with the same expressions each."""
        for _ in range(0, photographs, batch):
            inputs = self.processor([self.path] * batch, [expressions] * batch)
            self.processor.post_process_referring_expression(self.model(**inputs), inputs)


def photograph() -> Image.Image:
    """640 × 480 with smooth structure, so that its JPEG decodes as slowly as a real one."""
    generator = np.random.default_rng(0)
    noise = generator.integers(0, 256, (60, 80, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((640, 480), Image.BICUBIC)


class Backbones(nn.Module):
    """What cannot be left out: ResNet-101 and ResNet-50 as transformers runs them; with an FPN if asked."""

    def __init__(self, fpn: bool = False):
        super().__init__()
        stages = ["stage1", "stage2", "stage3", "stage4"]
        self.image, self.detector = (
            ResNetBackbone(ResNetConfig(depths=depths, out_features=stages)).eval()
            for depths in ([3, 4, 23, 3], [3, 4, 6, 3])
        )
        self.fpn = FeaturePyramidNetwork([256, 512, 1024, 2048], 256).eval() if fpn else None

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """(1, 3, 640, 640) → the last map of the one, the maps of the other."""
        maps = self.detector(pixels).feature_maps
        if self.fpn is not None:
            maps = self.fpn(dict(enumerate(maps))).values()
        return (self.image(pixels).feature_maps[-1], *maps)

    def running(self, runtime: str) -> Callable[[], object]:
        """A forward pass in "torch" or "openvino", in float32."""
        pixels = torch.randn(1, 3, 640, 640)
        if runtime == "openvino":
            graph = float32_graph(self, (pixels,))
            return lambda: graph([pixels.numpy()])
        return torch.inference_mode()(lambda: self(pixels))


class Checkpoint:
    """The full-size model in a folder, opened as its users open it, once per runtime and precision."""

    def __init__(self, folder: str, masks: bool = False):
        self.folder = Path(folder) / "checkpoint"
        ours = FullSize(folder, masks, folded=False)
        self.path = ours.path
        ours.model.save_pretrained(self.folder)
        ours.processor.save_pretrained(self.folder)
        self.open = cache(self._open)

    def _open(self, runtime: str, precision: str) -> Grounder:
        if (runtime, precision) == ("torch", "fp32"):
            return Grounder(self.folder)
        return Grounder(self.folder, runtime=runtime, precision=precision, graphs=self.folder / "graphs")

    def asking(self, runtime: str = "torch", precision: str = "fp32", count: int = 1) -> Callable[[], object]:
        """From the photograph's file to the answers to so many expressions."""
        grounder = self.open(runtime, precision)
        return lambda: grounder(self.path, EXPRESSIONS[:count])


def measure(repeats: int) -> list[Figure]:
    """The rows about boxes and masks, further expressions and peers."""
    with tempfile.TemporaryDirectory() as folder:
        figures = _boxes(Checkpoint(folder), repeats)
    with tempfile.TemporaryDirectory() as folder:
        ours = Checkpoint(folder, masks=True)
        name = "photograph → mask ÷ bare backbones + FPN, both torch fp32"
        figures.append(
            measured(
                name,
                "≤ 1.35",
                lambda: compared(ours.asking(), Backbones(fpn=True).running("torch"), repeats).figure(name, "≤ 1.35"),
            )
        )
    return figures


def _boxes(ours: Checkpoint, repeats: int) -> list[Figure]:
    backbones, dino, owl = Backbones(), GroundingDino(ours.path), Owlv2(ours.path)
    figures = []

    def add(name: str, first: Callable, second: Callable, target: str = "", factor: float = 1) -> None:
        """A row; `first` and `second` give what is timed, so that one that cannot be opened is told of."""
        figures.append(
            measured(name, target, lambda: compared(first(), second(), repeats).figure(name, target, factor=factor))
        )

    for runtime, name in (("torch", "torch"), ("openvino", "OpenVINO")):
        add(
            f"photograph → box ÷ bare backbones, both {name} fp32",
            lambda runtime=runtime: ours.asking(runtime),
            lambda runtime=runtime: backbones.running(runtime),
            "≤ 1.15",
        )
    peer = "Grounding DINO tiny (torch fp32) ÷ ours"
    add(f"{peer} (torch fp32), one expression", lambda: dino.answer, ours.asking, "≥ 10")
    add(f"{peer} (OpenVINO fp32), one expression", lambda: dino.answer, lambda: ours.asking("openvino"), "≥ 15")
    add(
        f"{peer} (OpenVINO int8), one expression", lambda: dino.answer, lambda: ours.asking("openvino", "int8"), "≥ 40"
    )
    add("Grounding DINO tiny ÷ ours, both OpenVINO fp32", dino.in_openvino, lambda: ours.asking("openvino"))
    several = lambda: ours.asking(count=8)  # noqa: E731
    add(f"{peer} (torch fp32), eight expressions, of which it makes eight passes", lambda: dino.answer, several,
        "≥ 60", 8)  # fmt: skip
    add("OWLv2 base ÷ ours, both torch fp32, one expression", lambda: owl.answer, ours.asking, "≥ 5")
    figures.append(_further(ours, repeats))
    figures.append(_choosing(ours, repeats))
    return figures


def _further(ours: Checkpoint, repeats: int) -> Figure:
    times = compared(ours.asking(count=8), ours.asking(), repeats)
    shares = [(eight - one) / 7 / one for eight, one in zip(times.first, times.second, strict=True)]
    name = "each further expression ÷ the first, torch fp32"
    return Figure(name, float(np.median(shares)), "≤ 0.10", "", min(shares), max(shares))


@torch.inference_mode()
def _choosing(ours: Checkpoint, repeats: int, queries: int = 900) -> Figure:
    """To choose among the proposals of a set detector, for eight expressions that the model has read."""
    grounder = ours.open("torch", "fp32")
    inputs = grounder.processor(ours.path, EXPRESSIONS)
    outputs = grounder.model(**inputs)
    corners = torch.rand(1, queries, 2) * 500
    boxes = torch.cat((corners, corners + torch.rand(1, queries, 2) * 139 + 1), dim=2)
    inputs["box_proposals"] = Proposals.at_boxes((640, 640), boxes, quality=torch.rand(1, queries))
    chosen = compared(
        lambda: grounder.processor.post_process_referring_expression(outputs, inputs), ours.asking(count=8), repeats
    )
    return chosen.figure("choosing of 900 proposals anywhere ÷ eight expressions, torch fp32", "≤ 0.03")
