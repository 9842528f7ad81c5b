"""The letterbox that has a graph makes the canvas of the image processor, of pictures of any size."""

import numpy as np
import pytest
import torch

from pbrec_hf import PbrecImageProcessor
from pbrec_hf.inference.canvas_part import CanvasPart

# Enlarged and reduced, by up to seven times; thin, single pixels, and lengths whose half is rounded either way.
SIZES = [(1, 1), (3, 1000), (700, 2), (48, 48), (30, 41), (97, 96), (96, 95), (333, 250), (480, 640), (641, 500)]


def photo(height, width):
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("side", [48, 96, 100])
@pytest.mark.parametrize("size", SIZES)
def test_it_equals_the_image_processor(side, size):
    processor = PbrecImageProcessor(size={"longest_edge": side}, do_normalize=False, do_rescale=False)
    canvas, mask, letterbox = CanvasPart(processor)(torch.from_numpy(photo(*size)))
    expected = processor(photo(*size), input_data_format="channels_last")
    assert torch.equal(mask, expected["pixel_mask"]) and torch.equal(letterbox, expected["letterbox"])
    differences = (canvas - expected["pixel_values"]).abs()
    # Sums of weights finer than 2^-16 are rounded, which may make the other of two grey levels the nearer one.
    fine = max(size) > 4 * side
    assert differences.max() <= fine and (differences > 0).float().mean() <= 1e-4


@pytest.mark.parametrize(
    "settings",
    [
        {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4]},
        {"do_normalize": False},
        {"do_normalize": False, "do_rescale": False},
        {"do_rescale": False, "image_mean": [100.0, 110.0, 120.0], "image_std": [50.0, 60.0, 70.0]},
    ],
)
def test_it_scales_colours_as_the_processor_does(settings):
    processor = PbrecImageProcessor(size={"longest_edge": 64}, **settings)
    found = CanvasPart(processor)(torch.from_numpy(photo(50, 70)))[0]
    torch.testing.assert_close(found, processor(photo(50, 70))["pixel_values"], atol=1e-5, rtol=1e-6)


@pytest.mark.parametrize("settings", [{"do_resize": False}, {"resample": 0}, {"resample": 3}])
def test_what_has_no_graph_is_refused(settings):
    with pytest.raises(ValueError, match=r"only a letterbox with do_resize=True and resample=2"):
        CanvasPart(PbrecImageProcessor(**settings))
