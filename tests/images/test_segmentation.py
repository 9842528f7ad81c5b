"""Masks of segmentations: all parts, both encodings, damage refused."""

import numpy as np
import pytest
import torch

from pbrec_hf.images.segmentation import (
    mask_to_rle,
    mask_to_segmentation,
    rasterise,
    rasterise_polygons,
    rle_to_mask,
    segmentation_area,
    segmentation_extent,
    segmentation_struct,
    union_of_segmentations,
)

SQUARES = [[2, 3, 6, 3, 6, 8, 2, 8], [10, 1, 14, 1, 14, 5, 10, 5]]


def expected_squares():
    mask = torch.zeros(12, 20, dtype=torch.uint8)
    mask[3:8, 2:6] = 1
    mask[1:5, 10:14] = 1
    return mask


def test_all_parts_of_an_object_are_rasterised():
    assert torch.equal(rasterise_polygons(SQUARES, 12, 20), expected_squares())
    struct = segmentation_struct(SQUARES, 12, 20)
    assert torch.equal(rasterise(struct, 12, 20), expected_squares())
    assert segmentation_area(struct, 12, 20) == expected_squares().sum()
    assert segmentation_extent(struct).tolist() == [[2, 1], [14, 8]]


def test_overlapping_parts_count_once_and_outside_is_cut():
    part = [-5, -5, 4, -5, 4, 4, -5, 4]
    mask = rasterise_polygons([part, part], 12, 20)
    assert mask.sum() == 16 and mask[:4, :4].all()


@pytest.mark.parametrize("encoding", ["compressed", "bytes", "counts"])
def test_rle_in_every_encoding(encoding):
    mask = expected_squares()
    struct = mask_to_segmentation(mask)
    rle = {"counts": struct["counts"], "size": [12, 20]}
    if encoding == "bytes":
        rle["counts"] = rle["counts"].encode()
    if encoding == "counts":
        flat = mask.numpy().flatten(order="F")
        edges = np.flatnonzero(np.diff(flat)) + 1
        rle["counts"] = np.diff([0, *edges, flat.size]).tolist()
    parsed = segmentation_struct(rle, 12, 20)
    assert parsed == struct
    assert torch.equal(rasterise(parsed, 12, 20), mask)
    assert segmentation_extent(parsed).tolist() == [[2, 1], [14, 8]]
    assert segmentation_area(parsed, 12, 20) == mask.sum()


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ([[1, 2, 3, 4]], "at least 6"),
        ([[1, 2, 3, 4, 5, 6, 7]], "even number"),
        ({"counts": [100], "size": [12, 20]}, "sum to 100"),
        ({"counts": [-10, 250], "size": [12, 20]}, "at least 0"),
        ({"counts": "oo", "size": [12, 20]}, "damaged"),
        ([{"counts": "oo", "size": [12, 20]}], "damaged"),
        ({"counts": "x", "size": [5, 5]}, r"\[5, 5\]"),
        ({"size": [12, 20]}, "counts"),
        ("polygon", "polygons or an RLE"),
        (7, "int is no segmentation"),
        ({"polygons": {"polygons": [[1, 2, 3, 4, 5, 6]]}}, "neither polygons nor RLE"),
        ([[1, 2, 3, 4, 5, "6"]], "something else than numbers"),
        ([[1, 2, 3, 4, 5, [6]]], "something else than numbers"),
        ([[1, 2, 3, 4, 5, 10**400]], "something else than numbers"),
        ([[1, 2, 3, 4, 5, True]], "something else than numbers"),
        ([[1, 2, 3, 4, 1e308, -1e308]], "leaves its picture of 20x12"),
        ([[1, 2], 3], "at least 6"),
        ([[1, 2, 3, 4, 5, float("nan")]], "leaves its picture of 20x12"),
        ([[1, 2, 1e9, 4, 5, 6]], "leaves its picture of 20x12"),
        ([[0, 0, 20, 12] * 3000], "outline is .* pixels long"),
        ([[0, 0, 20, 12, 0, 12]] * 3000, "outline is .* pixels long"),
        ({"counts": [120.5, 119.5], "size": [12, 20]}, "whole numbers"),
        ({"counts": {"a": 1}, "size": [12, 20]}, "whole numbers"),
        ({"counts": [10**400], "size": [12, 20]}, "sum to 1000000000000"),
        ({"counts": [10**18], "size": [10**9, 10**9]}, "is not the picture's"),
        ({"counts": "x", "size": 12}, "no .height, width"),
        ({"counts": "x", "size": [12, 20, 3]}, "no .height, width"),
        ([{"counts": [240], "size": [12, 20]}, 3], "neither polygons nor RLE"),
    ],
)
def test_wrong_segmentations_are_refused(segmentation, message):
    with pytest.raises(ValueError, match=message):
        segmentation_struct(segmentation, 12, 20)


@pytest.mark.parametrize("absent", [None, []])
def test_absent_segmentation(absent):
    assert segmentation_struct(absent, 12, 20) is None


def test_rasterise_names_a_wrong_frame():
    struct = mask_to_segmentation(expected_squares())
    with pytest.raises(ValueError, match=r"\[20, 12\]"):
        rasterise(struct, 20, 12)
    with pytest.raises(ValueError, match="neither polygons nor RLE"):
        rasterise({"polygons": None, "counts": None, "size": None}, 12, 20)


def test_rle_of_a_mask_and_back():
    mask = expected_squares()
    rle = mask_to_rle(mask)
    assert rle["size"] == [12, 20] and isinstance(rle["counts"], str)
    assert torch.equal(rle_to_mask(rle), mask.bool())
    assert torch.equal(rle_to_mask(mask_to_rle(mask.numpy())), mask.bool())
    with pytest.raises(ValueError, match="damaged"):
        rle_to_mask({"size": [12, 20], "counts": "0"})


@pytest.mark.parametrize("form", ["polygons", "flat", "rle", "list of rle", "struct"])
def test_every_form_gives_the_same_mask(form):
    square = expected_squares()
    square[:, 10:] = 0
    forms = {
        "polygons": SQUARES[:1],
        "flat": SQUARES[0],
        "rle": mask_to_rle(square),
        "list of rle": [mask_to_rle(square), mask_to_rle(square)],
        "struct": segmentation_struct(SQUARES[:1], 12, 20),
    }
    assert torch.equal(rasterise(forms[form], 12, 20), square)
    assert segmentation_area(forms[form], 12, 20) == square.sum()


def test_union_of_several_objects():
    square = segmentation_struct(SQUARES[:1], 12, 20)
    both = union_of_segmentations([square, None, SQUARES[1:]], 12, 20)
    assert both == segmentation_struct(SQUARES, 12, 20)  # polygons stay polygons
    mixed = union_of_segmentations([mask_to_rle(rasterise(square, 12, 20)), SQUARES[1:]], 12, 20)
    assert mixed["polygons"] is None and torch.equal(rasterise(mixed, 12, 20), expected_squares())
    assert union_of_segmentations([None, []], 12, 20) is None
