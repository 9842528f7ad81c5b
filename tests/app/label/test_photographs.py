"""Sources: the same photographs in the same order each time, each with its expressions and a name for exports."""

import io
import json

import datasets
import numpy as np
import PIL.Image
import pytest

from pbrec_hf.app.label.photographs import Sources, expressions_of
from pbrec_hf.images.reading import load_picture


def png(seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("p/b.png", "p/a.PNG", "p/sub/c.png", "p/.hidden.png", "p/notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png())
    return tmp_path


def listed(*words, **fields):
    sources = Sources(words, **{"expressions": ["dog"], **fields})
    found = list(sources)
    assert list(sources) == found
    return found


def test_folders_patterns_files_and_addresses(folder):
    found = listed("p", "p/*/c.png", "p/b.png", "https://example.org/x%20y?size=1", f"file://{folder}/p/b.png")
    assert [one.file for one in found] == [
        "a.PNG", "b.png", "sub/c.png", "sub/c.png", "b.png", "x y.jpg", "b.png"
    ]  # fmt: skip
    assert found[0].name == str(folder / "p" / "a.PNG") and found[5].name == "https://example.org/x%20y?size=1"
    assert found[1].key == found[4].key == found[6].key and len({one.key for one in found}) == 4
    (folder / "list.txt").write_text("p/b.png\n\np/sub\n")
    assert [one.file for one in listed(picture_file="list.txt")] == ["b.png", "c.png"]


def test_pictures_among_the_answers_are_no_photographs(folder):
    for words in (["p"], ["p/**/*.*"]):
        files = [one.file for one in listed(*words, leave_out="p/sub")]
        assert files == ["a.PNG", "b.png"] and len(listed(*words)) == 3


def test_a_key_changes_with_the_file_and_the_questions(folder):
    (one,) = listed("p/b.png")
    (other,) = listed("p/b.png", expressions=["dog", "cat"])
    (folder / "p" / "b.png").write_bytes(png() + b"longer")
    (changed,) = listed("p/b.png")
    assert len({one.key, other.key, changed.key}) == 3 and len(one.key) == 16


def test_rows_of_tables_have_expressions_of_their_own(folder):
    rows = [
        {"image": "p/b.png", "expression": "the cat"},
        {"image": str(folder / "p" / "a.PNG"), "expressions": ["one", "two"]},
        {"image": "p/b.png", "expressions": [{"expression": "of the image view"}]},
    ]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = listed("rows.jsonl", expressions=["dog", "the cat"])
    assert [one.expressions for one in found] == [
        ("the cat", "dog"), ("one", "two", "dog", "the cat"), ("of the image view", "dog", "the cat")
    ]  # fmt: skip
    assert [one.file for one in found] == ["p/b.png", "a.PNG", "p/b.png"]
    assert listed("rows.jsonl", expressions=[])[0].expressions == ("the cat",)


@pytest.mark.parametrize("form", ["parquet", "saved", "splits"])
def test_pictures_in_data_sets_are_read(folder, form):
    cells = [{"bytes": png(seed), "path": None} for seed in range(3)]
    columns = datasets.Features({"image": datasets.Image(), "text": datasets.Value("string")})
    rows = datasets.Dataset.from_dict({"image": cells, "text": ["a", "b", "c"]}, features=columns)
    if form == "parquet":
        rows.to_parquet("rows.parquet")
        found = listed("rows.parquet", expressions=[])
    elif form == "saved":
        rows.save_to_disk("rows")
        found = listed("rows", expressions=[])
    else:
        datasets.DatasetDict(one=rows, two=rows.select([1])).save_to_disk("rows")
        assert len(listed("rows", expressions=[])) == 4
        found = listed("rows", expressions=[], split="one")
        with pytest.raises(ValueError, match=r"--split three: .* has one, two"):
            listed("rows", split="three")
    assert [one.expressions for one in found] == [("a",), ("b",), ("c",)]
    assert [one.file for one in found] == [f"rows-00000{number}.jpg" for number in (1, 2, 3)]
    for seed, one in enumerate(found):
        expected = np.asarray(PIL.Image.open(io.BytesIO(png(seed))))
        assert np.array_equal(np.asarray(load_picture(one.image)), expected)
    assert len({one.key for one in found}) == 3


def test_what_is_wrong_is_named(folder):
    (folder / "empty").mkdir()
    (folder / "rows.jsonl").write_text('{"picture": "p/b.png"}')
    cases = [
        ((["missing"],), "There is no missing: give a folder"),
        ((["p/*.gif"],), "Nothing fits the pattern"),
        ((["empty"],), "empty holds no pictures"),
        (([],), "No photographs"),
        ((["-"],), "standard input"),
        ((["rows.jsonl"],), "row 1: no column `image`; there are 'picture'"),
        ((["p"], []), r"No expression for .*a\.PNG: give --expressions"),
        ((["p"], [" "]), "An expression is empty"),
    ]
    for arguments, message in cases:
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            list(Sources(*arguments, **({} if len(arguments) > 1 else {"expressions": ["dog"]})))


def test_expressions_come_from_files_and_words(folder):
    (folder / "asked.txt").write_text("left dog\n\nright dog\n")
    assert expressions_of(["the cat", "asked.txt"]) == ["the cat", "left dog", "right dog"]
    with pytest.raises(FileNotFoundError, match=r"no file missing\.txt"):
        expressions_of(["missing.txt"])
