"""Damage to bytes and to JSON values, as plain steps: drawn from a generator, applied without one."""

import json
from typing import Any

from numpy.random import Generator

from .family import Step, pick

# What files hold where something else belongs. Large numbers are those that are dangerous as sizes.
WRONG_VALUES: tuple[Any, ...] = (
    None, True, False, "", "many", "../x", "\ud800", 0, -1, 1, 3, 10**6, 10**9, 10**30, 0.5, -0.0, 1e308, float("nan"),
    float("inf"), [], [[]], [1, 2, 3], ["a"], [None], {}, {"a": 1},
)  # fmt: skip


def draw_bytes(rng: Generator, size: int, most: int = 3) -> tuple[Step, ...]:
    """One to `most` kinds of damage to a file of `size` bytes; positions are shares of it."""
    steps: list[Step] = []
    for _ in range(int(rng.integers(1, most + 1))):
        kind, at = pick(rng, ("cut", "flip", "flip", "byte", "drop", "repeat", "zeros")), float(rng.random())
        steps.append((kind, at, int(rng.integers(1, 256)), int(rng.integers(1, min(64, size) + 1))))
    return tuple(steps)


def damage_bytes(data: bytes, steps: tuple[Step, ...]) -> bytes:
    """`data` after steps of `draw_bytes`."""
    for kind, share, value, length in steps:
        if not data:
            break
        at = min(len(data) - 1, int(share * len(data)))
        before, after = data[:at], data[at:]
        if kind == "cut":
            data = before
        elif kind == "flip":
            data = before + bytes([after[0] ^ value]) + after[1:]
        elif kind == "byte":
            data = before + bytes([value]) + after[1:]
        elif kind == "drop":
            data = before + after[length:]
        elif kind == "repeat":
            data = before + after[:length] * 2 + after[length:]
        elif kind == "zeros":
            data = before + bytes(min(length, len(after))) + after[length:]
    return data


def json_paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of everything inside a JSON value, in order."""
    found: list[tuple[Any, ...]] = []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found += [(*path, key), *json_paths(inner, (*path, key))]
    return found


def draw_json(rng: Generator, value: Any, values: tuple[Any, ...] = WRONG_VALUES) -> Step:
    """("set", path, value), ("remove", path) or ("rename", path) of one place in a JSON value."""
    path = pick(rng, json_paths(value))
    kind = pick(rng, ("set", "set", "set", "remove", "rename"))
    return (kind, path, pick(rng, values)) if kind == "set" else (kind, path)


def damage_json(value: Any, step: Step) -> Any:
    """A copy of `value` after a step of `draw_json`; unchanged where the path is no longer there."""
    kind, path, *rest = step
    copied = json.loads(json.dumps(value))
    inner = copied
    try:
        for key in path[:-1]:
            inner = inner[key]
        if kind == "set":
            inner[path[-1]] = rest[0]
        else:
            removed = inner.pop(path[-1])
            if kind == "rename" and isinstance(inner, dict):
                inner[f"{path[-1]}_of_tomorrow"] = removed
    except (KeyError, IndexError, TypeError):
        return value
    return copied
