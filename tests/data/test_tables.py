"""Own data in every kind of table: what is read, and what is told with file, line and remedy."""

import csv
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from own_tables import good_rows, write_jsonl

from pbrec_hf.data.own_data import OwnDataError, load_own_data


def test_csv_mistakes(folder):
    table = folder / "rows.csv"
    table.write_text('image,expression,bbox\na.jpg,dog,"[1,2,3"\na.jpg,dog\na.jpg,dog,"[1,2,30,40]"\n')
    with pytest.raises(OwnDataError) as error:
        load_own_data(table)
    assert [(problem.line, problem.field) for problem in error.value.problems] == [(2, "row"), (3, "row")]


def test_broken_quotes_are_told_with_their_line(folder):
    table = folder / "rows.csv"
    table.write_text('image,expression,bbox\na.jpg,dog,"[1,2,30,40]"\na.jpg,"dog" x,"[1,2,30,40]"\n')
    with pytest.raises(OwnDataError, match=r"line 3, row: .*quotes"):
        load_own_data(table)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b'{"image": "a.jpg"}\n{"image": "\xe9.jpg"}', r"not UTF-8 text \(line 2"),
        ('{"image": "a.jpg"}'.encode("utf-16"), r"not UTF-8 text \(line 1"),
        (b"\x89PNG\r\n\x1a\n\0\0", r"not UTF-8 text \(line 1"),
        (b"[" * 100_000, "not valid JSON .*nested too deep"),
        (b'[{"image": "a.jpg"}', "not valid JSON .*Expecting"),
        (b'{"images": [], "annotations": [{"id": 1}]}', "a COCO instances file goes to instances"),
    ],
)
def test_files_of_another_kind_are_told_once(folder, text, told):
    (folder / "rows.jsonl").write_bytes(text)
    with pytest.raises(ValueError, match=told) as error:
        load_own_data(folder / "rows.jsonl")
    assert "rows.jsonl" in str(error.value) and not isinstance(error.value, UnicodeDecodeError)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("box", ["bbox", "xmin", "XMin", "x1", "w"])
def test_every_separator_and_every_way_to_write_a_box(folder, separator, box):
    table = folder / ("rows.tsv" if separator == "\t" else "rows.csv")
    columns = {"bbox": ["bbox"], "xmin": ["xmin", "ymin", "xmax", "ymax"], "x1": ["x1", "y1", "x2", "y2"]}
    columns |= {"XMin": ["XMin", "YMin", "XMax", "YMax"], "w": ["x", "y", "w", "h"]}
    cells = {"bbox": ["[10, 10, 40, 30.5]"], "w": [10, 10, 30, 20.5]}.get(box, [10, 10, 40, 30.5])
    with open(table, "w", newline="", encoding="utf-8-sig") as file:
        writer = csv.writer(file, delimiter=separator)
        writer.writerow(["image", " expression", *columns[box]])
        writer.writerow(["a.jpg", "the dog, the left one; or | so", *cells])
    (row,) = load_own_data(table).remove_columns("image")
    assert row["expression"] == "the dog, the left one; or | so" and row["bbox"] == [10, 10, 40, 30.5]


def test_boxes_in_columns_of_other_tables(folder):
    rows = [{"image": "a.jpg", "expression": "dog", "left": 1, "top": 2, "right": 3, "bottom": 4}]
    assert load_own_data(write_jsonl(folder / "rows.jsonl", rows))["bbox"][:] == [[1, 2, 3, 4]]
    pq.write_table(pa.Table.from_pylist(rows), folder / "rows.parquet")
    assert load_own_data(folder / "rows.parquet")["bbox"][:] == [[1, 2, 3, 4]]


@pytest.mark.parametrize(
    ("row", "options", "told"),
    [
        ({"xmin": 1, "ymin": 2, "xmax": 3, "ymax": 4}, {"bbox_format": "xywh"}, "leave out bbox_format='xywh'"),
        ({"x": 1, "y": 2, "w": 3, "h": 4, "x1": 1, "y1": 2, "x2": 3, "y2": 4}, {}, "keep one of them"),
        ({"x1": "1,5", "y1": 2, "x2": 3, "y2": 4}, {}, r"bbox: \['1,5', 2, 3, 4\]: give a list of 4"),
        ({"x1": None, "y1": 2, "x2": 3, "y2": 4}, {}, "bbox: None: give a number in each of the columns x1"),
        ({"x": 1, "y": 2, "width": 3, "height": 4}, {}, "call those of the box w and h"),
    ],
)
def test_boxes_in_columns_that_are_not_certain_are_told(folder, row, options, told):
    rows = [{"image": "a.jpg", "expression": "dog"} | row]
    with pytest.raises(ValueError, match=told):
        load_own_data(write_jsonl(folder / "rows.jsonl", rows), **options)


@pytest.mark.parametrize("suffix", ["json", "jsonl"])
@pytest.mark.parametrize("indent", [None, 1])
def test_a_json_array_is_a_table(folder, suffix, indent):
    (folder / f"rows.{suffix}").write_text(json.dumps(good_rows(), indent=indent))
    assert len(load_own_data(folder / f"rows.{suffix}")) == 3
    write_jsonl(folder / "lines.json", good_rows())
    assert len(load_own_data(folder / "lines.json")) == 3
    (folder / "one.json").write_text(json.dumps({"images": [], "annotations": []}, indent=1))
    with pytest.raises(ValueError, match=r"one\.json holds one JSON object, not rows: .* goes to instances"):
        load_own_data(folder / "one.json")
    (folder / "odd.json").write_text(json.dumps([*good_rows(), 7]))
    with pytest.raises(OwnDataError, match="line 4, row: '7': must be a JSON object"):
        load_own_data(folder / "odd.json")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('{"image": ' + "[" * 100_000, "nested too deep"),
        ('{"image": ' + "7" * 5000 + "}", "a number of 5000 digits"),
        ('{"bbox": [1, 2, 3, 4], "bbox": [5, 6, 7, 8]}', "the name 'bbox' is given twice"),
        ("\0\0\0", "is not JSON"),
    ],
)
def test_a_line_that_is_no_json_is_told(folder, line, told):
    table = write_jsonl(folder / "rows.jsonl", good_rows())
    table.write_text(table.read_text() + line + "\n")
    with pytest.raises(OwnDataError, match=rf"line 4, row: .*{told}"):
        load_own_data(table)


@pytest.mark.parametrize(
    ("header", "row", "told"),
    [
        ("image,expression,bbox,bbox", 'a.jpg,dog,"[1,2,3,4]","[1,2,3,5]"', r"columns \['bbox'\] twice"),
        ("image,bbox,a;expression;area;b", "a.jpg", "may be separated by any of"),
        ("img;text;bbox", "a.jpg;dog;", r"found were \['img', 'text'\]; rename"),
        ("image:expression:bbox", "a.jpg:dog:", r"found were \['image:expression:bbox'\]"),
    ],
)
def test_headers_that_are_not_certain_are_told(folder, header, row, told):
    (folder / "rows.csv").write_text(f"{header}\n{row}\n")
    with pytest.raises(ValueError, match=told):
        load_own_data(folder / "rows.csv")


@pytest.mark.parametrize(
    ("cell", "told"), [("10 20 30 40", "the cell bbox must hold a list such as"), ('"[1,5;2]"', "the cell bbox")]
)
def test_a_cell_that_is_no_list_is_told(folder, cell, told):
    (folder / "rows.csv").write_text(f"image;expression;bbox\na.jpg;dog;{cell}\n")
    with pytest.raises(OwnDataError, match=rf"line 2, row: .*{told}"):
        load_own_data(folder / "rows.csv")
