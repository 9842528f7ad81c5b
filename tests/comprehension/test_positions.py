"""Position codes equal their definitions written out in plain Python."""

import math

import pytest
import torch

from pbrec_hf.comprehension.positions import sine_positions_1d, sine_positions_2d


def code(angle_of, dim):
    """Sine and cosine, interleaved; `angle_of` takes the wavelength's base to the power of 2i / dim."""
    pairs = [
        (math.sin(angle_of(10000 ** (2 * i / dim))), math.cos(angle_of(10000 ** (2 * i / dim))))
        for i in range(dim // 2)
    ]
    return [value for pair in pairs for value in pair]


@pytest.mark.parametrize("dim", [4, 12])
def test_tokens(dim):
    found = sine_positions_1d(7, dim)
    expected = [code(lambda base, token=token: token / base, dim) for token in range(7)]
    assert found.dtype == torch.float32 and found.shape == (7, dim)
    torch.testing.assert_close(found, torch.tensor(expected), atol=1e-6, rtol=0)


@pytest.mark.parametrize("dim", [4, 24])
@pytest.mark.parametrize("shifted", [False, True])
def test_cells_are_placed_relative_to_the_picture(dim, shifted):
    mask = torch.zeros(2, 4, 6, dtype=torch.bool)
    mask[0] = True
    mask[1, 1:3, 2:6] = True  # 2 rows and 4 columns show the second picture
    shift = torch.rand(2, 24, 2, generator=torch.Generator().manual_seed(0)) - 0.5 if shifted else None
    found = sine_positions_2d(mask, dim, shift)
    assert found.dtype == torch.float32 and found.shape == (2, 24, dim)
    for image, (top, left, rows, cols) in enumerate([(0, 0, 4, 6), (1, 2, 2, 4)]):
        for row in range(top, top + rows):
            for col in range(left, left + cols):
                dx, dy = shift[image, row * 6 + col].tolist() if shifted else (0.0, 0.0)
                y = (row - top + 0.5 + dy) / rows * 2 * math.pi
                x = (col - left + 0.5 + dx) / cols * 2 * math.pi
                expected = code(lambda base, y=y: y / base, dim // 2) + code(lambda base, x=x: x / base, dim // 2)
                torch.testing.assert_close(found[image, row * 6 + col], torch.tensor(expected), atol=1e-5, rtol=0)


def test_cells_in_a_row_of_nothing_but_padding_have_the_finite_codes_of_the_released_code():
    mask = torch.zeros(1, 4, 4, dtype=torch.bool)
    mask[0, :2] = True
    found = sine_positions_2d(mask, 24).view(4, 4, 24)
    assert found.isfinite().all()
    # Half a cell before the picture, divided by 1e-6 instead of its width; single precision keeps the slowest angle.
    angle = -0.5 / 1e-6 * 2 * math.pi / 10000 ** (10 / 12)
    slowest = torch.tensor([math.sin(angle), math.cos(angle)]).expand(2, 4, 2)
    torch.testing.assert_close(found[2:, :, 22:], slowest, atol=1e-3, rtol=0)
