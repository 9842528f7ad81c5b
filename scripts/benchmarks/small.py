"""Figures of the bundled checkpoint: one and eight expressions about a photograph that ships with the package."""

import torch
from PIL import Image

from pbrec_hf import Grounder
from pbrec_hf.app.options import PHOTOGRAPHS

from .timing import Figure, median_seconds


def measure(repeats: int) -> list[Figure]:
    """Milliseconds of one expression, the ratio of eight to one, and CLIPSeg's time for comparison."""
    grounder = Grounder()
    path = PHOTOGRAPHS / "images/giraffes.jpg"
    expressions = [
        f"the {word} on the left" for word in ["giraffe", "tree", "man", "dog", "sky", "fence", "grass", "bird"]
    ]
    one = median_seconds(lambda: grounder(path, expressions[:1]), repeats * 2, 2)
    eight = median_seconds(lambda: grounder(path, expressions), repeats * 2, 2)
    figures = [
        Figure("pbrec-mt-small, one expression, ms", one * 1000, "≤ 150"),
        Figure("pbrec-mt-small, eight expressions ÷ one", eight / one, "≤ 2"),
    ]
    return [*figures, Figure("CLIPSeg ÷ pbrec-mt-small", _clipseg(path, repeats) / one, "≥ 5")]


@torch.inference_mode()
def _clipseg(path, repeats: int) -> float:
    from transformers import CLIPSegConfig, CLIPSegForImageSegmentation, ViTImageProcessor

    model = CLIPSegForImageSegmentation(CLIPSegConfig()).eval()
    processor = ViTImageProcessor(size={"height": 352, "width": 352})
    words = torch.randint(1, 400, (1, 8))

    def answer() -> None:
        pixels = processor(Image.open(path).convert("RGB"), return_tensors="pt")["pixel_values"]
        model(pixel_values=pixels, input_ids=words).logits.sigmoid()

    return median_seconds(answer, repeats)
