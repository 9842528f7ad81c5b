"""Own data with wrong values: tables and COCO files. Oracle: what makes a row right, written down once more."""

import csv
import io
import json
import math
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import PIL.Image
import pyarrow
import pyarrow.parquet
from numpy.random import Generator

from pbrec_hf.data import own_data

from ..family import Case, Family, Step, pick
from ..mutations import WRONG_VALUES, damage_bytes, draw_bytes
from ..outcome import Outcome, judge, refused, wrong

WIDTH, HEIGHT = 80, 60
_TRIANGLE = [[10, 10, 40, 10, 40, 30, 10, 30]]
_BOXES: tuple[Any, ...] = (
    [1, 2, 30, 40], [1.5, 2, 79.9, 59.5], [0, 0, 80.4, 60], [0, 0, 81, 60], [30, 2, 1, 40], [1, 2, 1, 40],
    [-3, 0, 9, 9], [1, 2, 3], [1, 2, 3, 4, 5], [True, 2, 30, 40], [None, 2, 30, 40], ["1", 2, 30, 40], [1, 2, 1e9, 40],
    {"x": 1}, [math.nan, 2, 30, 40], [1, 2, math.inf, 40], [0.1, 0.2, 0.5, 0.9], [[1, 2], [30, 40]],
)  # fmt: skip
_TEXTS = ("the dog", " dog ", "\u200b", "\u2060\ufeff", "a\0b", "\ud800 dog", "犬", "x" * 10**5)
_NUMBERS = (12, 0, 3.5, -5, math.nan, math.inf, True, "7", 10**400, [1])
_NAMES = (
    "a.png",
    "b.jpg",
    "c.png",
    "../a.png",
    "/etc/passwd",
    "sub\\a.png",
    "a.png\0",
    7,
    ["a.png"],
    {"path": "a.png"},
)
_SEVERAL = ([[10, 10, 40, 30], [5, 5, 20, 20]], [], [[10, 10, 40, 30]], [10, 10, 40, 30], [[1, 2, 3]], "x", [None], 7)
_CELLS: dict[str, tuple[Any, ...]] = {
    "boxes": (*_SEVERAL, [[math.nan] * 4], {"x": 1}), "ann_ids": ([5], [5, 6], [], ["a"], [True], 5, [[5]], "x"),
    "segmentations": ([_TRIANGLE], [_TRIANGLE] * 2, [None], [7], "x", {"x": 1}, [[[1, 2]]]),
    "no_target": (True, True, False, "true", "no", 1, 2, [], math.nan),
    "bbox": _BOXES, "expression": _TEXTS, "area": _NUMBERS, "image": _NAMES, "ref_id": _NUMBERS, "image_id": _NUMBERS,
    "category_id": _NUMBERS, "width": (80, 79, "80", 80.0), "segmentation": (_TRIANGLE, [], [[1, 2]], "x", [[1] * 7]),
}  # fmt: skip
_NUMERIC = ("area", "width", "ref_id", "category_id", "bbox")
_RECORDS = {
    "annotations": ("id", "image_id", "bbox", "segmentation", "category_id", "area"),
    "images": ("id", "file_name", "width"),
    "categories": ("id", "name"),
}


class OwnData(Family):
    """Subjects are forms of files. A step sets a cell, a field of a COCO record, or damages the file's bytes."""

    memory: ClassVar[int] = 512 * 2**20
    seconds: ClassVar[float] = 20

    def __init__(self, folder: Path):
        super().__init__(folder)
        pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        for name in ("a.png", "b.jpg"):
            PIL.Image.fromarray(pixels).save(folder / name)

    @staticmethod
    def draw(rng: Generator) -> Case:
        subject = pick(rng, ("jsonl", "jsonl", "csv", "tsv", "parquet", "coco", "coco", "coco"))
        chance = rng.random()
        if chance < 0.2:
            return Case(subject, draw_bytes(rng, 400))
        if chance < 0.28:
            return Case(subject, (("shares",),))
        if chance < 0.295:
            return Case("parquet", (("pictures", 50),))
        if chance < 0.34:
            return Case(subject, ((pick(rng, ("deep", "digits")), 10 ** int(rng.integers(3, 6))),))
        if subject == "coco" and chance < 0.9:
            where = pick(rng, _RECORDS)
            field = pick(rng, _RECORDS[where])
            values = (*WRONG_VALUES, *_CELLS.get(field, ()), "0017", "remove", "remove", "remove", "remove")
            return Case(subject, (("record", where, field, pick(rng, values)),))
        if subject == "coco":
            return Case(subject, (("ids of text",),))
        steps = []
        for _ in range(int(rng.integers(1, 3))):
            field = pick(rng, _CELLS)
            values = _CELLS[field] if rng.random() < 0.7 else (*WRONG_VALUES, "remove")
            steps.append(("cell", int(rng.integers(3)), field, pick(rng, values)))
        return Case(subject, tuple(steps))

    def run(self, case: Case) -> Outcome:
        try:
            path, instances, expected = self._written(case)
        except (pyarrow.ArrowException, OverflowError, UnicodeError):
            return refused("Arrow holds no such value")
        outcome = judge(
            lambda: own_data.load_own_data(path, instances=instances, cache_dir=self.folder / "cache"),
            lambda rows: _difference(rows.remove_columns("image"), expected),
            names=[path, instances or path],
        )
        if outcome.kind == "refused" and expected:
            return wrong(f"rows that are right were refused: {outcome.reason}")
        return outcome

    def _written(self, case: Case) -> tuple[Path, Path | None, list[dict[str, Any]] | None]:
        """Paths, and the rows as they should be read: None where they must be refused, [] where either will do."""
        rows = [
            {"image": name, "expression": f"the dog {number}", "bbox": [10, 10, 40, 30]}
            for number, name in enumerate(("a.png", "b.jpg", "a.png"))
        ]
        for step in case.steps:
            if step[0] == "cell":
                rows[step[1]][step[2]] = step[3]
                if step[3] == "remove":
                    del rows[step[1]][step[2]]
            elif step[0] == "shares":
                for row in rows:
                    row["bbox"] = [0.1, 0.2, 0.5, 0.9]
        if case.subject == "coco":
            return self._coco(case, rows)
        path = self.folder / f"rows.{case.subject}"
        if case.steps and case.steps[0][0] == "pictures":
            return path, None, _write_with_pictures(path, case.steps[0][1])
        _write(path, rows)
        expected: list[dict[str, Any]] | None = _right(rows, self.folder, case.subject)
        if any(step[0] == "shares" for step in case.steps):
            expected = None
        return path, None, _damaged(path, case.steps, expected)

    def _coco(self, case: Case, rows: list[dict[str, Any]]) -> tuple[Path, Path, list[dict[str, Any]] | None]:
        table, path = self.folder / "expressions.jsonl", self.folder / "instances.json"
        ann_id: Any = 5
        content: dict[str, list[dict[str, Any]]] = {
            "images": [{"id": 1, "file_name": "a.png", "width": WIDTH, "height": HEIGHT}],
            "annotations": [
                {"id": 5, "image_id": 1, "category_id": 1, "bbox": [10, 10, 30, 20], "segmentation": _TRIANGLE}
            ],
            "categories": [{"id": 1, "name": "dog"}],
        }
        expected: list[dict[str, Any]] | None = [{"bbox": [10.0, 10.0, 40.0, 30.0], "expression": "the dog"}]
        for step in case.steps:
            if step[0] == "record":
                _, where, field, value = step
                content[where][0][field] = value
                if value == "remove":
                    del content[where][0][field]
                # A mask has a box of its own; all other required fields are missed.
                optional = (where, field) in (("annotations", "bbox"), ("annotations", "area"), ("images", "width"),
                                              ("annotations", "segmentation"))  # fmt: skip
                if value != "remove":
                    expected = []
                elif not optional:
                    expected = [] if field in ("category_id", "id", "name") else None
            elif step[0] == "ids of text":
                ann_id = content["annotations"][0]["id"] = "5"
                content["images"][0]["id"] = content["annotations"][0]["image_id"] = "0017"
            elif step[0] == "shares":
                content["annotations"][0]["bbox"] = [0.1, 0.2, 0.5, 0.7]
                content["annotations"][0]["segmentation"] = []
                expected = None
        table.write_text(json.dumps({"ann_id": ann_id, "expression": "the dog"}) + "\n")
        path.write_text(json.dumps(content))
        return table, path, _damaged(path, case.steps, expected)


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".parquet":
        names = {name: None for row in rows for name in row}  # Arrow takes those of the first row alone
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist([names | row for row in rows]), path)
    else:
        names = sorted({name for row in rows for name in row})
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writerow(names)
            for row in rows:
                cells = [row.get(name) for name in names]
                writer.writerow(["" if c is None else c if isinstance(c, str) else json.dumps(c) for c in cells])


def _write_with_pictures(path: Path, count: int) -> list[dict[str, Any]]:
    """A Parquet file of a few kilobytes, whose pictures are 12 MB each when they are unpacked."""
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (2000, 2000)).save(buffer, "BMP")
    cell = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    schema = pyarrow.schema(
        [("image", cell), ("expression", pyarrow.string()), ("bbox", pyarrow.list_(pyarrow.float64()))]
    )
    with pyarrow.parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        for number in range(count):
            picture = {"bytes": buffer.getvalue(), "path": f"{number}.bmp"}
            row = {"image": picture, "expression": "the dog", "bbox": [10.0, 10.0, 40.0, 30.0]}
            writer.write_table(pyarrow.Table.from_pylist([row], schema=schema))
    return [{"bbox": [10.0, 10.0, 40.0, 30.0], "expression": "the dog"}] * count


def _damaged(path: Path, steps: tuple[Step, ...], expected: list[dict[str, Any]] | None) -> Any:
    """Damages the file's bytes if that is what steps say."""
    ours = {"cell", "record", "shares", "ids of text"}
    for step in steps:
        if step[0] in ours:
            continue
        if step[0] in ("deep", "digits"):
            if path.suffix == ".parquet":
                continue
            text = path.read_text()
            odd = "[" * step[1] + "]" * step[1] if step[0] == "deep" else "1" * step[1]
            path.write_text(text.replace("[10, 10", f"[{odd}, 10"))
            return None if odd in path.read_text() else expected
        before = path.read_bytes()
        path.write_bytes(damage_bytes(before, (step,)))
        expected = expected if before == path.read_bytes() else []
    return expected


def _right(rows: list[dict[str, Any]], folder: Path, form: str) -> list[dict[str, Any]] | None:
    """The rows as they should be read; None if one is wrong; [] where that is a matter of taste."""
    verdicts = [_row(row, folder) for row in rows]
    if form in ("csv", "tsv") and any(isinstance(row.get(name), str) for row in rows for name in _NUMERIC):
        return []  # in text, "7" is 7
    if False in verdicts:
        return None
    if None in verdicts or form in ("tsv", "parquet", "csv"):  # what a cell's text means is a matter of taste, too
        return [] if None in verdicts or form == "tsv" or any(len(row) != 3 for row in rows) else _plain(rows)
    return _plain(rows)


def _plain(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found = []
    for row in rows:
        x1, y1, x2, y2 = map(float, row["bbox"])
        box = [max(x1, 0.0), max(y1, 0.0), min(x2, WIDTH), min(y2, HEIGHT)]
        found.append({"bbox": box, "expression": row["expression"].strip()})
    return found


def _row(row: dict[str, Any], folder: Path) -> bool | None:
    """Whether a row is right; None where it is a matter of taste."""
    text, box, name = row.get("expression"), row.get("bbox"), row.get("image")
    if not isinstance(text, str) or not any(c.isprintable() and not c.isspace() for c in text):
        return False
    if "\0" in text or any("\ud800" <= c <= "\udfff" for c in text):
        return False
    if not isinstance(name, str) or "\0" in name or not (folder / name).is_file() or ".." in name:
        return None if isinstance(name, dict) else False
    if row.keys() & {"boxes", "segmentations", "ann_ids", "no_target"}:
        return None
    if not isinstance(box, list) or len(box) != 4 or any(isinstance(v, bool | list | dict) or v is None for v in box):
        return False
    if any(isinstance(v, str) for v in box):
        return None
    x1, y1, x2, y2 = box
    if not all(math.isfinite(v) for v in box) or x2 <= x1 or y2 <= y1 or min(x1, y1) < -0.5:
        return False
    if x2 > WIDTH + 0.5 or y2 > HEIGHT + 0.5:
        return False
    area = row.get("area")
    if area is not None and (isinstance(area, bool) or not isinstance(area, int | float) or not 0 <= area < math.inf):
        return False
    if row.get("width") not in (None, WIDTH, 80.0, "80"):
        return False
    return None if row.keys() - {"image", "expression", "bbox"} else True


def _difference(rows: Any, expected: list[dict[str, Any]] | None) -> str | None:
    if expected is None:
        return f"wrong rows were read: {rows[0]['bbox']} {rows[0]['expression'][:20]!r}"
    for row in rows:
        if row["bbox"] is None:
            if not row["no_target"] or row["boxes"] or row["segmentation"] is not None:
                return f"no box, but boxes {row['boxes']}"
            continue
        x1, y1, x2, y2 = row["bbox"]
        if not (0 <= x1 < x2 <= row["width"] and 0 <= y1 < y2 <= row["height"]) or not 0 <= row["area"] < math.inf:
            return f"box {row['bbox']}, area {row['area']}"
    if expected and len(rows) != len(expected):
        return f"{len(rows)} rows instead of {len(expected)}"
    for row, right in zip(rows, expected, strict=False):
        if row["expression"] != right["expression"] or not np.allclose(row["bbox"], right["bbox"], atol=1e-4):
            return f"{row['bbox']} {row['expression']!r} instead of {right}"
    return None


FAMILY = OwnData
