"""Figures of the full-size model: 640 × 640, ResNet-101 + BERT-base, FCOS-R50 at P5 or SOLO-R50 at P4, random weights.

Compared with the bare backbones of the same run and with peers from the installed transformers, at their real sizes.
"""

import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import (
    BertConfig,
    BertModel,
    BertTokenizer,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    GroundingDinoImageProcessor,
    Owlv2Config,
    Owlv2ForObjectDetection,
    Owlv2ImageProcessor,
    ResNetBackbone,
    ResNetConfig,
)

from pbrec_hf import (
    FcosDetector,
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

from .timing import Figure, median_seconds

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
    """A photograph on disk and everything that answers expressions about it."""

    def __init__(self, folder: str, masks: bool = False):
        self.path = str(Path(folder) / "photograph.jpg")
        photograph().save(self.path, quality=90)
        torch.manual_seed(0)
        self.model = optimize_for_inference(PbrecForReferringExpression(PbrecConfig()).eval())
        detector = SoloDetector(SoloConfig()) if masks else FcosDetector(FcosConfig())
        detector = optimize_for_inference(detector.eval())
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


@torch.inference_mode()
def bare_backbones(repeats: int, fpn: bool = False) -> float:
    """Seconds of ResNet-101 and ResNet-50 forward at 640 × 640 as transformers runs them; with an FPN if asked."""
    pixels = torch.randn(1, 3, 640, 640)
    seconds = 0.0
    for depths in ([3, 4, 23, 3], [3, 4, 6, 3]):
        names = ["stage1", "stage2", "stage3", "stage4"]
        backbone = ResNetBackbone(ResNetConfig(depths=depths, out_features=names)).eval()
        run = backbone
        if fpn and depths[2] == 6:
            run = _with_fpn(backbone)
        seconds += median_seconds(lambda run=run: run(pixels), repeats)
    return seconds


def _with_fpn(backbone: ResNetBackbone):
    from torchvision.ops import FeaturePyramidNetwork

    pyramid = FeaturePyramidNetwork([256, 512, 1024, 2048], 256).eval()
    return lambda pixels: pyramid(dict(enumerate(backbone(pixels).feature_maps)))


def measure(repeats: int) -> list[Figure]:
    """The rows about boxes and masks, further expressions and peers."""
    with tempfile.TemporaryDirectory() as folder:
        return [*_boxes(folder, repeats), *_masks(folder, repeats)]


def _boxes(folder: str, repeats: int) -> list[Figure]:
    bare = bare_backbones(repeats)
    ours = FullSize(folder)
    one = median_seconds(lambda: ours.answer(EXPRESSIONS[:1]), repeats)
    eight = median_seconds(lambda: ours.answer(EXPRESSIONS), repeats)
    note = f"{one:.2f} s; bare backbones {bare:.2f} s, BERT {text_encoder_seconds(repeats):.2f} s"
    dino, owl = (peer(ours.path, max(2, repeats // 2)) for peer in (grounding_dino_seconds, owlv2_seconds))
    return [
        Figure("photograph → box ÷ bare backbones", one / bare, "≤ 1.15", note),
        Figure("each further expression ÷ the first", (eight - one) / 7 / one, "≤ 0.10"),
        Figure("choosing of 900 proposals anywhere ÷ eight expressions", _choosing(ours, repeats) / eight, "≤ 0.03"),
        Figure("Grounding DINO tiny ÷ ours, one expression", dino / one, "≥ 10", f"{dino:.2f} s at 800 × 1066"),
        Figure("Grounding DINO tiny ÷ ours, eight expressions", 8 * dino / eight, "≥ 40", "it makes eight passes"),
        Figure("OWLv2 base ÷ ours, one expression", owl / one, "≥ 5", f"{owl:.2f} s at 960 × 960"),
    ]


@torch.inference_mode()
def _choosing(ours: FullSize, repeats: int, queries: int = 900) -> float:
    """Seconds to choose among the proposals of a set detector, for eight expressions that the model has read."""
    inputs = ours.processor(ours.path, EXPRESSIONS)
    outputs = ours.model(**inputs)
    corners = torch.rand(1, queries, 2) * 500
    boxes = torch.cat((corners, corners + torch.rand(1, queries, 2) * 139 + 1), dim=2)
    inputs["box_proposals"] = Proposals.at_boxes((640, 640), boxes, quality=torch.rand(1, queries))
    return median_seconds(lambda: ours.processor.post_process_referring_expression(outputs, inputs), repeats)


def _masks(folder: str, repeats: int) -> list[Figure]:
    bare = bare_backbones(repeats, fpn=True)
    ours = FullSize(folder, masks=True)
    one = median_seconds(lambda: ours.answer(EXPRESSIONS[:1]), repeats)
    note = f"{one:.2f} s; bare backbones + FPN {bare:.2f} s"
    return [Figure("photograph → mask ÷ bare backbones + FPN", one / bare, "≤ 1.35", note)]


def grounding_dino_seconds(path: str, repeats: int) -> float:
    """Seconds of Grounding DINO (tiny) at its default size, photograph file → boxes."""
    words = torch.randint(1000, 20000, (1, 8))
    words[0, 0], words[0, -1] = 101, 102
    model = GroundingDinoForObjectDetection(GroundingDinoConfig()).eval()
    return _peer_seconds(model, GroundingDinoImageProcessor(), path, words, repeats)


def owlv2_seconds(path: str, repeats: int) -> float:
    """Seconds of OWLv2 (base, patch 16) at its default size, photograph file → boxes."""
    config = Owlv2Config()
    config.vision_config.image_size, config.vision_config.patch_size = 960, 16
    words = torch.randint(1, 400, (1, 16))
    return _peer_seconds(Owlv2ForObjectDetection(config).eval(), Owlv2ImageProcessor(), path, words, repeats)


@torch.inference_mode()
def _peer_seconds(model, image_processor, path: str, words: Tensor, repeats: int) -> float:
    def answer() -> None:
        photograph = Image.open(path).convert("RGB")
        outputs = model(**image_processor(photograph, return_tensors="pt"), input_ids=words)
        image_processor.post_process_object_detection(outputs, target_sizes=[(photograph.height, photograph.width)])

    return median_seconds(answer, repeats)


def text_encoder_seconds(repeats: int) -> float:
    """Seconds of one BERT-base pass over an expression, for the profile of a miss."""
    model = BertModel(BertConfig(), add_pooling_layer=False).eval()
    words = torch.randint(1000, 20000, (1, 8))
    with torch.inference_mode():
        return median_seconds(lambda: model(words), repeats)
