"""The picture of each expression: given, one each, or one for all; anything else is refused."""

import pytest
import torch

from pbrec_hf.geometry.image_index import image_of_each


@pytest.mark.parametrize(
    ("expressions", "images", "expected"), [(3, 1, [0, 0, 0]), (3, 3, [0, 1, 2]), (1, 1, [0]), (2, 2, [0, 1])]
)
def test_the_default_is_one_each_or_one_for_all(expressions, images, expected):
    found = image_of_each(None, expressions, images)
    assert found.tolist() == expected and found.dtype == torch.int64


def test_a_given_index_is_used_as_it_is():
    index = torch.tensor([1, 1, 0])
    assert image_of_each(index, 3, 2) is index


@pytest.mark.parametrize(("expressions", "images"), [(3, 2), (1, 2), (2, 3), (1, 0)])
def test_an_ambiguous_default_is_refused(expressions, images):
    with pytest.raises(ValueError, match=f"{expressions} expressions for {images} images: pass `image_index`"):
        image_of_each(None, expressions, images)


@pytest.mark.parametrize("shape", [(2,), (4,), (3, 1), ()])
def test_an_index_of_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r"give \(3,\), one entry per expression"):
        image_of_each(torch.zeros(shape, dtype=torch.int64), 3, 2)
