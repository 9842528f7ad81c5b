"""Finds and checks image files before a data set is built on them, quickly: headers and ends, no decoding.

Expects a folder and the file names that annotations give. Knows nothing of the annotations.
"""

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ..images.reading import picture_size

_ENDS = {b"\xff\xd8": b"\xff\xd9", b"\x89PNG\r\n\x1a\n": b"IEND"}


class ImageFilesError(ValueError):
    """Images are missing or broken. `problems` maps every path to what is wrong with it."""

    def __init__(self, problems: Mapping[str, str], shown: int = 20):
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
    """The path of `file_name` inside `folder`.

    Raises:
        ValueError: the name leads out of the folder.
    """
    path = Path(folder, file_name)
    if Path(file_name).is_absolute() or ".." in Path(file_name).parts:
        raise ValueError(f"the image name {file_name!r} leads out of {folder}; the annotations are not to be trusted.")
    return str(path)


def check_images(sizes: Mapping[str, tuple[int, int]], threads: int = 8) -> dict[str, str]:
    """What is wrong with which file; an empty mapping if nothing is.

    Args:
        sizes: path → (width, height) in pixels as the annotations have it.
    """
    with ThreadPoolExecutor(threads) as pool:
        problems = pool.map(lambda item: _problem(item[0], *item[1]), sizes.items())
        return {path: problem for path, problem in zip(sizes, problems, strict=True) if problem}


def _problem(path: str, width: int, height: int) -> str | None:
    if not Path(path).is_file():
        return "missing"
    try:
        found_height, found_width = picture_size(path)
    except ValueError as error:
        return str(error)
    if (found_width, found_height) != (width, height):
        return f"is {found_width}x{found_height} pixels, its annotations are for {width}x{height}"
    return "truncated" if lacks_end(path) else None


def lacks_end(source: str | Path | bytes) -> bool:
    """Whether a JPEG or PNG, a file or its bytes, does not end as one does: truncated, or with more behind its end."""
    if isinstance(source, bytes):
        head, tail = source[:8], source[-4096:]
    else:
        with open(source, "rb") as file:
            head = file.read(8)
            file.seek(max(0, os.path.getsize(source) - 4096))
            tail = file.read()
    # In a truncated JPEG every 0xFF of the coded data is followed by 0x00 or a restart marker, never by the end
    # marker.
    end = next((end for start, end in _ENDS.items() if head.startswith(start)), None)
    return end is not None and end not in tail
