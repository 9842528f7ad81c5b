"""The page of speed says what the files of its runs say."""

import json

import pytest
from places import ROOT

from scripts.benchmarks import gpu_page

PAGE = (ROOT / "docs" / "speed.md").read_text(encoding="utf-8")
REPORT = json.loads((ROOT / "docs" / "benchmarks" / "h200.json").read_text(encoding="utf-8"))


def test_the_part_about_a_gpu_is_that_of_its_file():
    assert gpu_page.between(PAGE, gpu_page.page(REPORT)) == PAGE


def test_rows_that_were_not_run_are_named():
    left = [row["row"] for row in REPORT["rows"] if "not run" in row]
    assert left
    text = " ".join(PAGE.split())
    assert all(text.count(name) >= 2 for name in left)  # in the table and below it


def test_a_row_that_the_text_needs_is_named_where_it_is_missing():
    rows = [row for row in REPORT["rows"] if "FSDP2" not in row["row"]]
    with pytest.raises(ValueError, match="'FSDP2 on one device through Accelerate' was not measured"):
        gpu_page.page({**REPORT, "rows": rows})


def test_a_page_without_marks_is_refused():
    with pytest.raises(ValueError, match="the page needs the lines"):
        gpu_page.between("# Speed\n", "new")
