"""REFER pickles, crafted and damaged. Oracle: Python's own unpickler in Python, without names; nothing may run."""

import io
import pickle
from pathlib import Path
from typing import Any, ClassVar

from numpy.random import Generator
from refer_folders import pickled

from pbrec_hf.data.refer.folder import read_references

from ..family import Case, Family, pick
from ..mutations import damage_bytes, draw_bytes
from ..outcome import Outcome, judge, wrong

_CRAFTED = (
    "system", "shared ann_id", "shared sentences", "shared image_id", "infinite id", "nan id", "huge id", "deep list",
    "deep tuple", "self", "wide memo", "long text", "shared text",
)  # fmt: skip
_FIELDS = ("ref_id", "image_id", "split", "ann_id", "sentences")
_VALUES = (
    None,
    True,
    "x",
    "",
    -1,
    1.5,
    1e300,
    10**30,
    float("inf"),
    float("nan"),
    [],
    [1, 2],
    {},
    (1,),
    b"x",
    "\ud800",
)


def _record(number: int) -> dict[str, Any]:
    sentences = [{"sent_id": 2 * number + i, "sent": f"the dog {i}", "tokens": ["the", "dog"]} for i in range(2)]
    return {
        "ref_id": number, "image_id": 7 + number, "split": ("train", "val")[number % 2], "ann_id": 100 + number,
        "category_id": 1, "file_name": f"{number}.jpg", "sent_ids": [2 * number, 2 * number + 1],
        "sentences": sentences,
    }  # fmt: skip


def _nested(depth: int, kind: type, width: int = 10) -> Any:
    """A list or tuple of `width`^depth elements in the memory of a few."""
    inner: Any = kind([0] * width)
    for _ in range(depth):
        inner = kind([inner] * width)
    return inner


def _crafted(what: str, depth: int, canary: Path) -> bytes:
    record = _record(0)
    if what == "system":
        return f"cos\nsystem\n(S'touch {canary}'\ntR.".encode()
    if what == "wide memo":
        return b"\x80\x02]r\xff\xff\xff\x7f."
    if what == "self":
        record["sentences"] = record
    elif what == "shared sentences":
        record["sentences"] = [record["sentences"][0]] * 10**4
        return pickle.dumps([record] * 10 ** min(depth, 5), 2)
    elif what == "shared text":
        record["sentences"][0]["sent"] = "x" * 10**5
        return pickle.dumps([record] * 10**4, 2)
    elif what == "long text":
        record["split"] = "x" * 10**6
        record["ref_id"] = "1" * 5000
    elif what == "deep list":
        return b"\x80\x02" + b"(l" * 10 ** min(depth, 5) + b"a" * (10 ** min(depth, 5) - 1) + b"."
    elif what == "deep tuple":
        return b"\x80\x02N" + b"\x85" * 10 ** min(depth, 5) + b"."
    elif what.startswith("shared"):
        record[what.removeprefix("shared ")] = _nested(depth, list)
    else:
        record["image_id"] = {"infinite id": float("inf"), "nan id": float("nan"), "huge id": 10**400}[what]
    return pickle.dumps([record], 2)


class Pickles(Family):
    """The subject is "crafted" (what, size), "fields" (record, field, value) or "bytes" (damage)."""

    memory: ClassVar[int] = 512 * 2**20
    seconds: ClassVar[float] = 20

    @staticmethod
    def draw(rng: Generator) -> Case:
        chance = rng.random()
        if chance < 0.3:
            return Case("crafted", ((pick(rng, _CRAFTED), int(rng.integers(2, 14))),))
        form = (int(rng.integers(0, 3)), pick(rng, (2, 3)))
        if chance < 0.6:
            change = (int(rng.integers(3)), pick(rng, _FIELDS), pick(rng, (*_VALUES, "remove")))
            return Case("fields", (form, change))
        return Case("bytes", (form, *draw_bytes(rng, 900)))

    def run(self, case: Case) -> Outcome:
        path, canary = self.folder / "refs(unc).p", self.folder / "canary"
        if case.subject == "crafted":
            data = _crafted(*case.steps[0], canary) if case.steps else pickle.dumps([_record(0)], 2)
        else:
            records = [_record(number) for number in range(3)]
            form, changes = ((2, 2), case.steps)
            if case.steps and len(case.steps[0]) == 2:
                form, changes = case.steps[0], case.steps[1:]
            if case.subject == "fields":
                for number, field, value in changes:
                    records[number][field] = value
                    if value == "remove":
                        del records[number][field]
                data = pickle.dumps(records, 2) if "\ud800" in repr(changes) else _pickled(records, *form)
            else:
                data = damage_bytes(_pickled(records, *form), changes)
        path.write_bytes(data)
        outcome = judge(
            lambda: read_references(self.folder, "unc"),
            lambda found: _difference(found, data),
            names=[path],
        )
        if canary.exists():
            canary.unlink()
            return wrong("what the pickle names was run")
        return outcome


def _pickled(records: list[dict[str, Any]], protocol: int, python: int) -> bytes:
    try:
        return pickled(records, protocol, python)
    except (UnicodeError, pickle.PicklingError):
        return pickle.dumps(records, max(protocol, 2))


class _Plain(pickle._Unpickler):  # type: ignore[name-defined]
    """Python's unpickler written in Python, which looks up no names."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"{module}.{name}")


def _difference(found: list[Any], data: bytes) -> str | None:
    try:
        records = _Plain(io.BytesIO(data), encoding="latin-1").load()
    except Exception as error:
        return f"read, though Python's own reader fails: {type(error).__name__} {error}"
    for reference, record in zip(found, records, strict=True):
        given = [reference.ref_id, reference.image_id, reference.split, *reference.ann_ids]
        there = [record["ref_id"], record["image_id"], record["split"]]
        there += [ann_id for ann_id in _listed(record["ann_id"]) if ann_id != -1]
        for sentence, entry in zip(reference.sentences, record["sentences"], strict=True):
            given += [sentence.sent_id, sentence.text]
            there += [entry["sent_id"], entry["sent"]]
        if len(given) != len(there) or not all(map(_alike, given, there)):
            return f"{given} instead of {there}"
    return None


def _alike(one: Any, other: Any) -> bool:
    """7, 7.0 and "7" are the same id; nothing else is taken for something else."""
    return (one == other and not isinstance(other, bool)) or (isinstance(other, str) and str(one) == other)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


FAMILY = Pickles
