"""safetensors with damage, loaded strictly and in part. Oracle: the file read by hand, without the library."""

import json
import shutil
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from checkpoints import tiny_box_detector, tiny_mask_detector, tiny_model
from numpy.random import Generator
from torch import Tensor
from transformers import AutoModel

from ..family import Case, Family, Step, pick
from ..mutations import damage_bytes, draw_bytes
from ..outcome import Outcome, judge

_MODELS = {"pbrec": tiny_model, "nanodet": tiny_box_detector, "solo": tiny_mask_detector}
_DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "F64": torch.float64}
_KINDS = {"F32": np.float32, "F64": np.float64, "F16": np.float16, "I64": np.int64, "I32": np.int32, "U8": np.uint8,
          "BOOL": np.bool_}  # fmt: skip
_CHANGES = ("missing", "renamed", "shape", "nan", "inf", "I64", "U8", "BOOL", "F16", "F64", "extra")
_LOADS = ("strict", "strict", "partial", "resized")


class Weights(Family):
    """The subject is `model:how it is loaded`; steps damage bytes, or ("tensor", change, which) changes a tensor."""

    memory: ClassVar[int] = 2**30

    def __init__(self, folder: Path):
        super().__init__(folder)
        # Memory that nobody has written to is filled with NaN, so that it cannot look right by chance.
        torch.use_deterministic_algorithms(True, warn_only=True)
        for name, make in _MODELS.items():
            make().save_pretrained(folder / name)

    @staticmethod
    def draw(rng: Generator) -> Case:
        subject = f"{pick(rng, _MODELS)}:{pick(rng, _LOADS)}"
        if rng.random() < 0.4:
            return Case(subject, draw_bytes(rng, 40_000))
        steps = [("tensor", pick(rng, _CHANGES), float(rng.random())) for _ in range(int(rng.integers(1, 3)))]
        if rng.random() < 0.15:  # all statistics of all norms, as in a file of a network without them
            steps = [("statistics",)]
        return Case(subject, tuple(steps))

    def run(self, case: Case) -> Outcome:
        model, _, how = case.subject.partition(":")
        folder = self.folder / "case"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.folder / model, folder)
        path = folder / "model.safetensors"
        raw = path.read_bytes()
        if case.steps and case.steps[0][0] in ("tensor", "statistics"):
            path.write_bytes(_changed(raw, case.steps))
        else:
            path.write_bytes(damage_bytes(raw, case.steps))
        options = {"strict": {}, "partial": {"strict": False}, "resized": {"ignore_mismatched_sizes": True}}[how]
        if how == "partial":
            options = {"strict": False, "ignore_mismatched_sizes": True}
        first = _MODELS[model]().state_dict()
        return judge(
            lambda: AutoModel.from_pretrained(folder, **options),
            lambda loaded: _problem(loaded.state_dict(), path, first, how),
            names=[folder, "model.safetensors", "safetensors"],
        )


def _changed(raw: bytes, steps: tuple[Step, ...]) -> bytes:
    """The file with whole tensors changed."""
    tensors = read_by_hand(raw)
    names = sorted(tensors)
    for step in steps:
        if step[0] == "statistics":
            tensors = {name: value for name, value in tensors.items() if "running" not in name}
            continue
        _, change, share = step
        name = names[int(share * len(names))]
        if name not in tensors:
            continue
        kind, value = tensors[name]
        if change == "missing":
            del tensors[name]
        elif change == "renamed":
            tensors[f"{name}_old"] = tensors.pop(name)
        elif change == "shape":
            tensors[name] = (kind, np.concatenate([value, value]) if value.ndim else value[None])
        elif change in ("nan", "inf") and kind in _DTYPES:
            spoilt = value.copy()
            spoilt.reshape(-1)[:1] = getattr(np, change)
            tensors[name] = (kind, spoilt)
        elif change == "extra":
            tensors["surplus"] = (kind, value)
        elif change in _KINDS:
            tensors[name] = (change, value.astype(_KINDS[change]))
    return write_by_hand(tensors)


def read_by_hand(raw: bytes) -> dict[str, tuple[str, np.ndarray]]:
    """The tensors of a safetensors file, as its specification describes it."""
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            start, end = entry["data_offsets"]
            data = raw[8 + length + start : 8 + length + end]
            kind = entry["dtype"]
            tensors[name] = (kind, np.frombuffer(data, _KINDS[kind]).reshape(entry["shape"]))
    return tensors


def write_by_hand(tensors: dict[str, tuple[str, np.ndarray]]) -> bytes:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, (kind, value) in tensors.items():
        encoded = np.ascontiguousarray(value).tobytes()
        header[name] = {
            "dtype": kind,
            "shape": list(value.shape),
            "data_offsets": [len(data), len(data) + len(encoded)],
        }
        data += encoded
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data


def _problem(loaded: dict[str, Tensor], path: Path, first: dict[str, Tensor], how: str) -> str | None:
    """What is wrong with loaded weights; those that the file lacks must be what a new network starts from."""
    try:
        stored = read_by_hand(path.read_bytes())
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        return f"a file that cannot be read by hand ({error}) was loaded"
    for name, value in loaded.items():
        found = stored.get(name)
        if found is not None and tuple(found[1].shape) == tuple(value.shape):
            kind, numbers = found
            if value.is_floating_point() and kind not in _DTYPES:
                return f"{name} of type {kind} was loaded as {value.dtype}"
            expected = torch.from_numpy(numbers.copy())
            if not torch.equal(expected.to(value.dtype).nan_to_num(7), value.nan_to_num(7)):
                return f"{name} is not what the file holds"
            if how != "partial" and value.is_floating_point() and not value.isfinite().all():
                return f"{name} is not finite"
        elif how == "strict" or (how == "resized" and found is None):
            return f"{name} is not in the file"
        elif not value.isfinite().all() or value.abs().max() > 1e3:
            return f"{name} holds what happened to be in memory: {value.flatten()[:2].tolist()}"
        elif "running" in name and not torch.equal(value, first[name]):
            return f"{name} is {value.flatten()[:2].tolist()}, a new network has {first[name].flatten()[:2].tolist()}"
    if how != "partial" and (surplus := stored.keys() - loaded.keys()):
        return f"{sorted(surplus)[:3]} were passed over"
    return None


FAMILY = Weights
