"""Reads pickles that hold plain data, and refuses every other pickle before anything of it runs.

Plain means: None, bool, int, float, str, bytes, list, dict, tuple and set. The opcodes of the whole file are first
compared with a list of allowed ones, none of which can look up a name, call, instantiate or set state; only then does
Python's own unpickler read it, with name lookup switched off once more. Memory stays proportional to the size of the
file. Reads what Python 2 (protocols 0 to 2; its byte strings as latin-1) and Python 3 wrote. Knows nothing of what is
inside.
"""

import io
import pickle
import pickletools
from pathlib import Path
from typing import Any

_PLAIN_OPCODES = """
    PROTO FRAME STOP MARK POP NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT
    STRING BINSTRING SHORT_BINSTRING UNICODE SHORT_BINUNICODE BINUNICODE BINUNICODE8 SHORT_BINBYTES BINBYTES BINBYTES8
    LIST EMPTY_LIST APPEND APPENDS DICT EMPTY_DICT SETITEM SETITEMS TUPLE EMPTY_TUPLE TUPLE1 TUPLE2 TUPLE3
    EMPTY_SET ADDITEMS FROZENSET PUT BINPUT LONG_BINPUT MEMOIZE GET BINGET LONG_BINGET
"""
_ALLOWED = frozenset(_PLAIN_OPCODES.split())
_NAMES = {ord(opcode.code): opcode.name for opcode in pickletools.opcodes}
# Bytes of argument after each opcode; None = refused; negative = pickletools' marks for arguments of variable length.
_ARGUMENT: list[int | None] = [None] * 256
for _opcode in pickletools.opcodes:
    if _opcode.name in _ALLOWED:
        _ARGUMENT[ord(_opcode.code)] = 0 if _opcode.arg is None else _opcode.arg.n
_LENGTH_BYTES = {
    pickletools.TAKEN_FROM_ARGUMENT1: 1,
    pickletools.TAKEN_FROM_ARGUMENT4: 4,
    pickletools.TAKEN_FROM_ARGUMENT4U: 4,
    pickletools.TAKEN_FROM_ARGUMENT8U: 8,
}
_PUT = pickle.PUT[0]
_WIDE_PUTS = frozenset((_PUT, pickle.LONG_BINPUT[0]))
_GET = pickle.GET[0]
_PUTS = frozenset((_PUT, pickle.BINPUT[0], pickle.LONG_BINPUT[0]))
_GETS = frozenset((_GET, pickle.BINGET[0], pickle.LONG_BINGET[0]))
# Bytes of argument that an integer of 64 bits, signed or not, needs at most.
_NARROW = {pickle.INT[0]: 23, pickle.LONG[0]: 23, pickle.LONG1[0]: 10, pickle.LONG4[0]: 13}
_MEMOIZE, _FRAME = pickle.MEMOIZE[0], pickle.FRAME[0]
_HASHABLE_CONTAINERS = frozenset(b"t\x85\x86\x87\x91")  # TUPLE, TUPLE1 to TUPLE3, FROZENSET
_CHANGING = (
    "PROTO FRAME STOP MARK POP APPEND APPENDS SETITEM SETITEMS ADDITEMS PUT BINPUT LONG_BINPUT MEMOIZE GET BINGET"
)
# These put a new value on the stack, which picklers remember at once or not at all.
_CREATING = frozenset(code for code, name in _NAMES.items() if name in _ALLOWED - {*_CHANGING.split(), "LONG_BINGET"})
# A deeply nested tuple used as a key overflows the C stack when it is hashed: the number of tuples bounds the depth.
MAX_TUPLES = 10_000
# A tuple that holds another one twice doubles the steps of hashing, and so on: this bounds the steps.
MAX_STEPS = 10**7
# Any number of integers beyond 64 bits have one hash: each new key of a dictionary is then compared with all others.
MAX_WIDE = 10_000
MAX_BYTES = 2**30


def load_plain_pickle(path: str | Path) -> Any:
    """
    The object pickled in `path`.

    Raises:
        ValueError: the file is larger than `MAX_BYTES`, damaged, or holds an opcode that could do more than build
            plain data; nothing of the pickle has run by then.
    """
    size = Path(path).stat().st_size
    if size > MAX_BYTES:
        raise ValueError(f"{path} has {size} bytes, pickles of more than {MAX_BYTES} are not read: check the path.")
    data = Path(path).read_bytes()
    try:
        _check_opcodes(data)
        return _PlainUnpickler(io.BytesIO(data), encoding="latin-1").load()
    except Exception as error:  # on damaged input the C unpickler raises a dozen kinds of exception
        raise ValueError(
            f"{path} was not read: {error} Only pickles of plain lists, dictionaries, strings and numbers are "
            "accepted; if it should be one, download it again from its publisher."
        ) from error


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        raise ValueError(f"it asks for {module}.{name}.")

    def persistent_load(self, pid: Any) -> Any:
        raise ValueError(f"it asks for the external object {pid!r}.")


def _check_opcodes(data: bytes) -> None:
    """Walks over the opcodes without interpreting them. Own loop: `pickletools.genops` is eight times slower."""
    position, end, tuples, wide = 0, len(data), 0, 0
    # `steps` bounds what it takes to hash the newest tuple; `known` holds that of the tuples in the memo.
    steps, previous = 0, 0
    known: dict[int, int] = {}
    puts, memoized = False, 0  # picklers number their memo, or count
    while position < end:
        opcode = data[position]
        size = _ARGUMENT[opcode]
        start = position + 1
        if size is None:
            name = _NAMES.get(opcode, f"0x{opcode:02x}")
            raise ValueError(f"it holds the opcode {name} at byte {position}, which plain data does not need.")
        if size >= 0:
            following = start + size
        elif size == pickletools.UP_TO_NEWLINE:
            following = data.find(b"\n", start) + 1 or end + 1
        else:
            argument = start + _LENGTH_BYTES[size]
            following = argument + int.from_bytes(data[start:argument], "little")
        if following > end:
            raise ValueError(f"it ends in the middle of the opcode {_NAMES[opcode]} at byte {position}.")
        if opcode in _WIDE_PUTS:
            # The unpickler allocates its memo up to the largest index: no honest index outruns the bytes before it.
            index = int(data[start:following]) if opcode == _PUT else int.from_bytes(data[start:following], "little")
            if not 0 <= index <= position:
                raise ValueError(f"its memo index {index} at byte {position} is out of proportion.")
        if opcode in _NARROW and following - start > _NARROW[opcode]:
            wide += 1
            if wide > MAX_WIDE:
                raise ValueError(f"it holds more than {MAX_WIDE} integers of more than 64 bits.")
        if opcode in _HASHABLE_CONTAINERS:
            tuples += 1
            steps += 1
            if tuples > MAX_TUPLES:
                raise ValueError(f"it holds more than {MAX_TUPLES} tuples.")
        elif opcode in _PUTS or opcode == _MEMOIZE:
            if previous not in _CREATING or (memoized if opcode != _MEMOIZE else puts):
                raise ValueError(f"its memo is written at byte {position} as no pickler does.")
            if previous in _HASHABLE_CONTAINERS:
                known[memoized if opcode == _MEMOIZE else _index(opcode, data[start:following])] = steps
            if opcode == _MEMOIZE:
                memoized += 1
            else:
                puts = True
        elif known and opcode in _GETS:
            steps += known.get(_index(opcode, data[start:following]), 0)
            if steps > MAX_STEPS:
                raise ValueError(f"its tuples hold each other more than {MAX_STEPS} times.")
        if opcode != _FRAME:
            previous = opcode
        position = following


def _index(opcode: int, argument: bytes) -> int:
    """The place in the memo that a PUT or GET names."""
    return int(argument) if opcode in (_PUT, _GET) else int.from_bytes(argument, "little")


__all__ = ["MAX_BYTES", "MAX_STEPS", "MAX_TUPLES", "MAX_WIDE", "load_plain_pickle"]
