"""Pictures and expressions per second of one core: `PbrecCollator` against a plain PIL-and-Python recipe.

    python -m scripts.benchmarks.loader                         # synthetic noise-free pictures
    python -m scripts.benchmarks.loader --images FOLDER         # JPEGs of a folder, brought to COCO's size

The plain recipe is written here after the released loader: PIL decoding, resizing and colour jitter, float tensors,
one expression per picture, targets with NumPy, copies into arrays, default collation. Both do the same augmentation,
make the same kinds of targets ("released_code") and use the same tokenizer. They take turns on the same files in one
run; CPU time of one thread is measured, so that other work on the machine weighs on neither.
"""

import argparse
import random
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision.transforms.functional as tvf
from PIL import Image, ImageDraw, ImageEnhance
from pycocotools import mask as coco_mask
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch.nn.functional import avg_pool2d
from torch.utils.data import default_collate
from transformers import PreTrainedTokenizerFast

from pbrec_hf.data.augmentation import AugmentationConfig
from pbrec_hf.data.collator import PbrecCollator
from pbrec_hf.image_processing_pbrec import PbrecImageProcessor

from .timing import Figure, report

IMAGES_TARGET, EXPRESSIONS_TARGET = 2.5, 8.0
CANVAS, CELLS, TEXT_LENGTH = 640, 20, 40
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
WORDS = ("the", "left", "right", "man", "woman", "dog", "red", "blue", "shirt", "in", "on", "with", "car", "behind")

Row = dict[str, Any]
Recipe = Callable[[Sequence[Row]], Any]


def released_sample(row: Row, sentence: Row, tokenizer: PreTrainedTokenizerFast) -> tuple[np.ndarray, ...]:
    """One picture with one expression → arrays of the canvas, its padding, the tokens, the box and the targets."""
    image = Image.open(row["image"]["path"]).convert("RGB")
    left, top, right, bottom = (int(value) for value in sentence["bbox"])
    box = torch.tensor([left, top, right, bottom], dtype=torch.float32)
    polygon = torch.tensor(sentence["segmentation"]["polygons"][0], dtype=torch.float32).view(-1, 2)
    text = sentence["expression"].lower()

    ratio = random.choice([CANVAS - 32 * step for step in range(7)]) / max(image.size)
    image = tvf.resize(image, [round(image.height * ratio), round(image.width * ratio)])
    box, polygon = box * ratio, polygon * ratio
    if random.random() < 0.8:
        enhancers = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
        for index in np.random.permutation(3):
            image = enhancers[index](image).enhance(random.uniform(0.6, 1.4))
    if random.random() < 0.5:
        image = tvf.hflip(image)
        text = text.replace("right", "\0").replace("left", "right").replace("\0", "left")
        box = box[[2, 1, 0, 3]] * torch.tensor([-1, 1, -1, 1]) + torch.tensor([image.width, 0, image.width, 0])
        polygon = polygon * torch.tensor([-1, 1]) + torch.tensor([image.width, 0])
    picture = tvf.normalize(tvf.to_tensor(image), MEAN, STD)

    height, width = picture.shape[1:]
    top, left = random.randint(0, CANVAS - height), random.randint(0, CANVAS - width)
    canvas, padding = torch.zeros(3, CANVAS, CANVAS), torch.ones(CANVAS, CANVAS).int()
    canvas[:, top : top + height, left : left + width] = picture
    padding[top : top + height, left : left + width] = 0
    box = box + torch.tensor([left, top, left, top])
    polygon = (polygon + torch.tensor([left, top])).flatten().numpy()
    box = torch.cat((box[:2] + box[2:], box[2:] - box[:2])) * torch.tensor([0.5, 0.5, 1, 1]) / CANVAS  # cx, cy, w, h

    tokens = tokenizer(text, padding="max_length", truncation=True, max_length=TEXT_LENGTH)
    mask = np.max(coco_mask.decode(coco_mask.frPyObjects([polygon], CANVAS, CANVAS)), axis=2).astype(np.float32)
    return (
        np.array(canvas.numpy(), dtype=np.float32),
        np.array(padding.numpy(), dtype=np.int16),
        np.array(tokens["input_ids"], dtype=int),
        np.array(tokens["attention_mask"], dtype=np.int16),
        np.array(box.numpy(), dtype=np.float32),
        np.array(mask, dtype=np.int8),
        np.array(released_massness(mask).numpy(), dtype=np.float32),
        np.array(released_centerness(box * CELLS).numpy(), dtype=np.float32),
    )


def released_centerness(box: torch.Tensor) -> torch.Tensor:
    """(CELLS, CELLS) of a box (cx, cy, w, h) in cells."""
    area = torch.zeros(CELLS, CELLS)
    area[int(box[1]) - 1 : int(box[1]) + 2, int(box[0]) - 1 : int(box[0]) + 2] = 1
    index = torch.arange(CELLS)
    points = torch.stack((index[:, None].repeat(1, CELLS), index[None].repeat(CELLS, 1)), dim=-1) + 0.5
    start = torch.clip(points - torch.floor(box[:2] - box[2:] / 2), min=0)
    end = torch.clip(torch.ceil(box[:2] + box[2:] / 2) - points, min=0)
    ratio = torch.min(start, end) / torch.max(start, end)
    values = torch.sqrt(ratio[..., 0] * ratio[..., 1]).T
    return values * area / values.max()


def released_massness(mask: np.ndarray) -> torch.Tensor:
    """(CELLS, CELLS) of a mask on the canvas."""
    rows, columns = np.where(mask == 1)
    row, column, reach = round(np.mean(rows)), round(np.mean(columns)), CANVAS // 10
    window = np.s_[max(row - reach, 0) : row + reach, max(column - reach, 0) : column + reach]
    cut = torch.zeros(CANVAS, CANVAS)
    cut[window] = torch.tensor(mask[window] == 1, dtype=torch.float32)
    return avg_pool2d(cut[None], CANVAS // CELLS)[0]


def make_picture(index: int) -> Image.Image:
    """Smooth shades and shapes of 640 x 480 pixels, without noise."""
    rng = np.random.default_rng(index)
    coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    image = coarse.resize((640, 480), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    for _ in range(60):
        x, y, size = rng.integers(0, 640), rng.integers(0, 480), rng.integers(10, 120)
        shape = (draw.ellipse, draw.rectangle)[rng.integers(2)]
        shape([x, y, x + size, y + rng.integers(10, 120)], fill=tuple(rng.integers(0, 256, 3).tolist()))
    return image


def write_files(folder: Path, source: Path | None, count: int) -> list[Path]:
    """JPEGs with a long side of 640 pixels, as COCO's are."""
    originals = sorted(source.glob("*.jpg"))[:count] if source else []
    if source and not originals:
        raise ValueError(f"no .jpg files in {source}")
    paths = []
    for index in range(count):
        image = Image.open(originals[index % len(originals)]).convert("RGB") if originals else make_picture(index)
        ratio = 640 / max(image.size)
        image = image.resize((round(image.width * ratio), round(image.height * ratio)), Image.Resampling.LANCZOS)
        paths.append(folder / f"{index:06}.jpg")
        image.save(paths[-1], quality=95)
    return paths


def make_row(path: Path, expressions: int) -> Row:
    """An image-view row with referents of RefCOCO's sizes: polygons of 40 corners, 5 to 40 % of the picture."""
    rng = random.Random(path.name)
    width, height = Image.open(path).size
    sentences = []
    for index in range(expressions):
        share = rng.uniform(0.05, 0.4) ** 0.5
        radius = np.array([width, height]) * share / 2
        center = [rng.uniform(radius[0], width - radius[0]), rng.uniform(radius[1], height - radius[1])]
        angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
        corners = center + radius * np.stack((np.cos(angle), np.sin(angle)), 1) * np.array(
            [[rng.uniform(0.7, 1)] for _ in angle]
        )
        sentences.append(
            {
                "expression": " ".join(rng.choices(WORDS, k=rng.randint(2, 8))),
                "ref_id": index,
                "sent_id": index,
                "bbox": [*corners.min(0).tolist(), *corners.max(0).tolist()],
                "segmentation": {"polygons": [corners.ravel().tolist()], "counts": None, "size": None},
            }
        )
    image = {"path": str(path), "bytes": None}
    return {"image": image, "image_id": path.name, "width": width, "height": height, "expressions": sentences}


def make_tokenizer() -> PreTrainedTokenizerFast:
    specials = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
    tokenizer = Tokenizer(models.WordPiece({word: i for i, word in enumerate((*specials, *WORDS))}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )


def seconds_per_image(recipe: Recipe, rows: Sequence[Row], batch_size: int) -> float:
    """CPU seconds."""
    start = time.process_time()
    for first in range(0, len(rows), batch_size):
        recipe(rows[first : first + batch_size])
    return (time.process_time() - start) / len(rows)


def compare(paths: Sequence[Path], expressions: int, batch_size: int, rounds: int) -> tuple[float, float]:
    """CPU seconds per picture with all its expressions, medians over the rounds: plain recipe, collator."""
    rows = [make_row(path, expressions) for path in paths]
    tokenizer = make_tokenizer()
    collator = PbrecCollator(
        PbrecImageProcessor(size={"longest_edge": CANVAS}),
        tokenizer,
        stride=CANVAS // CELLS,
        soft_targets="released_code",
        max_text_length=TEXT_LENGTH,
        text_padding="max_length",
        augmentation=AugmentationConfig(),
    )

    def plain(batch: Sequence[Row]) -> None:
        pairs = [(row, sentence) for row in batch for sentence in row["expressions"]]
        for first in range(0, len(pairs), batch_size):
            default_collate([released_sample(*pair, tokenizer) for pair in pairs[first : first + batch_size]])

    recipes: tuple[Recipe, Recipe] = (plain, collator)
    for recipe in recipes:
        recipe(rows[:batch_size])  # warm up
    times = [[seconds_per_image(recipe, rows, batch_size) for recipe in recipes] for _ in range(rounds)]
    return tuple(statistics.median(column) for column in zip(*times, strict=True))


def measure(repeats: int = 5, images: Path | None = None, count: int = 32, batch_size: int = 8) -> list[Figure]:
    """Ratios to the plain recipe, in CPU time of one thread, with one and with four expressions per picture."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        paths = write_files(Path(folder), images, count)
        for expressions, name, target in (
            (1, "loader, images per second and core ÷ plain", IMAGES_TARGET),
            (4, "loader, expressions per second, four per image ÷ plain", EXPRESSIONS_TARGET),
        ):
            plain, ours = compare(paths, expressions, batch_size, repeats)
            note = f"{plain * 1000:.1f} ms and {ours * 1000:.1f} ms per image"
            figures.append(Figure(name, plain / ours, f"≥ {target}", note))
    torch.set_num_threads(threads)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--images", type=Path, help="folder of JPEGs; without it, pictures are made up")
    parser.add_argument("--count", type=int, default=32, help="pictures")
    parser.add_argument("--batch-size", type=int, default=8, help="pictures per batch")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each recipe; the median counts")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    report(measure(options.rounds, options.images, options.count, options.batch_size), options.json)


if __name__ == "__main__":
    main()
