"""`pbrec-hf data`: fetch the published data sets, look at composed scenes, pack rows with their pictures."""

import argparse
import sys
from pathlib import Path

from ..options import add_photographs, photographs_of, require_paths, require_picture_name, save_picture
from . import Commands, new_verb

HELP = "fetch data sets, look at composed scenes, pack rows with their pictures"
_DATASETS = ("refcoco", "refcoco+", "refcocog", "referit", "grefcoco")


def add(commands: Commands) -> None:
    """Add the verb with a sub-command for each data set, `preview` and `parquet`."""
    parser = new_verb(commands, "data", run, HELP)
    verbs = parser.add_subparsers(required=True, metavar="WHAT")
    for name in _DATASETS:
        fetch = verbs.add_parser(name, help=f"download {name}: annotations and photographs")
        fetch.set_defaults(act=_fetch, name=name, again="to go on where it stopped")
        fetch.add_argument("--to", type=Path, required=True, help="folder; an interrupted download resumes there")
        fetch.add_argument("--no_images", action="store_true", help="annotations only (photographs: 13.5 GB)")
        fetch.add_argument("--mirrors", type=Path, help="a file in the format of the package's mirrors.yaml")
    preview = verbs.add_parser("preview", help="draw composed scenes with their expressions")
    preview.set_defaults(act=_preview)
    add_photographs(preview)
    preview.add_argument("--seed", type=int, default=0, help="number of the first scene (default: %(default)s)")
    preview.add_argument("--count", type=int, default=6, help="how many scenes (default: %(default)s)")
    preview.add_argument("--out", type=Path, default=Path("pbrec-scenes.png"), help="picture to write (%(default)s)")
    parquet = verbs.add_parser("parquet", help="check your own rows and write them as Parquet with their pictures")
    parquet.set_defaults(act=_parquet)
    parquet.add_argument("tables", nargs="+", type=Path, metavar="TABLE", help="a split each, named like its file")
    parquet.add_argument("--to", type=Path, required=True, help="folder to write to")
    parquet.add_argument("--image_dir", type=Path, help="folder of the pictures (default: the table's own)")
    parquet.add_argument("--instances", type=Path, help="COCO instances file for tables with ann_id")
    parquet.add_argument("--bbox_format", default="xyxy", help="of the tables' boxes: xyxy or xywh (%(default)s)")


def run(options: argparse.Namespace) -> int:
    """Carry out the sub-command."""
    status: int = options.act(options)
    return status


def _fetch(options: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

    from ...data.refer.download import download_refcoco

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[str, TaskID] = {}

        def show(name: str, there: int, total: int | None) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name)
            bars.update(tasks[name], completed=there, total=total)

        found = download_refcoco(
            options.name, options.to, images=not options.no_images, mirrors=options.mirrors, progress=show
        )
    images = None if found.image_dir is None else str(found.image_dir)
    print(f"load_refcoco({options.name!r}, refer_dir={str(found.refer_dir)!r}, image_dir={images!r})")
    return 0


def _preview(options: argparse.Namespace) -> int:
    require_picture_name(options.out)
    if options.count < 1:
        raise ValueError(f"--count {options.count}: give a number of at least 1.")
    annotations, images = photographs_of(options)
    from ...data.scenes.composed import ComposedScenes
    from ...data.scenes.photographs import read_photographs
    from ..drawing import contact_sheet

    scenes = ComposedScenes(read_photographs(annotations, images))
    seeds = range(options.seed, options.seed + options.count)
    save_picture(contact_sheet([(f"scene {seed}", scenes.preview(seed)) for seed in seeds]), options.out)
    print(f"picture written to {options.out}", file=sys.stderr)
    return 0


def _parquet(options: argparse.Namespace) -> int:
    tables = {path.stem: path for path in options.tables}
    if len(tables) < len(options.tables):
        names = ", ".join(str(path) for path in options.tables)
        raise ValueError(f"Two of {names} have one name, but a table becomes the split of its name: rename one.")
    for path in options.tables:
        if not path.is_file():
            raise FileNotFoundError(f"There is no table {path}: correct the path.")
    require_paths(image_dir=options.image_dir, instances=options.instances)
    import datasets

    from ...data.own_data import load_own_data
    from ...data.parquet import write_parquet

    sources = {"instances": options.instances, "bbox_format": options.bbox_format}
    splits = {name: load_own_data(path, options.image_dir, view="image", **sources) for name, path in tables.items()}
    for path in write_parquet(datasets.DatasetDict(splits), options.to).values():
        print(path)
    return 0
