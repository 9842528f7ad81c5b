"""Options that several commands share, and what they stand for."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..hub.bundled import bundled_photographs

if TYPE_CHECKING:
    import datasets
    from PIL.Image import Image

    from ..inference.grounder import Grounder


PHOTOGRAPHS = bundled_photographs()


def add_model(parser: argparse.ArgumentParser) -> None:
    """Which checkpoint answers, and where it runs."""
    parser.add_argument("--model", help="folder or Hub id (default: the bundled checkpoint)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, … (default: %(default)s)")


def add_runtime(parser: argparse.ArgumentParser) -> None:
    """What computes the networks, and how exactly; see `Grounder`."""
    parser.add_argument(
        "--runtime", choices=("torch", "onnx", "openvino"), default="torch",
        help="what computes the networks; graphs are written at the first use (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--precision", choices=("fp32", "bf16", "int8"), default="fp32",
        help="of the networks: bf16 with torch or openvino, int8 with onnx or openvino (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--compile", action="store_true", help="torch.compile the networks: minutes at the first photograph, for many"
    )


def grounder_of(options: argparse.Namespace) -> "Grounder":
    """
    The checkpoint that the options of `add_model` and `add_runtime` name.

    Raises:
        ImportError, OSError, ValueError: as of `Grounder`.
    """
    from ..inference.grounder import Grounder

    return Grounder(options.model, options.device, options.runtime, options.precision, compile=options.compile)


def add_photographs(parser: argparse.ArgumentParser) -> None:
    """Annotated photographs: one's own, or those of the package; see `photographs_of`."""
    parser.add_argument(
        "--annotations", type=Path, help="COCO-format instances with masks (default: of the package's photographs)"
    )
    parser.add_argument("--images", type=Path, help="folder of their photographs (default: the package's)")


def photographs_of(options: argparse.Namespace) -> tuple[Path, Path]:
    """
    The file of annotations and the folder of its photographs that the options of `add_photographs` name.

    Raises:
        ValueError: one is given without the other.
        FileNotFoundError: one is not there.
    """
    if (options.annotations is None) != (options.images is None):
        given, lacking = ("annotations", "images") if options.images is None else ("images", "annotations")
        raise ValueError(f"--{given} {getattr(options, given)}: give --{lacking}, too, or neither.")
    annotations = options.annotations or PHOTOGRAPHS / "instances.json"
    images = options.images or PHOTOGRAPHS / "images"
    require_paths(annotations=annotations, images=images)
    return annotations, images


def require_models(*sources: object) -> None:
    """
    Check, before anything slow, that these folders are there, or that the Hub can be asked for these ids.

    Args:
        sources: what options hold; only text is checked.

    Raises:
        OSError: one is not, or cannot be asked for.
    """
    from ..hub.reaching import require_source

    for source in sources:
        if isinstance(source, str):
            require_source(source)


def add_rows(parser: argparse.ArgumentParser) -> None:
    """Which expressions are read: a file of one's own, or splits of a published data set; see `rows_of`."""
    parser.add_argument("--data", help="own data: JSONL, JSON, CSV, TSV or Parquet")
    parser.add_argument("--bbox_format", default="xyxy", help="of own data: xyxy or xywh (default: %(default)s)")
    parser.add_argument("--instances", help="COCO instances file whose objects the expressions of own data name")
    parser.add_argument(
        "--dataset",
        help="refcoco, refcoco+, refcocog, referit or grefcoco; or one on the Hub with its pictures, such as "
        "hub:lmms-lab/RefCOCO or hub:owner/name@revision",
    )
    parser.add_argument("--split_by", help="unc, google, umd or berkeley")
    parser.add_argument("--refer_dir", help="folder of the REFER annotations")
    parser.add_argument("--image_dir", help="folder of the images")
    parser.add_argument("--no_check_counts", action="store_true", help="accept a partial copy of a data set")
    parser.add_argument("--first", type=int, help="of a data set on the Hub: read only so many rows of a split")


def add_detectors(parser: argparse.ArgumentParser) -> None:
    """Detectors in place of the checkpoint's own."""
    for kind in ("box", "mask"):
        parser.add_argument(f"--{kind}_detector", help="folder or Hub id, instead of the checkpoint's own")


def add_ways(parser: argparse.ArgumentParser) -> None:
    """How many things an expression may mean, and from which score on an answer counts."""
    parser.add_argument(
        "--referents", choices=("one", "any"), help="things an expression may mean (default: any for generalized data)"
    )
    parser.add_argument(
        "--threshold", help="answers that score less count as none: a number, or auto = that of the calibration"
    )


def add_any(parser: Any, read: Callable[[str], Any] = str) -> None:
    """
    The same where one thing is the default: `--any` for as many as there are, or none.

    Args:
        parser: or a group of its arguments.
        read: what `--threshold` becomes.
    """
    parser.add_argument(
        "--any", dest="referents", action="store_const", const="any", default="one",
        help="find as many things as an expression means, or none",
    )  # fmt: skip
    parser.add_argument(
        "--threshold", type=read,
        help="leave out answers that score less: a number, or auto for the checkpoint's own (default: 0; auto with "
        "--any)",
    )  # fmt: skip


def threshold_of(text: str | None) -> float | str | None:
    """
    What `--threshold` means: a number, "auto", or None where it was not given.

    Raises:
        ValueError: it is neither.
    """
    if text is None or text == "auto":
        return text
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise ValueError(f"--threshold {text}: give a number from 0 to 1, or auto.")
    return number


def require_rows(options: argparse.Namespace) -> None:
    """
    Check, before anything slow, that the options name one source of expressions, which is there.

    Raises:
        FileNotFoundError: a path leads nowhere.
        ValueError: they name none, or two.
    """
    if (options.data is None) == (options.dataset is None):
        raise ValueError("Give --data (a file of your own) or --dataset (such as refcoco): one of the two.")
    names = ("data", "instances", "refer_dir", "image_dir")
    require_paths(**{name: getattr(options, name) for name in names})
    if is_on_the_hub(options):
        from ..data.hub_sets.names import HubSet

        HubSet.named(options.dataset)
        for name in ("split_by", "refer_dir", "image_dir"):
            if getattr(options, name) is not None:
                raise ValueError(f"--{name} is not for a data set on the Hub, which has its pictures: leave it out.")
    elif options.first is not None:
        raise ValueError("--first is for data sets on the Hub (--dataset hub:owner/name): leave it out.")


def is_on_the_hub(options: argparse.Namespace) -> bool:
    """Whether `--dataset` is one on the Hub."""
    from ..data.hub_sets.names import PREFIX

    return options.dataset is not None and options.dataset.startswith(PREFIX)


def require_paths(**paths: str | Path | None) -> None:
    """
    Check, before anything slow, that the paths of these options exist.

    Raises:
        FileNotFoundError: one does not; its option is named.
    """
    for name, path in paths.items():
        if path is not None and not Path(path).exists():
            raise FileNotFoundError(f"--{name} {path}: there is no such file or folder; correct the path.")


def rows_of(options: argparse.Namespace, split: str) -> "datasets.Dataset":
    """The rows that `add_rows` asks for: the own file, or this split of the published data set."""
    from ..training.build import load_rows

    return load_rows(
        options.data,
        options.dataset,
        split,
        options.split_by,
        options.refer_dir,
        options.image_dir,
        not options.no_check_counts,
        options.bbox_format,
        options.instances,
        options.first,
    )


def splits_of(options: argparse.Namespace) -> list[str]:
    """
    The splits that `--splits` names, or all but the one to train on; a file of one's own is one split.

    Raises:
        OSError, ValueError: the data set is not known, or the Hub does not tell its splits.
    """
    from ..data.hub_sets.names import HubSet
    from ..data.hub_sets.stream import splits_of as splits_on_the_hub
    from ..data.refer.refcoco import published_counts

    if own := own_split(options):
        return [own]
    if options.splits:
        return list(options.splits)
    if is_on_the_hub(options):
        names = splits_on_the_hub(HubSet.named(options.dataset))
    else:
        names = list(published_counts(options.dataset, options.split_by))
    return [split for split in names if split != "train"]


def own_split(options: argparse.Namespace) -> str | None:
    """What a file of one's own is called where splits have names; None for a published data set."""
    return None if options.data is None else Path(options.data).stem


def require_picture_name(path: Path | None) -> None:
    """
    Check, before anything slow, that a picture can be written to `path`.

    Raises:
        FileNotFoundError: its folder does not exist.
        ValueError: its ending is not one of a picture.
    """
    from PIL import Image

    if path is None:
        return
    Image.init()
    if Image.registered_extensions().get(path.suffix.lower()) not in Image.SAVE:
        raise ValueError(f"{path} has no ending of a picture: name a .png or .jpg file.")
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(f"The folder {path.absolute().parent} does not exist: make it first.")


def save_picture(picture: "Image", path: Path, **options: Any) -> None:
    """
    Write a picture in the format of its ending, whole or not at all.

    Args:
        options: of the format, such as `quality`.

    Raises:
        OSError: it cannot be written.
    """
    from PIL import Image

    from ..hub.writing import replaced_file

    Image.init()
    with replaced_file(path) as partial:
        picture.save(partial, format=Image.registered_extensions()[path.suffix.lower()], **options)
