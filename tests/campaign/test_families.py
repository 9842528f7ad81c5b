"""A small slice of every family, always the same; `scripts/faults.py` runs as much as one likes."""

import pytest

from campaign.command import FAMILIES
from campaign.outcome import ANSWERED
from campaign.runner import campaign, first_found
from campaign.undo import UNDOS

CASES = dict.fromkeys(FAMILIES, 12) | {
    "own_data": 40, "expressions": 40, "pictures": 30, "pickles": 24, "training": 3, "pipelines": 6, "web_page": 6,
    "configs": 6, "urls": 14, "metrics": 6,
}  # fmt: skip


@pytest.mark.parametrize("name", FAMILIES)
def test_nothing_is_answered_wrongly(name):
    report = campaign(name, range(CASES[name]), seed=0)
    assert [(finding.case, finding.reason) for finding in report.findings] == []
    assert report.tried == CASES[name] and report.counts[ANSWERED] > 0


@pytest.mark.parametrize("name", ["D3 two classes", "xmp_orientation", "D16 mirrors", "windows_fsync"])
def test_a_mend_that_is_taken_away_is_missed(name):
    """The quick ones; `--self-check` tries all."""
    assert first_found(UNDOS[name].family, name, 300, seed=0) is not None


def test_every_undone_mend_belongs_to_a_family():
    assert {undo.family for undo in UNDOS.values()} <= FAMILIES.keys()
