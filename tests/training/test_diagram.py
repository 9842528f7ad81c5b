"""The reliability diagram: well-formed, with a point where each bin lies."""

import xml.etree.ElementTree as ElementTree

import pytest

from pbrec_hf.metrics.reliability import ReliabilityBin
from pbrec_hf.training.diagram import reliability_diagram

SVG = "{http://www.w3.org/2000/svg}"


def test_every_bin_is_a_point_in_its_place():
    bins = [ReliabilityBin(0.0, 0.25, 3), ReliabilityBin(0.5, 0.5, 3), ReliabilityBin(1.0, 0.75, 2)]
    picture = ElementTree.fromstring(reliability_diagram(bins, "a < b"))
    frame = next(shape for shape in picture.iter(f"{SVG}rect") if shape.get("stroke"))
    left, top, side = (float(frame.get(name)) for name in ("x", "y", "width"))
    points = [(float(c.get("cx")), float(c.get("cy"))) for c in picture.iter(f"{SVG}circle")]
    assert [((x - left) / side, 1 - (y - top) / side) for x, y in points] == [
        pytest.approx((entry.score, entry.right)) for entry in bins
    ]
    texts = [text.text for text in picture.iter(f"{SVG}text")]
    assert "a < b: ECE 0.1562 of 8 answers" in texts


def test_without_answers_there_is_nothing_to_draw():
    with pytest.raises(ValueError, match="no answers to draw"):
        reliability_diagram([], "val")
