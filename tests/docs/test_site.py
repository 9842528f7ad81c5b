"""The site builds strictly, its notebooks run, and it asks nothing of other machines.

Strictly: a link, a reference or a page of the navigation that leads nowhere is an error, and so is one in a notebook.
"""

import os
import re
import subprocess
import sys

import pytest
from places import ROOT

NOTEBOOKS = {"first_look": 4, "fine_tune": 2, "inside_an_answer": 7}  # and how many pictures each shows


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    few_steps = {"PBREC_NOTEBOOKS": "true", "PBREC_NOTEBOOK_EPOCHS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, **few_steps, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-5000:]
    return folder


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_notebooks_show_their_pictures(site, notebook):
    page = (site / "notebooks" / notebook / "index.html").read_text(encoding="utf-8")
    assert page.count('src="data:image/png') == NOTEBOOKS[notebook]


def test_pages_have_what_the_repository_has(site):
    for page in ("changelog", "contributing", "security", "cards/pbrec-mt-small", "cards/pbrec-refcoco"):
        assert (site / page / "index.html").is_file()
    verbs = (site / "reference" / "command_line" / "index.html").read_text(encoding="utf-8")
    assert "--expressions_per_image" in verbs and "--document_root" in verbs


def test_tables_lists_and_code_are_rendered_as_such(site):
    """Readers of Markdown differ in where they want empty lines and how they want items indented."""
    for page in site.rglob("index.html"):
        html = page.read_text(encoding="utf-8")
        assert not re.findall(r"<p>\||\|---|```|<p>(?:- |1\. )|<p>[^<]*\n(?:- |\d\. )", html), page


def test_the_paper_leads_into_the_code(site):
    page = (site / "paper" / "index.html").read_text(encoding="utf-8")
    led = re.findall(r'href="\.\./(reference/\w+)/#(pbrec_hf\.[\w.]+)"', page)
    assert len(led) >= 20
    for reference, name in led:
        assert f'id="{name}"' in (site / reference / "index.html").read_text(encoding="utf-8"), name


def test_pages_fetch_nothing_from_elsewhere(site):
    for page in site.rglob("*.html"):
        loaded = re.findall(
            r'<(?:script|img|link)[^>]* (?:src|href)="(https?://[^"]*)"', page.read_text(encoding="utf-8")
        )
        assert not loaded, page
