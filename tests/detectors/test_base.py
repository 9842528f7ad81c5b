"""A user-defined detector: it passes the shared tests, and is saved and loaded with its processor."""

import json

import numpy as np
import pytest
import torch
from checkpoints import save_tiny_checkpoint, tiny_model, tiny_processor
from detectors.base import DetectorTester
from huggingface_hub.dataclasses import strict
from own_detector import QuartersConfig, QuartersDetector
from places import TESTS
from programs import run
from torch import nn
from transformers import PreTrainedModel, pipeline

from pbrec_hf import PbrecProcessor
from pbrec_hf.detectors.base import (
    Detector,
    DetectorConfig,
    load_detector,
    register_detector,
    require_multiple,
)
from pbrec_hf.detectors.coco_classes import COCO_CLASSES, TORCHVISION_COCO_CLASSES
from pbrec_hf.detectors.references import DetectorReference
from pbrec_hf.hub.publishing import write_checkpoint
from pbrec_hf.small.nanodet import NanoDetConfig
from pbrec_hf.small.nanodet_masks import NanoDetMasksConfig, NanoDetMasksDetector
from pbrec_hf.small.nanodet_trunk import NanoDetTrunkConfig

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
    return run(code, folder)


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


def test_code_of_a_detector_that_is_named_runs_only_if_it_is_trusted(folder, hub):
    expected = pipeline("referring-expression", model=str(folder))(PHOTO, "left dog")[0]["box"]
    QuartersConfig.register_for_auto_class("AutoConfig")
    QuartersDetector.register_for_auto_class("AutoModel")
    try:
        processor = PbrecProcessor.from_pretrained(folder)
        processor.box_detector.push_to_hub("owner/quarters")
    finally:
        QuartersConfig._auto_class = QuartersDetector._auto_class = None
    assert "own_detector.py" in hub.files("owner/quarters")
    processor.replace_detector("boxes", processor.box_detector, DetectorReference("owner/quarters"))
    processor.save_pretrained(folder)
    done = elsewhere(folder)
    assert done.returncode != 0 and "trust_remote_code=True" in done.stderr
    done = elsewhere(folder, trust=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(sorted(expected.items()))


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


@strict
class NamedConfig(DetectorConfig):
    model_type = "named_for_tests"
    share: float | int = 0.5
    sides: list[int] | tuple[int, ...] = (1, 2)
    limits = {"share": (0.25, 2), "sides": (1, 8)}


@pytest.mark.parametrize("fields", [{"share": 0.25}, {"share": 2}, {"sides": [1, 8]}, {"sides": []}])
def test_both_ends_of_a_limit_are_legal(fields):
    config = NamedConfig(**fields)
    assert {name: getattr(config, name) for name in fields} == fields


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"share": 0.24}, "share=0.24: give a number from 0.25 to 2"),
        ({"share": 2.01}, "share=2.01: give a number from 0.25 to 2"),
        ({"sides": [0, 8]}, r"sides=\[0, 8\]: give numbers from 1 to 8"),
        ({"sides": [1, 9]}, r"sides=\[1, 9\]: give numbers from 1 to 8"),
    ],
)
def test_numbers_beyond_a_limit_are_refused(fields, message):
    with pytest.raises(Exception, match=message):
        NamedConfig(**fields)


def test_a_choice_names_the_legal_values():
    config = NamedConfig()
    config.check_choice("share", (0.25, 0.5))
    with pytest.raises(ValueError, match=r"share=0.5: give one of 1, 'x'\."):
        config.check_choice("share", (1, "x"))


def test_classes_are_coco_s_unless_given():
    config = NamedConfig()
    assert config.class_names == list(COCO_CLASSES) and config.label2id["toothbrush"] == 79
    assert NamedConfig(num_labels=3).class_names == ["LABEL_0", "LABEL_1", "LABEL_2"]
    given = NamedConfig(id2label={1: "b", 0: "a"})
    assert given.class_names == ["a", "b"]
    assert given.to_diff_dict()["id2label"] == {0: "a", 1: "b"}
    # Two classes with transformers' own names are saved, too, though it would leave them out.
    assert NamedConfig(num_labels=2).to_diff_dict()["id2label"] == {0: "LABEL_0", 1: "LABEL_1"}


def test_repeated_class_names_have_no_inverse(monkeypatch):
    monkeypatch.setattr(NamedConfig, "default_classes", ("gap", "dog", "gap"))
    config = NamedConfig()
    assert config.class_names == ["gap", "dog", "gap"] and "gap" not in (config.label2id or {})


def test_the_classes_of_coco():
    assert len(COCO_CLASSES) == 80 and len(TORCHVISION_COCO_CLASSES) == 91
    assert (COCO_CLASSES[0], COCO_CLASSES[11], COCO_CLASSES[79]) == ("person", "stop sign", "toothbrush")
    assert (TORCHVISION_COCO_CLASSES[1], TORCHVISION_COCO_CLASSES[90]) == ("person", "toothbrush")


@pytest.mark.parametrize(
    ("shape", "legal"), [((3, 64, 96), True), ((64, 32), True), ((64, 80), False), ((80, 64), False)]
)
def test_both_sides_of_a_canvas_are_multiples(shape, legal):
    if legal:
        assert require_multiple(shape, 32) == shape[-2:]
    else:
        with pytest.raises(ValueError, match=f"{shape[0]}×{shape[1]} pixels, but both sides must be multiples of 32"):
            require_multiple(shape, 32)


def test_a_model_that_proposes_nothing_is_no_detector():
    class Silent(PreTrainedModel):
        config_class = NamedConfig

    with pytest.raises(TypeError, match="Silent has no method `propose`"):
        register_detector(Silent)
    with pytest.raises(TypeError, match="is not a detector"):
        register_detector(PreTrainedModel)  # no model_type
    with pytest.raises(TypeError, match="is not a detector"):
        register_detector(NamedConfig)
    with pytest.raises(TypeError, match="is not a detector"):
        register_detector(QuartersDetector(QuartersConfig()))


def test_a_registered_detector_is_found_by_its_type(tmp_path):
    assert register_detector(QuartersDetector) is QuartersDetector and register_detector(QuartersDetector) is not None
    QuartersDetector(QuartersConfig(share=0.5)).save_pretrained(tmp_path / "part")
    loaded = load_detector(tmp_path, "part", "own_quarters", {})
    assert type(loaded) is QuartersDetector and loaded.config.share == 0.5 and loaded.source is loaded
    with pytest.raises(ValueError, match=r"'part' is of the unknown type 'nobody_s': import the module"):
        load_detector(tmp_path, "part", "nobody_s", {})
    with pytest.raises(OSError, match=r"The processor's detector in 'lost' cannot be loaded .*: get the folder again"):
        load_detector(tmp_path, "lost", "own_quarters", {})
    # Code in the folder may register what is unknown here.
    assert type(load_detector(tmp_path, "part", "nobody_s", {"trust_remote_code": True})) is QuartersDetector


@pytest.mark.parametrize("names", [{"id2label": {0: "dog", 1: "cat"}}, {"num_labels": 2}, {}])
def test_class_names_have_their_inverse(names):
    config = NanoDetConfig(**names)
    assert config.label2id == {name: index for index, name in config.id2label.items()}
    assert NanoDetConfig.from_dict(config.to_dict()).to_dict() == config.to_dict()


def test_a_detector_inside_another_one_is_saved_once(tmp_path):
    masks = tiny_masks_on_nanodet()
    processor = tiny_processor(mask_detector=masks)
    processor.replace_detector("boxes", masks.source, DetectorReference(part_of="masks"))
    processor.save_pretrained(tmp_path / "once")
    assert not (tmp_path / "once/box_detector").exists()
    loaded = PbrecProcessor.from_pretrained(tmp_path / "once")
    assert loaded.box_detector is loaded.mask_detector.source
    texts = ["left dog", "red car"]
    one, other = (found(PHOTO, texts)["box_proposals"] for found in (processor, loaded))
    assert torch.equal(one.boxes, other.boxes) and torch.equal(one.quality, other.quality)
    loaded.save_pretrained(tmp_path / "again")
    assert PbrecProcessor.from_pretrained(tmp_path / "again").detectors["boxes"] == {"part_of": "masks"}
    # With other masks the boxes stay as they were, on their own.
    loaded.replace_detector("masks", tiny_masks_on_nanodet(seed=1))
    loaded.save_pretrained(tmp_path / "apart")
    apart = PbrecProcessor.from_pretrained(tmp_path / "apart")
    assert apart.box_detector is not apart.mask_detector.source
    assert torch.equal(apart(PHOTO, texts)["box_proposals"].boxes, one.boxes)


def test_a_part_of_nothing_is_told(tmp_path):
    tiny_processor(box_detector=tiny_masks_on_nanodet().source).save_pretrained(tmp_path)
    content = json.loads((tmp_path / "processor_config.json").read_text())
    content["detectors"]["boxes"] = {"part_of": "masks"}
    (tmp_path / "processor_config.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="'box_detector' is part of that of 'masks', which holds none"):
        PbrecProcessor.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match="part of that of 'masks': load their processor"):
        DetectorReference(part_of="masks").load({})
    for fields in ({"part_of": "points"}, {"part_of": "masks", "repo_id": "org/name"}):
        with pytest.raises(ValueError, match="give 'boxes' or 'masks', and nothing else"):
            DetectorReference(**fields)


def tiny_masks_on_nanodet(seed=0):
    torch.manual_seed(seed)
    trunk = NanoDetTrunkConfig(stem_channels=4, stage_channels=(8, 8, 8), stage_depths=(1, 1, 1), neck_channels=8)
    sizes = {"channels": 8, "mask_channels": 4, "picture_channels": 4, "stacked_convs": 1, "norm_groups": 4}
    config = NanoDetMasksConfig(detector_config=NanoDetConfig(trunk_config=trunk, num_labels=2), **sizes)
    return NanoDetMasksDetector(config).eval()
