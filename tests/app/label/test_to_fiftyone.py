"""What FiftyOne is given of a labelling; the library itself is replaced by one that keeps what it gets."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from pbrec_hf.app.label.to_fiftyone import to_fiftyone
from pbrec_hf.images.segmentation import mask_to_rle


class Sample(dict):
    def __init__(self, filepath):
        super().__init__(filepath=filepath)


class Dataset:
    def __init__(self, name):
        self.name, self.samples = name, []

    def add_samples(self, samples):
        self.samples += list(samples)


@pytest.fixture
def fiftyone(monkeypatch):
    stand_in = SimpleNamespace(
        Sample=Sample, Dataset=Dataset, Detection=dict, Detections=lambda detections: detections
    )
    monkeypatch.setitem(sys.modules, "fiftyone", stand_in)


@pytest.fixture
def labels(tmp_path):
    Image.new("RGB", (40, 20)).save(tmp_path / "photo.png")
    mask = np.zeros((20, 40), dtype=bool)
    mask[3:9, 5:12] = True
    picture = {"image": str(tmp_path / "photo.png"), "width": 40, "height": 20}
    rows = [
        {
            **picture, "expression": "both dogs", "boxes": [[4.5, 2.2, 12.0, 9.0], [20.0, 10.0, 30.0, 15.0]],
            "segmentations": [mask_to_rle(mask), None], "scores": [0.9, 0.4], "no_target": False,
        },
        {**picture, "expression": "nobody", "boxes": [], "scores": [], "no_target": True},
    ]  # fmt: skip
    (tmp_path / "labels.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path, mask


def test_samples_have_boxes_as_shares_and_masks_of_their_boxes(fiftyone, labels):
    folder, mask = labels
    dataset = to_fiftyone(folder, "mine")
    (sample,) = dataset.samples
    assert dataset.name == "mine" and sample["not_found"] == ["nobody"]
    first, second = sample["answers"]
    assert first["bounding_box"] == [4 / 40, 2 / 20, 8 / 40, 7 / 20] and first["confidence"] == 0.9
    assert np.array_equal(first["mask"], mask[2:9, 4:12]) and first["mask"].sum() == mask.sum()
    assert second == {"label": "both dogs", "confidence": 0.4, "bounding_box": [0.5, 0.5, 0.25, 0.25]}


def test_what_is_missing_is_named(labels, monkeypatch, tmp_path):
    folder, _ = labels
    with pytest.raises(FileNotFoundError, match="run `pbrec-hf label` with --format jsonl first"):
        to_fiftyone(tmp_path / "elsewhere")
    monkeypatch.setitem(sys.modules, "fiftyone", None)
    with pytest.raises(ImportError, match="pip install fiftyone"):
        to_fiftyone(folder)


def test_a_photograph_that_is_no_file_is_refused(fiftyone, labels):
    folder, _ = labels
    (folder / "photo.png").unlink()
    with pytest.raises(ValueError, match="is no file, which FiftyOne needs"):
        to_fiftyone(folder)
