"""Dataset rows → the batch that `PbrecForReferringExpression` trains on and is evaluated with.

Expects rows of `data/schema.py`. All expressions of a row of the image view share one canvas and so one pass through
the backbone; a row of the sentence view has a canvas of its own. With an augmentation the canvas is drawn anew each
epoch, depending on seed, epoch and row alone; without, it is the image processor's. Give it rows whose images are not
decoded (`schema.without_decoding`): it decodes faster. Knows nothing of detectors and proposals.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Generator, Tensor
from torch.utils.data import get_worker_info
from transformers import PreTrainedTokenizerBase

from ..comprehension.expressions import tokenize
from ..configuration_pbrec import TASKS, target_styles
from ..images.containers import plain
from ..images.reading import load_pixels
from .augmentation import AugmentationConfig, draw_view, recolour_
from .draws import row_generator
from .placement import Placement
from .referents import Referent, flat_referents, referents_of, require_masks
from .soft_targets import soft_targets

if TYPE_CHECKING:
    from ..configuration_pbrec import PbrecConfig
    from ..image_processing_pbrec import PbrecImageProcessor

Row = Mapping[str, Any]


@dataclass
class PbrecCollator:
    """
    Callable for `torch.utils.data.DataLoader(collate_fn=...)`, fit for worker processes.

    Args:
        image_processor: gives size and colours of the canvas, and without augmentation the canvas itself.
        tokenizer: of the text encoder.
        stride: width of a grid cell, canvas pixels.
        tasks: which targets to make; masks are needed for "segmentation" alone.
        soft_targets: "paper", "released_code" or "hard"; or a dict with one of these for each task.
        max_text_length: tokens per expression, special tokens included; longer ones are cut.
        text_padding: "longest" of the batch, or "max_length" for fixed shapes.
        augmentation: the random recipe; None = the test-time view.
        targets: make labels; off for evaluation, where rows may lack a mask.
        free_points: the model chooses its points and makes the center-ness of the boxes there; none is made here.
        seed: of all draws.

    Raises:
        ValueError: an argument is out of its range.
    """

    image_processor: "PbrecImageProcessor"
    tokenizer: PreTrainedTokenizerBase
    stride: int = 32
    tasks: Sequence[str] = TASKS
    soft_targets: str | Mapping[str, str] = "paper"
    max_text_length: int = 40
    text_padding: str = "longest"
    augmentation: AugmentationConfig | None = None
    targets: bool = True
    free_points: bool = False
    seed: int = 0
    _epoch: Tensor = field(init=False, repr=False)
    _styles: dict[str, str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.tasks or not set(self.tasks) <= set(TASKS):
            raise ValueError(f"tasks={self.tasks!r} is unknown: give one or both of {', '.join(TASKS)}.")
        if self.text_padding not in ("longest", "max_length"):
            raise ValueError(f"text_padding={self.text_padding!r} is unknown: give longest or max_length.")
        if self.canvas % self.stride:
            raise ValueError(
                f"stride={self.stride} does not divide the canvas of {self.canvas} pixels: give one that does."
            )
        self._styles = target_styles(self.soft_targets, self.tasks)
        # CODEPATH: where the model chooses its points, it makes the center-ness itself, from the boxes.
        if self.free_points:
            self._styles.pop("grounding", None)
        # Shared memory: worker processes that live for several epochs see `set_epoch`, too.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    @classmethod
    def for_model(
        cls,
        config: "PbrecConfig",
        image_processor: "PbrecImageProcessor",
        tokenizer: PreTrainedTokenizerBase,
        **options: Any,
    ) -> "PbrecCollator":
        """
        The collator whose targets fit a model.

        Args:
            config: of the model.
            image_processor, tokenizer: of its processor.
            options: the other arguments of the class.

        Raises:
            ValueError: the image processor's canvas is not the model's.
        """
        collator = cls(
            image_processor,
            tokenizer,
            stride=config.stride,
            tasks=tuple(config.tasks),
            soft_targets=config.soft_targets,
            max_text_length=config.max_text_length,
            free_points=config.targets_at_points,
            **options,
        )
        if collator.canvas != config.image_size:
            raise ValueError(
                f"The image processor makes canvases of {collator.canvas} pixels, the model expects "
                f"image_size={config.image_size}: set size={{'longest_edge': {config.image_size}}}."
            )
        return collator

    @property
    def canvas(self) -> int:
        """Side of the canvas, pixels."""
        return int(self.image_processor.size["longest_edge"])

    def set_epoch(self, epoch: int) -> None:
        """Call before each epoch, so that views differ from those of the last."""
        self._epoch.fill_(epoch)

    def __call__(self, rows: Sequence[Row]) -> dict[str, Any]:
        """
        I rows → a batch with E expressions.

        Returns:
            `pixel_values` (I, 3, H, W), `pixel_mask` (I, H, W), `letterbox` (I, 6) (of a mirrored or cropped picture:
            as if that were the original), `input_ids` and `attention_mask` (E, L), `image_index` (E,), with targets
            `centerness_labels` and `massness_labels` (E, P), all 0 for an expression without referents, and `repaired`
            bool (R,): no grid point qualified for a target of this referent, so that the nearest one got it. `boxes`
            (R, 4) XYXY canvas pixels of all referents and `referent_index` int64 (R,), the expression of each;
            `image_ids` (list of I strings), `ref_ids` and `sent_ids` (E,) (-1 = none).

        Raises:
            FileNotFoundError: there is no such image.
            ValueError: an image that cannot be read or is not of the row's size, a row without a mask where targets
                need one, or whose columns of referents contradict each other; names the row.
        """
        rows = plain(rows)
        groups = [_sentences(row) for row in rows]
        images = [load_pixels(row["image"]) for row in rows]
        referents = [[referents_of(sentence) for sentence in group] for group in groups]
        for row, image, group, meant in zip(rows, images, groups, referents, strict=True):
            self._check(row, image, group, meant)

        sentences = [sentence for group in groups for sentence in group]
        owners = [index for index, group in enumerate(groups) for _ in group]
        sizes = [(image.shape[1], image.shape[2]) for image in images]
        boxes = [flat_referents(meant).boxes for meant in referents]  # of each picture, in pixels of the original
        if self.augmentation is None:
            canvases, placements = self._plain_canvases(images)
            texts = [sentence["expression"] for sentence in sentences]
        else:
            generators = [row_generator(self.seed, int(self._epoch), _key(row)) for row in rows]
            canvases, placements, texts = self._augmented_canvases(
                self.augmentation, images, groups, boxes, generators
            )
        tokens = tokenize(self.tokenizer, texts, padding=self.text_padding, max_length=self.max_text_length)
        _, referent_index, segmentations = flat_referents([meant for group in referents for meant in group])
        batch: dict[str, Any] = {
            **canvases,
            **tokens,
            "image_index": torch.tensor(owners),
            "boxes": torch.cat(
                [place.boxes(given, *size) for place, given, size in zip(placements, boxes, sizes, strict=True)]
            ),
            "referent_index": referent_index,
        }
        if self.targets:
            batch |= soft_targets(
                batch["boxes"],
                referent_index,
                segmentations,
                [placements[owner] for owner in owners],
                [sizes[owner] for owner in owners],
                self.stride,
                self._styles,
            )
        batch["image_ids"] = [str(row.get("image_id")) for row in rows]
        batch["ref_ids"] = _ids(sentences, "ref_id")
        batch["sent_ids"] = _ids(sentences, "sent_id")
        return batch

    def _check(self, row: Row, image: Tensor, group: Sequence[Row], referents: Sequence[Sequence[Referent]]) -> None:
        name, (height, width) = row.get("image_id"), image.shape[-2:]
        stated = (row.get("height"), row.get("width"))
        if None not in stated and stated != (height, width):
            raise ValueError(
                f"Image {name!r} is {height} x {width} (height x width) upright, its row has {stated[0]} x "
                f"{stated[1]}, so its boxes are of another picture: correct the file or the row."
            )
        if not group:
            raise ValueError(f"Image {name!r} has no expressions: drop its row.")
        if self.targets:
            require_masks(group, referents, self.tasks, name)

    def _plain_canvases(self, images: Sequence[Tensor]) -> tuple[dict[str, Tensor], list[Placement]]:
        inputs = self.image_processor(images=list(images), return_tensors="pt")
        canvases = {name: inputs[name] for name in ("pixel_values", "pixel_mask", "letterbox")}
        return canvases, [Placement.from_letterbox(row, self.canvas) for row in canvases["letterbox"].tolist()]

    def _augmented_canvases(
        self,
        augmentation: AugmentationConfig,
        images: Sequence[Tensor],
        groups: Sequence[Sequence[Row]],
        boxes: Sequence[Tensor],
        generators: Sequence[Generator],
    ) -> tuple[dict[str, Tensor], list[Placement], list[str]]:
        pixel_values = _zeros((len(images), 3, self.canvas, self.canvas), np.float32)
        pixel_mask = _zeros((len(images), self.canvas, self.canvas), np.int64)
        mean = torch.tensor(self.image_processor.image_mean, dtype=torch.float32)[:, None, None] * 255
        scale = 1 / (torch.tensor(self.image_processor.image_std, dtype=torch.float32)[:, None, None] * 255)
        placements, texts = [], []
        for index, (image, group, generator) in enumerate(zip(images, groups, generators, strict=True)):
            height, width = image.shape[-2:]
            expressions = [sentence["expression"] for sentence in group]
            placement, worded = draw_view(
                augmentation, height, width, boxes[index], expressions, self.canvas, generator
            )
            rows, cols = placement.window
            picture = pixel_values[index, :, rows, cols]
            picture.copy_(placement.picture(image))
            recolour_(augmentation, picture, generator)
            picture.sub_(mean).mul_(scale)
            pixel_mask[index, rows, cols] = 1
            placements.append(placement)
            texts += worded
        letterbox = torch.tensor([placement.letterbox for placement in placements])
        return {"pixel_values": pixel_values, "pixel_mask": pixel_mask, "letterbox": letterbox}, placements, texts


def _sentences(row: Row) -> list[Row]:
    """
    The expressions of a row of either view.

    Raises:
        TypeError: a row is no dict, or holds arrays where there should be numbers, lists and dicts.
    """
    if not isinstance(row, Mapping):
        raise TypeError(f"A row is of type {type(row).__name__}: give dicts, such as the rows of a dataset.")
    sentences = row.get("expressions", [row])
    if isinstance(sentences, list) and all(isinstance(sentence, Mapping) for sentence in sentences):
        cells = {name: cell for sentence in sentences for name, cell in sentence.items() if name != "image"}
    else:
        cells = {"expressions": sentences}
    for name, cell in cells.items():
        if name == "expressions" or isinstance(cell, (np.ndarray, Tensor)):
            raise TypeError(
                f"{name} of a row is of type {type(cell).__name__}: give rows of plain values, such as those of "
                "`dataset.with_format(None)`."
            )
    return sentences


def _key(row: Row) -> str:
    """What a row's draws depend on: the image and the expressions, so that each group of them has its own view."""
    said = [f"{sentence.get('sent_id')}/{sentence.get('expression')}" for sentence in _sentences(row)]
    return "/".join([str(row.get("image_id")), *said])


def _ids(sentences: Iterable[Row], name: str) -> Tensor:
    return torch.tensor([-1 if s.get(name) is None else s[name] for s in sentences], dtype=torch.int64)


def _zeros(shape: tuple[int, ...], dtype: type[np.generic]) -> Tensor:
    """
    Zeroed memory for a batch, where it is cheapest: first touch of fresh pages costs more than all arithmetic here.

    NumPy asks the kernel for huge pages; torch does not. A worker process moves it to shared memory, where its batch
    must end in anyway, while it is still pages of zeros that nobody has touched.
    """
    zeros = torch.from_numpy(np.zeros(shape, dtype))
    return zeros if get_worker_info() is None else zeros.share_memory_()


__all__ = ["PbrecCollator", "Row"]
