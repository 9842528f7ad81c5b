"""Maps of scores are monotone, within [0, 1] and exact at their knots; what is no such map is refused by name."""

import json
import math

import pytest
import torch

from pbrec_hf.selection.calibration import Calibration, Limits, ScoreMap, limits_of, require_threshold_or_auto

KNOTS = ScoreMap((0.1, 0.2, 0.6, 0.9), (0.05, 0.5, 0.8, 0.95))
LINE = ScoreMap([0, 1], [0, 1])
CALIBRATION = Calibration(
    one=KNOTS,
    any=LINE,
    exists=KNOTS,
    threshold=0.4,
    fitted_on="100 generated scenes",
    answers=7,
    exists_threshold=0.3,
)


def test_a_map_is_linear_between_its_knots_and_constant_beyond():
    given = torch.tensor([-math.inf, 0.0, 0.1, 0.15, 0.2, 0.5, 0.9, 1.0])
    expected = torch.tensor([0.05, 0.05, 0.05, 0.275, 0.5, 0.725, 0.95, 0.95])
    torch.testing.assert_close(KNOTS(given), expected)
    assert torch.equal(KNOTS(given.view(2, 4)), KNOTS(given).view(2, 4)) and KNOTS(given[:0]).shape == (0,)
    assert KNOTS(torch.tensor(0.6, dtype=torch.float64)).item() == 0.8
    assert torch.equal(LINE(given[1:]), given[1:]) and KNOTS(given.half()).dtype == torch.half


def test_a_better_score_never_gets_a_lower_probability():
    generator = torch.Generator().manual_seed(0)
    for count in (2, 3, 50):
        raw, probability = (torch.rand(count, generator=generator).double().sort()[0].tolist() for _ in range(2))
        mapped = ScoreMap(raw, probability)
        given = torch.cat((torch.rand(20000, generator=generator), torch.tensor(raw).float())).sort()[0]
        near = torch.nextafter(given, torch.ones(()))
        found = mapped(given)
        assert (found.diff() >= 0).all() and (mapped(near) >= found).all()
        assert found.min() >= 0 and found.max() <= 1 and len(found.unique()) > count


@pytest.mark.parametrize(
    ("raw", "probability", "message"),
    [
        ([0.0, 0.5, 0.5], [0, 0.5, 1], r"raw=.* strictly increasing"),
        ([0.0, 0.5, 1.0], [0, 0.7, 0.6], r"probability=.* strictly increasing"),
        ([0.0, 0.5], [0, 0.7, 0.8], "2 raw scores and 3 probabilities"),
        ([0.5], [0.5], "two or more"),
        ([], [], "two or more"),
        ([0.0, 1.5], [0, 1], "numbers from 0 to 1"),
        ([0.0, math.nan], [0, 1], "numbers from 0 to 1"),
        ([0.0, "1"], [0, 1], "numbers from 0 to 1"),
        ([False, True], [0, 1], "numbers from 0 to 1"),
        ("01", [0, 1], "numbers from 0 to 1"),
        (0.5, 0.5, "numbers from 0 to 1"),
    ],
)
def test_what_is_no_map_is_refused(raw, probability, message):
    with pytest.raises(ValueError, match=message):
        ScoreMap(raw, probability)


def test_a_calibration_survives_json():
    text = json.dumps(CALIBRATION.to_dict())
    assert Calibration.of(json.loads(text)) == CALIBRATION == Calibration.of(CALIBRATION)
    assert Calibration.of(None) is None
    assert CALIBRATION.to_dict()["one"] == {"raw": [0.1, 0.2, 0.6, 0.9], "probability": [0.05, 0.5, 0.8, 0.95]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"threshold": 1.5}, "threshold=1.5"),
        ({"threshold": "auto"}, "threshold='auto'"),
        ({"fitted_on": ""}, "fitted_on=''"),
        ({"answers": 0}, "answers=0"),
        ({"answers": True}, "answers=True"),
        ({"any": None}, "None is no map of a calibration: give a dict with the fields probability, raw"),
        ({"any": {"raw": [0, 1]}}, "is no map of a calibration"),
        ({"one": {"raw": [1, 0], "probability": [0, 1]}}, r"raw=\[1, 0\]"),
        ({"more": 1}, "is no calibration: give a dict with the fields answers, any, exists"),
    ],
)
def test_what_is_no_calibration_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Calibration.of(CALIBRATION.to_dict() | change)
    with pytest.raises(ValueError, match="'high' is no calibration"):
        Calibration.of("high")


def test_the_threshold_is_a_number_or_that_of_the_calibration():
    assert limits_of(None, "one", None) == limits_of(None, "one", CALIBRATION) == Limits(0.0)
    assert limits_of(0.25, "any", None) == limits_of(0.25, "one", CALIBRATION) == Limits(0.25)
    assert limits_of(None, "any", CALIBRATION) == limits_of("auto", "any", CALIBRATION) == Limits(0.4, 0.3)
    assert limits_of("auto", "one", CALIBRATION) == Limits(0.0, 0.3)
    for given, referents in ((None, "any"), ("auto", "any"), ("auto", "one")):
        with pytest.raises(
            ValueError, match=r'threshold="auto" .* has none: give a number .* calibrate the checkpoint'
        ):
            limits_of(given, referents, None)
    for wrong in ("high", 1.5, -0.1, True, math.nan, [0.5]):
        with pytest.raises(ValueError, match="threshold="):
            limits_of(wrong, "one", CALIBRATION)
        with pytest.raises(ValueError, match="threshold="):
            require_threshold_or_auto(wrong)
    for wrong in ("all", None, 1):
        with pytest.raises(ValueError, match=r"referents=.*: give one of 'one', 'any'"):
            limits_of(0.5, wrong, CALIBRATION)
