"""Downloads the published RefCOCO files and their photographs into the layout that `load_refcoco` reads.

    folder/refcoco/refs(unc).p, instances.json     folder/grefcoco/grefs(unc).json, instances.json
    folder/images/train2014/*.jpg                  folder/images/saiapr_tc-12/...

The addresses are data: `mirrors.yaml`. A call that was interrupted goes on where it stopped; what is complete is not
fetched again. Knows nothing of the content.
"""

from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from .fetch import Progress, fetch, require_space
from .unzip import leads_out, unzip


class Downloaded(NamedTuple):
    """Where the files are, by the names of `load_refcoco`'s arguments."""

    refer_dir: Path
    image_dir: Path | None


def download_refcoco(
    name: str,
    to: str | Path,
    *,
    images: bool = True,
    keep_archives: bool = False,
    mirrors: str | Path | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Downloaded:
    """
    Fetch one data set.

    Args:
        name: "refcoco", "refcoco+", "refcocog", "referit" or "grefcoco".
        to: download folder, made if need be; several data sets share it and the photographs in it.
        images: fetch the photographs, too (COCO train2014: 13.5 GB, and as much again while unpacking).
        keep_archives: keep the zip files after unpacking.
        mirrors: a file to use in place of `mirrors.yaml`, in its format.
        progress: called with (file name, bytes there, bytes in all or None) while fetching.
        options: `attempts`, `pause` and `timeout` of `fetch`.

    Raises:
        ConnectionError: no mirror delivered a file.
        OSError: not enough disk space (`errno.ENOSPC`), found before anything is fetched where sizes are known.
        ValueError: unknown data set, or an archive that is damaged or not to be trusted.
    """
    table = _read_mirrors(resources.files(__package__).joinpath("mirrors.yaml") if mirrors is None else Path(mirrors))
    if name not in table["datasets"]:
        raise ValueError(f"{name!r} is not a known data set: choose one of {', '.join(table['datasets'])}.")
    to = Path(to)
    to.mkdir(parents=True, exist_ok=True)
    entry = table["datasets"][name]
    wanted = [*entry["annotations"], *([entry["images"]] if images else [])]
    missing = [file for file in wanted if not (to / table["files"][file]["target"]).exists()]
    _require_space_for(missing, table["files"], to)
    for file in missing:
        _fetch_and_place(file, table["files"][file], to, keep_archives, progress, options)
    return Downloaded(to, to / table["files"][entry["images"]]["target"] if images else None)


def _read_mirrors(path: Traversable) -> dict[str, Any]:
    try:
        table: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
        for entry in table["datasets"].values():
            for name in (*entry["annotations"], entry["images"]):
                missing = {"urls", "bytes", "digest", "target"} - table["files"][name].keys()
                if missing:
                    raise KeyError(f"{', '.join(sorted(missing))} of {name}")
                if leads_out(name) or leads_out(table["files"][name]["target"]):
                    raise ValueError(f"name or target of {name} leads out of the download folder")
        return table
    except (yaml.YAMLError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(
            f"{path} is no file of mirrors ({' '.join(str(error).split())}): write it like the package's mirrors.yaml."
        ) from error


def _require_space_for(names: list[str], files: dict[str, Any], to: Path) -> None:
    needed = 0
    for name in names:
        there = sum(path.stat().st_size for path in (to / name, to / f"{name}.part") if path.exists())
        size = files[name]["bytes"] or 0
        needed += max(0, size - there) + (size if name.endswith(".zip") else 0)  # unpacked it is at least as large
    require_space(to, needed, f"fetching {', '.join(names)}")


def _fetch_and_place(
    name: str, file: dict[str, Any], to: Path, keep_archives: bool, progress: Progress | None, options: dict[str, Any]
) -> None:
    target = to / file["target"]
    target.parent.mkdir(parents=True, exist_ok=True)
    is_archive = name.endswith(".zip")
    arrives = to / name if is_archive else target
    fetch(file["urls"], arrives, size=file["bytes"], digest=file["digest"], progress=progress, **options)
    if is_archive:
        try:
            unzip(arrives, target)
        except ValueError as error:
            if file["digest"] is not None:
                raise
            arrives.unlink()  # without a digest, nothing else shows that it is not what was wanted
            raise ValueError(f"{error} It is deleted: run the same again to fetch it anew.") from error
        if not keep_archives:
            arrives.unlink()


__all__ = ["Downloaded", "download_refcoco"]
