"""Figure 4 of the paper as pictures: what the comprehension stage sees in a case, and how the vote chooses.

For each case a row of panels: the photograph, the attention of [CLS], the maps of both heads, the proposals behind the
answer (red: the best k; blue: the best one; green: the chosen one), and the mask. Returns PIL images, writes no file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torchvision.ops import box_iou
from torchvision.transforms.v2 import functional as tvF
from torchvision.utils import draw_segmentation_masks

from ..geometry.letterbox import Letterbox
from ..geometry.requested_masks import are_requested
from ..images.reading import PictureSource, load_picture
from ..inference.attention import answer_with_attention
from ..modeling_pbrec import PbrecForReferringExpression, PbrecOutput
from ..processing_pbrec import PbrecProcessor
from ..selection.choose import rank_and_choose
from ..selection.groups import Group
from ..selection.settings import SelectionSettings
from .drawing import caption_font, draw_score_map, fitting

TOP_K, TOP_1, CHOSEN, MEANT = "#ff4b4b", "#3aa0ff", "#2fd15b", "#ffffff"  # the paper's colours; what was meant
_MARGIN, _TITLE, _NAME = 14, 26, 34  # pixels


@dataclass(frozen=True)
class Case:
    """
    Attributes:
        image: the photograph, in any form `load_picture` takes.
        expression: what is asked for.
        truth: XYXY in pixels of the upright photograph, if known.
    """

    image: PictureSource
    expression: str
    truth: Sequence[float] | None = None


@dataclass(frozen=True)
class Panel:
    """A picture and what stands above it."""

    title: str
    picture: Image.Image


@dataclass(frozen=True)
class Looked:
    """
    A case, answered.

    Attributes:
        case: what was asked.
        image: the upright photograph.
        inputs, outputs: what the model got and gave.
        attention: (P,), mean over the heads.
        groups: the proposals behind the answer, see `rank_and_choose`.
    """

    case: Case
    image: Image.Image
    inputs: Mapping[str, Any]
    outputs: PbrecOutput
    attention: Tensor
    groups: Mapping[str, Group]

    @property
    def letterbox(self) -> Letterbox:
        """Of the photograph."""
        return Letterbox.of(self.inputs["letterbox"][0].cpu())


def look(
    model: PbrecForReferringExpression, processor: PbrecProcessor, case: Case, settings: SelectionSettings
) -> Looked:
    """
    Answer one case, and keep what is behind the answer.

    Args:
        settings: how boxes are ranked; masks are ranked by mass-ness alone, as in the paper.

    Raises:
        OSError, ValueError: the photograph cannot be read, or there are no proposals.
    """
    image = load_picture(case.image)
    inputs = processor(image, case.expression).to(model.device)
    outputs, attention = answer_with_attention(model, inputs)
    boxes, masks = inputs.get("box_proposals"), inputs.get("mask_proposals")
    apart = {"mask_proposals": masks, "letterbox": inputs["letterbox"], "image_index": inputs.get("image_index")}
    if masks is None or (boxes is not None and are_requested(masks)):  # of which the latter are made of the boxes
        groups = rank_and_choose(outputs, inputs, settings)
    else:
        groups = rank_and_choose(outputs, apart, replace(settings, ranking="score"))
        if boxes is not None:
            groups |= rank_and_choose(outputs, apart | {"mask_proposals": None, "box_proposals": boxes}, settings)
    return Looked(case, image, inputs, outputs, attention[0].mean(dim=0).cpu(), groups)


def panels(looked: Looked, detector_alone: float | None = None) -> list[Panel]:
    """
    The panels of a case, from left to right.

    Args:
        looked: the case.
        detector_alone: also show the boxes of at least this quality, without the expression, as conventional two-stage
            methods do (0.65 in the paper).
    """
    shown = [Panel("photograph", _photograph(looked)), Panel("attention of [CLS]", _map(looked, looked.attention))]
    for name, logits in (("center-ness", looked.outputs.center_logits), ("mass-ness", looked.outputs.mass_logits)):
        if logits is not None:
            scores = logits[0].float().sigmoid().cpu()
            shown.append(Panel(f"{name}, up to {scores.max():.2f}", _map(looked, scores)))
    if "boxes" in looked.groups:
        shown.append(_voters(looked, looked.groups["boxes"]))
    if detector_alone is not None and (alone := _alone(looked, detector_alone)) is not None:
        shown.append(alone)
    if "masks" in looked.groups:
        shown.append(Panel("chosen mask", _mask(looked, looked.groups["masks"])))
    return shown


def case_sheet(rows: Sequence[tuple[str, Sequence[Panel]]], height: int = 240) -> Image.Image:
    """
    Named rows of titled panels, each `height` pixels high, with a legend of the colours.

    Raises:
        ValueError: there is no row.
    """
    if not rows:
        raise ValueError("There are no cases to draw: give one at least.")
    scaled = [
        (name, [(panel.title, panel.picture.resize((_width(panel.picture, height), height))) for panel in shown])
        for name, shown in rows
    ]
    widths = [sum(picture.width + _MARGIN for _, picture in shown) for _, shown in scaled]
    band = _NAME + _TITLE + height + _MARGIN
    sheet = Image.new("RGB", (_MARGIN + max(*widths, 560), _MARGIN + len(rows) * band + _NAME), "white")
    draw = ImageDraw.Draw(sheet)
    for number, (name, shown) in enumerate(scaled):
        x, y = _MARGIN, _MARGIN + number * band
        draw.text(
            (x, y), fitting(name, caption_font(22), sheet.width - 2 * _MARGIN), fill="black", font=caption_font(22)
        )
        for title, picture in shown:
            draw.text(
                (x, y + _NAME), fitting(title, caption_font(15), picture.width), fill="#444444", font=caption_font(15)
            )
            sheet.paste(picture, (x, y + _NAME + _TITLE))
            x += picture.width + _MARGIN
    _legend(draw, _MARGIN, sheet.height - _NAME)
    return sheet


def verdict(looked: Looked) -> str:
    """What the name of a row says of the answer, if the truth is known."""
    if looked.case.truth is None or "boxes" not in looked.groups:
        return ""
    chosen = _in_pixels(looked, looked.groups["boxes"].chosen("boxes"))
    iou = box_iou(chosen, torch.tensor([list(looked.case.truth)], dtype=torch.float32)).item()
    return f"  ({'right' if iou > 0.5 else 'wrong'}, IoU {iou:.2f})"


def _photograph(looked: Looked) -> Image.Image:
    picture = looked.image.convert("RGB")
    if looked.case.truth is not None:
        _rectangle(ImageDraw.Draw(picture), list(looked.case.truth), MEANT, _pen(picture))
    return picture


def _map(looked: Looked, scores: Tensor) -> Image.Image:
    cols = round(
        (len(scores) * looked.inputs["pixel_values"].shape[-1] / looked.inputs["pixel_values"].shape[-2]) ** 0.5
    )
    return draw_score_map(looked.image, scores, (len(scores) // cols, cols), looked.inputs["letterbox"][0])


def _voters(looked: Looked, group: Group) -> Panel:
    """The best k boxes, the best one and the chosen one, drawn in this order."""
    assert group.boxes is not None  # a group of box proposals
    known = group.values[0].isfinite()
    boxes = _in_pixels(looked, group.boxes[0][known])
    picture = looked.image.convert("RGB")
    draw, pen = ImageDraw.Draw(picture), _pen(picture)
    for box in boxes.tolist():
        _rectangle(draw, box, TOP_K, max(1, pen - 1))
    if len(boxes):
        _rectangle(draw, boxes[0].tolist(), TOP_1, pen + 1)
        _rectangle(draw, boxes[int(group.winner[0])].tolist(), CHOSEN, pen + 1)
    return Panel(f"top {len(boxes)}, top 1, chosen: no. {int(group.winner[0]) + 1}", picture)


def _alone(looked: Looked, least: float) -> Panel | None:
    """The boxes that the detector alone would offer; None where it has no boxes with a quality."""
    proposals = looked.inputs.get("box_proposals")
    if proposals is None or proposals.boxes is None or proposals.quality is None:
        return None
    kept = proposals.quality[0] >= least
    for usable in (proposals.valid, proposals.candidates):
        if usable is not None:
            kept &= usable[0]
    picture = looked.image.convert("RGB")
    draw, boxes = ImageDraw.Draw(picture), _in_pixels(looked, proposals.boxes[0][kept])
    for box in boxes.tolist():
        _rectangle(draw, box, TOP_K, _pen(picture))
    return Panel(f"detector alone, quality from {least:g}: {len(boxes)}", picture)


def _mask(looked: Looked, group: Group) -> Image.Image:
    canvas = looked.inputs["pixel_values"].shape[-2:]
    mask = looked.letterbox.mask_to_original(group.chosen("masks")[0].cpu(), (int(canvas[0]), int(canvas[1])))
    pixels = tvF.pil_to_tensor(looked.image.convert("RGB"))
    drawn: Image.Image = tvF.to_pil_image(draw_segmentation_masks(pixels, mask[None], alpha=0.5, colors=CHOSEN))
    return drawn


def _in_pixels(looked: Looked, boxes: Tensor) -> Tensor:
    return looked.letterbox.boxes_to_original(boxes.cpu().float())


def _rectangle(draw: ImageDraw.ImageDraw, box: Sequence[float], color: str, width: int) -> None:
    """With a dark edge, so that it shows on bright places, too."""
    draw.rectangle([box[0] - 1, box[1] - 1, box[2] + 1, box[3] + 1], outline="#202020", width=width + 2)
    draw.rectangle(list(box), outline=color, width=width)


def _pen(picture: Image.Image) -> int:
    return max(2, round(max(picture.size) / 170))


def _width(picture: Image.Image, height: int) -> int:
    return max(1, round(picture.width * height / picture.height))


def _legend(draw: ImageDraw.ImageDraw, x: float, y: float) -> None:
    for text, color in (("top k", TOP_K), ("top 1", TOP_1), ("chosen by the vote", CHOSEN), ("what is meant", MEANT)):
        draw.rectangle([x, y + 4, x + 26, y + 16], fill=color, outline="#202020")
        draw.text((x + 34, y), text, fill="black", font=caption_font(15))
        x += 34 + caption_font(15).getlength(text) + 26


__all__ = ["Case", "Looked", "Panel", "case_sheet", "look", "panels", "verdict"]
