"""A NanoDet learns from another one's two looks: what is averaged with what, and that it comes nearer."""

import json

import pytest
import torch
from PIL import Image

from pbrec_hf.small.nanodet import NanoDetConfig, NanoDetDetector
from pbrec_hf.small.nanodet_trunk import NanoDetTrunkConfig
from pbrec_hf.training.detection.distillation import distillation_losses, lesson_of
from pbrec_hf.training.detection.run import main

TRUNK = {"stem_channels": 8, "stage_channels": [8, 16, 32], "stage_depths": [1, 1, 1], "neck_channels": 16}
NECKS = {"center": "pan", "corner": "ghost_pan"}


def lively(points, seed=0, **fields):
    """A detector whose predictions differ between points."""
    torch.manual_seed(seed)
    trunk = NanoDetTrunkConfig(neck=NECKS[points], **TRUNK)
    model = NanoDetDetector(NanoDetConfig(trunk_config=trunk, points=points, **{"num_labels": 3, **fields})).eval()
    for head in model.heads.values():
        torch.nn.init.normal_(head.output.weight)
    return model


@pytest.fixture(scope="module")
def canvases():
    return torch.randn(2, 3, 128, 192, generator=torch.Generator().manual_seed(4))


@pytest.mark.parametrize("points", ["center", "corner"])
def test_every_point_is_averaged_with_its_mirror_image(points, canvases):
    teacher, width = lively(points), canvases.shape[-1]
    lesson = lesson_of(teacher, canvases)
    with torch.no_grad():
        one, other = teacher(canvases), teacher(canvases.flip(-1))
    places = {tuple(place): index for index, place in enumerate(zip(*one.points.T.tolist(), strict=True))}
    # Points of different grids may coincide, so look within the grid.
    begin, alone = 0, 0
    for rows, cols in one.grids:
        within = range(begin, begin + rows * cols)
        places = {tuple(one.points[index].tolist()): index for index in within}
        for (x, y), index in places.items():
            partner = places.get((width - x, y))
            distances = one.distance_logits[0, index].softmax(-1)
            if partner is None:
                alone += 1
                scores = one.scores[0, index]
            else:
                scores = (one.scores[0, index] + other.scores[0, partner]) / 2
                turned = other.distance_logits[0, partner].softmax(-1)[[2, 1, 0, 3]]
                a, b = one.scores[0, index].max(), other.scores[0, partner].max()
                distances = (a * distances + b * turned) / (a + b)
            assert torch.allclose(lesson.scores[0, index], scores, atol=1e-6)
            assert torch.allclose(lesson.distances[0, index], distances, atol=1e-5)
        begin += rows * cols
    assert alone == (0 if points == "center" else sum(rows for rows, _ in one.grids))


def test_a_canvas_whose_corners_have_no_mirror_image_is_told():
    with pytest.raises(ValueError, match="160 pixels wide has no mirrored points at stride 64"):
        lesson_of(lively("corner"), torch.zeros(1, 3, 128, 160))


def test_the_losses_vanish_for_a_student_that_agrees_and_grow_with_the_difference(canvases):
    teacher = lively("center")
    lesson = lesson_of(teacher, canvases)
    with torch.no_grad():
        output = teacher(canvases)
    output.class_logits = lesson.scores.logit(eps=1e-6)
    output.distance_logits = lesson.distances.clamp(min=1e-12).log()
    assert all(loss.abs() < 1e-4 for loss in distillation_losses(output, lesson).values())
    output.class_logits, output.distance_logits = output.class_logits + 1, output.distance_logits * 0
    assert all(loss > 0.01 for loss in distillation_losses(output, lesson).values())


def photographs(folder):
    square = [10, 10, 100, 10, 100, 100, 10, 100]
    content = {
        "categories": [{"id": 1, "name": "a"}],
        "images": [{"id": i, "file_name": f"{i}.png", "width": 128, "height": 128} for i in range(4)],
        "annotations": [{"image_id": i, "category_id": 1, "segmentation": [square], "iscrowd": 0} for i in range(4)],
    }
    for number in range(4):
        Image.effect_noise((128, 128), 60 + 20 * number).convert("RGB").save(folder / f"{number}.png")
    (folder / "instances.json").write_text(json.dumps(content))


def test_training_with_a_teacher_comes_nearer_to_it(tmp_path):
    photographs(tmp_path)
    for name, seed in (("teacher", 0), ("student", 1)):
        lively("corner", seed, id2label={0: "a", 1: "b", 2: "c"}).save_pretrained(tmp_path / name)
    command = ["--model", str(tmp_path / "student"), "--teacher", str(tmp_path / "teacher"), "--cpu"]
    command += ["--images", str(tmp_path), "--annotations", str(tmp_path / "instances.json"), "--held_out", "0"]
    numbers = ["--canvas", "128", "--epochs", "10", "--batch_size", "2", "--workers", "0", "--learning_rate", "3e-3"]
    assert main([*command, *numbers, "--out", str(tmp_path / "run")]) == 0
    canvas = torch.randn(2, 3, 128, 128, generator=torch.Generator().manual_seed(2))
    lesson = lesson_of(NanoDetDetector.from_pretrained(tmp_path / "teacher").eval(), canvas)
    before, after = (
        distillation_losses(NanoDetDetector.from_pretrained(tmp_path / place).eval()(canvas), lesson)
        for place in ("student", "run/last")
    )
    assert all(after[name] < 0.9 * before[name] for name in before)


@pytest.mark.parametrize(
    ("fields", "told"),
    [({"points": "center"}, "its points are center"), ({"num_labels": 2}, "its class_names are")],
)
def test_a_teacher_of_another_kind_is_told(tmp_path, capsys, fields, told):
    photographs(tmp_path)
    lively("corner", id2label={0: "a", 1: "b", 2: "c"}).save_pretrained(tmp_path / "student")
    classes = {} if "num_labels" in fields else {"id2label": {0: "a", 1: "b", 2: "c"}}
    lively(**{"points": "corner", **classes, **fields}).save_pretrained(tmp_path / "teacher")
    command = ["--model", str(tmp_path / "student"), "--teacher", str(tmp_path / "teacher"), "--cpu"]
    command += ["--images", str(tmp_path), "--annotations", str(tmp_path / "instances.json")]
    assert main([*command, "--out", str(tmp_path / "run")]) == 2
    assert told in capsys.readouterr().err
