"""What version 0.1.0 saved still loads and answers the same: a checkpoint, its code, its proposal cache.

`tests/fixtures/saved_by_0_1_0.zip` was written by that version from tiny random weights; nothing here writes it.
"""

import json
import zipfile

import datasets
import pytest
from places import FIXTURES
from programs import run
from transformers import pipeline

from pbrec_hf import PbrecProcessor
from pbrec_hf.training.precompute import fill_caches
from pbrec_hf.training.proposal_cache import open_caches


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    with zipfile.ZipFile(FIXTURES / "saved_by_0_1_0.zip") as archive:
        archive.extractall(folder)
    return folder


def close(found, expected):
    """The same answers, scores and corners to 1e-5."""
    for (one,), (other,) in zip(found, expected, strict=True):
        assert one["label"] == other["label"] and one.get("mask") == other.get("mask")
        assert one["score"] == pytest.approx(other["score"], abs=1e-5)
        assert one["box"] == pytest.approx(other["box"], abs=1e-3)


def test_the_checkpoint_answers_the_same(saved):
    known = json.loads((saved / "answers.json").read_text())
    pipe = pipeline("referring-expression", model=str(saved / "checkpoint"))
    assert type(pipe.model).__module__ == "pbrec_hf.modeling_pbrec"
    close(pipe(str(saved / "photo.png"), known["texts"], return_masks="rle"), known["answers"])


ITS_OWN_CODE = """
import json, sys
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in repr(finder).lower()]
sys.path = [entry for entry in sys.path if not (entry and (__import__("pathlib").Path(entry) / "pbrec_hf").is_dir())]
from transformers import pipeline
pipe = pipeline("referring-expression", model=sys.argv[1], trust_remote_code=True)
assert type(pipe.model).__module__.startswith("transformers_modules")
print(json.dumps(pipe(sys.argv[2], json.loads(sys.argv[3]), return_masks="rle")))
"""


def test_the_code_in_it_answers_the_same_without_this_package(saved, tmp_path):
    known = json.loads((saved / "answers.json").read_text())
    arguments = [str(saved / "checkpoint"), str(saved / "photo.png"), json.dumps(known["texts"])]
    done = run(ITS_OWN_CODE, *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    close(json.loads(done.stdout.splitlines()[-1]), known["answers"])


def test_its_proposal_cache_is_of_the_same_detectors(saved):
    processor = PbrecProcessor.from_pretrained(saved / "checkpoint")
    caches = open_caches(str(saved / "proposals"), processor)
    assert {kind: len(cache) for kind, cache in caches.items()} == {"boxes": 1, "masks": 1}
    photo = {"path": str(saved / "photo.png"), "bytes": None}
    assert fill_caches(caches, processor, datasets.Dataset.from_list([{"image": photo}])) == 0
