"""`pbrec-hf label`: every format read back, broken files listed, kills without a trace, several processes."""

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import datasets
import numpy as np
import pytest
import yaml
from filelock import FileLock
from PIL import Image
from places import ROOT
from pycocotools.coco import COCO

from pbrec_hf.app.cli import main
from pbrec_hf.app.label.formats import FORMATS
from pbrec_hf.app.label.formats.rows import rows_of
from pbrec_hf.app.label.labelled import Labelled
from pbrec_hf.app.label.photographs import Photograph
from pbrec_hf.app.label.studio_results import brush_run_lengths
from pbrec_hf.data.own_data import load_own_data
from pbrec_hf.images.segmentation import rasterise_polygons, rle_to_mask
from pbrec_hf.inference.grounder import Grounder

EXPRESSIONS = ["left dog", "the girl"]
ASK = ["--any", "--threshold", "0.0055"]


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Twelve pictures in two folders: one lies on its side, one is broken, two have one name."""
    folder = tmp_path_factory.mktemp("photographs")
    (folder / "sub").mkdir()
    for number in range(11):
        pixels = np.random.default_rng(number).integers(0, 256, (90, 160, 3), dtype=np.uint8)
        place = folder / "sub" if number > 6 else folder
        Image.fromarray(pixels).save(place / f"{number:02d}.png")
    tags = Image.Exif()
    tags[0x0112] = 6
    Image.open(folder / "00.png").save(folder / "00.jpg", exif=tags)
    (folder / "sub" / "10.png").write_bytes((folder / "00.png").read_bytes()[:200])
    return folder


@pytest.fixture(scope="module")
def labelled(checkpoint, photographs, tmp_path_factory):
    """A finished labelling in every format, and what was said about it."""
    out = tmp_path_factory.mktemp("labels")
    ask = ["label", str(photographs), "--expressions", *EXPRESSIONS, "--out", str(out), "--model", checkpoint, *ASK]
    assert main([*ask, "--format", *FORMATS]) == 1  # a broken photograph
    return out


@pytest.fixture(scope="module")
def rows(labelled):
    return [json.loads(line) for line in (labelled / "labels.jsonl").read_text().splitlines()]


def test_rows_are_the_answers_of_the_grounder(checkpoint, photographs, rows):
    assert [row["expression"] for row in rows] == EXPRESSIONS * 11
    grounder = Grounder(checkpoint)
    for path, first in zip(dict.fromkeys(row["image"] for row in rows), rows[::2], strict=True):
        expected = grounder(path, EXPRESSIONS, threshold=0.0055, referents="any").answers[0]
        assert first["scores"] == pytest.approx(expected["scores"].tolist(), abs=1e-6)
        assert first["no_target"] == (not first["boxes"]) and len(first["segmentations"]) == len(first["boxes"])
        for box, mask, found, made in zip(
            first["boxes"], first["segmentations"], expected["boxes"], expected["masks"], strict=True
        ):
            assert box == pytest.approx(found.tolist(), abs=0.006)
            left, top, right, bottom = (int(side) for side in (box[0], box[1], np.ceil(box[2]), np.ceil(box[3])))
            shown = made[0, top:bottom, left:right].any()
            assert np.array_equal(rle_to_mask(mask).numpy(), made[0].numpy()) if shown else mask is None
    assert len({len(row["boxes"]) for row in rows}) > 1
    assert (rows[0]["width"], rows[0]["height"]) == (90, 160)  # on its side
    assert rows[0]["image"] == str(photographs / "00.jpg")


def test_an_expression_without_an_answer_is_a_row_too():
    record = {"width": 30, "height": 20, "expressions": [{"expression": "nobody", "boxes": [], "scores": []}]}
    (row,) = rows_of(Labelled(Photograph("/a.png", "a.png", "/a.png", ("nobody",)), "a.png", record))
    assert row == {
        "image": "/a.png", "width": 30, "height": 20, "expression": "nobody", "boxes": [], "no_target": True,
        "scores": [],
    }  # fmt: skip


def test_rows_train(labelled, rows):
    loaded = load_own_data(labelled / "labels.jsonl")
    assert [len(row) for row in loaded["boxes"]] == [len(row["boxes"]) for row in rows]
    assert loaded["no_target"] == [row["no_target"] for row in rows]


def test_parquet_holds_the_same_rows(labelled, rows):
    files = sorted(map(str, (labelled / "parquet").iterdir()))
    loaded = datasets.load_dataset("parquet", data_files=files, split="train")
    assert loaded["expression"] == [row["expression"] for row in rows]
    for one, row in zip(loaded, rows, strict=True):
        assert (
            np.allclose(np.array(one["boxes"]), np.array(row["boxes"]))
            and one["segmentations"] == row["segmentations"]
        )


def test_pycocotools_loads_the_coco_file(labelled, rows):
    coco = COCO(str(labelled / "coco.json"))
    assert [category["name"] for category in coco.cats.values()] == EXPRESSIONS and len(coco.imgs) == 11
    assert [image["file_name"] for image in coco.imgs.values()][:2] == ["00.jpg", "00-2.png"]
    boxes = [(row, box, mask) for row in rows for box, mask in zip(row["boxes"], row["segmentations"], strict=True)]
    assert len(coco.anns) == len(boxes)
    for annotation, (row, (left, top, right, bottom), mask) in zip(coco.anns.values(), boxes, strict=True):
        assert coco.cats[annotation["category_id"]]["name"] == row["expression"]
        assert annotation["bbox"] == pytest.approx([left, top, right - left, bottom - top], abs=0.011)
        if mask is None:
            assert annotation["area"] == pytest.approx((right - left) * (bottom - top), rel=0.01)
            continue
        assert np.array_equal(coco.annToMask(annotation), rle_to_mask(mask).numpy())
        assert annotation["area"] == rle_to_mask(mask).sum()


def test_yolo_has_shares_of_upright_pictures(labelled, rows):
    for name in ("yolo", "yolo-seg"):
        folder = labelled / name
        assert yaml.safe_load((folder / "data.yaml").read_text())["names"] == dict(enumerate(EXPRESSIONS))
        stems = [
            "00",
            "00-2",
            *(f"0{number}" for number in range(1, 7)),
            *(f"sub/0{number}" for number in range(7, 10)),
        ]
        for stem, first, second in zip(stems, rows[::2], rows[1::2], strict=True):
            (picture,) = (folder / "images").glob(f"{stem}.*")
            assert Image.open(picture).size == (first["width"], first["height"])
            assert Image.open(picture).getexif().get(0x0112, 1) == 1
            lines = [line.split() for line in (folder / "labels" / f"{stem}.txt").read_text().splitlines()]
            expected = [(str(n), row, i) for n, row in enumerate((first, second)) for i in range(len(row["boxes"]))]
            assert [line[0] for line in lines] == [number for number, _, _ in expected]
            for line, (_, row, place) in zip(lines, expected, strict=True):
                numbers = np.array(line[1:], dtype=float).reshape(-1, 2) * (row["width"], row["height"])
                if name == "yolo":
                    middle, size = numbers
                    box = [*(middle - size / 2), *(middle + size / 2)]
                    assert box == pytest.approx(row["boxes"][place], abs=0.02)
                elif (rle := row["segmentations"][place]) and (mask := rle_to_mask(rle).numpy()).sum() > 200:
                    drawn = rasterise_polygons([numbers.ravel()], row["height"], row["width"]).bool().numpy()
                    assert (drawn & mask).sum() > 0.8 * mask.sum()


def test_voc_counts_from_one(labelled, rows):
    folder = labelled / "voc"
    listed = (folder / "ImageSets" / "Main" / "default.txt").read_text().split()
    assert len(listed) == 11 and listed[-1] == "sub/09"
    tree = ElementTree.parse(folder / "Annotations" / "01.xml").getroot()
    assert tree.findtext("filename") == "01.png" and (folder / "JPEGImages" / "01.png").is_file()
    boxes = [box for row in rows[4:6] for box in row["boxes"]]
    found = [[int(corner.text) for corner in box] for box in tree.iter("bndbox")]
    assert found == [
        [min(int(value) + 1, side) for value, side in zip(box, (160, 90) * 2, strict=True)] for box in boxes
    ]


def test_cvat_masks_are_run_lengths_of_their_rectangle(labelled, rows):
    tree = ElementTree.parse(labelled / "cvat.xml").getroot()
    assert [label.findtext("name") for label in tree.iter("label")] == EXPRESSIONS
    images = list(tree.iter("image"))
    assert len(images) == 11 and tree.findtext("meta/task/size") == "11"
    for image, first, second in zip(images, rows[::2], rows[1::2], strict=True):
        masks = [mask for row in (first, second) for mask in row["segmentations"]]
        for shape, rle in zip(image, masks, strict=True):
            if rle is None:
                assert shape.tag == "box" and float(shape.get("xbr")) <= first["width"]
                continue
            mask = rle_to_mask(rle).numpy()
            runs = [int(run) for run in shape.get("rle").split(",")]
            pixels = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
            left, top, width, height = (int(shape.get(name)) for name in ("left", "top", "width", "height"))
            whole = np.zeros_like(mask)
            whole[top : top + height, left : left + width] = pixels.reshape(height, width)
            assert np.array_equal(whole, mask)


def unpacked(rle):
    """Label Studio's run lengths, decoded a bit at a time."""
    bits = "".join(format(byte, "08b") for byte in rle)
    at = 0

    def take(count):
        nonlocal at
        at += count
        return int(bits[at - count : at], 2)

    total, word = take(32), take(5) + 1
    sizes = [take(4) + 1 for _ in range(4)]
    values = []
    while len(values) < total:
        run = take(1)
        length = take(sizes[take(2)]) + 1
        values += [take(word)] * length if run else [take(word) for _ in range(length)]
    return np.array(values, dtype=np.uint8)


def test_label_studio_gets_rectangles_and_brushes(labelled, rows, photographs):
    tasks = json.loads((labelled / "label-studio" / "tasks.json").read_text())
    assert tasks[2]["data"]["image"] == f"/data/local-files/?d={str(photographs)[1:]}/01.png"
    tree = ElementTree.parse(labelled / "label-studio" / "config.xml").getroot()
    assert [label.get("value") for label in tree.iter("Label")] == EXPRESSIONS * 2
    for task, first, second in zip(tasks, rows[::2], rows[1::2], strict=True):
        (prediction,) = task["predictions"]
        found = prediction["result"]
        masks = [rle_to_mask(mask).numpy() for row in (first, second) for mask in row["segmentations"] if mask]
        assert len(found) == sum(len(row["boxes"]) for row in (first, second)) + len(masks)
        assert len({region["id"] for region in found}) == len(found)
        for region, box in zip(found, first["boxes"], strict=False):
            value, size = region["value"], (first["width"], first["height"])
            left, top = value["x"] / 100 * size[0], value["y"] / 100 * size[1]
            right, bottom = left + value["width"] / 100 * size[0], top + value["height"] / 100 * size[1]
            assert [left, top, right, bottom] == pytest.approx(box, abs=0.02)
            assert value["rectanglelabels"] == ["left dog"] and region["original_width"] == size[0]
        brushes = [region for region in found if region["type"] == "brushlabels"]
        for region, mask in zip(brushes, masks, strict=True):
            alpha = unpacked(region["value"]["rle"]).reshape(*mask.shape, 4)
            assert np.array_equal(alpha, np.repeat(mask[..., None] * np.uint8(255), 4, axis=-1))


def test_long_runs_are_packed():
    mask = np.zeros((300, 400), dtype=bool)
    mask[100:250, :] = True
    assert np.array_equal(unpacked(brush_run_lengths(mask)), np.repeat(mask.ravel() * np.uint8(255), 4))


def test_fiftyone_has_shares_and_a_picture_for_each_entry(labelled, rows):
    told = json.loads((labelled / "fiftyone" / "labels.json").read_text())
    assert told["classes"] == EXPRESSIONS and len(told["labels"]) == 11
    files = {path.relative_to(labelled / "fiftyone" / "data").with_suffix("").as_posix(): path
             for path in (labelled / "fiftyone" / "data").rglob("*.*")}  # fmt: skip
    assert set(files) == set(told["labels"])
    for detections, first, second in zip(told["labels"].values(), rows[::2], rows[1::2], strict=True):
        boxes = [box for row in (first, second) for box in row["boxes"]]
        for one, (left, top, right, bottom) in zip(detections, boxes, strict=True):
            shares = [left / first["width"], top / first["height"]]
            sides = [(right - left) / first["width"], (bottom - top) / first["height"]]
            assert one["bounding_box"] == pytest.approx([*shares, *sides], abs=1e-5)


def test_the_summary_names_what_is_broken_and_shows_answers(labelled, rows, photographs):
    summary = json.loads((labelled / "summary.json").read_text())
    assert (summary["photographs"], summary["broken"]) == (12, 1)
    assert summary["answers"] == sum(len(row["boxes"]) for row in rows)
    assert summary["broken_photographs"][0]["image"] == str(photographs / "sub" / "10.png")
    one = summary["expressions"]["left dog"]
    assert one["without_answer"] == sum(row["no_target"] for row in rows[::2]) and one["photographs"] == 11
    assert sum(one["scores_by_tenths"]) == one["answers"]
    text = (labelled / "summary.txt").read_text()
    assert text.startswith("12 photographs: 11 labelled, 1 broken.\n") and "10.png: " in text
    assert min(Image.open(labelled / "contact.jpg").size) > 300


def test_the_same_again_only_exports_and_another_way_is_refused(
    checkpoint, photographs, labelled, capsys, monkeypatch
):
    ask = ["label", str(photographs), "--expressions", *EXPRESSIONS, "--out", str(labelled), "--model", checkpoint]
    before = (labelled / "labels.jsonl").read_bytes()
    settings = json.loads((labelled / "labelling.json").read_text())
    known = {name: value for name, value in settings.items() if name not in ("tiles", "runtime", "precision")}
    (labelled / "labelling.json").write_text(json.dumps(known))  # of a version that had only their defaults
    monkeypatch.setattr("pbrec_hf.app.label.here.Labeller", None)  # nothing is loaded
    assert main([*ask, *ASK, "--format", "jsonl"]) == 1
    assert (labelled / "labels.jsonl").read_bytes() == before and "11 labelled, 1 broken" in capsys.readouterr().out
    assert main([*ask, "--any", "--threshold", "0.5"]) == 2
    told = capsys.readouterr().err
    assert "asked in another way (threshold was 0.0055, is 0.5): give another --out" in " ".join(told.split())
    with FileLock(labelled / ".lock"):
        assert main([*ask, *ASK]) == 2
    assert "Another process labels into" in capsys.readouterr().err
    for arguments, message in (
        (["--format", "yolov9"], "--format yolov9: give one or more of jsonl, parquet"),
        (["--threshold", "2"], "--threshold 2: give a number from 0 to 1, or auto"),
    ):
        assert main([*ask, *arguments]) == 2
        assert message in " ".join(capsys.readouterr().err.split())


def test_a_mended_photograph_is_labelled_and_a_fetched_one_retried(checkpoint, tmp_path, capsys, monkeypatch):
    picture = Image.fromarray(np.random.default_rng(3).integers(0, 256, (90, 160, 3), dtype=np.uint8))
    path = tmp_path / "photo.png"
    path.write_bytes(b"broken")
    ask = ["label", str(tmp_path), "--expressions", "dog", "--out", str(tmp_path / "out"), "--model", checkpoint]
    assert main(ask) == 1 and main(ask) == 1
    picture.save(path)
    assert main(ask) == 0
    assert "1 labelled, 0 broken" in capsys.readouterr().out
    monkeypatch.setattr(
        "pbrec_hf.app.label.here.load_picture", lambda image: (_ for _ in ()).throw(OSError("offline"))
    )
    ask = ["label", "https://example.org/photo.png", *ask[2:], "--format", "jsonl"]
    assert main(ask) == 1
    monkeypatch.setattr("pbrec_hf.app.label.here.load_picture", lambda image: picture)
    assert main(ask) == 1 and main([*ask, "--retry", "--no_masks"]) == 2  # the folder has masks
    assert main([*ask, "--retry"]) == 0
    (row,) = (tmp_path / "out" / "labels.jsonl").read_text().splitlines()
    assert json.loads(row)["image"] == "https://example.org/photo.png"


def test_kills_and_several_processes_change_no_byte(checkpoint, photographs, tmp_path):
    command = [
        sys.executable,
        str(ROOT / "scripts" / "label_kills.py"),
        str(photographs),
        "--out",
        str(tmp_path / "work"),
    ]
    command += ["--photographs", "12", "--kills", "2", "--processes", "2", "--model", checkpoint]
    command += ["--threshold", "0.0055", "--expressions", *EXPRESSIONS]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("unbroken", "killed", "several"):
        told = f"{name}: 22 rows, 11 pictures"
        assert told in done.stdout and "each photograph once: True; equal to the unbroken one: True" in done.stdout
    assert done.stdout.count("killed with ") == 2
