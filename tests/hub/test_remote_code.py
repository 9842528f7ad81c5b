"""A Hub folder that carries its code answers where this package is not installed, and where it is."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from checkpoints import save_tiny_checkpoint
from huggingface_hub import HfApi, snapshot_download
from programs import run
from transformers import pipeline
from without_package import WITHOUT_PACKAGE

import pbrec_hf
from pbrec_hf.hub.publishing import write_checkpoint


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    source, destination = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("folder")
    save_tiny_checkpoint(source, masks=True)
    write_checkpoint(str(source), destination, with_code=True)
    return destination


def test_the_folder_holds_every_module_that_answers_and_no_other(folder):
    carried = {path.name for path in folder.glob("*.py")}
    assert {"modeling_pbrec.py", "processing_pbrec.py", "pipeline_pbrec.py", "small_nanodet.py"} <= carried
    package = Path(pbrec_hf.__file__).parent
    known = {"_".join(path.relative_to(package).parts) for path in package.rglob("*.py")}
    assert carried <= known | {"registered_parts.py"}
    rooms = {name.partition("_")[0] for name in carried}
    assert not rooms & {"app", "convert", "data", "metrics", "training"}
    assert not carried & {"hub_publishing.py", "hub_registration.py", "__init__.py", "detectors_fcos.py"}


def test_it_answers_the_same_with_and_without_the_package(folder, hub, tmp_path):
    HfApi().create_repo("owner/with-code")
    HfApi().upload_folder(repo_id="owner/with-code", folder_path=folder)
    done = run(WITHOUT_PACKAGE, "owner/with-code", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    photo = np.full((60, 90, 3), 128, dtype=np.uint8)
    # No trust is asked for: the installed package answers.
    found = pipeline("referring-expression", model=str(folder))(photo, ["left dog", "red car"])
    here = [round(value, 3) for (result,) in found for value in result["box"].values()]
    assert done.stdout.splitlines()[-1] == str(here)


def test_it_answers_offline_from_a_cache_made_of_links(folder, hub, tmp_path):
    HfApi().create_repo("owner/cached")
    HfApi().upload_folder(repo_id="owner/cached", folder_path=folder)
    snapshot = Path(snapshot_download("owner/cached"))
    assert all(path.is_symlink() for path in snapshot.glob("*.py"))
    hub.reset()  # nothing is there any more
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_PACKAGE, "owner/cached", str(snapshot)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_MODULES_CACHE": str(tmp_path / "modules")},
    )
    assert done.returncode == 0, done.stderr
    assert [line[0] for line in done.stdout.splitlines()[-2:]] == ["[", "["]


def test_what_is_published_was_whole(tmp_path):
    save_tiny_checkpoint(tmp_path / "source")
    (tmp_path / "source" / "box_detector" / "model.safetensors").write_bytes(b"")
    with pytest.raises(OSError, match="box_detector"):
        write_checkpoint(str(tmp_path / "source"), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="not empty"):
        write_checkpoint(str(tmp_path / "source"), tmp_path / "out")
