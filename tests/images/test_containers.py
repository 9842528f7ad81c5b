"""Texts, pictures, rows and numbers as numpy, pandas and arrow hold them: answered like Python's own, or refused."""

from collections import deque

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from checkpoints import save_tiny_checkpoint
from PIL import Image
from training_data import write_data
from transformers import pipeline

from pbrec_hf import Grounder, PbrecCollator, load_own_data
from pbrec_hf.images.containers import plain
from pbrec_hf.images.reading import load_picture, load_pixels, picture_size
from pbrec_hf.metrics import RecAccuracy

TEXTS = ["left dog", "red car"]
PIXELS = np.random.default_rng(0).integers(256, size=(40, 56, 3), dtype=np.uint8)

LISTS = {
    "tuple": tuple,
    "deque": deque,
    "numpy": np.array,
    "numpy objects": lambda values: np.array(values, dtype=object),
    "numpy strings": lambda values: [np.str_(value) for value in values],
    "pandas column": pd.Series,
    "pandas column in another order": lambda values: pd.Series(values, index=[5, 1]),
    "pandas index": pd.Index,
    "pandas array": pd.array,
    "arrow array": pa.array,
    "arrow chunks": lambda values: pa.chunked_array([values]),
    "arrow scalars": lambda values: [pa.scalar(value) for value in values],
}
ROWS = {
    "records": lambda rows: pd.DataFrame(rows).to_dict("records"),
    "pandas": pd.DataFrame,
    "pandas rows": lambda rows: [row for _, row in pd.DataFrame(rows).iterrows()],
    "arrow": pa.Table.from_pylist,
    "arrow structs": pa.array,
    "dataset": datasets.Dataset.from_list,
    "dataset of numpy": lambda rows: datasets.Dataset.from_list(rows).with_format("numpy"),
    "dataset of torch": lambda rows: datasets.Dataset.from_list(rows).with_format("torch"),
}
IN_ONE = {
    "numpy string": lambda path: np.str_(path),
    "arrow string": lambda path: pa.scalar(str(path)),
    "numpy bytes": lambda path: np.bytes_(path.read_bytes()),
    "memory": lambda path: memoryview(path.read_bytes()),
    "arrow bytes": lambda path: pa.scalar(path.read_bytes()),
    "arrow memory": lambda path: pa.py_buffer(path.read_bytes()),
    "arrow cell": lambda path: pa.scalar({"bytes": path.read_bytes(), "path": None}),
}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("pictures") / "photo.png"
    Image.fromarray(PIXELS).save(path)
    return path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    save_tiny_checkpoint(folder)
    return str(folder)


@pytest.fixture(scope="module")
def pipe(checkpoint):
    return pipeline("referring-expression", model=checkpoint)


@pytest.fixture(scope="module")
def grounder(checkpoint):
    return Grounder(checkpoint)


@pytest.mark.parametrize("form", LISTS)
def test_expressions_in_any_container_are_answered(pipe, grounder, path, form):
    texts = LISTS[form](TEXTS)
    found = pipe(str(path), texts)
    assert found == pipe(str(path), TEXTS)
    assert {type(answer["label"]) for answers in found for answer in answers} == {str}
    assert pipe([str(path)] * 2, texts) == pipe([str(path)] * 2, TEXTS)
    inputs, expected = (pipe.processor(str(path), given, return_proposals=False) for given in (texts, TEXTS))
    assert inputs["expressions"] == TEXTS and torch.equal(inputs["input_ids"], expected["input_ids"])
    labels = [label for answer in grounder(path, texts).answers for label in answer["text_labels"]]
    assert labels == TEXTS and {type(label) for label in labels} == {str}


@pytest.mark.parametrize(
    ("texts", "named"),
    [
        (set(TEXTS), "of type set"),
        (dict.fromkeys(TEXTS), "of type dict"),
        ((text for text in TEXTS), "of type generator"),
        (pd.DataFrame({"text": TEXTS}), "of type dict"),
        (b"left dog", "of type bytes"),
        (float("nan"), "is nan"),
        (pd.NA, "of type NAType"),
        (np.array([1.5, 2.5]), "of type ndarray"),
        (["dog", None], "is None"),
    ],
)
def test_what_holds_no_expressions_is_refused(pipe, grounder, path, texts, named):
    for ask in (pipe, pipe.processor, grounder):
        with pytest.raises(ValueError, match=f"An expression of picture 0 is .*{named.removeprefix('is ')}"):
            ask(str(path), texts)


@pytest.mark.parametrize("form", [form for form in LISTS if form != "deque"])
def test_paths_in_any_container_are_read(pipe, path, form):
    paths = LISTS[form]([str(path)] * 2)
    assert list(pipe(paths, text="left dog")) == pipe([str(path)] * 2, text="left dog")
    for process in (pipe.processor, pipe.processor.image_processor):
        assert torch.equal(process(paths)["pixel_values"], process([str(path)] * 2)["pixel_values"])


@pytest.mark.parametrize("form", IN_ONE)
def test_a_picture_in_any_container_is_read(pipe, path, form):
    source = IN_ONE[form](path)
    assert np.array_equal(np.asarray(load_picture(source)), PIXELS)
    assert torch.equal(load_pixels(source), torch.from_numpy(PIXELS).permute(2, 0, 1))
    assert picture_size(source) == PIXELS.shape[:2]
    assert pipe(source, "left dog") == pipe(str(path), "left dog")


@pytest.mark.parametrize("key", ["text", "expressions"])
@pytest.mark.parametrize("form", ROWS)
def test_rows_in_any_table_are_answered(pipe, path, form, key):
    rows = [{"image": str(path), key: TEXTS[0] if key == "text" else TEXTS}, {"image": str(path), key: "girl"}]
    rows = rows if key == "text" else rows[:1]
    assert list(pipe(ROWS[form](rows))) == pipe(rows)


def test_a_row_of_a_table_is_one_question(pipe, path):
    row = pd.DataFrame([{"image": str(path), "text": "left dog"}]).iloc[0]
    assert pipe(row) == pipe(str(path), "left dog")


@pytest.mark.parametrize("form", ["pandas", "arrow"])
def test_rows_that_are_tables_are_refused_by_type(pipe, path, form):
    rows = datasets.Dataset.from_list([{"image": str(path), "text": "left dog"}]).with_format(form)
    with pytest.raises(ValueError, match=r"(DataFrame|Table) is neither"):
        list(pipe(rows))


@pytest.mark.parametrize("threshold", [np.float32(0.001), np.float64(0.001)])
def test_numbers_of_numpy_are_thresholds(pipe, path, threshold):
    assert pipe(str(path), TEXTS, threshold=threshold) == pipe(str(path), TEXTS, threshold=0.001)


@pytest.mark.parametrize(
    "threshold", [True, "0.1", torch.tensor(0.1), np.array([0.1]), pa.scalar(0.1), pd.Series([0.1])]
)
def test_what_is_no_number_is_no_threshold(pipe, grounder, path, threshold):
    for ask in (pipe, grounder):
        with pytest.raises(ValueError, match="threshold="):
            ask(str(path), TEXTS, threshold=threshold)


@pytest.mark.parametrize("top_k", [True, "3", 3.0, np.float64(3), torch.tensor(3), pa.scalar(3)])
def test_what_is_no_integer_is_no_number_of_proposals(pipe, grounder, path, top_k):
    for ask in (pipe, grounder):
        with pytest.raises(ValueError, match=r"top_k=.*: give a positive integer"):
            ask(str(path), TEXTS, top_k=top_k)


@pytest.mark.parametrize("form", [np.array, torch.tensor, pa.array, lambda sizes: [np.array(sizes[0])]])
def test_target_sizes_in_any_container(pipe, path, form):
    inputs = pipe.processor(str(path), TEXTS)
    outputs = pipe.model(**inputs)
    answer = pipe.processor.post_process_referring_expression
    (expected, *_), (found, *_) = (
        answer(outputs, inputs, target_sizes=given) for given in ([(20, 30)], form([[20, 30]]))
    )
    assert torch.equal(found["boxes"], expected["boxes"]) and torch.equal(found["masks"], expected["masks"])


@pytest.mark.parametrize("sizes", [[(20.5, 30)], [(0, 30)], [20], pd.DataFrame([[20]]), [("a", "b")]])
def test_target_sizes_that_are_no_whole_pixels_are_refused(pipe, path, sizes):
    inputs = pipe.processor(str(path), "left dog")
    with pytest.raises(ValueError, match=r"target_sizes has the entry .*: give \(height, width\) in whole pixels"):
        pipe.processor.post_process_referring_expression(pipe.model(**inputs), inputs, target_sizes=sizes)


@pytest.mark.parametrize(
    "form",
    [np.array, torch.tensor, pa.array, pd.Series, lambda boxes: list(map(np.array, boxes))],
)
def test_boxes_in_any_container_are_measured(form):
    boxes, others = [[0.0, 0, 10, 10], [1, 1, 5, 5.5]], [[0.0, 0, 10, 9], [1, 1, 5, 9.5]]
    expected = RecAccuracy().compute(predictions=boxes, references=others)
    assert RecAccuracy().compute(predictions=form(boxes), references=form(others)) == expected


@pytest.fixture(scope="module", params=["sentence", "image"])
def own(request, tmp_path_factory):
    data = write_data(tmp_path_factory.mktemp("own"), masks=True)
    return load_own_data(data, view=request.param).cast_column("image", datasets.Image(decode=False))


@pytest.fixture(scope="module")
def collator(pipe):
    return PbrecCollator.for_model(pipe.model.config, pipe.processor.image_processor, pipe.processor.tokenizer)


@pytest.mark.parametrize(
    "form", [lambda rows: rows, lambda rows: rows.data.table, lambda rows: pa.array(rows.to_list())]
)
def test_rows_in_any_table_are_collated(own, collator, form):
    expected, found = collator(own.to_list()), collator(form(own))
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value) if isinstance(value, torch.Tensor) else found[name] == value, name


@pytest.mark.parametrize("form", ["numpy", "torch", "pandas", "arrow", "columns"])
def test_rows_of_arrays_are_not_collated(own, collator, form):
    rows = own[:] if form == "columns" else list(own.with_format(form))
    with pytest.raises(
        TypeError, match=r"of a row is of type \w+: give rows of plain values|A row is of type \w+: give"
    ):
        collator(rows)


@pytest.mark.parametrize("form", [lambda own: own, lambda own: own.data.table, lambda own: own.to_pandas(), list])
def test_rows_are_no_path_of_a_table(own, form):
    with pytest.raises(TypeError, match=r"^\w+ is no path of a table"):
        load_own_data(form(own))


def test_arrays_of_numbers_and_pictures_stay_as_they_are():
    for value in (PIXELS, torch.zeros(2), Image.new("RGB", (2, 2)), {"a": np.str_("b")}, 1.5, None):
        assert plain(value) is value
