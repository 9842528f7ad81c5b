"""The command line: answers on standard output, one line per error on standard error, and the right exit status."""

import json

import numpy as np
import pytest
from PIL import Image
from places import SCENES
from test_image_processing import bomb_png
from transformers import pipeline

from pbrec_hf import PbrecForReferringExpression, PbrecProcessor
from pbrec_hf.app.cli import main
from pbrec_hf.app.demo import demo_photographs
from pbrec_hf.app.drawing import draw_answers
from pbrec_hf.images.segmentation import rle_to_mask
from pbrec_hf.inference.grounder import Grounder


@pytest.fixture(scope="module")
def photograph(tmp_path_factory):
    path = tmp_path_factory.mktemp("photograph") / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 160, 3), dtype=np.uint8)).save(path)
    return str(path)


def test_ground_prints_a_line_per_expression_and_draws(checkpoint, photograph, tmp_path, capsys):
    out = tmp_path / "answer.png"
    assert main(["ground", photograph, "left dog", "red car", "--model", checkpoint, "--out", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and lines[0].startswith("left dog: score 0.")
    drawn = np.asarray(Image.open(out))
    assert drawn.shape == (90, 160, 3) and (drawn != np.asarray(Image.open(photograph))).any()


def test_ground_prints_json_with_masks(checkpoint, photograph, capsys):
    assert main(["ground", photograph, "left dog", "--model", checkpoint, "--json"]) == 0
    (answer,) = json.loads(capsys.readouterr().out)
    assert answer["expression"] == "left dog" and len(answer["box"]) == 4 and answer["mask"]["size"] == [90, 160]
    assert (answer["box_source"], answer["mask_source"]) == ("detector", "detector")


def test_nothing_found_has_a_status_of_its_own(checkpoint, photograph, capsys):
    assert main(["ground", photograph, "left dog", "--model", checkpoint, "--threshold", "1"]) == 1
    assert capsys.readouterr().out == "left dog: nothing found\n"


def test_any_finds_as_many_as_there_are_and_counts_them(checkpoint, photograph, tmp_path, capsys):
    ask = ["ground", photograph, "left dog", "girl", "--model", checkpoint, "--any", "--threshold"]
    out = tmp_path / "answers.png"
    assert main([*ask, "0.006", "--out", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    expected = Grounder(checkpoint)(photograph, ["left dog", "girl"], threshold=0.006, referents="any")
    assert np.array_equal(np.asarray(Image.open(out)), np.asarray(draw_answers(expected.image, expected.answers)))
    dogs, girl = expected.answers
    count = len(dogs["scores"])
    assert 1 < count < 20 and len(lines) == 2 + count + len(girl["scores"])
    assert lines[0] == f"left dog: {count} found" and lines[count + 1].startswith("girl: ")
    for line, score, box in zip(lines[1:], dogs["scores"], dogs["boxes"].tolist(), strict=False):
        left, top, right, bottom = map(round, box)
        assert line == f"  score {score:.2f}, box ({left}, {top}) to ({right}, {bottom})"
    assert main([*ask, "0.006", "--json"]) == 0
    found, _ = json.loads(capsys.readouterr().out)
    assert found["expression"] == "left dog" and found["count"] == len(found["answers"]) == count
    assert [one["score"] for one in found["answers"]] == pytest.approx(dogs["scores"].tolist())
    assert set(found["answers"][0]) == {"score", "box", "box_source", "mask", "mask_source"}
    for one, mask in zip(found["answers"], dogs["masks"][:, 0].numpy(), strict=True):
        assert np.array_equal(rle_to_mask(one["mask"]).numpy(), mask)
    assert main([*ask, "1"]) == 1
    assert capsys.readouterr().out == "left dog: nothing found\ngirl: nothing found\n"
    assert main([*ask, "1", "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == [
        {"expression": text, "count": 0, "answers": []} for text in ("left dog", "girl")
    ]


def test_nothing_is_found_for_words_that_are_not_read(checkpoint, photograph, capsys):
    ask = ["ground", photograph, "🐕", "--model", checkpoint]
    for arguments in ([], ["--any", "--threshold", "0"]):
        assert main([*ask, *arguments]) == 1
        assert capsys.readouterr().out == "🐕: nothing found (not read: 🐕)\n"
    assert main([*ask, "--any", "--threshold", "0", "--json"]) == 1
    (found,) = json.loads(capsys.readouterr().out)
    assert found == {"expression": "🐕", "count": 0, "unread": ["🐕"], "answers": []}


def test_a_count_at_its_limit_says_so_and_a_calibration_is_shown(checkpoint, photograph, tmp_path, capsys):
    processor = PbrecProcessor.from_pretrained(checkpoint)
    line = {"raw": [0.0, 0.01], "probability": [0.2, 1.0]}
    processor.calibration = {
        **dict.fromkeys(("one", "any", "exists"), line), "threshold": 0.6, "fitted_on": "a test", "answers": 1
    }  # fmt: skip
    processor.selection = {"max_referents": 2}
    PbrecForReferringExpression.from_pretrained(checkpoint).save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    ask = ["ground", photograph, "left dog", "--model", str(tmp_path)]
    assert main([*ask, "--any"]) == 0  # at the threshold of the calibration
    assert capsys.readouterr().out.splitlines()[0] == "left dog: 2 found, the most that are looked for"
    for arguments in (["--any", "--json"], ["--json", "--threshold", "auto"]):
        assert main([*ask, *arguments]) == 0
        (found,) = json.loads(capsys.readouterr().out)
        for one in found.get("answers", [found]):
            assert one["score"] == pytest.approx(0.2 + 80 * one["raw_score"]) and one["score"] >= 0.6
        assert 0.2 <= found["exists"] <= 1


def test_the_bundled_checkpoint_counts_people_and_finds_nobody(capsys):
    portraits = str(SCENES / "images" / "portraits.jpg")
    assert main(["ground", portraits, "all the people", "nobody", "--any"]) == 1
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == "all the people: 3 found" and len(lines) == 4
    assert lines[-1] == "nobody: nothing found" and all(line.startswith("  score ") for line in lines[:-1])


def test_every_bad_input_is_one_line_that_says_what_to_do(checkpoint, photograph, tmp_path, capsys):
    text = tmp_path / "text.jpg"
    text.write_text("no picture")
    bomb = tmp_path / "bomb.png"
    bomb.write_bytes(bomb_png())
    pixel = tmp_path / "pixel.png"
    Image.new("RGB", (1, 1)).save(pixel)
    cases = [
        ([str(pixel), "dog"], "only 1×1 pixels: give a picture of at least 16"),
        (["missing.jpg", "dog"], "missing.jpg: check the path"),
        ([str(text), "dog"], "text.jpg is not a picture"),
        ([str(bomb), "dog"], "scale the picture down"),
        ([photograph, " "], "give words"),
        (
            [photograph, "dog", "--model", "no/such/folder"],
            "There is no folder no/such/folder: correct the path, or give a Hub id",
        ),
        ([photograph, "dog", "--out", "answer.txt"], "name a .png or .jpg file"),
        ([photograph, "dog", "--out", "answer.psd"], "name a .png or .jpg file"),
        ([photograph, "dog", "--device", "tpu0"], "device='tpu0' cannot be used"),
        ([photograph, "dog", "--device", "meta"], "give cpu, or a GPU"),
        ([photograph, "dog", "--threshold", "7"], "threshold=7.0: give a number from 0 to 1"),
        ([photograph, "dog", "--any"], 'threshold="auto" is the threshold of the calibration, and this processor'),
        ([photograph, "dog", "--out", "no/such/folder/answer.png"], "does not exist: make it first"),
        ([photograph, "dog", "--top_k", "0"], "top_k=0"),
    ]
    for arguments, message in cases:
        model = [] if "--model" in arguments else ["--model", checkpoint]
        assert main(["ground", *arguments, *model]) == 2
        captured = capsys.readouterr()
        error = captured.err.strip().splitlines()[-1]
        assert error.startswith("pbrec-hf: error: ") and message in error, error
        assert captured.out == ""


def test_the_demo_draws_every_photograph_that_ships(checkpoint, tmp_path, capsys):
    out = tmp_path / "demo.png"
    assert main(["demo", "--model", checkpoint, "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    rows = demo_photographs()
    assert printed.count("CC0 1.0") + printed.count("by Dohduhdah; public domain") >= 6
    assert all(row["image"].name in printed for row in rows) and "both giraffes" in printed
    assert len({text for row in rows for text in row["expressions"]}) >= 8 and "The model can be wrong" in printed
    assert min(Image.open(out).size) > 800


def test_the_demo_shows_a_room_where_the_package_of_its_photograph_is_installed(tmp_path, monkeypatch):
    ours = [row for row in demo_photographs() if row["license"] != "Pexels licence"]
    package = tmp_path / "interior_photos"
    (package / "images").mkdir(parents=True)
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    assert demo_photographs() == ours
    Image.new("RGB", (64, 48)).save(package / "images/pexels-7303800.jpg")
    *others, room = demo_photographs()
    assert room["image"] == package / "images/pexels-7303800.jpg" and "both chairs" in room["expressions"]
    assert room["license"] == "Pexels licence" and others == ours


def test_composed_scenes_are_drawn(tmp_path, capsys):
    scenes = SCENES
    out = tmp_path / "scenes.png"
    sources = ["--annotations", str(scenes / "instances.json"), "--images", str(scenes / "images")]
    arguments = [*sources, "--count", "2", "--out", str(out)]
    assert main(["data", "preview", *arguments]) == 0
    assert min(Image.open(out).size) > 300
    assert main(["data", "preview", *sources, "--count", "0"]) == 2
    assert "--count 0" in capsys.readouterr().err
    assert main(["data", "preview", *arguments[:3], str(tmp_path)]) == 2
    assert "No picture at" in capsys.readouterr().err


def test_answers_of_the_pipeline_are_drawn_like_those_of_the_processor(checkpoint, photograph):
    expressions = ["left dog", "girl"]
    result = Grounder(checkpoint)(photograph, expressions)
    pipe = pipeline("referring-expression", model=checkpoint)
    drawn = np.asarray(draw_answers(result.image, result.answers))
    for masks in (True, "rle"):
        answers = pipe(photograph, expressions, return_masks=masks)
        assert np.array_equal(np.asarray(draw_answers(result.image, answers)), drawn)
    boxes = PbrecProcessor(
        pipe.processor.image_processor, pipe.processor.tokenizer, box_detector=pipe.processor.box_detector
    )
    filled = pipeline("referring-expression", model=pipe.model, processor=boxes)(photograph, "girl", return_masks=True)
    unmasked = pipeline("referring-expression", model=pipe.model, processor=boxes)(photograph, "girl")
    assert np.array_equal(
        np.asarray(draw_answers(result.image, filled)), np.asarray(draw_answers(result.image, unmasked))
    )
    several = Grounder(checkpoint)(photograph, expressions, threshold=0.006, referents="any")
    many = pipe(photograph, expressions, return_masks="rle", threshold=0.006, referents="any")
    union = np.asarray(draw_answers(result.image, several.answers))
    assert np.array_equal(np.asarray(draw_answers(result.image, many)), union) and max(map(len, many)) > 1
    one = pipe(photograph, "left dog", return_masks=True)
    alone = np.asarray(draw_answers(result.image, result.answers[:1]))
    assert np.array_equal(np.asarray(draw_answers(result.image, one)), alone)
