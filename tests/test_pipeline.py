"""The pipeline: every form of input, batches equal to single calls, one pass per image, errors that spare the rest."""

import io
import json
import pickle
from functools import partial
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from checkpoints import save_tiny_checkpoint
from PIL import Image
from places import SCENES
from torch.utils.data import DataLoader
from transformers import AutoModel, AutoProcessor, pipeline
from transformers.pipelines.pt_utils import KeyDataset

from pbrec_hf import (
    PbrecForReferringExpression,
    PbrecProcessor,
    ReferringExpressionPipeline,
    bundled_checkpoint,
    pipeline_pbrec,
)
from pbrec_hf.images.segmentation import rle_to_mask


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint")
    save_tiny_checkpoint(path, masks=True)
    return path


@pytest.fixture(scope="module")
def pipe(folder):
    return pipeline("referring-expression", model=str(folder))


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    path = tmp_path_factory.mktemp("photographs")
    generator = np.random.default_rng(0)
    files = []
    for number, size in enumerate(((90, 160), (200, 100), (64, 64))):
        file = path / f"{number}.png"
        Image.fromarray(generator.integers(0, 256, (*size, 3), dtype=np.uint8)).save(file)
        files.append(str(file))
    return files


def same(a, b):
    flat_a, flat_b = (json.dumps(x, default=str, sort_keys=True) for x in (a, b))
    if flat_a == flat_b:
        return True
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return a == pytest.approx(b, abs=1e-3)


def test_one_expression_gives_plain_json(pipe, photographs):
    (result,) = pipe(photographs[0], "left dog")
    assert json.loads(json.dumps(result)) == result
    assert result["label"] == "left dog" and 0 <= result["score"] <= 1
    box = result["box"]
    assert 0 <= box["xmin"] < box["xmax"] <= 160 and 0 <= box["ymin"] < box["ymax"] <= 90


def test_all_forms_of_one_picture_agree(pipe, photographs):
    expected = pipe(photographs[0], ["left dog", "red car"])
    image = Image.open(photographs[0])
    data = Path(photographs[0]).read_bytes()
    for form in (image, np.asarray(image), data, io.BytesIO(data), {"bytes": data, "path": None}):
        assert same(pipe(form, ["left dog", "red car"]), expected)
    assert same(pipe({"image": image, "expressions": ["left dog", "red car"]}), expected)
    assert [len(answers) for answers in expected] == [1, 1]


@pytest.mark.parametrize("decode", [True, False])
def test_rows_of_a_dataset_stream(pipe, photographs, decode):
    texts = ["left dog", "red car", "girl"]
    rows = datasets.Dataset.from_dict({"image": photographs, "text": texts})
    rows = rows.cast_column("image", datasets.Image(decode=decode))
    expected = [pipe(image, text) for image, text in zip(photographs, texts, strict=True)]
    assert same(list(pipe(rows, batch_size=2)), expected)
    assert same(list(pipe(rows["image"], texts)), expected)
    assert same(list(pipe(KeyDataset(rows, "image"), texts)), expected)
    assert same(list(pipe(rows.remove_columns("text"), "girl")), pipe(photographs, "girl"))
    stream = rows.to_iterable_dataset()
    assert same(list(pipe(stream, batch_size=2)), expected)
    assert same(list(pipe(stream["image"], iter(texts))), expected)


@pytest.fixture(scope="module")
def with_a_damaged_cell(photographs):
    """Three cells of a dataset, the second cut off."""
    data = [Path(path).read_bytes() for path in photographs]
    cells = [
        {"bytes": data[0], "path": None},
        {"bytes": data[1][:300], "path": None},
        {"bytes": data[2], "path": None},
    ]
    features = datasets.Features({"image": datasets.Image(), "text": datasets.Value("string")})
    return datasets.Dataset.from_dict({"image": cells, "text": ["left dog"] * 3}, features=features)


@pytest.mark.parametrize(
    "container",
    [
        lambda rows: rows,
        lambda rows: rows.to_iterable_dataset(),
        lambda rows: rows.with_transform(lambda batch: {name: list(cells) for name, cells in decoded(batch).items()}),
    ],
    ids=["Dataset", "IterableDataset", "Dataset with a transform"],
)
def test_a_damaged_cell_spares_the_rest_of_its_dataset(pipe, photographs, with_a_damaged_cell, container):
    rows = container(with_a_damaged_cell)
    first, bad, last = pipe(rows, batch_size=2)
    assert bad.keys() == {"error"} and ("damaged" in bad["error"] or "truncated" in bad["error"])
    assert same([first, last], [pipe(photographs[0], "left dog"), pipe(photographs[2], "left dog")])
    with pytest.raises((OSError, ValueError), match=r"damaged|truncated"):
        list(pipe(container(with_a_damaged_cell), on_error="raise"))


def decoded(batch):
    """What a transform of a user does with bytes."""
    images = [Image.open(io.BytesIO(cell["bytes"])) if isinstance(cell, dict) else cell for cell in batch["image"]]
    for image in images:
        image.load()
    return {**batch, "image": images}


@pytest.mark.parametrize("container", [lambda rows: rows["image"], lambda rows: KeyDataset(rows, "image")])
def test_a_damaged_cell_spares_the_rest_of_its_column(pipe, photographs, with_a_damaged_cell, container):
    first, bad, last = pipe(container(with_a_damaged_cell), "left dog")
    assert "damaged" in bad["error"]
    assert same([first, last], [pipe(photographs[0], "left dog"), pipe(photographs[2], "left dog")])


def test_a_dataset_is_read_as_it_is_answered(pipe, photographs):
    read = []

    class Pictures(torch.utils.data.Dataset):
        def __len__(self):
            return len(photographs)

        def __getitem__(self, index):
            read.append(index)
            return photographs[index]

    answered = []
    for answer in pipe(Pictures(), "left dog"):
        answered.append(answer)
        assert read == list(range(len(answered)))
    assert same(answered, pipe(photographs, "left dog"))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"image": "a.jpg", "caption": "cat"}], "Row 0: No expression.*'image', 'caption'"),
        ([{"image": "a.jpg", "text": "cat"}, {"picture": "a.jpg", "text": "cat"}], "Row 1: No picture"),
        ([{"image": "a.jpg", "text": "cat"}, "b.jpg"], "Row 1: Give a picture and `text`"),
        (datasets.Dataset.from_dict({"image": ["a.jpg"], "caption": ["cat"]}), "No expression.*'image', 'caption'"),
        (datasets.Dataset.from_dict({"file": ["a.jpg"], "text": ["cat"]}).to_iterable_dataset(), "No picture"),
        (({"image": "a.jpg", "caption": "cat"} for _ in range(2)), "No expression"),
    ],
)
def test_misuse_raises_where_misfortune_is_skipped(pipe, rows, message):
    """Not one error a row: a job of many rows would end well and empty."""
    with pytest.raises(ValueError, match=message):
        list(pipe(rows, on_error="skip"))


def test_an_empty_text_is_one_row_s_trouble(pipe, photographs):
    rows = [{"image": photographs[0], "text": None}, {"image": photographs[0], "text": "girl"}]
    bad, good = pipe(rows)
    assert "No expression" in bad["error"] and same(good, pipe(rows[1]))


def test_the_picture_has_its_names_in_other_pipelines(pipe, photographs):
    expected = pipe(photographs[0], "girl")
    assert same(pipe(image=photographs[0], text="girl"), expected)
    assert same(pipe(images=photographs[:1], text="girl"), [expected])
    for given in ({}, {"inputs": photographs[0], "image": photographs[0]}):
        with pytest.raises(TypeError, match="once"):
            pipe(text="girl", **given)


def test_without_a_model_the_bundled_one_answers(photographs):
    default = pipeline("referring-expression")
    bundled = pipeline("referring-expression", model=bundled_checkpoint())
    assert same(default(photographs[0], "girl"), bundled(photographs[0], "girl"))


@pytest.mark.parametrize("device", [99, "cuda:99", torch.device("meta")])
def test_a_device_that_is_not_there_is_no_cpu(folder, device):
    with pytest.raises(ValueError, match="cannot be used"):
        pipeline("referring-expression", model=str(folder), device=device)


def test_stacked_pictures_are_several(pipe):
    pictures = np.random.default_rng(3).integers(0, 256, (2, 60, 80, 3), dtype=np.uint8)
    assert same(pipe(pictures, ["left dog", "girl"]), pipe(list(pictures), ["left dog", "girl"]))


def test_a_cell_without_a_picture_spares_the_rest(pipe, photographs):
    cells = ({"image": {"bytes": None}, "text": "girl"}, {"image": photographs[0], "text": "girl"})
    bad, good = pipe(cells)
    assert "picture" in bad["error"] and same(good, pipe(photographs[0], "girl"))


def test_nothing_gives_nothing(pipe):
    assert pipe([]) == [] and pipe([], "left dog") == []


def test_a_model_in_training_answers_as_any(folder, pipe, photographs):
    model = PbrecForReferringExpression.from_pretrained(folder).train()
    trained = pipeline("referring-expression", model=model, processor=PbrecProcessor.from_pretrained(folder))
    assert same(trained(photographs[0], "left dog"), pipe(photographs[0], "left dog"))


def test_a_picture_with_nothing_in_it_does_not_end_a_batch():
    bundled = pipeline("referring-expression", model=bundled_checkpoint())
    empty = Image.new("RGB", (90, 60))
    scene = next((SCENES / "images").glob("*.jpg"))
    alone = bundled(str(scene), "the person")
    (nothing,), found = bundled([empty, str(scene)], "the person", batch_size=2)
    assert nothing["score"] < 0.05 and same(found, alone)
    assert bundled(empty, "the person", threshold=0.1) == []


@pytest.mark.parametrize("batch_size", [1, 2, 3, 8])
def test_a_batch_gives_what_single_calls_give(pipe, photographs, batch_size):
    texts = ["left dog", ["red car", "the cat on the left"], "girl"]
    expected = [pipe(image, text) for image, text in zip(photographs, texts, strict=True)]
    assert same(pipe(photographs, texts, batch_size=batch_size), expected)


def test_generators_and_datasets_stream(pipe, photographs):
    rows = [{"image": path, "text": "left dog"} for path in photographs]
    expected = [pipe(row) for row in rows]
    assert same(list(pipe((row for row in rows), batch_size=2)), expected)

    class Rows(torch.utils.data.Dataset):
        def __len__(self):
            return len(rows)

        def __getitem__(self, index):
            return rows[index]

    assert same(list(pipe(Rows(), batch_size=2)), expected)
    assert same(list(pipe(Rows(), batch_size=2, num_workers=1)), expected)


@pytest.mark.parametrize("text", ["left dog", ["left dog", "red car", "girl"]])
def test_a_stream_with_text_is_answered_as_it_comes(pipe, photographs, text):
    read = []

    def frames():
        for path in photographs:
            read.append(path)
            yield path

    answers = iter(pipe(frames(), text, batch_size=1))
    first = next(answers)
    assert len(read) < len(photographs)
    assert same([first, *answers], pipe(photographs, text))


@pytest.mark.parametrize(("texts", "missing"), [(["a dog"], "text 2"), (["a dog"] * 4, "picture 4")])
def test_a_stream_needs_as_many_texts_as_pictures(pipe, photographs, texts, missing):
    with pytest.raises(ValueError, match=f"There is no {missing}: give a text for each picture"):
        list(pipe((path for path in photographs), texts))


def test_workers_that_are_spawned_read_pictures(pipe, photographs, monkeypatch):
    """As on Windows and macOS, and on Linux from Python 3.14 on, where nothing is forked."""
    monkeypatch.setattr(pipeline_pbrec, "DataLoader", partial(DataLoader, multiprocessing_context="spawn"))
    rows = [{"image": path, "text": "left dog"} for path in photographs]
    assert same(list(pipe(rows, batch_size=2, num_workers=1)), [pipe(row) for row in rows])
    assert len(pickle.dumps(pipe._reader())) < len(pickle.dumps(pipe)) / 4  # processes get no network


def test_an_image_is_encoded_once_however_many_expressions_it_has(pipe, photographs, monkeypatch):
    encoded = []
    original = pipe.model.get_image_features
    monkeypatch.setattr(
        pipe.model, "get_image_features", lambda v, *rest: encoded.append(len(v)) or original(v, *rest)
    )
    pipe(photographs[0], ["left dog"] * 20)
    assert encoded == [1]


def test_threshold_and_masks(pipe, photographs):
    assert pipe(photographs[0], "left dog", threshold=1.0) == []
    (result,) = pipe(photographs[0], "left dog", return_masks=True)
    assert result["mask"].size == (160, 90) and set(np.unique(result["mask"])) <= {0, 255}
    (result,) = pipe(photographs[0], "left dog", return_masks="rle")
    assert json.loads(json.dumps(result))["mask"]["size"] == [90, 160]


def test_any_gives_as_many_dicts_as_there_are_answers(pipe, photographs):
    texts = ["left dog", "girl"]
    found = pipe(photographs[0], texts, referents="any", threshold=0.006, return_masks="rle")
    inputs = pipe.processor(Image.open(photographs[0]), texts)
    with torch.no_grad():
        outputs = pipe.model(**inputs)
    expected = pipe.processor.post_process_referring_expression(outputs, inputs, threshold=0.006, referents="any")
    assert max(map(len, found)) > 1 and json.loads(json.dumps(found)) == found
    for text, results, answer in zip(texts, found, expected, strict=True):
        assert [result["score"] for result in results] == pytest.approx(answer["scores"].tolist(), abs=1e-6)
        for result, box, mask in zip(results, answer["boxes"].tolist(), answer["masks"][:, 0].numpy(), strict=True):
            assert result["label"] == text and list(result["box"].values()) == pytest.approx(box, abs=1e-3)
            assert np.array_equal(rle_to_mask(result["mask"]).numpy(), mask) and "raw_score" not in result
    assert pipe(photographs[0], texts, referents="any", threshold=1.0) == [[], []]
    assert same(list(pipe(iter([{"image": photographs[0], "text": texts}]), referents="any", threshold=0.006,
                          return_masks="rle")), [found])  # fmt: skip
    with pytest.raises(ValueError, match='threshold="auto" is the threshold of the calibration'):
        pipe(photographs[0], texts, referents="any")


def test_a_calibrated_pipeline_gives_probabilities_and_has_a_threshold_of_its_own(folder, photographs):
    pipe = pipeline("referring-expression", model=str(folder))
    raw = pipe(photographs[0], "left dog", referents="any", threshold=0.006)
    line = {"raw": [0.0, 0.01], "probability": [0.2, 1.0]}
    maps = dict.fromkeys(("one", "any", "exists"), line)
    pipe.processor.calibration = {**maps, "threshold": 0.68, "fitted_on": "a test", "answers": 1}
    found = pipe(photographs[0], "left dog", referents="any")
    assert same(found, pipe(photographs[0], "left dog", referents="any", threshold="auto")) and len(found) > 1
    for result, before in zip(found, raw, strict=True):
        assert result["raw_score"] == pytest.approx(before["score"], abs=1e-6)
        assert result["score"] == pytest.approx(0.2 + 80 * before["score"], abs=1e-6)
        assert same(result["box"], before["box"])


def test_one_bad_file_does_not_end_a_batch_unless_asked_to(pipe, photographs, tmp_path):
    bad = tmp_path / "words.jpg"
    bad.write_text("no picture")
    rows = [{"image": path, "text": "left dog"} for path in (photographs[0], str(bad), photographs[1])]
    results = pipe(rows, batch_size=2)
    assert "words.jpg" in results[1]["error"]
    assert same([results[0], results[2]], [pipe(rows[0]), pipe(rows[2])])
    with pytest.raises(ValueError, match=r"words\.jpg"):
        pipe(rows, on_error="raise")
    with pytest.raises(ValueError, match=r"words\.jpg"):
        pipe(str(bad), "left dog")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda pipe, image: pipe(image), ValueError, "dict with `image` and `text`"),
        (lambda pipe, image: pipe({"image": image}), ValueError, "No expression"),
        (lambda pipe, image: pipe([image, image], ["a", "b", "c"]), ValueError, "3 texts for 2 pictures"),
        (lambda pipe, image: pipe(image, ""), ValueError, "give a string of words"),
        (lambda pipe, image: pipe(image, "dog", treshold=1), TypeError, "treshold"),
        (lambda pipe, image: pipe(image, "dog", return_masks="png"), ValueError, "'png'"),
        (lambda pipe, image: pipe(image, "dog", referents="all"), ValueError, "referents='all': give one of 'one'"),
        (lambda pipe, image: pipe(image, "dog", threshold="high"), ValueError, "threshold='high': give a number"),
        (lambda pipe, image: pipe("missing.jpg", "dog"), FileNotFoundError, r"missing\.jpg"),
    ],
)
def test_bad_calls_are_named(pipe, photographs, call, error, message):
    with pytest.raises(error, match=message):
        call(pipe, photographs[0])


def test_half_precision_runs(folder, photographs):
    pipe = pipeline("referring-expression", model=str(folder), dtype=torch.bfloat16)
    assert pipe.model.dtype == torch.bfloat16
    (found,) = pipe(photographs[0], "left dog")
    (expected,) = pipeline("referring-expression", model=str(folder))(photographs[0], "left dog")
    assert abs(found["score"] - expected["score"]) < 0.02


def test_auto_classes_find_the_package_s_own(folder):
    assert isinstance(AutoModel.from_pretrained(folder), PbrecForReferringExpression)
    assert isinstance(AutoProcessor.from_pretrained(folder), PbrecProcessor)


def test_a_saved_pipeline_is_whole(pipe, photographs, tmp_path):
    pipe.save_pretrained(tmp_path)
    loaded = pipeline("referring-expression", model=str(tmp_path))
    assert isinstance(loaded, ReferringExpressionPipeline)
    assert same(loaded(photographs[0], "left dog"), pipe(photographs[0], "left dog"))
    assert "custom_pipelines" not in (tmp_path / "config.json").read_text()
