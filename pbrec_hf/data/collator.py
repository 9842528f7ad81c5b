"""Dataset rows → the batch that `PbrecForReferringExpression` trains on and is evaluated with.

Expects rows of `schema.py`, of the sentence view or of the image view; of the latter all expressions of a picture, or
a drawn number of them, share one canvas and so one pass through the backbone. With an augmentation the canvas is drawn
anew each epoch, depending on seed, epoch and row alone; without, it is the image processor's. Give it rows whose
images are not decoded (`schema.without_decoding`): it decodes faster. Knows nothing of detectors and proposals.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import get_worker_info
from transformers import BaseImageProcessor, PreTrainedTokenizerBase

from ..comprehension.targets import centerness_targets
from ..images.reading import load_pixels
from .augmentation import AugmentationConfig, draw_view, recolour_, row_generator
from .mask_targets import massness_labels
from .placement import Placement

if TYPE_CHECKING:
    from ..configuration_pbrec import PbrecConfig

TASKS = ("grounding", "segmentation")
Row = Mapping[str, Any]


@dataclass
class PbrecCollator:
    """Callable for `torch.utils.data.DataLoader(collate_fn=...)`, fit for worker processes.

    Args:
        image_processor: gives size and colours of the canvas, and without augmentation the canvas itself.
        tokenizer: of the text encoder.
        stride: width of a grid cell, canvas pixels.
        tasks: which targets to make; masks are needed for ``"segmentation"`` alone.
        soft_targets: ``"paper"`` or ``"released_code"``.
        max_text_length: tokens per expression, special tokens included; longer ones are cut.
        text_padding: ``"longest"`` of the batch, or ``"max_length"`` for fixed shapes.
        augmentation: the random recipe, or None for the test-time view.
        expressions_per_image: how many expressions of an image-view row to draw; None takes all. A row with fewer
            gives all it has.
        targets: make labels; off for evaluation, where rows without a referent or mask are welcome, too.
        free_points: the model says itself where its points stand and makes the paper's center-ness of the boxes there;
            none is made here.
        seed: of all draws.
    """

    image_processor: BaseImageProcessor
    tokenizer: PreTrainedTokenizerBase
    stride: int = 32
    tasks: Sequence[str] = TASKS
    soft_targets: str = "paper"
    max_text_length: int = 40
    text_padding: str = "longest"
    augmentation: AugmentationConfig | None = None
    expressions_per_image: int | None = None
    targets: bool = True
    free_points: bool = False
    seed: int = 0
    _epoch: torch.Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.tasks or not set(self.tasks) <= set(TASKS):
            raise ValueError(f"tasks must be one or both of {TASKS}, got {self.tasks}")
        if self.text_padding not in ("longest", "max_length"):
            raise ValueError(f"text_padding must be 'longest' or 'max_length', got {self.text_padding!r}")
        if self.expressions_per_image is not None and self.expressions_per_image < 1:
            raise ValueError(f"expressions_per_image must be at least 1 or None, got {self.expressions_per_image}")
        if self.canvas % self.stride:
            raise ValueError(f"the canvas of {self.canvas} pixels is not a multiple of the stride {self.stride}")
        # shared memory: worker processes that live for several epochs see set_epoch, too
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    @classmethod
    def for_model(
        cls,
        config: "PbrecConfig",
        image_processor: BaseImageProcessor,
        tokenizer: PreTrainedTokenizerBase,
        **options: Any,
    ) -> "PbrecCollator":
        """The collator whose targets fit a model; ``options`` are the other arguments of the class.

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
            free_points=config.free_points and config.soft_targets == "paper",
            **options,
        )
        if collator.canvas != config.image_size:
            raise ValueError(
                f"the image processor makes canvases of {collator.canvas} pixels, the model expects "
                f"image_size={config.image_size}: set size={{'longest_edge': {config.image_size}}}"
            )
        return collator

    @property
    def canvas(self) -> int:
        """Side of the canvas, pixels."""
        return self.image_processor.size["longest_edge"]

    def set_epoch(self, epoch: int) -> None:
        """Call before each epoch: other views, other expressions."""
        self._epoch.fill_(epoch)

    def __call__(self, rows: Sequence[Row]) -> dict[str, Any]:
        """I rows → a batch with E expressions.

        Returns:
            ``pixel_values`` (I, 3, H, W), ``pixel_mask`` (I, H, W), ``letterbox`` (I, 6) [of a mirrored or cropped
            picture: as if that were the original], ``input_ids`` and ``attention_mask`` (E, L), ``image_index`` (E,),
            with targets ``centerness_labels`` and ``massness_labels`` (E, P), ``repaired`` bool (E,): no grid point
            qualified for a target, so that the nearest one got it. For evaluation ``boxes`` (E, 4) XYXY canvas pixels
            (NaN = no referent), ``image_ids`` (list of I strings), ``ref_ids`` and ``sent_ids`` (E,) (-1 = none).

        Raises:
            ValueError: an image that cannot be read or is not of the row's size, a row without box or mask where
                targets need them; names the row.
        """
        generators = [row_generator(self.seed, int(self._epoch), _key(row)) for row in rows]
        groups = [self._draw_expressions(row, generator) for row, generator in zip(rows, generators, strict=True)]
        images = [load_pixels(row["image"]) for row in rows]
        for row, image, group in zip(rows, images, groups, strict=True):
            self._check(row, image, group)

        if self.augmentation is None:
            batch, placements = self._plain_canvases(images)
            texts = [sentence["expression"] for group in groups for sentence in group]
        else:
            batch, placements, texts = self._augmented_canvases(images, groups, generators)
        tokens = self.tokenizer(
            texts,
            padding=self.text_padding,
            truncation=True,
            max_length=self.max_text_length,
            return_token_type_ids=False,
            return_tensors="pt",
        )
        batch |= {"input_ids": tokens["input_ids"], "attention_mask": tokens["attention_mask"]}
        sentences = [sentence for group in groups for sentence in group]
        batch["image_index"] = torch.tensor([index for index, group in enumerate(groups) for _ in group])
        sizes = [tuple(image.shape[-2:]) for image in images]
        batch["boxes"] = torch.cat(
            [
                placement.boxes(_boxes(group), *size)
                for placement, group, size in zip(placements, groups, sizes, strict=True)
            ]
        )
        if self.targets:
            owners = batch["image_index"].tolist()
            batch |= self._labels(
                batch["boxes"], sentences, [placements[i] for i in owners], [sizes[i] for i in owners]
            )
        batch["image_ids"] = [str(row.get("image_id")) for row in rows]
        batch["ref_ids"] = _ids(sentences, "ref_id")
        batch["sent_ids"] = _ids(sentences, "sent_id")
        return batch

    def _draw_expressions(self, row: Row, generator: torch.Generator) -> list[Row]:
        if "expressions" not in row:
            return [row]
        group = row["expressions"]
        if self.expressions_per_image is None or len(group) <= self.expressions_per_image:
            return list(group)
        drawn = torch.randperm(len(group), generator=generator)[: self.expressions_per_image]
        return [group[index] for index in drawn.sort().values.tolist()]

    def _check(self, row: Row, image: torch.Tensor, group: Sequence[Row]) -> None:
        stated = (row.get("height"), row.get("width"))
        if None not in stated and stated != tuple(image.shape[-2:]):
            raise ValueError(
                f"image {_key(row)!r} is {image.shape[-2]} x {image.shape[-1]} (height x width) upright, its row says "
                f"{stated[0]} x {stated[1]}, so its boxes are of another picture: correct the file or the row"
            )
        if not group:
            raise ValueError(f"image {_key(row)!r} has no expressions: drop its row")
        for sentence in group if self.targets else ():
            if sentence["bbox"] is None:
                raise ValueError(f"{sentence['expression']!r} has no referent to train on: drop such rows first")
            if "segmentation" in self.tasks and sentence.get("segmentation") is None:
                raise ValueError(
                    f"{sentence['expression']!r} (image {_key(row)!r}) has no segmentation, but tasks={self.tasks}: "
                    "give masks, drop the row, or train the task grounding alone"
                )

    def _plain_canvases(self, images: Sequence[torch.Tensor]) -> tuple[dict[str, torch.Tensor], list[Placement]]:
        inputs = self.image_processor(images=list(images), return_tensors="pt")
        batch = {name: inputs[name] for name in ("pixel_values", "pixel_mask", "letterbox")}
        return batch, [Placement.from_letterbox(row, self.canvas) for row in batch["letterbox"].tolist()]

    def _augmented_canvases(
        self, images: Sequence[torch.Tensor], groups: Sequence[Sequence[Row]], generators: Sequence[torch.Generator]
    ) -> tuple[dict[str, torch.Tensor], list[Placement], list[str]]:
        pixel_values = _zeros((len(images), 3, self.canvas, self.canvas), np.float32)
        pixel_mask = _zeros((len(images), self.canvas, self.canvas), np.int64)
        mean = torch.tensor(self.image_processor.image_mean)[:, None, None] * 255
        scale = 1 / (torch.tensor(self.image_processor.image_std)[:, None, None] * 255)
        placements, texts = [], []
        for index, (image, group, generator) in enumerate(zip(images, groups, generators, strict=True)):
            placement, expressions = draw_view(
                self.augmentation,
                *image.shape[-2:],
                _boxes(group),
                [sentence["expression"] for sentence in group],
                self.canvas,
                generator,
            )
            window = (index, ..., *placement.window)
            picture = pixel_values[window]
            picture.copy_(placement.picture(image))
            recolour_(self.augmentation, picture, generator)
            picture.sub_(mean).mul_(scale)
            pixel_mask[window] = 1
            placements.append(placement)
            texts += expressions
        letterbox = torch.tensor([placement.letterbox for placement in placements])
        return {"pixel_values": pixel_values, "pixel_mask": pixel_mask, "letterbox": letterbox}, placements, texts

    def _labels(
        self,
        boxes: torch.Tensor,
        sentences: Sequence[Row],
        placements: Sequence[Placement],
        sizes: Sequence[tuple[int, int]],
    ) -> dict[str, torch.Tensor]:
        """Targets of E expressions; ``placements`` and ``sizes`` (height, width) are of their images."""
        labels = {"repaired": torch.zeros(len(boxes), dtype=torch.bool)}
        if "grounding" in self.tasks and not self.free_points:
            labels["centerness_labels"], repaired = centerness_targets(
                boxes, self.canvas, self.stride, style=self.soft_targets
            )
            labels["repaired"] |= repaired
        if "segmentation" in self.tasks:
            labels["massness_labels"], repaired = massness_labels(
                boxes,
                [sentence["segmentation"] for sentence in sentences],
                placements,
                sizes,
                self.stride,
                style=self.soft_targets,
            )
            labels["repaired"] |= repaired
        return labels


def _key(row: Row) -> str:
    """What tells a row apart, for draws and messages."""
    if "expressions" in row:
        return str(row.get("image_id"))
    return f"{row.get('image_id')}/{row.get('sent_id')}/{row.get('expression')}"


def _boxes(sentences: Iterable[Row]) -> torch.Tensor:
    nothing = [float("nan")] * 4
    return torch.tensor([nothing if s["bbox"] is None else s["bbox"] for s in sentences], dtype=torch.float32)


def _ids(sentences: Iterable[Row], name: str) -> torch.Tensor:
    return torch.tensor([-1 if s.get(name) is None else s[name] for s in sentences], dtype=torch.int64)


def _zeros(shape: tuple[int, ...], dtype: type) -> torch.Tensor:
    """Zeroed memory for a batch, where it is cheapest: first touch of fresh pages costs more than all arithmetic here.

    NumPy asks the kernel for huge pages; torch does not. A worker process takes shared memory, which its batch must
    end in anyway, and saves the copy.
    """
    if get_worker_info() is None:
        return torch.from_numpy(np.zeros(shape, dtype))
    count = int(np.prod(shape))
    storage = torch.UntypedStorage._new_shared(count * np.dtype(dtype).itemsize)
    return torch.tensor([], dtype=torch.from_numpy(np.empty(0, dtype)).dtype).set_(storage, 0, shape).zero_()
