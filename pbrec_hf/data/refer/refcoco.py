"""RefCOCO, RefCOCO+, RefCOCOg, ReferItGame, gRefCOCO and others as `datasets`, read from local REFER folders.

`load_refcoco` wraps `RefCocoBuilder`: cached Arrow files or a stream, the columns of `data/schema.py`, the splits and
published numbers of `refcoco_configs.yaml`. It expects the published files unpacked (`download_refcoco` fetches them).
Expressions are the cleaned sentences (`sent`); boxes and masks are those of the annotations. Knows nothing of models,
targets and augmentation.
"""

import hashlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import yaml
from datasets.builder import Key
from datasets.exceptions import DatasetGenerationError

from ...version import __version__
from ..coco import CocoImage
from ..image_files import ImageFilesError, check_images, image_path
from ..schema import features
from ..values import Id
from .folder import Reference, in_split, read_refer_folder, references_path
from .foreign import ForeignFolder, find_foreign, own_splits
from .rows import Annotated, ReferItem, image_rows, sentence_rows, shards

logger = logging.getLogger(__name__)

CONFIGS: dict[str, dict[str, Any]] = yaml.safe_load(
    resources.files(__package__).joinpath("refcoco_configs.yaml").read_text(encoding="utf-8")
)
_VIEWS = {"sentence": "sentence", "sentences": "sentence", "image": "image", "images": "image"}


def load_refcoco(
    name: str,
    split_by: str | None = None,
    *,
    refer_dir: str | Path,
    image_dir: str | Path | None = None,
    view: str = "sentence",
    streaming: bool = False,
    num_proc: int | None = None,
    check_counts: bool = True,
    on_missing_image: str = "error",
    cache_dir: str | Path | None = None,
) -> datasets.DatasetDict | datasets.IterableDatasetDict:
    """
    All splits of one data set.

    Args:
        name: "refcoco", "refcoco+", "refcocog", "referit" or "grefcoco"; or with who split it, "refcocog/umd". Any
            other name is that of a folder of the same format, whose splits are those that its references name.
        split_by: who split it ("unc", "google", "umd", "berkeley"); by default the first of
            `refcoco_configs.yaml`, or the only one that a folder has.
        refer_dir: the folder that holds "refcoco/", "refclef/" and so on, or directly the folder of this data set.
        image_dir: the folder of the photographs (COCO's train2014; for ReferItGame saiapr_tc-12). None: annotations
            only, every `image` is None.
        view: "sentence" (one row per expression; also "sentences") or "image" (one row per image with all its
            expressions; also "images").
        streaming: an `IterableDatasetDict` that reads the folder anew instead of writing a cache.
        num_proc: processes that write the cache.
        check_counts: compare references, sentences and images of every split with the published numbers, as far as
            there are any. There are none for gRefCOCO, whose published totals are not those of the published file,
            and for folders that are no published data set: nothing is checked there. False for a partial copy.
        on_missing_image: "error", or "skip" to leave out every row whose image is missing, truncated or of another
            size.
        cache_dir: in place of the cache of `datasets`. The cache is written anew when a file of the folder changes.

    Raises:
        ValueError: unknown data set, view or switch; damaged files; numbers that are not the published ones.
        ImageFilesError: images are missing or broken and were not to be skipped (a ValueError).
        FileNotFoundError: the folder or one of its files is missing.
    """
    if view not in _VIEWS:
        raise ValueError(f"view={view!r} is unknown: choose one of {', '.join(_VIEWS)}.")
    if on_missing_image not in ("error", "skip"):
        raise ValueError(f"on_missing_image={on_missing_image!r} is unknown: choose error or skip.")
    key, folder, foreign = _located(name, split_by, refer_dir)
    if foreign is not None:
        logger.info("%s is no published data set: its counts are not checked.", key)
    generalized = key.startswith("grefcoco/") if foreign is None else foreign.generalized
    columns = features(_VIEWS[view], generalized)
    builder = (RefCocoBuilder if foreign is None else ForeignReferBuilder)(
        config_name=key.replace("/", "-"),
        dataset_name="pbrec_refcoco",
        hash=_content_hash(folder, key.split("/")[1], image_dir, columns),
        cache_dir=str(cache_dir) if cache_dir else None,
        refer_dir=str(folder),
        image_dir=str(Path(image_dir).resolve()) if image_dir else None,
        view=_VIEWS[view],
        check_counts=check_counts,
        on_missing_image=on_missing_image,
        split_by=key.split("/")[1],
        generalized=generalized,
    )
    if streaming:
        return builder.as_streaming_dataset()
    try:
        builder.download_and_prepare(num_proc=num_proc)
    except DatasetGenerationError as error:
        # The library's own error does not name its cause and is neither an OSError nor a ValueError.
        cause = error.__cause__ or error
        if isinstance(cause, ValueError) and str(folder) in str(cause):
            raise ValueError(str(cause)) from error
        raise ValueError(f"{folder} cannot be read ({type(cause).__name__}): {cause}") from error
    return builder.as_dataset()


def config_key(name: str, split_by: str | None = None) -> str:
    """
    The key of `CONFIGS` for a data set, such as "refcocog/umd".

    Raises:
        ValueError: there is no such data set.
    """
    wanted = name if split_by is None or name.endswith(f"/{split_by}") else f"{name}/{split_by}"
    for key in CONFIGS:
        if key == wanted or (split_by is None and key.split("/")[0] == name):
            return key
    raise ValueError(f"{wanted!r} is not a known data set: choose one of {', '.join(CONFIGS)}.")


def published_counts(name: str, split_by: str | None = None) -> dict[str, dict[str, int | None]]:
    """Split → {"refs", "sentences", "images"} as published, None where no number is; for `expected` of the metrics."""
    counts: dict[str, dict[str, int | None]] = CONFIGS[config_key(name, split_by)]["splits"]
    return counts


def refer_folder(refer_dir: str | Path, key: str) -> Path:
    """
    The folder of the data set `key` (of `CONFIGS`): `refer_dir` itself or its sub-folder of the REFER layout.

    Raises:
        FileNotFoundError: neither holds an `instances.json`.
    """
    root = Path(refer_dir).resolve()
    for folder in (root / CONFIGS[key]["folder"], root):
        if (folder / "instances.json").is_file():
            return folder
    raise FileNotFoundError(
        f"Neither {root / CONFIGS[key]['folder']} nor {root} holds an instances.json: fetch the data with "
        f"`pbrec-hf data {key.split('/')[0]} --to {root}`."
    )


def _located(name: str, split_by: str | None, refer_dir: str | Path) -> tuple[str, Path, ForeignFolder | None]:
    """A data set's "name/split_by", its folder, and what is known of it if it is no published one."""
    try:
        key = config_key(name, split_by)
    except ValueError as unknown:
        foreign = find_foreign(name, split_by, refer_dir)
        if foreign is None:
            raise ValueError(
                f"{unknown} Or name a folder of {refer_dir} that holds instances.json and refs(SPLIT_BY).p."
            ) from unknown
        # A published folder under a misspelt name would escape its counts.
        alike = f"{foreign.path.name}/{foreign.split_by}"
        if alike in CONFIGS and name.partition("/")[0] != foreign.path.name:
            raise ValueError(f"{name!r} is not known, but {foreign.path} holds {alike}: give that name.") from unknown
        return f"{name.partition('/')[0]}/{foreign.split_by}", foreign.path, foreign
    return key, refer_folder(refer_dir, key), None


@dataclass
class RefCocoConfig(datasets.BuilderConfig):
    """The builder's settings; `load_refcoco` documents the fields."""

    refer_dir: str | None = None
    image_dir: str | None = None
    view: str = "sentence"
    check_counts: bool = True
    on_missing_image: str = "error"
    split_by: str = ""
    generalized: bool = False


class RefCocoBuilder(datasets.ArrowBasedBuilder):
    """The builder behind `load_refcoco`; use it directly for `download_and_prepare(file_format="parquet")`."""

    VERSION = datasets.Version("1.0.0")
    BUILDER_CONFIG_CLASS = RefCocoConfig
    BUILDER_CONFIGS = [
        RefCocoConfig(
            name=key.replace("/", "-"),
            version=datasets.Version("1.0.0"),
            split_by=key.split("/")[1],
            generalized=key.startswith("grefcoco/"),
        )
        for key in CONFIGS
    ]

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(
            description=f"Referring expressions: {self.config.name}. {self._verified()}",
            homepage="https://github.com/lichengunc/refer",
            features=features(self.config.view, generalized=self.config.generalized),
        )

    def _verified(self) -> str:
        if not self.config.check_counts:
            return "Its counts were not checked."
        counts = [number for split in CONFIGS[self._key()]["splits"].values() for number in split.values()]
        if all(number is None for number in counts):
            return "No counts are published, so none were checked."
        return "Its counts are the published ones, as far as there are any."

    def _key(self) -> str:
        """The key of `CONFIGS`."""
        return str(self.config.name).replace("-", "/")

    def _split(self, references: list[Reference]) -> dict[str, list[Reference]]:
        return split_references(references, self._key(), self.config.check_counts)

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        folder = read_refer_folder(self.config.refer_dir, self.config.split_by)
        splits = self._split(folder.references)
        paths = self._image_paths(folder.images)
        generators = []
        for split, references in splits.items():
            items = [
                ReferItem(
                    reference,
                    folder.images[reference.image_id],
                    paths[reference.image_id],
                    [
                        Annotated(a, folder.annotations[a], folder.category(folder.annotations[a]))
                        for a in reference.ann_ids
                    ],
                )
                for reference in references
                if reference.image_id in paths
            ]
            chunks = shards(items, by_image=self.config.view == "image")
            generators.append(datasets.SplitGenerator(name=split, gen_kwargs={"chunks": chunks}))
        return generators

    def _image_paths(self, images: Mapping[Id, CocoImage]) -> Mapping[Id, str | None]:
        """Image id → path (None without `image_dir`), without the images that are to be skipped."""
        if self.config.image_dir is None:
            return dict.fromkeys(images)
        paths = {image_id: image_path(self.config.image_dir, image.file_name) for image_id, image in images.items()}
        problems = check_images({paths[image_id]: image.size for image_id, image in images.items()})
        if not problems:
            return paths
        error = ImageFilesError(problems)
        if self.config.on_missing_image == "error":
            raise error
        logger.warning("Rows of such images are left out: %s", error)
        return {image_id: path for image_id, path in paths.items() if path not in problems}

    def _generate_tables(self, chunks: list[list[ReferItem]]) -> Iterator[tuple[Key, pa.Table]]:
        rows_of = image_rows if self.config.view == "image" else sentence_rows
        for number, chunk in enumerate(chunks):
            try:
                rows = rows_of(chunk)
            except ValueError as error:
                raise ValueError(f"{self.config.refer_dir} cannot be read: {error}") from error
            yield Key(number, 0), pa.Table.from_pylist(rows, schema=self.info.features.arrow_schema)


class ForeignReferBuilder(RefCocoBuilder):
    """The same for a folder that is no published data set: its own splits, and no counts."""

    BUILDER_CONFIGS = []

    def _verified(self) -> str:
        return "No published data set: its counts were not checked."

    def _split(self, references: list[Reference]) -> dict[str, list[Reference]]:
        return own_splits(references, self.config.refer_dir)


def split_references(references: list[Reference], key: str, check_counts: bool) -> dict[str, list[Reference]]:
    """
    References of each published split that has any, in the order of the configuration.

    Raises:
        ValueError: a reference of an unknown split, or (`check_counts`) a number that is not the published one.
    """
    published = CONFIGS[key]["splits"]
    unknown = {r.split for r in references} - {r.split for r in references for s in published if in_split(r.split, s)}
    if unknown:
        raise ValueError(
            f"{key} has the splits {list(published)}, but there are references of {sorted(unknown)}: take the "
            "references of this data set."
        )
    splits = {split: [r for r in references if in_split(r.split, split)] for split in published}
    for split, members in splits.items() if check_counts else ():
        found = {
            "refs": len(members),
            "sentences": sum(len(r.sentences) for r in members),
            "images": len({r.image_id for r in members}),
        }
        for what, number in published[split].items():
            if number is not None and found[what] != number:
                raise ValueError(
                    f"{key} {split} has {found[what]} {what}, published are {number}: fetch the files again, or pass "
                    "check_counts=False to load a partial copy."
                )
    return {split: members for split, members in splits.items() if members}


def _content_hash(folder: Path, split_by: str, image_dir: str | Path | None, columns: datasets.Features) -> str:
    """Changes with package and columns, with the size or time of every file read, and when images come or go."""
    digest = hashlib.sha256(f"{__version__} {columns}".encode())
    paths = [references_path(folder, split_by), folder / "instances.json"]
    for path in paths + ([Path(image_dir)] if image_dir else []):
        status = path.stat()
        digest.update(f"{path.resolve()} {status.st_size} {status.st_mtime_ns}".encode())
    return digest.hexdigest()[:32]
