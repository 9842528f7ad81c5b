"""A user-defined detector: it passes the shared tests, and is saved and loaded with its processor."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from checkpoints import save_tiny_checkpoint, tiny_model, tiny_processor
from detectors.base import DetectorTester
from huggingface_hub.dataclasses import strict
from own_detector import QuartersConfig, QuartersDetector
from places import TESTS
from torch import nn
from transformers import pipeline

from pbrec_hf import PbrecProcessor
from pbrec_hf.detectors.base import Detector, DetectorConfig, register_detector
from pbrec_hf.hub.publishing import write_checkpoint

PHOTO = np.full((60, 90, 3), 128, dtype=np.uint8)


class TestQuarters(DetectorTester):
    multiple = None

    def make(self, **fields):
        return QuartersDetector(QuartersConfig(**fields))

    def class_logits(self, detector, pixels):
        return None


@pytest.fixture
def folder(tmp_path):
    """A checkpoint with a user-defined detector, written by a process that had registered it."""
    register_detector(QuartersDetector)
    torch.manual_seed(0)
    tiny_model().save_pretrained(tmp_path / "checkpoint")
    tiny_processor(box_detector=QuartersDetector(QuartersConfig(share=0.5))).save_pretrained(tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def test_the_pipeline_answers_with_it(folder):
    (answer,) = pipeline("referring-expression", model=str(folder))(PHOTO, "left dog")
    box = answer["box"]
    # Half of a quarter of the canvas of 128 pixels, on which the picture is 128 pixels wide.
    assert abs(box["xmax"] - box["xmin"] - 128 / 4 * 90 / 128) < 1e-3


ELSEWHERE = """
import sys
import numpy as np
{imports}
from transformers import pipeline
import pbrec_hf
photo = np.full((60, 90, 3), 128, dtype=np.uint8)
(answer,) = pipeline("referring-expression", model=sys.argv[1], trust_remote_code={trust})(photo, "left dog")
print(sorted(answer["box"].items()))
"""


def elsewhere(folder, imports="", trust=False):
    code = ELSEWHERE.format(imports=imports, trust=trust)
    return subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True)


def test_a_process_that_registers_it_answers_the_same(folder):
    (answer,) = pipeline("referring-expression", model=str(folder))(PHOTO, "left dog")
    registered = (
        f"sys.path.insert(0, {str(TESTS / 'support')!r})\n"
        "from own_detector import QuartersDetector\n"
        "from pbrec_hf.detectors.base import register_detector\n"
        "register_detector(QuartersDetector)"
    )
    done = elsewhere(folder, registered)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(sorted(answer["box"].items()))


def test_a_process_without_it_raises_an_error_with_the_remedy(folder):
    done = elsewhere(folder)
    assert done.returncode != 0
    assert "unknown type 'own_quarters': import the module" in done.stderr


def test_its_code_is_saved_on_request(folder, tmp_path):
    """`register_for_auto_class` is the mechanism of transformers; loading then requires `trust_remote_code`."""
    QuartersConfig.register_for_auto_class("AutoConfig")
    QuartersDetector.register_for_auto_class("AutoModel")
    try:
        processor = PbrecProcessor.from_pretrained(folder)
        processor.save_pretrained(folder)
    finally:
        QuartersConfig._auto_class = QuartersDetector._auto_class = None
    assert "auto_map" in json.loads((folder / "box_detector" / "config.json").read_text())
    assert "trust_remote_code=True" in elsewhere(folder).stderr
    (answer,) = pipeline("referring-expression", model=str(folder))(PHOTO, "left dog")
    done = elsewhere(folder, trust=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(sorted(answer["box"].items()))


def test_a_published_folder_with_code_includes_its_code(folder, tmp_path):
    write_checkpoint(str(folder), tmp_path / "published", with_code=True)
    assert (tmp_path / "published" / "own_detector.py").is_file()
    text = (tmp_path / "published" / "own_detector.py").read_text()
    assert "from .geometry_proposals import Proposals" in text and "pbrec_hf" not in text
    assert "own_detector import QuartersDetector" in (tmp_path / "published" / "registered_parts.py").read_text()


def test_a_processor_without_its_detectors_cannot_be_saved(tmp_path):
    save_tiny_checkpoint(tmp_path / "whole")
    processor = PbrecProcessor.from_pretrained(tmp_path / "whole", load_detectors=False)
    assert processor.box_detector is None
    with pytest.raises(ValueError, match=r"without its detectors \(boxes\)"):
        processor.save_pretrained(tmp_path / "half")


def test_other_modules_are_refused():
    with pytest.raises(TypeError, match="Linear is no detector"):
        tiny_processor(box_detector=nn.Linear(1, 1))
    with pytest.raises(TypeError, match="is not a detector: derive it"):
        register_detector(nn.Linear)

    @strict
    class Taken(DetectorConfig):
        model_type = "pbrec_fcos"

    class Other(Detector):
        config: Taken

    with pytest.raises(ValueError, match=r"model_type='pbrec_fcos'.*is taken by pbrec_hf.detectors.fcos.FcosConfig"):
        register_detector(Other)


@pytest.mark.parametrize("share", [0, 2, -1])
def test_limits_name_field_value_and_range(share):
    with pytest.raises(Exception, match=rf"share={share}: give a number from 0.1 to 1.0"):
        QuartersConfig(share=share)
