"""Instances from COCO files, their augmentation, and the objectives that learn from them."""

import json

import pytest
import torch
from PIL import Image
from solo_golden import TINY_RESNET

from pbrec_hf.detectors.fcos import FcosConfig, FcosDetector
from pbrec_hf.detectors.solo import SoloConfig, SoloDetector
from pbrec_hf.geometry.points import grid_points
from pbrec_hf.small.nanodet import NanoDetConfig, NanoDetDetector
from pbrec_hf.small.nanodet_masks import NanoDetMasksConfig, NanoDetMasksDetector, NanoDetMasksOutput
from pbrec_hf.small.nanodet_trunk import NanoDetTrunkConfig
from pbrec_hf.training.detection.box_losses import nanodet_losses
from pbrec_hf.training.detection.coco_instances import CocoInstances, image_ids, tidy
from pbrec_hf.training.detection.instance_augmentation import (
    InstanceAugmentation,
    InstanceAugmentationConfig,
    copy_paste,
    plain,
)
from pbrec_hf.training.detection.mask_quality import mask_quality
from pbrec_hf.training.detection.nanodet_masks_losses import match_points, nanodet_masks_losses
from pbrec_hf.training.detection.objectives import collate, objective_of

NAMES = ["cat", "dog"]
SQUARE = [10, 10, 40, 10, 40, 40, 10, 40]
COUNTS = [60 * 50, 600, 80 * 60 - 60 * 50 - 600]  # ten columns from x = 50


def annotation(image, segmentation, category=18, **more):
    return {"image_id": image, "category_id": category, "segmentation": segmentation, "iscrowd": 0, **more}


@pytest.fixture
def coco(tmp_path):
    """Photographs 1 (a square, two parts, an RLE, a crowd), 2 (one square), 3 (not annotated)."""
    rle = {"counts": COUNTS, "size": [60, 80]}
    content = {
        "categories": [{"id": 17, "name": "cat"}, {"id": 18, "name": "dog"}],
        "images": [
            {"id": i, "file_name": f"{i}.png", "width": 80, "height": 60, "annotated": i < 3} for i in (1, 2, 3)
        ],
        "annotations": [
            annotation(1, [SQUARE]),
            annotation(1, [SQUARE, [60, 50, 70, 50, 70, 58, 60, 58]], 17),
            annotation(1, rle),
            annotation(1, rle, iscrowd=1),
            annotation(2, [SQUARE]),
        ],
    }
    for number in (1, 2, 3):
        Image.new("RGB", (80, 60), (number * 60, 100, 200)).save(tmp_path / f"{number}.png")
    (tmp_path / "instances.json").write_text(json.dumps(content))
    return tmp_path


def photographs(folder, **options):
    return CocoInstances([folder / "instances.json"], folder, NAMES, **options)


def test_instances_are_read_large_ones_first_and_crowds_left_out(coco):
    data = photographs(coco)
    assert len(data) == 2
    item = data[0]
    assert item["masks"].flatten(1).sum(1).tolist() == [980, 900, 600] and item["labels"].tolist() == [0, 1, 1]
    assert item["boxes"].tolist() == [[10, 10, 70, 58], [10, 10, 40, 40], [50, 0, 60, 60]]


def test_excluded_images_are_never_read(coco):
    (coco / "dev.jsonl").write_text('{"image_id": 1, "expression": "cat"}\n')
    data = photographs(coco, exclude=image_ids([coco / "dev.jsonl"]))
    assert [data[index]["image_id"] for index in range(len(data))] == [2]


def test_photographs_are_read_upright_with_masks_that_fit(coco):
    pixels = torch.full((60, 80, 3), 250, dtype=torch.uint8).numpy()
    pixels[10:40, 10:40] = (200, 0, 0)
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.fromarray(pixels).rotate(-90, expand=True).save(coco / "2.png", exif=exif)
    item = photographs(coco)[1]
    assert item["image"].shape == (3, 60, 80)
    assert torch.equal(item["masks"][0], item["image"][1] == 0)


def test_a_picture_of_another_size_than_its_annotations_is_refused(coco):
    Image.new("RGB", (60, 80)).save(coco / "2.png")
    with pytest.raises(ValueError, match=r"Image 2 is annotated at 60×80 .*2\.png has 80×60"):
        photographs(coco)[1]


def test_ids_mean_something_within_their_own_file_only(coco):
    content = json.loads((coco / "instances.json").read_text())
    content["categories"] = [{"id": 17, "name": "dog"}, {"id": 18, "name": "cat"}]
    content["images"][0]["file_name"] = "3.png"
    (coco / "other.json").write_text(json.dumps(content))
    both = CocoInstances([coco / "instances.json", coco / "other.json"], coco, NAMES)
    labels = [both[index]["labels"].tolist() for index in range(4)]
    assert labels[0] == [0, 1, 1] and labels[2] == [1, 0, 0]
    assert len(both[0]["masks"]) == len(both[2]["masks"]) == 3


def test_an_unknown_category_is_named(coco):
    with pytest.raises(ValueError, match="'dog'"):
        CocoInstances([coco / "instances.json"], coco, ["cat"])


def test_the_plain_canvas_is_the_letterbox_of_use(coco):
    scene = plain(photographs(coco)[1], 160)
    rows = scene["pixel_mask"].any(1).nonzero().squeeze(1)
    assert (rows[0].item(), rows[-1].item()) == (20, 139) and (scene["pixel_values"][:, :20] == 0).all()
    assert scene["boxes"].tolist() == [[20, 40, 80, 100]]


@pytest.mark.parametrize("seed", range(6))
def test_augmented_boxes_stay_tight_around_their_masks(coco, seed):
    torch.manual_seed(seed)
    data = photographs(coco)
    scene = InstanceAugmentation(InstanceAugmentationConfig(canvas=96, paste=1.0))(data[0], data[1])
    assert scene["pixel_values"].shape == (3, 96, 96) and scene["pixel_values"].isfinite().all()
    again = tidy(scene["masks"], scene["labels"])
    assert torch.equal(again["boxes"], scene["boxes"]) and len(again["boxes"]) == len(scene["labels"])
    assert not (scene["masks"] & (scene["pixel_mask"] == 0)).any()


def test_pasted_instances_hide_what_is_behind_them():
    torch.manual_seed(1)
    behind, front = torch.zeros(2, 8, 8, dtype=torch.bool), torch.ones(1, 8, 8, dtype=torch.bool)
    behind[0, :4], behind[1, 4:], front[0, 4:] = True, True, False
    blank = {"image": torch.zeros(3, 8, 8, dtype=torch.uint8), "pixel_mask": torch.ones(8, 8, dtype=torch.bool)}
    source = {**blank, "image": blank["image"] + 9, **tidy(front.repeat(8, 1, 1), torch.full((8,), 5))}
    scene = copy_paste({**blank, **tidy(behind, torch.tensor([1, 2]))}, source)
    assert scene["labels"][-1] != 1 and 1 not in scene["labels"] and 2 in scene["labels"]
    assert (scene["image"][:, :4] == 9).all() and (scene["image"][:, 4:] == 0).all()


def tiny_detectors():
    sizes = {"stem_channels": 4, "stage_channels": [8, 8, 8], "stage_depths": [1, 1, 1], "neck_channels": 8}
    trunk, plus_trunk = (NanoDetTrunkConfig(neck=neck, **sizes) for neck in ("pan", "ghost_pan"))
    nanodet = NanoDetConfig(trunk_config=trunk, tower_depth=1, num_labels=2)
    plus = NanoDetConfig(trunk_config=plus_trunk, tower_depth=1, tower_kernel=5, points="corner", num_labels=2)
    small = {"channels": 8, "norm_groups": 4, "num_labels": 2, "stacked_convs": 1}
    levels = {"level_maps": [0, 1], "strides": [8, 16], "num_grids": [6, 4], "scale_ranges": [[0, 999]] * 2}
    solo = SoloConfig(backbone_config=TINY_RESNET, neck_channels=8, proposal_level=0, **levels, **small)
    head = {"channels": 8, "mask_channels": 4, "picture_channels": 4, "norm_groups": 4, "stacked_convs": 1}
    masks = NanoDetMasksConfig(detector_config=nanodet, **head)
    refined = NanoDetMasksConfig(detector_config=nanodet, refiner_widths=[8, 8], **head)
    return {
        "fcos": lambda: FcosDetector(FcosConfig(depth=18, neck_channels=32, tower_depth=1, num_labels=2)),
        "nanodet": lambda: NanoDetDetector(nanodet),
        "nanodet_plus": lambda: NanoDetDetector(plus),
        "nanodet_masks": lambda: NanoDetMasksDetector(masks),
        "refined_masks": lambda: NanoDetMasksDetector(refined),
        "solo": lambda: SoloDetector(solo),
    }


@pytest.mark.parametrize("kind", ["fcos", "nanodet", "nanodet_plus", "nanodet_masks", "refined_masks", "solo"])
def test_every_detector_learns(coco, kind):
    torch.manual_seed(0)
    detector = tiny_detectors()[kind]().train()
    data = photographs(coco)
    batch = collate([plain(data[0], 96), plain(data[1], 96)])
    optimizer = torch.optim.Adam([p for p in detector.parameters() if p.requires_grad], lr=5e-3)
    objective, sums = objective_of(detector.config), []
    for _ in range(12):
        losses = objective(detector(batch["pixel_values"]), batch, detector.config)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        sums.append(sum(losses.values()).item())
    assert sums[-1] < 0.9 * sums[0]


def test_nanodet_plus_learns_at_the_corners_of_its_cells():
    torch.manual_seed(0)
    detector = tiny_detectors()["nanodet_plus"]()
    boxes, labels = [torch.tensor([[20.0, 20, 70, 90]])], [torch.tensor([1])]
    batch = {"pixel_values": torch.randn(1, 3, 96, 96), "boxes": boxes, "labels": labels, "masks": []}
    output = detector(batch["pixel_values"])
    # On 96 pixels the coarsest of the four grids has 2 × 2 points.
    grids = [grid_points(side, side, s) - s / 2 for side, s in ((12, 8), (6, 16), (3, 32), (2, 64))]
    strides = torch.cat([torch.full((len(grid),), s) for grid, s in zip(grids, (8.0, 16, 32, 64), strict=True)])
    found = objective_of(detector.config)(output, batch, detector.config)
    expected = nanodet_losses(output, torch.cat(grids), strides, boxes, labels)
    assert found.keys() == expected.keys() and found["loss_box"] > 0
    assert all(torch.equal(found[name], expected[name]) for name in found)


def test_mask_quality_of_a_detector_that_draws_the_truth(coco):
    class Perfect:
        device = torch.device("cpu")

        def propose(self, pixel_values):
            return Drawn()

    class Drawn:
        grids, canvas, num_points, quality, points, boxes = ((1, 1),), (160, 160), 1, None, None, None
        device = torch.device("cpu")

        def __init__(self):
            self.masks = self

        def at(self, image_index, point_index):
            return scene["masks"][:1].float()

    scene = plain(photographs(coco)[1], 160)
    report = mask_quality(Perfect(), [scene])
    assert report["objects"] == 1 and report["best"] == report["center"] == report["best_large"] == 1


def test_points_match_the_object_their_box_overlaps_best():
    objects = torch.tensor([[0.0, 0, 20, 20], [40.0, 40, 60, 60]])
    predicted = torch.cat([objects[:1].repeat(9, 1), objects[1:] + 1, objects[1:] + 15])
    point, owner = match_points(predicted, objects)
    assert owner.tolist() == [0, 0, 0, 0, 1] and set(point[:4].tolist()) <= set(range(9)) and point[4] == 9


def test_masks_are_learned_at_the_size_at_which_the_detector_sees_the_canvas():
    masks = torch.zeros(1, 64, 64, dtype=torch.bool)
    masks[:, 16:48, 16:48] = True
    # The same ellipse on features of the canvas seen at half of its size, and at its own.
    kernels = torch.zeros(1, 1, 7)
    boxes = torch.tensor([[[16.0, 16, 48, 48]]])
    found = []
    for side in (8, 16):
        output = NanoDetMasksOutput(torch.zeros(1, 2, side, side), kernels, boxes, torch.zeros(1, 1, 3))
        found.append({name: loss.item() for name, loss in nanodet_masks_losses(output, [boxes[0]], [masks]).items()})
    assert found[0] == pytest.approx(found[1], rel=0.02)


@pytest.mark.parametrize("objects", [0, 1])
def test_mask_losses_are_finite_without_and_with_an_object_too_small_to_draw(objects):
    masks = torch.zeros(objects, 32, 32, dtype=torch.bool)
    masks[:, 9, 9] = True
    kernels = torch.zeros(1, 1, 7, requires_grad=True)
    boxes = torch.tensor([[[9.0, 9, 10, 10]]])
    output = NanoDetMasksOutput(torch.randn(1, 2, 8, 8), kernels, boxes, torch.zeros(1, 1, 3))
    losses = nanodet_masks_losses(output, [boxes[0, :objects]], [masks])
    sum(losses.values()).backward()
    assert all(loss.isfinite() for loss in losses.values()) and kernels.grad.isfinite().all()


def test_a_detector_without_objective_is_refused():
    with pytest.raises(ValueError, match="pbrec_solo"):
        objective_of(NanoDetTrunkConfig())
