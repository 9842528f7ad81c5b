"""Rows to batches: shapes, targets, draws, worker processes, and errors that name the row."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from datasets import Dataset
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch.utils.data import DataLoader
from torchvision.transforms.v2.functional import pil_to_tensor
from transformers import PreTrainedTokenizerFast
from transformers.utils.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from pbrec_hf.comprehension.targets import centerness_targets, massness_targets
from pbrec_hf.configuration_pbrec import PbrecConfig
from pbrec_hf.data.augmentation import AugmentationConfig
from pbrec_hf.data.collator import PbrecCollator
from pbrec_hf.data.placement import Placement
from pbrec_hf.data.referents import referent_columns
from pbrec_hf.data.schema import features, without_decoding
from pbrec_hf.image_processing_pbrec import PbrecImageProcessor
from pbrec_hf.images.segmentation import mask_to_segmentation, rasterise
from pbrec_hf.processing_pbrec import PbrecProcessor

CANVAS, STRIDE = 128, 16
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "left", "right", "dog", "red", "the", "a")


def make_tokenizer():
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )


def make_collator(**options):
    processor = PbrecImageProcessor(size={"longest_edge": CANVAS})
    return PbrecCollator(processor, make_tokenizer(), **{"stride": STRIDE} | options)


def sentence(index, height, width, **changes):
    x, y = 5 + 3 * index, 4 + 2 * index
    polygon = [x, y, x + 30, y, x + 30, y + 25, x, y + 20.0]
    return {
        "expression": ("left dog", "the red dog", "a right dog", "dog", "red")[index],
        "ref_id": 10 + index,
        "sent_id": 100 + index,
        "ann_id": index,
        "bbox": [x, y, x + 30, y + 25],
        "segmentation": {"polygons": [polygon], "counts": None, "size": None},
        "area": 700.0,
        "category": "dog",
        "category_id": 1,
    } | changes


@pytest.fixture(scope="module")
def image_rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    rows = []
    for index, (height, width) in enumerate(((60, 100), (90, 70), (64, 64))):
        path = folder / f"{index}.jpg"
        pixels = np.random.default_rng(index).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((width, height)).save(path)
        sentences = [sentence(i, height, width) for i in range(5 - index)]
        rows.append(
            {"image": str(path), "image_id": str(index), "width": width, "height": height, "expressions": sentences}
        )
    return rows


def equal(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        same = torch.equal(value, other[name]) if isinstance(value, torch.Tensor) else value == other[name]
        assert same, name
    return True


@pytest.mark.parametrize("augmentation", [None, AugmentationConfig()])
def test_batch_of_the_image_view(image_rows, augmentation):
    batch = make_collator(augmentation=augmentation)(image_rows)
    points = (CANVAS // STRIDE) ** 2
    assert batch["pixel_values"].shape == (3, 3, CANVAS, CANVAS) and batch["pixel_values"].dtype == torch.float32
    assert batch["pixel_mask"].shape == (3, CANVAS, CANVAS) and batch["pixel_mask"].dtype == torch.int64
    assert batch["letterbox"].shape == (3, 6)
    assert batch["image_index"].tolist() == [0] * 5 + [1] * 4 + [2] * 3
    assert batch["input_ids"].shape == batch["attention_mask"].shape == (12, 5)
    assert batch["centerness_labels"].shape == batch["massness_labels"].shape == (12, points)
    assert (batch["centerness_labels"].amax(1) > 0).all() and (batch["massness_labels"].amax(1) > 0).all()
    assert batch["sent_ids"].tolist()[:5] == [100, 101, 102, 103, 104]
    assert batch["image_ids"] == ["0", "1", "2"]
    for canvas, mask, (_, _, height, width, top, left) in zip(
        batch["pixel_values"], batch["pixel_mask"], batch["letterbox"].tolist(), strict=True
    ):
        assert mask.sum() == height * width == mask[top : top + height, left : left + width].sum()
        assert not canvas[:, mask == 0].any()


def test_evaluation_uses_the_image_processors_canvas(image_rows):
    batch = make_collator()(image_rows)
    inputs = PbrecImageProcessor(size={"longest_edge": CANVAS})(
        images=[row["image"] for row in image_rows], return_tensors="pt"
    )
    for name in ("pixel_values", "pixel_mask", "letterbox"):
        assert torch.equal(batch[name], inputs[name]), name
    # Pillow's own bilinear resize in the middle of the canvas is the same to a few grey levels.
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD))
    for canvas, row in zip(batch["pixel_values"], image_rows, strict=True):
        scale = CANVAS / max(row["width"], row["height"])
        width, height = round(row["width"] * scale), round(row["height"] * scale)
        picture = Image.open(row["image"]).convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
        left, top = (CANVAS - width) // 2, (CANVAS - height) // 2
        levels = ((canvas * std + mean) * 255)[:, top : top + height, left : left + width]
        torch.testing.assert_close(levels, pil_to_tensor(picture).float(), atol=3, rtol=0)


@pytest.mark.parametrize("style", ["paper", "released_code", "hard"])
@pytest.mark.parametrize("encoding", ["polygons", "rle"])
@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_targets_are_those_of_the_full_canvas(image_rows, style, encoding, flip):
    """Where a picture lies follows from its letterbox, if it is not cropped and known to be mirrored or not."""
    rows = image_rows if encoding == "polygons" else [with_run_lengths(row) for row in image_rows]
    augmentation = AugmentationConfig(flip_probability=flip)
    batch = make_collator(soft_targets=style, augmentation=augmentation, seed=3)(rows)
    expected, _ = centerness_targets(batch["boxes"], CANVAS, STRIDE, style=style)
    assert torch.equal(batch["centerness_labels"], expected)
    masks = []
    for letterbox, row in zip(batch["letterbox"], rows, strict=True):
        placement = replace(Placement.from_letterbox(letterbox, CANVAS), flip=bool(flip))
        masks += [placement.mask(item["segmentation"], row["height"], row["width"]) for item in row["expressions"]]
    expected, _ = massness_targets(torch.stack(masks), CANVAS, STRIDE, style=style)
    # A mirrored corner may lie on a pixel's edge to the last bit, where a window's offset decides how it is rounded.
    tolerance = 2.5 / STRIDE**2 if flip else 1e-5
    torch.testing.assert_close(batch["massness_labels"], expected, atol=tolerance, rtol=1e-5)


def with_run_lengths(row):
    items = [
        item | {"segmentation": mask_to_segmentation(rasterise(item["segmentation"], row["height"], row["width"]))}
        for item in row["expressions"]
    ]
    return row | {"expressions": items}


def test_sentence_rows_make_the_same_samples(image_rows):
    grouped = make_collator()(image_rows[:1])
    rows = [
        {name: image_rows[0][name] for name in ("image", "image_id", "width", "height")} | item
        for item in image_rows[0]["expressions"]
    ]
    single = make_collator()(rows)
    assert single["image_index"].tolist() == [0, 1, 2, 3, 4]
    for name in ("input_ids", "boxes", "centerness_labels", "massness_labels", "sent_ids"):
        assert torch.equal(single[name], grouped[name]), name
    assert torch.equal(single["pixel_values"][3], grouped["pixel_values"][0])


def test_views_are_drawn_anew_each_epoch_and_always_alike(image_rows):
    collator = make_collator(augmentation=AugmentationConfig())
    first = collator(image_rows)
    equal(first, collator(image_rows))
    seen = set()
    for epoch in range(8):
        collator.set_epoch(epoch)
        seen.add(str(collator(image_rows)["letterbox"].tolist()))
    assert len(seen) == 8
    collator.set_epoch(0)
    equal(first, collator(image_rows))
    equal(first, pickle.loads(pickle.dumps(collator))(image_rows))


def test_each_group_of_a_pictures_expressions_has_a_view_of_its_own(image_rows):
    collator = make_collator(augmentation=AugmentationConfig())
    row = image_rows[0]
    groups = [row | {"expressions": row["expressions"][chosen]} for chosen in (slice(0, 2), slice(2, 4), slice(4, 5))]
    batch = collator(groups)
    assert len({str(letterbox) for letterbox in batch["letterbox"].tolist()}) == 3
    one = {name: value for name, value in row.items() if name != "expressions"} | row["expressions"][4]
    equal(collator([one]), collator(groups[2:]))  # a group of one is a row of the sentence view


def test_a_row_does_not_depend_on_its_batch(image_rows):
    collator = make_collator(augmentation=AugmentationConfig(), text_padding="max_length", max_text_length=8)
    together, alone = collator(image_rows), collator(image_rows[1:2])
    mine = together["image_index"] == 1
    assert torch.equal(together["pixel_values"][1], alone["pixel_values"][0])
    for name in ("input_ids", "boxes", "massness_labels"):
        assert torch.equal(together[name][mine], alone[name])


def test_worker_processes_follow_the_epoch(image_rows):
    collator = make_collator(augmentation=AugmentationConfig())
    data = without_decoding(Dataset.from_list(image_rows, features=features("image")))
    loader = DataLoader(data, batch_size=3, collate_fn=collator, num_workers=1, persistent_workers=True)
    for epoch in (0, 1):
        collator.set_epoch(epoch)
        equal(next(iter(loader)), collator([data[i] for i in range(3)]))


def test_without_masks_only_grounding_trains(image_rows):
    bare = [image_rows[0] | {"expressions": [sentence(0, 60, 100, segmentation=None)]}]
    batch = make_collator(tasks=("grounding",))(bare)
    assert "massness_labels" not in batch and batch["centerness_labels"].shape[0] == 1
    with pytest.raises(ValueError, match=r"left dog.*no segmentation.*grounding"):
        make_collator()(bare)


NOTHING = {"bbox": None, "segmentation": None, "ann_id": None}


@pytest.mark.parametrize("augmentation", [None, AugmentationConfig(), AugmentationConfig(crop_probability=1.0)])
def test_pictures_of_expressions_that_refer_to_nothing(image_rows, augmentation):
    absent = [row | {"expressions": [sentence(i, 60, 100, **NOTHING) for i in (3, 4)]} for row in image_rows[:2]]
    batch = make_collator(augmentation=augmentation)(absent)
    assert batch["boxes"].shape == (0, 4) and batch["boxes"].dtype == torch.float32
    assert batch["referent_index"].shape == batch["repaired"].shape == (0,)
    assert batch["referent_index"].dtype == torch.int64 and batch["repaired"].dtype == torch.bool
    for name in ("centerness_labels", "massness_labels"):
        assert torch.equal(batch[name], torch.zeros(4, (CANVAS // STRIDE) ** 2))
    batch = make_collator(targets=False)(absent)
    assert batch["boxes"].shape == (0, 4) and "centerness_labels" not in batch


def plural(parts, height, width, **changes):
    """An expression that means all the objects of these expressions."""
    boxes, masks = [part["bbox"] for part in parts], [part["segmentation"] for part in parts]
    row = sentence(3, height, width) | referent_columns(boxes, masks, height, width)
    return row | {"ann_ids": [part["ann_id"] for part in parts]} | changes


@pytest.mark.parametrize("style", ["paper", "released_code", "hard", {"grounding": "hard", "segmentation": "paper"}])
@pytest.mark.parametrize("augmentation", [None, AugmentationConfig(flip_probability=0.0)])
def test_targets_of_several_referents_or_none(image_rows, style, augmentation):
    """The referents' own targets, which the same view gives when each has an expression of its own."""
    row = image_rows[0]
    size = (row["height"], row["width"])
    one, two, three = (
        sentence(i, *size, expression="dog", bbox=box, segmentation={"polygons": [corners_of(box)], "counts": None})
        for i, box in enumerate(([3, 4, 33, 40], [40, 8, 95, 50], [20, 30, 70, 58]))
    )
    said = [plural([one, two, three], *size), sentence(4, *size, **NOTHING), two, plural([three, one], *size)]
    picture = {name: value for name, value in row.items() if name != "expressions"}
    batch = make_collator(soft_targets=style, augmentation=augmentation)([picture | {"expressions": said}])
    assert batch["referent_index"].tolist() == [0, 0, 0, 2, 3, 3] and batch["image_index"].tolist() == [0] * 4
    assert batch["boxes"].shape == (6, 4) and not batch["repaired"].any()
    assert torch.equal(batch["boxes"][[0, 1, 2]], batch["boxes"][[5, 3, 4]])
    styles = style if isinstance(style, dict) else dict.fromkeys(("grounding", "segmentation"), style)
    center = centerness_targets(batch["boxes"][:3], CANVAS, STRIDE, styles["grounding"])[0]
    expected = [center.amax(dim=0), torch.zeros_like(center[0]), center[1], center[[0, 2]].amax(dim=0)]
    assert torch.equal(batch["centerness_labels"], torch.stack(expected))
    placement = Placement.from_letterbox(batch["letterbox"][0], CANVAS)
    masks = torch.stack([placement.mask(one["segmentation"], *size) for one in (one, two, three)])
    mass = massness_targets(masks, CANVAS, STRIDE, styles["segmentation"])[0]
    expected = [mass.sum(dim=0).clamp(max=1), torch.zeros_like(mass[0]), mass[1], (mass[0] + mass[2]).clamp(max=1)]
    torch.testing.assert_close(batch["massness_labels"], torch.stack(expected), atol=1e-5, rtol=1e-5)


def corners_of(box):
    left, top, right, bottom = map(float, box)
    return [left, top, right, top, right, bottom, left, bottom]


def test_several_referents_that_share_a_canvas_are_those_of_the_sentence_view(image_rows):
    row = image_rows[0]
    size = (row["height"], row["width"])
    parts = [sentence(i, *size) for i in range(3)]
    said = [plural(parts, *size), sentence(3, *size, **NOTHING), parts[1]]
    picture = {name: value for name, value in row.items() if name != "expressions"}
    grouped = make_collator()([picture | {"expressions": said}])
    single = make_collator()([picture | one for one in said])
    for name in ("boxes", "referent_index", "centerness_labels", "massness_labels", "repaired"):
        assert torch.equal(single[name], grouped[name]), name


def test_a_crop_keeps_all_referents_of_all_expressions(image_rows):
    config = AugmentationConfig(
        crop_probability=1.0, crop_smallest_side=0.1, flip_probability=0, scales=(1.0,), translate=False
    )
    row = image_rows[0]
    parts = [
        sentence(0, 60, 100, bbox=[10, 20, 25, 30], segmentation=None),
        sentence(1, 60, 100, bbox=[60, 12, 80, 41], segmentation=None),
    ]
    said = [plural(parts, 60, 100, expression="dogs"), sentence(3, 60, 100, **NOTHING)]
    collator = make_collator(augmentation=config, tasks=("grounding",))
    crops = set()
    for epoch in range(30):
        collator.set_epoch(epoch)
        batch = collator([row | {"expressions": said}])
        height, width, resized, *_ = batch["letterbox"][0].tolist()
        scale = resized / height
        sides = (batch["boxes"][:, 2:] - batch["boxes"][:, :2]) / scale
        torch.testing.assert_close(sides, torch.tensor([[15.0, 10], [20, 29]]), atol=0.7, rtol=0)
        assert height >= 29 and width >= 70
        crops.add((height, width))
    assert len(crops) > 10


def test_a_masks_absence_is_told_by_the_expression(image_rows):
    parts = [sentence(0, 60, 100), sentence(1, 60, 100, segmentation=None)]
    row = image_rows[0] | {"expressions": [plural(parts, 60, 100, expression="all dogs")]}
    with pytest.raises(ValueError, match=r"'all dogs' \(image '0'\) has a referent without a segmentation"):
        make_collator()([row])
    assert len(make_collator(tasks=("grounding",))([row])["boxes"]) == 2
    bare = {name: value for name, value in sentence(0, 60, 100).items() if name != "bbox"}
    with pytest.raises(ValueError, match="neither bbox nor boxes"):
        make_collator()([image_rows[0] | {"expressions": [bare]}])


def test_tiny_referents_are_repaired_and_counted(image_rows):
    speck = sentence(
        0, 60, 100, bbox=[20, 20, 21, 21], segmentation=mask_to_segmentation(np.eye(60, 100, k=200, dtype=np.uint8))
    )
    batch = make_collator()([image_rows[0] | {"expressions": [sentence(1, 60, 100), speck]}])
    assert batch["repaired"].tolist() == [False, True]
    assert batch["centerness_labels"][1].sum() == 1 and batch["massness_labels"][1].sum() == 1
    # the empty mask's point is where the box is
    assert batch["massness_labels"][1].argmax() == batch["centerness_labels"][1].argmax()


@pytest.mark.parametrize("repaired", ["box", "mask"])
def test_a_repair_of_either_target_is_counted(image_rows, repaired):
    """A box that holds no grid point beside a mask that does, and the other way round."""
    changes = {
        "box": {"bbox": [20, 20, 21, 21], "segmentation": {"polygons": [[5, 5, 80, 5, 80, 50]], "counts": None}},
        "mask": {"segmentation": mask_to_segmentation(np.eye(60, 100, k=200, dtype=np.uint8))},
    }[repaired]
    batch = make_collator()([image_rows[0] | {"expressions": [sentence(0, 60, 100, **changes), sentence(1, 60, 100)]}])
    points = (batch["centerness_labels"] > 0).sum(dim=1), (batch["massness_labels"] > 0).sum(dim=1)
    assert (points[0][0] == 1, points[1][0] == 1) == (repaired == "box", repaired == "mask")
    assert batch["repaired"].tolist() == [True, False]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["exif", "xmp"])
def test_pictures_are_upright_as_those_that_are_answered(tmp_path, kind, orientation):
    pixels = np.random.default_rng(orientation).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels).resize((90, 60), Image.Resampling.NEAREST)
    if kind == "exif":
        exif = Image.Exif()
        exif[0x0112] = orientation
        picture.save(tmp_path / "a.jpg", exif=exif, quality=95)
    else:
        about = f'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="{orientation}"/>'
        picture.save(tmp_path / "a.jpg", xmp=f"<x:xmpmeta>{about}</x:xmpmeta>".encode(), quality=95)
    height, width = (90, 60) if orientation > 4 else (60, 90)
    row = {"image": str(tmp_path / "a.jpg"), "image_id": "a", "width": width, "height": height}
    batch = make_collator()([row | sentence(0, height, width)])
    upright = Image.open(tmp_path / "a.jpg")
    turned = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_270"}
    turned |= {7: "TRANSVERSE", 8: "ROTATE_90"}
    if orientation > 1:
        upright = upright.transpose(Image.Transpose[turned[orientation]])
    processor = PbrecImageProcessor(size={"longest_edge": CANVAS})
    for source in (str(tmp_path / "a.jpg"), (tmp_path / "a.jpg").read_bytes(), np.asarray(upright)):
        inputs = processor(images=source, return_tensors="pt")
        for name in ("pixel_values", "pixel_mask", "letterbox"):
            assert torch.equal(batch[name], inputs[name]), name


def test_a_picture_of_another_size_is_refused(image_rows):
    with pytest.raises(ValueError, match=r"60 x 100.*61 x 100"):
        make_collator()([image_rows[0] | {"height": 61}])


@pytest.mark.parametrize(
    "wrong",
    [
        {"tasks": ("boxes",)},
        {"tasks": ()},
        {"text_padding": "none"},
        {"stride": 24},
        {"soft_targets": "soft"},
        {"soft_targets": {"grounding": "paper"}},
    ],
)
def test_options_are_checked(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        make_collator(**wrong)


def test_collator_of_a_model():
    config = PbrecConfig(image_size=CANVAS, stride=STRIDE, tasks=["grounding"], max_text_length=12)
    processor = PbrecImageProcessor(size={"longest_edge": CANVAS})
    collator = PbrecCollator.for_model(config, processor, make_tokenizer(), seed=4)
    assert (collator.stride, collator.tasks, collator.max_text_length, collator.seed) == (16, ("grounding",), 12, 4)
    with pytest.raises(ValueError, match="image_size=128"):
        PbrecCollator.for_model(config, PbrecImageProcessor(size={"longest_edge": 64}), make_tokenizer())


def test_training_reads_words_as_answering_does(image_rows):
    """Also words that look like special tokens, and lengths at the limit."""
    said = ["dog [SEP] red", "[CLS] left", "the red dog the red dog the red dog"]
    collator = make_collator(targets=False, max_text_length=6)
    sentences = [{**image_rows[0]["expressions"][0], "expression": text} for text in said]
    batch = collator([{**image_rows[0], "expressions": sentences}])
    processor = PbrecProcessor(collator.image_processor, collator.tokenizer, max_text_length=6)
    expected = processor(text=said)
    assert torch.equal(batch["input_ids"], expected["input_ids"])
    assert torch.equal(batch["attention_mask"], expected["attention_mask"])
    assert batch["input_ids"][0].tolist().count(3) == 1  # one separator, the tokenizer's own
