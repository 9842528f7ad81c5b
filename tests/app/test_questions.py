"""Pictures and expressions of a command line are told apart by their place, never by a guess."""

import io
import json
import sys

import numpy as np
import pytest
from PIL import Image

from pbrec_hf.app.cli import main, parse
from pbrec_hf.app.questions import separate


@pytest.fixture
def photographs(tmp_path, monkeypatch):
    """one.png and two.png in the working directory, and broken.png."""
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("one.png", "two.png")):
        pixels = np.random.default_rng(seed).integers(0, 256, (90, 160, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(name)
    (tmp_path / "broken.png").write_bytes((tmp_path / "one.png").read_bytes()[:100])
    return ["one.png", "two.png"]


def standard_input(monkeypatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))


def test_the_first_word_is_the_picture_and_the_others_are_expressions():
    assert separate(["a.jpg", "left dog", "cat"]) == (["a.jpg"], ["left dog", "cat"])


def test_marked_expressions_make_every_word_a_picture(tmp_path):
    (tmp_path / "words.txt").write_text("\ufeffred car\n\n  girl \r\n", encoding="utf-8")
    (tmp_path / "pictures.txt").write_text("c.jpg\n")
    words, pictures = str(tmp_path / "words.txt"), str(tmp_path / "pictures.txt")
    assert separate(["a.jpg", "b.jpg"], ["dog"]) == (["a.jpg", "b.jpg"], ["dog"])
    assert separate(["a.jpg"], ["dog"], words) == (["a.jpg"], ["dog", "red car", "girl"])
    assert separate(["left dog", "cat"], picture_file=pictures) == (["c.jpg"], ["left dog", "cat"])
    assert separate(["a.jpg"], ["b.jpg"], picture_file=pictures) == (["a.jpg", "c.jpg"], ["b.jpg"])


def test_standard_input_gives_either(monkeypatch):
    standard_input(monkeypatch, "Straße.jpg\nb.jpg\n".encode())
    assert separate(["dog"], picture_file="-") == (["Straße.jpg", "b.jpg"], ["dog"])
    standard_input(monkeypatch, b"left dog\n")
    assert separate(["a.jpg"], expression_file="-") == (["a.jpg"], ["left dog"])
    assert separate(["-", "dog"]) == (["-"], ["dog"])


@pytest.mark.parametrize("second", ["two.png", "nowhere.JPG", "https://example.org/cat", "data:image/png;base64,aa"])
def test_a_second_picture_is_no_expression(photographs, second):
    with pytest.raises(ValueError) as caught:
        separate(["one.png", second, "left dog"])
    assert str(caught.value) == (
        f"{second} is a picture, and stands where an expression should. For several pictures, mark the expressions: "
        f"pbrec-hf ground one.png {second if ';' not in second else repr(second)} -e 'left dog'"
    )


def test_a_file_without_an_ending_is_a_picture_too(photographs, tmp_path):
    (tmp_path / "one.png").rename(tmp_path / "dog")
    with pytest.raises(ValueError, match="dog is a picture"):
        separate(["two.png", "dog"])
    assert separate(["two.png"], ["dog"]) == (["two.png"], ["dog"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"words": []}, "No picture: give one, as in: pbrec-hf ground photo.jpg 'left dog'"),
        ({"words": [], "expressions": ["dog"]}, "No picture"),
        ({"words": ["my photo.jpg"]}, "No expression: .*pbrec-hf ground 'my photo.jpg' 'left dog'"),
        ({"words": ["a.jpg", " "]}, "An expression is empty"),
        ({"words": ["a.jpg"], "expressions": [""]}, "An expression is empty"),
        ({"words": ["-"], "expression_file": "-"}, "- stands 2 times, but there is one standard input"),
        ({"words": ["dog"], "picture_file": "no.txt"}, "There is no file no.txt: correct the path of the pictures"),
    ],
)
def test_what_is_missing_is_told(arguments, message):
    with pytest.raises((ValueError, OSError), match=message):
        separate(**arguments)


def test_files_that_hold_no_list_are_named(tmp_path):
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "picture.bin").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(ValueError, match=r"empty\.txt has no line: write one of the expressions on each"):
        separate(["a.jpg"], expression_file=str(tmp_path / "empty.txt"))
    with pytest.raises(ValueError, match=r"picture\.bin is not UTF-8 text"):
        separate(["a.jpg"], expression_file=str(tmp_path / "picture.bin"))


def test_words_may_stand_on_both_sides_of_options(capsys):
    options = parse(["ground", "a.jpg", "-e", "dog", "b.jpg", "--json", "c.jpg", "-e", "cat"])
    assert options.words == ["a.jpg", "b.jpg", "c.jpg"] and options.expressions == ["dog", "cat"]
    with pytest.raises(SystemExit):
        parse(["ground", "a.jpg", "--jsn", "dog"])
    assert "unrecognized arguments: --jsn" in capsys.readouterr().err


def test_several_pictures_are_answered_one_by_one(checkpoint, photographs, capsys):
    assert main(["ground", "one.png", "left dog", "--model", checkpoint, "--json"]) == 0
    (alone,) = json.loads(capsys.readouterr().out)
    assert "image" not in alone
    asked = [*photographs, "-e", "left dog", "-e", "red car", "--model", checkpoint]
    assert main(["ground", *asked, "--json"]) == 0
    answers = json.loads(capsys.readouterr().out)
    assert [(answer["image"], answer["expression"]) for answer in answers] == [
        ("one.png", "left dog"),
        ("one.png", "red car"),
        ("two.png", "left dog"),
        ("two.png", "red car"),
    ]
    assert {**alone, "image": "one.png"} == answers[0]
    assert main(["ground", *asked, "--threshold", "1"]) == 1
    assert capsys.readouterr().out.splitlines()[2] == "two.png: left dog: nothing found"


def test_a_broken_picture_does_not_keep_the_others_from_their_answers(checkpoint, photographs, tmp_path, capsys):
    pictures = ["broken.png", "one.png", "missing.png", "./two.png", "two.png"]
    assert main(["ground", *pictures, "-e", "dog", "--model", checkpoint, "--out", "drawn"]) == 2
    captured = capsys.readouterr()
    assert [line.split(":")[0] for line in captured.out.splitlines()] == ["one.png", "./two.png", "two.png"]
    errors = [line for line in captured.err.splitlines() if "error" in line]
    assert len(errors) == 2 and "broken.png is damaged" in errors[0] and "No picture at missing.png" in errors[1]
    assert {path.name for path in (tmp_path / "drawn").iterdir()} == {"one.png", "two.png", "two-2.png"}
    assert main(["ground", "broken.png", "-e", "dog", "--pictures", "no.txt", "--model", checkpoint]) == 2
    (tmp_path / "list.txt").write_text("broken.png\n")
    assert main(["ground", "dog", "--pictures", "list.txt", "--model", checkpoint, "--json"]) == 2
    assert capsys.readouterr().out == "[]\n"


def test_drawings_of_several_pictures_need_a_folder(photographs, capsys):
    assert main(["ground", *photographs, "-e", "dog", "--out", "answer.png"]) == 2
    assert "--out answer.png: of several pictures, give a folder" in capsys.readouterr().err


def test_a_picture_comes_in_on_standard_input(checkpoint, photographs, tmp_path, monkeypatch, capsys):
    assert main(["ground", "one.png", "left dog", "--model", checkpoint]) == 0
    expected = capsys.readouterr().out
    standard_input(monkeypatch, (tmp_path / "one.png").read_bytes())
    assert main(["ground", "-", "left dog", "--model", checkpoint]) == 0
    assert capsys.readouterr().out == expected
    standard_input(monkeypatch, b"no picture")
    assert main(["ground", "-", "left dog", "--model", checkpoint]) == 2
    assert "The picture on standard input is not a picture" in capsys.readouterr().err
