"""Masks of the SAM family: equal to their library's own, one encoding per picture, and part of the answers."""

import numpy as np
import pytest
import torch
from checkpoints import save_tiny_checkpoint, tiny_box_detector, tiny_model, tiny_processor
from huggingface_hub.errors import StrictDataclassError
from promptable import FAMILIES, tiny_network, tiny_prompted
from torchvision.transforms.v2 import functional as tvF
from training_data import write_data
from transformers import AutoModel, pipeline
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from pbrec_hf import Grounder, PbrecProcessor, PromptedMasks, PromptedMasksConfig
from pbrec_hf.app.cli import parse
from pbrec_hf.app.commands import precompute
from pbrec_hf.geometry.letterbox import Letterbox
from pbrec_hf.hub.assembly import assemble
from pbrec_hf.training.build import load_rows
from pbrec_hf.training.evaluation import predict
from pbrec_hf.training.precompute import fill_caches
from pbrec_hf.training.proposal_cache import open_caches
from pbrec_hf.training.recall import detector_recall
from pbrec_hf.training.scores import score

BOXES = [[10.0, 10.5, 60, 90], [0, 0, 96, 100], [20, 60, 90, 99.5]]
PHOTOS = [np.random.default_rng(seed).integers(0, 255, (60, 90, 3), np.uint8) for seed in range(2)]
TEXTS = [["left dog", "red car", "the cat"], ["girl", "the dog"]]


@pytest.fixture
def processor():
    return tiny_processor(box_detector=tiny_box_detector(), mask_detector=tiny_prompted())


def require_same(one, other):
    """The same weights, and the same masks, to the last digit of a sum whose terms lie elsewhere in memory."""
    weights = other.state_dict()
    assert one.state_dict().keys() == weights.keys()
    assert all(torch.equal(value, weights[name]) for name, value in one.state_dict().items())
    pixels = torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(3))
    first, second = (some(pixels, torch.tensor([0]), torch.tensor(BOXES[:1])) for some in (one, other))
    torch.testing.assert_close(first, second, atol=1e-6, rtol=0)


def count_encodings(prompted):
    """A list that gets an entry for each picture that is encoded."""
    calls = []
    prompted.network.vision_encoder.register_forward_pre_hook(lambda _, inputs: calls.extend(inputs[0]))
    return calls


@pytest.mark.parametrize("canvas", [(100, 100), (100, 128), (128, 96)])
@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_the_masks_are_those_of_its_library(family, canvas):
    network, theirs = tiny_network(family)
    pictures = torch.randint(0, 256, (2, 3, *canvas), generator=torch.Generator().manual_seed(2)).to(torch.uint8)
    pixels = tvF.normalize(pictures / 255, IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
    found = tiny_prompted(family)(pixels, torch.tensor([0, 1, 0]), torch.tensor(BOXES))
    assert found.shape == (3, *canvas)
    for picture, rows in ((0, [0, 2]), (1, [1])):
        inputs = theirs(images=pictures[picture], input_boxes=[[BOXES[row] for row in rows]], return_tensors="pt")
        inputs["input_boxes"] = inputs["input_boxes"].float()
        sizes = {name: inputs.pop(name) for name in ("original_sizes", "reshaped_input_sizes") if name in inputs}
        masks = network(**inputs, multimask_output=False).pred_masks
        (logits,) = theirs.post_process_masks(masks, **sizes, binarize=False)
        torch.testing.assert_close(found[rows], logits[:, 0].sigmoid(), atol=1e-5, rtol=0)
    assert not torch.allclose(found[0], found[2], atol=1e-3)  # boxes matter


@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_saved_and_loaded_with_the_processor(family, tmp_path):
    prompted = tiny_prompted(family)
    processor = tiny_processor(box_detector=tiny_box_detector(), mask_detector=prompted)
    processor.save_pretrained(tmp_path)
    loaded = PbrecProcessor.from_pretrained(tmp_path).mask_detector
    assert type(loaded) is PromptedMasks and not loaded.training
    assert type(loaded.processor) is type(prompted.processor)
    require_same(loaded, prompted)


@pytest.mark.parametrize("family", FAMILIES)
def test_it_wraps_a_repository_of_transformers(family, tmp_path):
    network, theirs = tiny_network(family)
    network.save_pretrained(tmp_path)
    theirs.save_pretrained(tmp_path)
    require_same(PromptedMasks.wrap(tmp_path), tiny_prompted(family))


def test_the_answers_masks_are_made_of_their_boxes(processor):
    model = tiny_model()
    inputs = processor(PHOTOS, TEXTS)
    with torch.no_grad():
        outputs = model(**inputs)
    answers = processor.post_process_referring_expression(outputs, inputs)
    groups = processor.rank(outputs, inputs)
    masks = processor.mask_detector(inputs["pixel_values"], inputs["image_index"], groups["boxes"].chosen("boxes"))
    for answer, mask, picture in zip(answers, masks, inputs["image_index"].tolist(), strict=True):
        assert answer["mask_source"] == "prompt" and answer["box_source"] == "detector"
        letterbox = Letterbox.of(inputs["letterbox"][picture])
        assert torch.equal(answer["masks"][0, 0], letterbox.mask_to_original(mask, (128, 128)))
        assert answer["masks"].any()


def test_a_picture_is_encoded_once_and_only_for_masks(processor):
    pipe = pipeline("referring-expression", model=tiny_model(), processor=processor)
    calls = count_encodings(processor.mask_detector)
    rows = [{"image": photo, "text": text} for photo, text in zip(PHOTOS, TEXTS, strict=True)]
    without = pipe(rows, batch_size=2)
    assert not calls
    found = pipe(rows, batch_size=2, return_masks=True)
    assert len(calls) == 2
    for answers, plain, text, photo in zip(found, without, TEXTS, PHOTOS, strict=True):
        assert len(answers) == len(text)
        for (answer,), (same,), said in zip(answers, plain, text, strict=True):
            assert answer["box"] == same["box"] and answer["mask_source"] == "prompt"
            (alone,) = pipe(photo, said, return_masks=True)
            assert np.mean(np.asarray(answer["mask"]) != np.asarray(alone["mask"])) < 0.01


def test_masks_of_the_same_inputs_are_not_encoded_again(processor):
    inputs = processor(PHOTOS[0], TEXTS[0])
    calls = count_encodings(processor.mask_detector)
    for _ in range(2):
        with torch.no_grad():
            processor.rank(tiny_model()(**inputs), inputs)
    assert len(calls) == 1


def test_where_nothing_is_found_nothing_is_made(processor):
    inputs = processor(PHOTOS[0], TEXTS[0])
    inputs["box_proposals"].quality = inputs["box_proposals"].quality * 0
    inputs["box_proposals"].valid = torch.zeros_like(inputs["box_proposals"].quality, dtype=torch.bool)
    calls = count_encodings(processor.mask_detector)
    with torch.no_grad():
        answers = processor.post_process_referring_expression(tiny_model()(**inputs), inputs)
    assert not calls and all(answer["masks"].shape == (0, 1, 60, 90) for answer in answers)


def test_masks_need_boxes():
    processor = tiny_processor(mask_detector=tiny_prompted())
    inputs = processor(PHOTOS[0], TEXTS[0])
    with torch.no_grad(), pytest.raises(ValueError, match="masks are made of chosen boxes, and there are none"):
        processor.rank(tiny_model()(**inputs), inputs)


def test_the_data_are_evaluated_with_its_masks(processor, tmp_path):
    rows = load_rows(str(write_data(tmp_path / "data", pictures=3, expressions=2, masks=True)))
    calls = count_encodings(processor.mask_detector)
    predictions = predict(tiny_model(), processor, rows, batch_size=2)
    assert len(calls) == 3
    assert all(entry["masks"][0]["size"] == [56, 64] and entry["mask_oracles"] is None for entry in predictions)
    assert 0 <= score(predictions, rows)["overall_iou"] <= 1
    caches = open_caches(tmp_path / "cache", processor)
    assert caches.keys() == {"boxes"}  # masks of boxes cannot be stored
    assert fill_caches(caches, processor, rows) == 3
    again = predict(tiny_model(), processor, rows, batch_size=2, caches=caches)
    for entry, expected in zip(again, predictions, strict=True):
        assert entry["scores"] == pytest.approx(expected["scores"], abs=1e-6)
        assert entry["boxes"][0] == pytest.approx(expected["boxes"][0], abs=1e-2)


def test_it_proposes_nothing_to_store_or_to_recall(tmp_path):
    data = str(write_data(tmp_path / "data", pictures=1, expressions=1))
    with pytest.raises(ValueError, match="PromptedMasks makes masks of chosen boxes and proposes nothing"):
        detector_recall(tiny_prompted(), tiny_processor().image_processor, load_rows(data))
    tiny_model().save_pretrained(tmp_path / "whole")
    tiny_processor(box_detector=tiny_box_detector(), mask_detector=tiny_prompted()).save_pretrained(tmp_path / "whole")
    options = ["--cpu", "--data", data, "--num_workers", "0", "--out", str(tmp_path / "cache"), "--kinds", "masks"]
    with pytest.raises(ValueError, match="whole has no detector that proposes masks, so there is nothing to store"):
        precompute.run(parse(["precompute", str(tmp_path / "whole"), *options]))


def test_the_checkpoint_answers_with_it_after_assembly(tmp_path):
    network, theirs = tiny_network("sam2")
    network.save_pretrained(tmp_path / "theirs")
    theirs.save_pretrained(tmp_path / "theirs")
    save_tiny_checkpoint(tmp_path / "plain")
    assemble(str(tmp_path / "plain"), tmp_path / "whole", mask_detector=str(tmp_path / "theirs"))
    grounder = Grounder(str(tmp_path / "whole"))
    calls = count_encodings(grounder.processor.mask_detector)
    assert "masks" not in grounder(PHOTOS[0], TEXTS[0], return_masks=False).answers[0] and not calls
    found = grounder(PHOTOS[0], TEXTS[0])
    assert len(calls) == 1 and found.answers[0]["mask_source"] == "prompt"


def test_it_loads_alone_and_can_be_cast(tmp_path):
    prompted = tiny_prompted()
    prompted.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path).to(torch.bfloat16)
    masks = loaded(torch.randn(1, 3, 128, 128), torch.tensor([0]), torch.tensor(BOXES[:1]))
    assert masks.dtype == torch.float32 and masks.isfinite().all()


def test_torchs_default_type_changes_nothing():
    asked = (torch.randn(1, 3, 128, 128), torch.tensor([0]), torch.tensor(BOXES[:1]))
    prompted = tiny_prompted("sam2")
    before = prompted(*asked)
    torch.set_default_dtype(torch.float64)
    try:
        after = prompted(*asked)
    finally:
        torch.set_default_dtype(torch.float32)
    torch.testing.assert_close(after, before, atol=1e-6, rtol=0)


def test_other_networks_are_refused():
    with pytest.raises(StrictDataclassError, match="type 'sam_hq': give a network that makes masks of boxes"):
        PromptedMasksConfig(network_config={"model_type": "sam_hq"})
