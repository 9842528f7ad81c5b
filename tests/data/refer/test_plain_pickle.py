"""Plain pickles are read as they were written; attacks are refused before anything of them runs."""

import ast
import copyreg
import pickle
import struct
import tracemalloc
from pathlib import Path

import pytest
from refer_folders import pickled

import pbrec_hf
from pbrec_hf.data.refer.plain_pickle import MAX_TUPLES, MAX_WIDE, load_plain_pickle

PLAIN = [
    {"text": "café 'left'\n", "tokens": ["a", "b"], "number": -3, "large": 10**30, "half": 0.5},
    {"none": None, "true": True, "false": False, "nested": [[1, [2]], {"k": {"v": [300, 70000]}}]},
]


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("protocol", range(6))
def test_plain_data_of_python_3_is_read(tmp_path, protocol):
    assert load_plain_pickle(write(tmp_path / "p", pickle.dumps(PLAIN, protocol))) == PLAIN


@pytest.mark.parametrize("protocol", [0, 1, 2])
def test_strings_of_python_2_are_read_as_latin_1(tmp_path, protocol):
    data = pickled(PLAIN, protocol, python=2)
    assert "café".encode("latin-1") in data or b"caf\\xe9" in data
    assert load_plain_pickle(write(tmp_path / "p", data)) == PLAIN


def test_sets_tuples_bytes_and_shared_objects_are_plain(tmp_path):
    shared = ["x"]
    value = [shared, shared, {1, 2}, frozenset({3}), (1, (2, 3), ()), b"bytes"]
    found = load_plain_pickle(write(tmp_path / "p", pickle.dumps(value, 4)))
    assert found == value
    assert found[0] is found[1]


class Reducing:
    def __init__(self, canary: Path):
        self.canary = canary

    def __reduce__(self):
        return open, (str(self.canary), "w")


def doubling(put: bytes, get: bytes, proto: int = 2, depth: int = 60) -> bytes:
    """{t: 1} with t = (u, u), u = (v, v) …: a few hundred bytes, 2**depth steps to hash."""

    def numbered(opcode: bytes, index: int) -> bytes:
        return opcode.replace(b"0", str(index).encode()).replace(b"\0", bytes([index]))

    levels = [numbered(get, i) * 2 + b"\x86" + numbered(put, i + 1) for i in range(depth)]
    start = b"\x80" + bytes([proto]) + b"}U\x01a\x85" + numbered(put, 0)
    return start + b"".join(b"0" + level for level in levels) + b"K\x01s."


def attacks(canary: Path) -> dict[str, bytes]:
    """Pickles that create the file `canary`, or try to; a plain unpickler runs the first ones."""
    path = str(canary).encode()
    text = pickle.SHORT_BINUNICODE + bytes([len(path)]) + path
    touch = b"cpathlib\nPath.touch\n"
    proto4_open = pickle.SHORT_BINUNICODE + b"\x02io" + pickle.SHORT_BINUNICODE + b"\x04open" + pickle.STACK_GLOBAL
    call = b"(" + text + b"X\x01\x00\x00\x00wtR"
    found = {f"reduce, protocol {protocol}": pickle.dumps(Reducing(canary), protocol) for protocol in range(5)}
    found |= {f"nested, protocol {p}": pickle.dumps([{"a": [1, Reducing(canary)]}], p) for p in range(5)}
    return found | {
        "global": b"cio\nopen\n" + call + b".",
        "stack_global": b"\x80\x04" + proto4_open + call + b".",
        "inst": b"(S'" + path + b"'\nS'w'\niio\nopen\n.",
        "obj": b"(cio\nopen\n" + text + b"X\x01\x00\x00\x00wo.",
        "newobj": b"\x80\x02cio\nFileIO\n(" + text + b"X\x01\x00\x00\x00wt\x81.",
        "newobj_ex": b"\x80\x04cio\nFileIO\n(" + text + b"X\x01\x00\x00\x00wt}\x92.",
        "build": b"\x80\x02}}X\x01\x00\x00\x00aK\x01sb.",
        "build of a class": b"\x80\x02cpathlib\nPath\n)\x81}b.",
        "extension 1": b"\x80\x02\x82\x01" + call + b".",
        "extension 2": b"\x80\x02\x83\x01\x01" + call + b".",
        "extension 4": b"\x80\x02\x84\x01\x01\x00\x00" + call + b".",
        "persistent id": b"Psomething\n.",
        "binary persistent id": b"X\x01\x00\x00\x00aQ.",
        "after the end of the first list": b"]" + touch + b"(" + text + b"tRa.",
        "hidden behind a string": pickle.dumps("c" * 300, 2)[:-1] + b"0" + b"cio\nopen\n" + call + b".",
        "next buffer": b"\x80\x05\x97.",
        "byte array of 2**62 bytes": b"\x80\x05\x96" + struct.pack("<Q", 2**62) + b".",
        "string of 2**62 bytes": b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b"a.",
        "string of negative length": b"T" + struct.pack("<i", -1) + b".",
        "long of 2 GiB": b"\x8b" + struct.pack("<i", 2**31 - 1) + b"\x01.",
        "memo index of 2**32": b"]r" + struct.pack("<I", 2**32 - 1) + b".",
        "memo index of 10**15": b"]p1000000000000000\n.",
        "negative memo index": b"]p-1\n.",
        "tuples nested deeper than the C stack": b"}" + b")" + b"\x85" * 3_000_000 + b"Ns.",
        "tuples that hold each other twice, as a key": doubling(b"q\x00", b"h\x00"),
        "the same by other means": doubling(b"p0\n", b"g0\n"),
        "the same in protocol 4": doubling(b"\x94", b"h\x00", proto=4),
        "a tuple remembered again": b"\x80\x02}a)q\x00h\x00q\x01.",
        "a memo of two kinds": b"\x80\x04]q\x00]\x94.",
        "unknown opcode": b"\xff.",
        "empty": b"",
        "cut in the middle": pickle.dumps(PLAIN, 2)[:-9],
        "cut in a line": b"S'abc",
        "nothing on the stack": b"a.",
        "unhashable key": b"}]]s.",
        "memo never written": b"h\x05.",
        "million digits": b"I" + b"9" * 1_000_000 + b"\n.",
    }


@pytest.mark.parametrize("name", attacks(Path("canary")))
def test_attacks_are_refused_before_anything_runs(tmp_path, name):
    canary = tmp_path / "canary"
    copyreg.add_extension("io", "open", 1)
    copyreg._extension_cache[1] = open  # the unpickler takes what is here without asking find_class
    try:
        with pytest.raises(ValueError, match="was not read"):
            load_plain_pickle(write(tmp_path / "refs(unc).p", attacks(canary)[name]))
    finally:
        copyreg.remove_extension("io", "open", 1)
    assert not canary.exists()


@pytest.mark.parametrize("name", ["reduce, protocol 2", "nested, protocol 4", "global", "stack_global", "inst", "obj"])
def test_the_attacks_are_real(tmp_path, name):
    canary = tmp_path / "canary"
    pickle.loads(attacks(canary)[name])
    assert canary.exists()


@pytest.mark.parametrize("name", [name for name in attacks(Path("canary")) if " of " in name and "class" not in name])
def test_bombs_take_no_memory(tmp_path, name):
    path = write(tmp_path / "refs(unc).p", attacks(tmp_path / "canary")[name])
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="was not read"):
            load_plain_pickle(path)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_the_message_names_the_file_and_the_opcode(tmp_path):
    path = write(tmp_path / "refs(unc).p", attacks(tmp_path / "canary")["global"])
    with pytest.raises(ValueError, match=r"refs\(unc\)\.p.*GLOBAL"):
        load_plain_pickle(path)


def test_shared_tuples_are_welcome(tmp_path):
    shared = [("a", i) for i in range(50)]
    value = [shared, {pair: [pair, (pair, pair)] for pair in shared}, "long" * 50_000, "long" * 50_000]
    for protocol in range(6):
        assert load_plain_pickle(write(tmp_path / "p", pickle.dumps(value, protocol))) == value
        if protocol < 4:
            python = pickle._dumps(value, protocol)
            assert load_plain_pickle(write(tmp_path / "p", python)) == value


def test_few_tuples_are_welcome(tmp_path):
    value = [(i,) for i in range(MAX_TUPLES)]
    assert load_plain_pickle(write(tmp_path / "p", pickle.dumps(value))) == value


@pytest.mark.parametrize("protocol", [0, 1, 2, 4])
def test_integers_that_collide_as_keys_are_few(tmp_path, protocol):
    """Multiples of 2**61 - 1 have one hash, so that each new key would be compared with all before it."""
    wide = [(512 + number) * (2**61 - 1) for number in range(MAX_WIDE)]
    assert len({hash(number << 20) for number in wide[:99]}) == 1
    honest = [2**63 - 1, -(2**63), 2**64 - 1] * MAX_WIDE
    value = [honest, [number << 20 for number in wide]]
    assert load_plain_pickle(write(tmp_path / "p", pickle.dumps(value, protocol))) == value
    value[1].append(1 << 200)
    with pytest.raises(ValueError, match=f"more than {MAX_WIDE} integers of more than 64 bits"):
        load_plain_pickle(write(tmp_path / "p", pickle.dumps(value, protocol)))


def test_nothing_else_in_the_package_unpickles():
    root = Path(pbrec_hf.__file__).parent
    importing, taken = set(), set()
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "pickle":
                taken.add((path.relative_to(root).as_posix(), node.attr))
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            if {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve"} & set(names):
                importing.add(path.relative_to(root).as_posix())
    writer = "data/refer/generated.py"  # of the folder that a dry run reads
    assert importing == {"data/refer/plain_pickle.py", writer}
    assert {attribute for path, attribute in taken if path == writer} == {"dumps"}
