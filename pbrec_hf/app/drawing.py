"""Pictures of answers: boxes and masks on the photograph, the map of scores, the proposals behind a choice.

Takes PIL images and the results of the pipeline or the processor, returns PIL images. Opens no window, writes no file.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torchvision.transforms.v2 import functional as tvF
from torchvision.utils import draw_segmentation_masks

from ..geometry.letterbox import Letterbox
from ..geometry.points import resample_grid
from ..images.segmentation import Rle, rle_to_mask

_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
_Box = tuple[float, float, float, float]
# Colour-blind people can tell them apart (Okabe and Ito), and they are bright enough on photographs.
COLORS = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")


def draw_answers(image: Image.Image, answers: Sequence[Any]) -> Image.Image:
    """
    The photograph with the boxes and masks of each expression in a colour of its own.

    The best answer bears the expression and, of several, their count; the others bear their numbers.

    Args:
        image: the upright original.
        answers: one dict per expression, as from `PbrecProcessor.post_process_referring_expression`, or what the
            pipeline gives for a picture. Masks that were only filled in from boxes are not drawn.
    """
    found = _of_processor(answers)
    canvas = tvF.pil_to_tensor(image.convert("RGB"))
    for number, answer in enumerate(found):
        masks = answer.get("masks")
        if masks is not None and len(masks) and answer.get("mask_source") != "box":
            canvas = draw_segmentation_masks(canvas, masks[:, 0], alpha=0.45, colors=COLORS[number % len(COLORS)])
    picture: Image.Image = tvF.to_pil_image(canvas)
    draw = ImageDraw.Draw(picture)
    captions: list[tuple[list[float], str, str]] = []
    for number, answer in enumerate(found):
        color = COLORS[number % len(COLORS)]
        count = len(answer["scores"])
        for place, (label, score, box) in enumerate(
            zip(answer["text_labels"], answer["scores"], answer["boxes"], strict=True), start=1
        ):
            corners = [float(value) for value in box]
            draw.rectangle(corners, outline=color, width=_line_width(image))
            name = label if count == 1 else f"{label}  1 of {count}" if place == 1 else str(place)
            captions.append((corners[:2], f"{name}  {float(score):.2f}", color))
    taken: list[_Box] = []
    for corner, text, color in captions:  # last, so that no box crosses them
        taken.append(_caption(draw, picture.size, corner, text, color, taken))
    return picture


def draw_score_map(image: Image.Image, probabilities: Tensor, grid: tuple[int, int], letterbox: Tensor) -> Image.Image:
    """
    The photograph under its scores: the brighter and redder a place, the better it fits the expression.

    Args:
        image: the upright original.
        probabilities: (P,) in [0, 1] on `grid` (rows, cols).
        letterbox: (6,) of the photograph.
    """
    place = Letterbox.of(letterbox.cpu())
    side = max(place.resized_height, place.resized_width)
    scores = resample_grid(probabilities.float().cpu()[None], grid, (side, side)).view(side, side)
    scores = scores[place.window]
    levels = (scores / scores.max().clamp(min=1e-6)).numpy()
    heat = Image.fromarray((levels * 255).astype(np.uint8)).resize(image.size, Image.Resampling.BILINEAR)
    strength = np.asarray(heat, dtype=np.float32)[..., None] / 255
    red = np.array([255.0, 60.0, 0.0], dtype=np.float32)
    pixels = np.asarray(image.convert("L").convert("RGB"), dtype=np.float32)
    mixed = pixels * (0.35 + 0.35 * strength) + red * 0.65 * strength
    return Image.fromarray(mixed.clip(0, 255).astype(np.uint8))


def draw_proposals(image: Image.Image, boxes: Tensor, answers: Tensor, letterbox: Tensor) -> Image.Image:
    """
    The photograph with some proposals, the answers among them on top.

    Args:
        image: the upright original.
        boxes: (k, 4) XYXY in pixels of the canvas.
        answers: (n, 4) likewise.
        letterbox: (6,) of the photograph.
    """
    picture = Image.blend(image.convert("RGB"), Image.new("RGB", image.size, "black"), 0.35)
    draw = ImageDraw.Draw(picture)
    place = Letterbox.of(letterbox.cpu())
    for box in place.boxes_to_original(boxes.cpu()).tolist():
        draw.rectangle(box, outline="white", width=max(1, _line_width(image) // 2))
    for box in place.boxes_to_original(answers.cpu()).tolist():
        draw.rectangle(box, outline=COLORS[0], width=_line_width(image) + 1)
    return picture


def contact_sheet(pictures: Sequence[tuple[str, Image.Image]], width: int = 1320, height: int = 330) -> Image.Image:
    """Titled pictures, all `height` pixels high, in rows of about `width` pixels."""
    font, margin, title = caption_font(15), 12, 26
    rows: list[list[tuple[str, Image.Image]]] = [[]]
    for text, picture in pictures:
        picture = picture.resize((max(1, round(picture.width * height / picture.height)), height))
        used = sum(other.width + margin for _, other in rows[-1])
        if rows[-1] and used + picture.width > width:
            rows.append([])
        rows[-1].append((text, picture))
    widths = [sum(picture.width + margin for _, picture in row) for row in rows]
    sheet = Image.new("RGB", (margin + max(widths), margin + len(rows) * (title + height + margin)), "white")
    draw = ImageDraw.Draw(sheet)
    for number, row in enumerate(rows):
        x, y = margin, margin + number * (title + height + margin)
        for text, picture in row:
            draw.text((x, y), fitting(text, font, picture.width), fill="black", font=font)
            sheet.paste(picture, (x, y + title))
            x += picture.width + margin
    return sheet


def _of_processor(answers: Sequence[Any]) -> list[dict[str, Any]]:
    """Answers of the pipeline in the form of the processor's, which are left as they are."""
    if answers and isinstance(answers[0], dict) and "box" in answers[0]:
        answers = [answers]  # of a single expression
    if not answers or isinstance(answers[0], dict):
        return list(answers)
    converted = []
    for found in answers:
        masks = [_mask(one["mask"]) for one in found if "mask" in one]
        converted.append(
            {
                "text_labels": [one["label"] for one in found],
                "scores": [one["score"] for one in found],
                "boxes": [[one["box"][corner] for corner in ("xmin", "ymin", "xmax", "ymax")] for one in found],
                "masks": torch.stack(masks)[:, None] if masks else None,
                "mask_source": next((one.get("mask_source") for one in found), None),
            }
        )
    return converted


def _mask(mask: Image.Image | Rle) -> Tensor:
    """bool (H, W) of a mask of the pipeline: a picture, or COCO's run lengths."""
    if isinstance(mask, Image.Image):
        pixels: Tensor = tvF.pil_to_tensor(mask)
        return pixels[0] > 0
    return rle_to_mask(mask)


def _caption(
    draw: ImageDraw.ImageDraw, size: tuple[int, int], corner: Sequence[float], text: str, color: str, taken: list[_Box]
) -> _Box:
    """Write `text` above `corner`, inside the picture and off the captions in `taken`; returns its box."""
    font = caption_font(max(12, size[1] // 24))
    text = fitting(text, font, size[0] - 6)
    left, _, right, bottom = draw.textbbox((0, 0), text, font=font)
    width, height = right - left + 6, bottom + 6
    x = min(max(corner[0], 0), max(size[0] - width, 0))
    y = corner[1] - height if corner[1] >= height else corner[1]
    y = min(max(y, 0), max(size[1] - height, 0))
    while (
        any(x < b[2] and b[0] < x + width and y < b[3] and b[1] < y + height for b in taken) and y + height < size[1]
    ):
        y += height
    draw.rectangle((x, y, x + width, y + height), fill=color)
    draw.text((x + 3, y + 2), text, fill="black", font=font)
    return x, y, x + width, y + height


def fitting(text: str, font: _Font, width: float) -> str:
    """`text`, cut with "…" where it is longer than `width` pixels."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


def caption_font(size: int) -> _Font:
    """The font of captions, `size` pixels high."""
    return ImageFont.load_default(size)


def _line_width(image: Image.Image) -> int:
    return max(2, round(max(image.size) / 200))
