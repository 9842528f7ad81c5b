"""Every picture and file of weights in the repository is listed with origin and licence, and is the listed one."""

import json
import shutil
import subprocess
import sys

import pytest
from PIL import Image
from places import ROOT, SCENES

FREE = {"CC0-1.0", "LicenseRef-public-domain", "CC0-1.0 AND LicenseRef-public-domain"}


def told(root):
    done = subprocess.run([sys.executable, root / "scripts/origins.py"], capture_output=True, text=True, check=False)
    assert done.returncode == int(done.stdout != "every picture and file of weights is listed\n"), done.stderr
    return done.stdout


@pytest.fixture
def copy(tmp_path):
    """The photographs alone, as a repository."""
    folder = tmp_path / "pbrec_hf/assets/photographs"
    shutil.copytree(SCENES, folder)
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts/origins.py", tmp_path / "scripts")
    return tmp_path, folder


def test_every_picture_and_file_of_weights_is_listed():
    assert told(ROOT) == "every picture and file of weights is listed\n"


def test_photographs_are_free_light_and_described():
    listed = json.loads((SCENES / "ORIGINS.json").read_text())
    instances = json.loads((SCENES / "instances.json").read_text())
    demo = json.loads((SCENES / "demo.json").read_text())
    readable = (SCENES / "README.md").read_text()
    names = {f"images/{image['file_name']}" for image in instances["images"]}
    assert names == listed.keys() >= {f"images/{row['image']}" for row in demo if "package" not in row}
    for name, row in listed.items():
        assert row["licence"] in FREE
        assert all(f"`{name.removeprefix('images/')}`" in readable and author in readable for author in row["authors"])
        assert max(Image.open(SCENES / name).size) <= 640
    assert sum((SCENES / name).stat().st_size for name in names) < 1_000_000


def test_what_is_not_listed_or_not_as_listed_is_told(copy):
    root, folder = copy
    assert told(root) == "every picture and file of weights is listed\n"
    (folder / "images/cat.jpg").write_bytes(b"another picture")
    (folder / "images/dog.jpg").unlink()
    (folder / "more.png").write_bytes(b"a picture")
    listing = folder / "ORIGINS.json"
    rows = json.loads(listing.read_text())
    rows["images/duck.jpg"]["authors"] = []
    listing.write_text(json.dumps(rows))
    lines = told(root).splitlines()
    assert [line.split("photographs/")[1].split(":")[0] for line in lines] == [
        "more.png is in no ORIGINS.json",
        "images/cat.jpg is not the file that is listed",
        "images/dog.jpg is listed, and is not there",
        "images/duck.jpg lacks authors",
    ]
