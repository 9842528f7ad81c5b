"""Pascal VOC: `voc/Annotations/*.xml`, `JPEGImages/` and `ImageSets/Main/default.txt`; boxes alone.

Corners are whole pixels counted from 1, as VOC has it. A mask has no place in these files.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from xml.sax.saxutils import escape

from ....hub.writing import replaced_folder
from ..labelled import Labelled, put_picture
from . import Add, Options


@contextmanager
def voc(options: Options) -> Iterator[Add]:
    """See the module."""
    with replaced_folder(options.out / "voc") as folder:
        for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
            (folder / name).mkdir(parents=True)
        with open(folder / "ImageSets" / "Main" / "default.txt", "w", encoding="utf-8") as listed:

            def add(labelled: Labelled) -> None:
                put_picture(labelled, folder / "JPEGImages" / labelled.file)
                path = folder / "Annotations" / f"{labelled.stem}.xml"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(annotation(labelled), encoding="utf-8")
                listed.write(f"{labelled.stem}\n")

            yield add


def annotation(labelled: Labelled) -> str:
    """The XML of a photograph."""
    folder, _, name = labelled.file.rpartition("/")
    lines = [
        "<annotation>",
        f"  <folder>{escape('/'.join(filter(None, ('JPEGImages', folder))))}</folder>",
        f"  <filename>{escape(name)}</filename>",
        "  <source><database>pbrec_hf</database></source>",
        f"  <size><width>{labelled.width}</width><height>{labelled.height}</height><depth>3</depth></size>",
        "  <segmented>0</segmented>",
    ]
    for expression, box, score, _ in labelled.answers():
        corners = [
            _pixel(value, labelled.width if number % 2 == 0 else labelled.height) for number, value in enumerate(box)
        ]
        bounds = "".join(
            f"<{name}>{value}</{name}>" for name, value in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)
        )
        lines += [
            "  <object>",
            f"    <name>{escape(expression)}</name>",
            "    <pose>Unspecified</pose><truncated>0</truncated><difficult>0</difficult>",
            f"    <bndbox>{bounds}</bndbox>",
            f"    <score>{score}</score>",
            "  </object>",
        ]
    return "\n".join([*lines, "</annotation>", ""])


def _pixel(edge: float, side: int) -> int:
    """The pixel that an edge falls into, from 1 on."""
    return min(max(int(edge) + 1, 1), side)


__all__ = ["annotation", "voc"]
