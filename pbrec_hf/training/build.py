"""What a run is made of: from a `TrainingConfig` to model, processor, rows and collator.

Loads from folders and the Hub. Knows nothing of the training loop.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import datasets
from pyarrow import compute
from torch import nn
from transformers import AutoModel, AutoTokenizer

from ..configuration_pbrec import PbrecConfig
from ..data.augmentation import AugmentationConfig
from ..data.collator import PbrecCollator
from ..data.hub_sets.loading import load_hub_set
from ..data.hub_sets.names import PREFIX
from ..data.own_data import load_own_data
from ..data.refer.leakage import load_mixture
from ..data.refer.refcoco import load_refcoco
from ..data.schema import without_decoding
from ..detectors.references import DetectorReference
from ..hub.configs import config_folder
from ..hub.loading import require_there
from ..hub.opening import opening
from ..image_processing_pbrec import PbrecImageProcessor
from ..modeling_pbrec import PbrecForReferringExpression
from ..processing_pbrec import PbrecProcessor
from .config import TrainingConfig


def load_model_and_processor(config: TrainingConfig) -> tuple[PbrecForReferringExpression, PbrecProcessor]:
    """
    The model to train, in float32, and its processor with its detectors, if any.

    Raises:
        OSError: a checkpoint does not exist.
        ValueError: the weights of a tower do not fit the config.
    """
    changes: dict[str, Any] = {"tasks": config.tasks} if config.tasks else {}
    if config.target_styles is not None:
        changes["soft_targets"] = config.target_styles
    if config.init is not None:
        # With other tasks than it was saved with, a checkpoint has a head too many or one too few.
        with opening(config.init) as found:
            model = PbrecForReferringExpression.from_pretrained(
                config.init, dtype="float32", strict=not config.tasks, **changes, **found
            )
            processor = PbrecProcessor.from_pretrained(config.init, **found)
    else:
        assert config.model_config is not None  # as TrainingConfig requires without `init`
        folder = config_folder(config.model_config)
        model = PbrecForReferringExpression(PbrecConfig.from_pretrained(folder, **changes))
        _load_towers(model, config)
        processor = PbrecProcessor(
            PbrecImageProcessor.from_pretrained(folder),
            AutoTokenizer.from_pretrained(config.text_checkpoint or folder),
            max_text_length=model.config.max_text_length,
        )
    if config.gradient_checkpointing:
        model.activation_checkpointing_enable()
    return model, add_detectors(processor, config.box_detector, config.mask_detector)


def add_detectors(
    processor: PbrecProcessor, box_detector: str | None = None, mask_detector: str | None = None
) -> PbrecProcessor:
    """The processor with the detectors of these folders or Hub ids; where one is None it keeps its own."""
    given = {"box_detector": box_detector, "mask_detector": mask_detector}
    if not any(given.values()):
        return processor
    for source in filter(None, given.values()):
        require_there(DetectorReference.parse(source).repo_id)
    detectors = {name: detector_of(source) if source else getattr(processor, name) for name, source in given.items()}
    return PbrecProcessor(
        processor.image_processor,
        processor.tokenizer,
        max_text_length=processor.max_text_length,
        selection=processor.selection,
        **detectors,
    )


def detector_of(source: str) -> Any:
    """The detector of a folder or Hub id, `id@revision` included, or one around the network there."""
    reference = DetectorReference.parse(source)
    with opening(reference.repo_id) as found:
        return reference.load(found)


def load_rows(
    data: str | None = None,
    dataset: str | None = None,
    split: str | None = "train",
    split_by: str | None = None,
    refer_dir: str | None = None,
    image_dir: str | None = None,
    check_counts: bool = True,
    bbox_format: str = "xyxy",
    instances: str | None = None,
    first: int | None = None,
) -> datasets.Dataset:
    """
    Rows of the image view, images not decoded: of a file of one's own, or of a split of a published data set.

    Args:
        data: JSONL, JSON, CSV, TSV or Parquet; see `load_own_data`.
        dataset: instead, name of a published data set; see `load_refcoco`. Or "hub:owner/name", of one on the Hub; see
            `load_hub_set`.
        split, split_by: of the data set.
        refer_dir: folder of its annotations.
        image_dir: folder of the images.
        check_counts: compare the splits with their published sizes.
        bbox_format: of `data`, "xyxy" or "xywh".
        instances: COCO instances file of `data`.
        first: of a data set on the Hub, read no more than so many of its rows.

    Raises:
        ValueError: rows are wrong, or the data set does not have this split.
    """
    if data is not None:
        own = load_own_data(data, image_dir, instances=instances, bbox_format=bbox_format, view="image")
        return without_decoding(own)
    if dataset is not None and dataset.startswith(PREFIX):
        return without_decoding(load_hub_set(dataset, str(split), first=first, check_counts=check_counts))
    if dataset is None or refer_dir is None:
        raise ValueError(f"dataset={dataset!r} needs the folder of its annotations: give refer_dir.")
    splits = load_refcoco(
        dataset, split_by=split_by, refer_dir=refer_dir, image_dir=image_dir, view="image", check_counts=check_counts
    )
    if split not in splits:
        raise ValueError(f"{dataset} has no split {split!r}: give one of {', '.join(splits)}.")
    return without_decoding(splits[split])


def training_rows(config: TrainingConfig) -> datasets.Dataset:
    """
    The rows to train on; of several data sets, without the images that any of them holds out.

    Raises:
        ValueError: rows are wrong, or a data set does not have this split.
    """
    names = _datasets(config)
    if len(names) < 2 or config.refer_dir is None:
        rows = _rows(config, config.data, config.train_split)
    else:
        options = {"image_dir": config.image_dir, "view": "image", "check_counts": config.check_counts}
        rows = without_decoding(load_mixture(names, config.refer_dir, **options))
    return _without_absent(rows) if config.drop_no_target else rows


def require_targets(rows: datasets.Dataset, tasks: Iterable[str]) -> None:
    """
    Check that every expression of `rows` (image view) has what training `tasks` needs.

    Raises:
        ValueError: a referent of one lacks a segmentation; names the first one.
    """
    if "segmentation" not in tasks:
        return
    table = rows.select_columns(["image_id", "expressions"]).with_format("arrow")[:]
    sentences = compute.list_flatten(table["expressions"])
    # An expression without referents needs none; of several referents, the union is None if one has none.
    present = compute.is_valid(compute.struct_field(sentences, "bbox"))
    lacks = compute.and_(present, compute.is_null(compute.struct_field(sentences, "segmentation")))
    if count := compute.sum(lacks).as_py():
        first = compute.index(lacks, True).as_py()
        expression = compute.struct_field(sentences, "expression")[first].as_py()
        image = table["image_id"][compute.list_parent_indices(table["expressions"])[first].as_py()].as_py()
        raise ValueError(
            f"{count} of {len(lacks)} expressions have no segmentation, the first is {expression!r} of image {image}: "
            "add it, or train the task grounding alone."
        )


def validation_rows(config: TrainingConfig) -> datasets.Dataset | None:
    """The rows to validate on, or None."""
    return _rows(config, config.validation_data, config.validation_split) if config.validates else None


def measured_on(config: TrainingConfig) -> tuple[str, str] | None:
    """Name and split of what `validation_rows` gives, or None."""
    if not config.validates:
        return None
    if config.validation_data is not None:
        return Path(config.validation_data).stem, "validation"
    return _datasets(config)[0], str(config.validation_split)  # a mixture is validated on the first


def trained_on(config: TrainingConfig) -> list[str]:
    """What `training_rows` are of: each data set with its split, such as "refcoco/unc train", or the file's name."""
    if config.data is not None:
        return [Path(config.data).stem]
    return [f"{name} {config.train_split}" for name in _datasets(config)]


def training_collator(
    config: TrainingConfig, model: PbrecForReferringExpression, processor: PbrecProcessor
) -> PbrecCollator:
    """The collator with targets that fit the model, and the config's augmentation."""
    augmentation = AugmentationConfig(
        flip_probability=config.flip_probability,
        crop_probability=config.crop_probability,
        blur_probability=config.blur_probability,
    )
    return PbrecCollator.for_model(
        model.config,
        processor.image_processor,
        processor.tokenizer,
        augmentation=augmentation if config.augment else None,
        text_padding="max_length" if config.compile else "longest",  # a new length would compile again
        seed=config.seed,
    )


def _rows(config: TrainingConfig, data: str | None, split: str | None) -> datasets.Dataset:
    return load_rows(
        data,
        next(iter(_datasets(config)), None),
        split,
        refer_dir=config.refer_dir,
        image_dir=config.image_dir,
        check_counts=config.check_counts,
        bbox_format=config.bbox_format,
        instances=config.instances,
    )


def _datasets(config: TrainingConfig) -> list[str]:
    """The published data sets, as "refcoco/unc" where the split is given in either way."""
    names = config.dataset.split(",") if config.dataset else []
    return [name if "/" in name or config.split_by is None else f"{name}/{config.split_by}" for name in names]


def _without_absent(rows: datasets.Dataset) -> datasets.Dataset:
    def present(row: dict[str, Any]) -> dict[str, Any]:
        return {"expressions": [sentence for sentence in row["expressions"] if sentence["bbox"] is not None]}

    return rows.map(present, features=rows.features, desc="no target").filter(lambda row: len(row["expressions"]) > 0)


def _load_towers(model: PbrecForReferringExpression, config: TrainingConfig) -> None:
    if config.backbone_checkpoint is not None:
        backbone = model.model.backbone
        loaded = type(backbone).from_pretrained(config.backbone_checkpoint, config=model.config.backbone_config)
        _copy(loaded, backbone, config.backbone_checkpoint)
    if config.text_checkpoint is not None:
        _copy(AutoModel.from_pretrained(config.text_checkpoint), model.model.text_model, config.text_checkpoint)


def _copy(source: nn.Module, target: nn.Module, name: str) -> None:
    """Copy every tensor of `target` from `source`, which may have more (a pooler, counters of BatchNorm)."""
    there, wanted = source.state_dict(), target.state_dict()
    wrong = [key for key, value in wanted.items() if key not in there or there[key].shape != value.shape]
    if wrong:
        raise ValueError(
            f"{name!r} does not fit the config: {', '.join(wrong[:3])} … are missing or have another shape. Give "
            "weights of the tower that `model_config` describes."
        )
    target.load_state_dict({key: there[key] for key in wanted})
