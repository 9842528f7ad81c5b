"""Compiled networks answer as plain ones, however many expressions there are, and are saved as plain ones."""

import pytest
import torch
from checkpoints import save_tiny_checkpoint
from PIL import Image

from pbrec_hf import Grounder, PbrecForReferringExpression, PbrecProcessor
from pbrec_hf.app.options import PHOTOGRAPHS
from pbrec_hf.inference.compiling import compile_networks

PHOTO = PHOTOGRAPHS / "images/giraffes.jpg"
EXPRESSIONS = [f"the {word} on the left" for word in ("giraffe", "tree", "man", "dog", "sky", "fence")]


@pytest.fixture
def counted():
    """How many graphs were compiled; none at first."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    yield lambda: torch._dynamo.utils.counters["stats"]["unique_graphs"]
    torch._dynamo.reset()


def assert_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one["scores"], other["scores"], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(one["boxes"], other["boxes"], atol=1e-2, rtol=1e-4)
        assert (one["masks"] != other["masks"]).float().mean() < 1e-4


def test_the_bundled_checkpoint_answers_alike(counted):
    """Without a C++ compiler, which would take minutes: what is compiled is then the plain arithmetic."""
    plain, compiled = Grounder(), Grounder()
    compile_networks(compiled.model, compiled.processor, backend="eager")
    assert_same(compiled(PHOTO, EXPRESSIONS[:2]).answers, plain(PHOTO, EXPRESSIONS[:2]).answers)
    graphs = counted()
    assert graphs == 2  # the detector, and masks
    assert_same(compiled(PHOTO, EXPRESSIONS[:3]).answers, plain(PHOTO, EXPRESSIONS[:3]).answers)
    assert counted() == graphs


def test_a_compiled_checkpoint_is_saved_as_it_was(tmp_path, counted):
    save_tiny_checkpoint(tmp_path / "given")
    model = PbrecForReferringExpression.from_pretrained(tmp_path / "given")
    processor = PbrecProcessor.from_pretrained(tmp_path / "given")
    compile_networks(model, processor, backend="eager")
    processor(Image.open(PHOTO), EXPRESSIONS[:1])
    assert counted() == 1
    for compiled, folder in ((model, tmp_path / "model"), (processor, tmp_path / "processor")):
        compiled.save_pretrained(folder)
        for file in folder.rglob("*.safetensors"):
            assert file.read_bytes() == (tmp_path / "given" / file.relative_to(folder)).read_bytes()


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_graphs_are_not_compiled(runtime):
    with pytest.raises(ValueError, match="compile=True with runtime="):
        Grounder(runtime=runtime, compile=True)
