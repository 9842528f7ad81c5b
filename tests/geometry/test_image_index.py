"""The picture of each expression and the expression of each referent: given or by default; else refused."""

import pytest
import torch

from pbrec_hf.geometry.image_index import expression_of_each, image_of_each


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


def test_by_default_each_box_is_of_an_expression_of_its_own():
    found = expression_of_each(None, torch.zeros(3, 4), 3)
    assert found.tolist() == [0, 1, 2] and found.dtype == torch.int64


def test_a_given_index_of_referents_is_used_as_it_is():
    for index in (torch.tensor([2, 0, 0]), torch.zeros(0, dtype=torch.int64)):
        assert expression_of_each(index, torch.zeros(len(index), 4), 3) is index


@pytest.mark.parametrize(
    ("index", "told"),
    [
        (None, "There are 2 boxes for 3 expressions: pass `referent_index`"),
        (torch.tensor([0]), r"give \(2,\), one entry per box"),
        (torch.tensor([[0, 1]]), r"give \(2,\), one entry per box"),
        (torch.tensor([0, 3]), "entries from 0 to 3: there are 3 expressions"),
        (torch.tensor([-1, 2]), "entries from -1 to 2"),
    ],
)
def test_an_index_of_referents_that_does_not_fit_is_refused(index, told):
    with pytest.raises(ValueError, match=told):
        expression_of_each(index, torch.zeros(2, 4), 3)
