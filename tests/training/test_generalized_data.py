"""gRefCOCO trains: every referent has targets of its own, nothing else has any, and absent things are learned, too."""

import json
import math
from dataclasses import replace

import pytest
import torch
from checkpoints import save_tiny_checkpoint, tiny_processor
from refer_folders import write_refer_folder
from safetensors.torch import load_file
from training_data import tiny_config

from pbrec_hf import PbrecConfig, PbrecImageProcessor
from pbrec_hf.data.augmentation import AugmentationConfig
from pbrec_hf.data.collator import PbrecCollator
from pbrec_hf.data.placement import Placement
from pbrec_hf.data.referents import referents_of
from pbrec_hf.training.build import load_rows
from pbrec_hf.training.run import train

CANVAS, STRIDE = 320, 16
CELLS = CANVAS // STRIDE


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_refer_folder(tmp_path_factory.mktemp("refer"), "grefcoco/unc")


@pytest.fixture(scope="module")
def rows(folder):
    refer_dir, image_dir = map(str, folder)
    return load_rows(dataset="grefcoco", refer_dir=refer_dir, image_dir=image_dir)


def centerness(box):
    """Equations 1 and 2 at every point, in plain Python."""
    left, top, right, bottom = box
    values = []
    for number in range(CELLS**2):
        x, y = (number % CELLS + 0.5) * STRIDE, (number // CELLS + 0.5) * STRIDE
        sides = [(x - left, right - x), (y - top, bottom - y)]
        near = abs(x - (left + right) / 2) <= 1.5 * STRIDE and abs(y - (top + bottom) / 2) <= 1.5 * STRIDE
        inside = all(min(side) > 0 for side in sides)
        values.append(math.sqrt(math.prod(min(side) / max(side) for side in sides)) if inside and near else 0.0)
    return values


def massness(mask):
    """Equations 3 and 4 at every point, in plain Python."""
    rows, cols = mask.nonzero(as_tuple=True)
    x, y = cols.double().mean().item() + 0.5, rows.double().mean().item() + 0.5
    values = []
    for number in range(CELLS**2):
        row, col = number // CELLS * STRIDE, number % CELLS * STRIDE
        near = math.hypot(col + STRIDE / 2 - x, row + STRIDE / 2 - y) <= 2 * STRIDE
        values.append(mask[row : row + STRIDE, col : col + STRIDE].sum().item() / STRIDE**2 * near)
    return values


@pytest.mark.parametrize("augmentation", [None, AugmentationConfig(flip_probability=0.0)], ids=["plain", "augmented"])
def test_every_referent_holds_a_target_and_nothing_else_does(rows, augmentation):
    config = PbrecConfig(image_size=CANVAS, stride=STRIDE)
    processor = PbrecImageProcessor(size={"longest_edge": CANVAS})
    collator = PbrecCollator.for_model(config, processor, tiny_processor().tokenizer, augmentation=augmentation)
    counts = {0: 0, 1: 0, 2: 0}
    for row in rows:
        batch = collator([row])
        placement = Placement.from_letterbox(batch["letterbox"][0], CANVAS)
        repaired = iter(batch["repaired"].tolist())
        boxes = iter(batch["boxes"].double().tolist())
        for index, sentence in enumerate(row["expressions"]):
            center, mass = (batch[name][index].tolist() for name in ("centerness_labels", "massness_labels"))
            own_center, own_mass, mended = [0.0] * CELLS**2, [0.0] * CELLS**2, 0
            referents = referents_of(sentence)
            for referent in referents:
                box, mask = next(boxes), placement.mask(referent.segmentation, row["height"], row["width"])
                assert box == pytest.approx(placement.boxes([referent.box], row["height"], row["width"])[0].tolist())
                left, top, right, bottom = box
                for own, merged in ((centerness(box), center), (massness(mask), mass)):
                    # A positive point of at least 0.9 times its own maximum, which a repair sets to 1.
                    where = max(range(CELLS**2), key=own.__getitem__)
                    assert merged[where] >= 0.9 * own[where]
                    x, y = (where % CELLS + 0.5) * STRIDE, (where // CELLS + 0.5) * STRIDE
                    assert own[where] == 0 or merged is mass or (left < x < right and top < y < bottom)
                own_center = [max(pair) for pair in zip(own_center, centerness(box), strict=True)]
                own_mass = [min(sum(pair), 1.0) for pair in zip(own_mass, massness(mask), strict=True)]
                lacking = not any(centerness(box)), not any(massness(mask))
                assert next(repaired) == any(lacking)
                mended += sum(lacking)
            extra = [
                (point, value)
                for merged, own in ((center, own_center), (mass, own_mass))
                for point, value in enumerate(merged)
                if value != pytest.approx(own[point], abs=1e-5)
            ]
            assert len(extra) <= mended and all(value == 1 for _, value in extra)
            counts[len(referents)] += 1
        assert not list(repaired) and not list(boxes)
    assert min(counts.values()) >= 2


@pytest.mark.parametrize("style", [[], ["hard"], ["grounding=hard", "segmentation=paper"]])
def test_two_epochs_on_one_any_and_none(folder, tmp_path, style):
    refer_dir, image_dir = map(str, folder)
    save_tiny_checkpoint(tmp_path / "start", masks=True)
    fields = {"data": None, "dataset": "grefcoco", "refer_dir": refer_dir, "image_dir": image_dir}
    fields |= {"tasks": ["grounding", "segmentation"], "expressions_per_image": 8, "metric": "f1_precision"}
    config = tiny_config(tmp_path / "start", tmp_path, tmp_path / "run", soft_targets=style)
    scores = train(replace(config, **fields))
    assert scores["count"] > 0 and 0 <= scores["f1_precision"] <= 1
    weights = load_file(tmp_path / "run" / "last" / "model.safetensors")
    assert all(value.isfinite().all() for value in weights.values())
    before = load_file(tmp_path / "start" / "model.safetensors")
    assert any(not torch.equal(value, before[name]) for name, value in weights.items())
    stored = json.loads((tmp_path / "run" / "last" / "config.json").read_text())["soft_targets"]
    assert stored == {"": "paper", "hard": "hard"}.get("".join(style), {"grounding": "hard", "segmentation": "paper"})
