"""Finds and checks image files before a data set is built on them, quickly: headers and ends, no decoding.

Expects a folder and the file names that annotations give. Knows nothing of the annotations.
"""

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PureWindowsPath

from ..images.reading import picture_size

_ENDS = {b"\xff\xd8": b"\xff\xd9", b"\x89PNG\r\n\x1a\n": b"IEND"}


class ImageFilesError(ValueError):
    """
    Images are missing or broken.

    Attributes:
        problems: path → what is wrong with it; the message lists the first ones.
    """

    def __init__(self, problems: Mapping[str, str], shown: int = 20) -> None:
        self.problems = dict(problems)
        lines = [f"  {path}: {problem}" for path, problem in list(self.problems.items())[:shown]]
        if len(self.problems) > shown:
            lines.append(f"  and {len(self.problems) - shown} more (see the attribute `problems`)")
        super().__init__(
            f"{len(self.problems)} images are missing or broken:\n"
            + "\n".join(lines)
            + "\nCorrect image_dir, fetch them again, or pass on_missing_image='skip'."
        )


def image_path(folder: str | Path, file_name: str) -> str:
    """
    The path of `file_name` inside `folder`. A name that Windows wrote (train\\1.jpg) is understood everywhere.

    Raises:
        ValueError: the name leads out of the folder.
    """
    foreign = PureWindowsPath(file_name)  # which takes both kinds of slashes
    if Path(file_name).is_absolute() or foreign.drive or foreign.root or ".." in foreign.parts:
        raise ValueError(f"The image name {file_name!r} leads out of {folder}: correct it, or do not trust this file.")
    path = Path(folder, file_name)
    return str(path if "\\" not in file_name or path.is_file() else Path(folder, *foreign.parts))


def check_images(sizes: Mapping[str, tuple[int, int]], threads: int = 8) -> dict[str, str]:
    """
    Path → what is wrong with the file; empty if nothing is.

    Args:
        sizes: path → (height, width) in pixels according to the annotations.
        threads: how many files are read at once.
    """
    with ThreadPoolExecutor(threads) as pool:
        problems = pool.map(lambda item: _problem(*item), sizes.items())
        return {path: problem for path, problem in zip(sizes, problems, strict=True) if problem}


def lacks_end(source: str | Path | bytes) -> bool:
    """Whether a JPEG or PNG, a file or its bytes, does not end like one: truncated, or followed by something else."""
    if isinstance(source, bytes):
        head, tail = source[:8], source[-4096:]
    else:
        with open(source, "rb") as file:
            head = file.read(8)
            file.seek(max(0, os.path.getsize(source) - 4096))
            tail = file.read()
    # In the coded data of a JPEG every 0xFF is followed by 0x00 or a restart marker, never by the end marker's byte.
    end = next((end for start, end in _ENDS.items() if head.startswith(start)), None)
    return end is not None and end not in tail


def _problem(path: str, size: tuple[int, int]) -> str | None:
    try:
        if not Path(path).is_file():
            return "missing"
        found = picture_size(path)
    except ValueError as error:
        return str(error)
    except OSError as error:  # such as a name that is too long
        return error.strerror or "cannot be opened"
    if found != size:
        return f"is {found[0]}×{found[1]} pixels (height × width), its annotations are for {size[0]}×{size[1]}"
    return "truncated" if lacks_end(path) else None


__all__ = ["ImageFilesError", "check_images", "image_path", "lacks_end"]
