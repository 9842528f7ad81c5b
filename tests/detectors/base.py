"""Tests that every detector must pass. A user-defined detector is tested in five lines:

    class TestMine(DetectorTester):
        def make(self, **fields):
            return MyDetector(MyConfig(width=8, **fields))

`make` returns a tiny detector with random weights for canvases of `canvas` pixels.
"""

import copy

import pytest
import torch
from checkpoints import tiny_processor
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel

from pbrec_hf import PbrecProcessor, Proposals
from pbrec_hf.detectors.base import ProposalSource, register_detector
from pbrec_hf.geometry.proposals import TENSORS


class DetectorTester:
    """The tests; see the module docstring."""

    canvas = (128, 128)
    multiple: int | None = 32  # sides of a canvas must be multiples of this; None = any size is accepted
    rounding = 0.0  # allowed after loading, of kernels that depend on where in memory the weights lie
    prior = 0.01  # initial class probability: "nearly everything is background"

    def make(self, **fields):
        raise NotImplementedError

    @pytest.fixture
    def detector(self):
        torch.manual_seed(0)
        return register_and_eval(self.make())

    @pytest.fixture
    def pixels(self):
        return torch.randn(3, 3, *self.canvas, generator=torch.Generator().manual_seed(1))

    def test_it_fulfils_the_contract(self, detector, pixels):
        assert isinstance(detector, ProposalSource)
        proposals = detector.propose(pixels)
        assert isinstance(proposals, Proposals) and len(proposals) == len(pixels)
        assert proposals.canvas == self.canvas
        assert proposals.boxes is not None or proposals.masks is not None
        height, width = self.canvas
        if proposals.boxes is not None:
            assert proposals.boxes.shape == (len(pixels), proposals.num_points, 4)
            assert proposals.boxes.isfinite().all() and (proposals.boxes >= 0).all()
            assert (proposals.boxes <= torch.tensor([width, height, width, height])).all()
        if proposals.masks is not None:
            masks = proposals.masks.at(torch.tensor([0, 2]), torch.tensor([0, proposals.num_points - 1]))
            assert masks.shape[0] == 2 and ((masks >= 0) & (masks <= 1)).all()
        if proposals.quality is not None:
            assert ((proposals.quality >= 0) & (proposals.quality <= 1)).all()
        if proposals.labels is not None:
            assert set(proposals.labels.unique().tolist()) <= set(detector.config.id2label)

    def test_proposals_have_no_gradient_and_leave_the_canvas_unchanged(self, detector, pixels):
        before = pixels.clone()
        with torch.enable_grad():
            proposals = detector.propose(pixels, torch.ones(len(pixels), *self.canvas, dtype=torch.int64))
        assert torch.equal(pixels, before)
        assert not any(tensor.requires_grad for tensor in tensors_of(proposals))

    def test_a_batch_equals_single_canvases(self, detector, pixels):
        together = detector.propose(pixels)
        alone = Proposals.cat([detector.propose(pixels[i : i + 1]) for i in range(len(pixels))])
        for one, other in zip(tensors_of(together), tensors_of(alone), strict=True):
            torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)

    def test_a_given_output_is_not_computed_again(self, detector, pixels):
        source = getattr(detector, "source", None)
        if source is None:
            return  # there is no output to share
        calls = []
        handle = source.register_forward_pre_hook(lambda *_: calls.append(1))
        with torch.no_grad():
            output = source(pixels)
        given = detector.propose(pixels, output=output)
        assert len(calls) == 1
        handle.remove()
        for one, other in zip(tensors_of(given), tensors_of(detector.propose(pixels)), strict=True):
            assert torch.equal(one, other)

    def test_saved_and_loaded_it_is_bit_equal(self, detector, pixels, tmp_path):
        detector.save_pretrained(tmp_path)
        assert type(AutoConfig.from_pretrained(tmp_path)) is type(detector.config)
        loaded = AutoModel.from_pretrained(tmp_path)
        assert type(loaded) is type(detector) and not loaded.training
        assert loaded.config.id2label == detector.config.id2label
        expected = detector.state_dict()
        assert loaded.state_dict().keys() == expected.keys()
        assert all(torch.equal(value, expected[name]) for name, value in loaded.state_dict().items())
        for one, other in zip(tensors_of(loaded.propose(pixels)), tensors_of(detector.propose(pixels)), strict=True):
            torch.testing.assert_close(one, other, atol=self.rounding, rtol=0)

    def test_a_processor_saved_with_it_is_loaded_with_it(self, detector, pixels, tmp_path):
        proposals = detector.propose(pixels)
        offered = {"box": proposals.boxes, "mask": proposals.masks}
        kinds = [kind for kind, what in offered.items() if what is not None]
        processor = tiny_processor(**{f"{kind}_detector": detector for kind in kinds})
        processor.save_pretrained(tmp_path)
        loaded = PbrecProcessor.from_pretrained(tmp_path)
        assert loaded.detectors == processor.detectors
        found = loaded.propose(pixels)
        for kind in kinds:
            for one, other in zip(tensors_of(found[f"{kind}_proposals"]), tensors_of(proposals), strict=True):
                torch.testing.assert_close(one, other, atol=self.rounding, rtol=0)

    @pytest.mark.parametrize("count", [1, 2])  # which transformers' configs treat apart
    def test_its_classes_are_saved_and_loaded(self, count, tmp_path):
        names = {index: f"thing {index}" for index in range(count)}
        unnamed = {index: f"LABEL_{index}" for index in range(count)}  # which configs do not write
        for kind in (names, unnamed):
            self.with_classes(kind).save_pretrained(tmp_path)
            assert AutoModel.from_pretrained(tmp_path).config.id2label == kind

    def with_classes(self, names: dict[int, str]):
        """A tiny detector with these classes."""
        return register_and_eval(self.make(id2label=names))

    def test_weights_missing_from_a_checkpoint_are_initialised(self, detector, tmp_path):
        detector.save_pretrained(tmp_path)
        path = tmp_path / "model.safetensors"
        weights = load_file(path)
        left = dict(sorted(weights.items())[::2])
        save_file(left, path, metadata={"format": "pt"})
        loaded = type(detector).from_pretrained(tmp_path, strict=False)
        for name, value in loaded.state_dict().items():
            assert value.isfinite().all(), name
            if name in left:
                assert torch.equal(value, left[name])
            elif name.endswith("running_var"):
                assert (value == 1).all(), name

    def test_initial_class_probabilities_are_low(self, detector, pixels):
        proposals = detector.propose(pixels)
        logits = self.class_logits(detector, pixels)
        if logits is None:
            return  # it has none, or is pretrained
        assert abs(float(logits.sigmoid().mean()) - self.prior) < self.prior
        assert proposals.num_points > 0

    def class_logits(self, detector, pixels):
        """Class logits of a new detector, or None if it has none."""
        with torch.no_grad():
            return detector(pixels).class_logits

    def test_it_can_be_cast_and_copied(self, detector, pixels):
        found = copy.deepcopy(detector).to(torch.bfloat16).propose(pixels[:1])
        assert len(found) == 1
        for tensor in tensors_of(found):
            assert not tensor.is_floating_point() or tensor.dtype == torch.float32

    def test_other_canvas_sizes_are_refused_with_a_remedy(self, detector):
        if self.multiple is None:
            assert len(detector.propose(torch.zeros(1, 3, 100, 140))) == 1
            return
        with pytest.raises(ValueError, match=f"100×128 pixels.*multiples of {self.multiple}"):
            detector.propose(torch.zeros(1, 3, 100, 128))


def register_and_eval(detector):
    register_detector(type(detector))
    return detector.eval()


def tensors_of(proposals: Proposals) -> list[torch.Tensor]:
    """Every tensor of some proposals, in a fixed order."""
    found = [getattr(proposals, name) for name in TENSORS if getattr(proposals, name) is not None]
    if proposals.masks is not None:
        masks = proposals.masks
        found += [getattr(masks, name) for name in (*masks.PER_IMAGE, *masks.SHARED)]
    return found
