"""Every public entry point: how to make it from a folder, and four questions with answers of plain values.

Spawned processes import this, too.
"""

import copy
import dataclasses
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import open_vocabularies
import promptable
import torch
from checkpoints import save_tiny_checkpoint, tiny_model
from own_detector import QuartersConfig, QuartersDetector
from PIL import Image
from refer_folders import write_refer_folder
from tiny_detectors import save_network, scatter
from training_data import write_data
from transformers import pipeline

import pbrec_hf
from pbrec_hf import (
    FcosConfig,
    FcosDetector,
    Grounder,
    NanoDetDetector,
    OpenVocabularyDetector,
    PbrecCollator,
    PbrecConfig,
    PbrecForReferringExpression,
    PbrecImageProcessor,
    PbrecModel,
    PbrecProcessor,
    PretrainedDetector,
    PromptedMasks,
    SoloDetector,
    TorchvisionDetector,
    TorchvisionDetectorConfig,
    bundled_checkpoint,
    load_hub_set,
    load_own_data,
    load_refcoco,
    optimize_for_inference,
    register_detector,
    share_detector,
    with_soft_targets,
)
from pbrec_hf.app.demo import demo_photographs
from pbrec_hf.data.augmentation import AugmentationConfig
from pbrec_hf.images.reading import load_pixels
from pbrec_hf.images.segmentation import mask_to_rle
from pbrec_hf.metrics import GeneralizedRec, GeneralizedRes, RecAccuracy, ResIoU

QUESTIONS = 4
ASKED_ELSEWHERE = 1  # the question to other processes
TEXTS = (["left dog"], ["the red car", "girl"], ["cat on the right"], ["girl", "dog", "left cat"])


@dataclasses.dataclass(frozen=True)
class EntryPoint:
    """
    Attributes:
        names: what is asked, as in `pbrec_hf.__all__`; other public names with their modules.
        make: the object that is asked, from what `write_folder` wrote.
        ask: the answer to a question (0 to 3) of this object.
    """

    names: tuple[str, ...]
    make: Callable[[Path], Any]
    ask: Callable[[Any, int], Any]


def write_folder(folder: Path) -> Path:
    """Tiny checkpoints, a data set of one's own, and one in the REFER format."""
    save_tiny_checkpoint(folder / "checkpoint", masks=True)
    tiny_model().model.save_pretrained(folder / "base")
    torch.manual_seed(0)
    FcosDetector(FcosConfig(depth=18, neck_channels=32, tower_depth=1)).save_pretrained(folder / "fcos")
    save_network(folder / "detr", "detection", "detr")
    config = TorchvisionDetectorConfig(
        name="ssdlite320_mobilenet_v3_large", num_labels=4, min_score=0.01, top_n=8, options={"topk_candidates": 8}
    )
    ssdlite = TorchvisionDetector(config)
    scatter(ssdlite)
    ssdlite.save_pretrained(folder / "ssdlite")
    open_vocabularies.tiny_detector(id2label={0: "dog", 1: "car"}).save_pretrained(folder / "dino")
    promptable.tiny_prompted().save_pretrained(folder / "sam")
    QuartersDetector(QuartersConfig()).save_pretrained(folder / "quarters")
    write_data(folder / "own", pictures=QUESTIONS, masks=True)
    write_refer_folder(folder / "refer", "refcoco/unc")
    return folder


def answers(name: str, asked: Any) -> list[Any]:
    """All answers of an entry point."""
    return [flat(ENTRY_POINTS[name].ask(asked, number)) for number in range(QUESTIONS)]


def flat(value: Any) -> Any:
    """An answer as plain values that can be compared and sent to other processes; tensors with their dtypes."""
    if isinstance(value, torch.Tensor):
        return str(value.dtype), value.tolist()
    if isinstance(value, np.ndarray):
        return str(value.dtype), value.tolist()
    if isinstance(value, Image.Image):
        return value.mode, value.size, value.tobytes()
    if isinstance(value, Mapping):
        return {key: flat(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [flat(entry) for entry in value]
    if dataclasses.is_dataclass(value):
        return {field.name: flat(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return value


def picture(number: int) -> np.ndarray:
    """uint8 (H, W, 3), another one for each question."""
    return np.random.default_rng(number).integers(256, size=(48 + 8 * number, 64, 3), dtype=np.uint8)


def _canvas(number: int) -> torch.Tensor:
    return torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(number), dtype=torch.float32)


def _words(number: int) -> dict[str, torch.Tensor]:
    return {"input_ids": torch.tensor([[2, 5 + number, 7, 3]]), "attention_mask": torch.ones(1, 4, dtype=torch.long)}


@torch.no_grad()
def _score(model: PbrecForReferringExpression, number: int) -> Any:
    output = model(pixel_values=_canvas(number), **_words(number))
    return output.center_logits, output.mass_logits, output.image_features.features


@torch.no_grad()
def _fuse(model: PbrecModel, number: int) -> Any:
    return model(image_features=model.get_image_features(_canvas(number)), **_words(number)).last_hidden_state


def _propose(detector: Any, number: int) -> Any:
    proposals = detector.propose(_canvas(number))
    masks = None if proposals.masks is None else proposals.masks.at(torch.tensor([0]), torch.tensor([number]))
    return proposals.boxes, proposals.quality, masks


def _prompt(masks: Any, number: int) -> Any:
    boxes = torch.tensor([[8.0, 8, 90 - number, 100]], dtype=torch.float32)
    return masks.prompt(_canvas(number)).of_boxes(torch.tensor([0]), boxes)


def _process(processor: PbrecProcessor, number: int) -> Any:
    inputs = processor(picture(number), TEXTS[number])
    scores = torch.linspace(-2, 2, len(TEXTS[number]) * 16, dtype=torch.float32).view(-1, 16)
    outputs = pbrec_hf.PbrecOutput(center_logits=scores, mass_logits=scores)
    found = processor.post_process_referring_expression(outputs, inputs)
    return found, {name: inputs[name] for name in ("pixel_values", "pixel_mask", "letterbox", "input_ids")}


def _share(folder: Path) -> Any:
    model = PbrecForReferringExpression.from_pretrained(bundled_checkpoint())
    processor = PbrecProcessor.from_pretrained(bundled_checkpoint())
    assert share_detector(model, processor)
    return model, processor


@torch.no_grad()
def _share_and_answer(pair: Any, number: int) -> Any:
    model, processor = pair
    inputs = processor(picture(number), TEXTS[number])
    return processor.post_process_referring_expression(model(**inputs), inputs)


def _own_detector(folder: Path) -> Any:
    return register_detector(QuartersDetector).from_pretrained(folder / "quarters")


def _collator(augmentation: AugmentationConfig | None) -> Callable[[Path], Any]:
    def make(folder: Path) -> Any:
        processor = PbrecProcessor.from_pretrained(folder / "checkpoint", load_detectors=False)
        config = PbrecConfig.from_pretrained(folder / "checkpoint")
        collator = PbrecCollator.for_model(
            config, processor.image_processor, processor.tokenizer, augmentation=augmentation
        )
        return collator, list(load_own_data(folder / "own" / "data.jsonl", view="image"))

    return make


def _measure(metrics: Any, number: int) -> Any:
    boxes = [[0.0, 0.0, 10.0, 10.0 - number], [2.0, 2.0, 5.0, 9.0]]
    masks = [mask_to_rle(np.arange(12).reshape(3, 4) > limit) for limit in (number, 6)]
    given = {RecAccuracy: boxes, ResIoU: masks, GeneralizedRec: [[box] for box in boxes], GeneralizedRes: masks}
    others = {RecAccuracy: boxes[::-1], ResIoU: masks[::-1], GeneralizedRec: [[], boxes], GeneralizedRes: masks[::-1]}
    # A metric collects what it is given, so each question has metrics of its own.
    return [metric().compute(predictions=given[metric], references=others[metric]) for metric in metrics]


def _refcoco(folder: Path, number: int) -> Any:
    split = ("train", "val", "testA", "testB")[number]
    rows = load_refcoco(
        "refcoco", "unc", refer_dir=folder / "refer", image_dir=folder / "refer" / "images", check_counts=False
    )
    return [{name: value for name, value in row.items() if name != "image"} for row in rows[split]]


def _own(folder: Path, number: int) -> Any:
    rows = load_own_data(folder / "own" / "data.jsonl", view=("sentence", "image")[number % 2])
    return rows.remove_columns("image").to_list()


def _hub_set(folder: Path, number: int) -> Any:
    """A mistyped name, which needs no network; `tests/data/hub_sets` ask for sets."""
    try:
        return load_hub_set(f"set{number}", "val")
    except ValueError as error:
        return str(error)


ENTRY_POINTS = {
    "config": EntryPoint(
        ("PbrecConfig",),
        lambda folder: PbrecConfig.from_pretrained(folder / "checkpoint"),
        lambda config, number: config.to_dict(),
    ),
    "model": EntryPoint(
        ("PbrecForReferringExpression", "PbrecOutput"),
        lambda folder: PbrecForReferringExpression.from_pretrained(folder / "checkpoint"),
        _score,
    ),
    "base model": EntryPoint(
        ("PbrecModel", "PbrecImageFeatures"), lambda folder: PbrecModel.from_pretrained(folder / "base"), _fuse
    ),
    "FCOS": EntryPoint(
        ("FcosDetector", "FcosConfig"), lambda folder: FcosDetector.from_pretrained(folder / "fcos"), _propose
    ),
    "SOLO": EntryPoint(
        ("SoloDetector", "SoloConfig"),
        lambda folder: SoloDetector.from_pretrained(folder / "checkpoint" / "mask_detector"),
        _propose,
    ),
    "NanoDet": EntryPoint(
        ("NanoDetDetector", "NanoDetConfig", "Proposals"),
        lambda folder: NanoDetDetector.from_pretrained(folder / "checkpoint" / "box_detector"),
        _propose,
    ),
    "detector of transformers": EntryPoint(
        ("PretrainedDetector", "PretrainedDetectorConfig"),
        lambda folder: PretrainedDetector.wrap(folder / "detr"),
        _propose,
    ),
    "detector of torchvision": EntryPoint(
        ("TorchvisionDetector", "TorchvisionDetectorConfig"),
        # Copied, since kernels depend on how weights lie in memory: those of a file lie anywhere.
        lambda folder: copy.deepcopy(TorchvisionDetector.from_pretrained(folder / "ssdlite")),
        _propose,
    ),
    "open vocabulary": EntryPoint(
        ("OpenVocabularyDetector", "OpenVocabularyConfig"),
        lambda folder: OpenVocabularyDetector.from_pretrained(folder / "dino"),
        _propose,
    ),
    "prompted masks": EntryPoint(
        ("PromptedMasks", "PromptedMasksConfig"),
        lambda folder: copy.deepcopy(PromptedMasks.from_pretrained(folder / "sam")),  # as above
        _prompt,
    ),
    "own detector": EntryPoint(("Detector", "DetectorConfig", "register_detector"), _own_detector, _propose),
    "image processor": EntryPoint(
        ("PbrecImageProcessor",),
        lambda folder: PbrecImageProcessor(size={"longest_edge": 128}),
        lambda process, number: process([picture(number), picture(0)]),
    ),
    "processor": EntryPoint(
        ("PbrecProcessor",), lambda folder: PbrecProcessor.from_pretrained(folder / "checkpoint"), _process
    ),
    "pipeline": EntryPoint(
        ("ReferringExpressionPipeline",),
        lambda folder: pipeline("referring-expression", model=str(folder / "checkpoint")),
        lambda pipe, number: pipe(picture(number), TEXTS[number], return_masks="rle"),
    ),
    "pipeline, any": EntryPoint(
        ("ReferringExpressionPipeline",),
        lambda folder: pipeline("referring-expression", model=str(folder / "checkpoint")),
        lambda pipe, number: pipe(picture(number), TEXTS[number], referents="any", threshold=0.0, return_masks="rle"),
    ),
    "pipeline, rows": EntryPoint(
        ("ReferringExpressionPipeline",),
        lambda folder: pipeline("referring-expression", model=str(folder / "checkpoint")),
        lambda pipe, number: pipe([picture(number), picture(0)], [TEXTS[number], TEXTS[0]], batch_size=2),
    ),
    "Grounder": EntryPoint(
        ("Grounder", "bundled_checkpoint"),
        lambda folder: Grounder(bundled_checkpoint()),
        lambda ground, number: ground(picture(number), TEXTS[number]).answers,
    ),
    "optimized": EntryPoint(
        ("optimize_for_inference",),
        lambda folder: optimize_for_inference(PbrecForReferringExpression.from_pretrained(folder / "checkpoint")),
        _score,
    ),
    "shared": EntryPoint(("share_detector",), _share, _share_and_answer),
    "RefCOCO": EntryPoint(("load_refcoco",), lambda folder: folder, _refcoco),
    "evaluation set": EntryPoint(("load_hub_set",), lambda folder: folder, _hub_set),
    "own data": EntryPoint(("load_own_data",), lambda folder: folder, _own),
    "soft targets": EntryPoint(
        ("with_soft_targets",),
        lambda folder: with_soft_targets(
            load_own_data(folder / "own" / "data.jsonl"), PbrecConfig.from_pretrained(folder / "checkpoint")
        ),
        lambda rows, number: {name: value for name, value in rows[number].items() if name != "image"},
    ),
    "collator": EntryPoint(("PbrecCollator",), _collator(None), lambda made, number: made[0](made[1][: number + 1])),
    "collator, augmented": EntryPoint(
        ("PbrecCollator",),
        _collator(AugmentationConfig()),
        lambda made, number: made[0](made[1][: number + 1]),
    ),
    "metrics": EntryPoint(
        tuple(f"metrics.{metric.__name__}" for metric in (RecAccuracy, ResIoU, GeneralizedRec, GeneralizedRes)),
        lambda folder: (RecAccuracy, ResIoU, GeneralizedRec, GeneralizedRes),
        _measure,
    ),
    "pictures": EntryPoint(
        ("images.reading.load_pixels",),
        lambda folder: folder,
        lambda folder, number: load_pixels(folder / "own" / f"{number}.png"),
    ),
    "demo": EntryPoint(
        ("app.demo.demo_photographs",),
        lambda folder: None,
        lambda made, number: {name: str(value) for name, value in demo_photographs()[number].items()},
    ),
    "version": EntryPoint(("__version__",), lambda folder: None, lambda made, number: pbrec_hf.__version__),
}


def answer_all(folder: Path, pickled: bytes, send: Any) -> None:
    """Answers of the objects that were sent here, and of those that are made here."""
    received, remade = pickle.loads(pickled), {name: point.make(folder) for name, point in ENTRY_POINTS.items()}
    for made in (received, remade):
        for name, asked in made.items():
            made[name] = flat(ENTRY_POINTS[name].ask(asked, ASKED_ELSEWHERE))
    send.send((received, remade))
