"""The journal: torn lines are cut off, damaged ones do not count, the last record of a key does."""

import pytest

from pbrec_hf.app.label.journal import KEY_LENGTH, Journal, Records, repair

KEYS = [f"key-{number}".ljust(KEY_LENGTH, "x") for number in range(5)]


def write(folder, keys, number=0):
    with Journal(folder, number) as journal:
        for key in keys:
            journal.append(key, {"name": f"{key} ü\udc80", "number": number})


def test_what_is_appended_is_found(tmp_path):
    write(tmp_path, KEYS[:3])
    write(tmp_path, KEYS[3:], number=7)
    records = Records(tmp_path)
    assert len(records) == 5 and all(key in records for key in KEYS) and "other".ljust(KEY_LENGTH, "x") not in records
    assert [records.get(key)["number"] for key in KEYS] == [0, 0, 0, 7, 7]
    assert records.get(KEYS[1])["name"].startswith(KEYS[1])
    records.close()
    assert len(Records(tmp_path / "nothing")) == 0 and Records(tmp_path / "nothing").get(KEYS[0]) is None


@pytest.mark.parametrize("kept", [0, 1, 8, 9, 20, -2, -1])
def test_a_torn_last_line_is_cut_off_and_written_again(tmp_path, kept):
    write(tmp_path, KEYS[:3])
    path = tmp_path / "00000.jsonl"
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2]) + lines[2][:kept])
    assert KEYS[2] not in Records(tmp_path) and len(Records(tmp_path)) == 2
    write(tmp_path, KEYS[2:3])
    assert path.read_bytes() == whole


def test_a_torn_line_longer_than_a_block_is_cut_off(tmp_path):
    path = tmp_path / "00000.jsonl"
    path.write_bytes(b"a\n" + b"b" * 200_000)
    repair(path)
    assert path.read_bytes() == b"a\n"
    path.write_bytes(b"b" * 200_000)
    repair(path)
    assert path.read_bytes() == b""


def test_a_damaged_line_does_not_count_and_the_others_do(tmp_path):
    write(tmp_path, KEYS[:3])
    path = tmp_path / "00000.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1].replace(b"name", b"nome") + b"\0" * 40 + b"\n" + lines[2])
    records = Records(tmp_path)
    assert [key in records for key in KEYS[:3]] == [True, False, True] and records.get(KEYS[2])["number"] == 0


def test_the_last_record_of_a_key_counts(tmp_path):
    write(tmp_path, KEYS[:1], number=0)
    write(tmp_path, KEYS[:1], number=1)
    assert Records(tmp_path).get(KEYS[0])["number"] == 1


def test_errors_may_not_count(tmp_path):
    with Journal(tmp_path) as journal:
        journal.append(KEYS[0], {"error": "broken"})
        journal.append(KEYS[1], {"width": 3})
    assert KEYS[0] in Records(tmp_path) and KEYS[0] not in Records(tmp_path, with_errors=False)
    assert KEYS[1] in Records(tmp_path, with_errors=False)
