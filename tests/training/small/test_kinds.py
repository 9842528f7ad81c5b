"""The table of kinds: parts are counted wherever they are said, and the shares are those by hand."""

import pytest
import torch

from pbrec_hf.hub.bundled import bundled_checkpoint
from pbrec_hf.training.small.kinds import by_part, main, table

KINDS = ["noun", "noun+color", "noun+color+side", "noun+side+side", "thing"]


def test_an_expression_counts_once_for_each_of_its_parts():
    assert by_part(KINDS) == {"color": [1, 2], "side": [2, 3], "noun": [0], "thing": [4]}


def test_shares_are_those_by_hand():
    text = table(KINDS, torch.tensor([0.9, 0.1, 0.6, 0.3, 0.5]), torch.tensor([0.9, 0.8, 0.7, 0.4, 0.6]))
    rows = {row.split("|")[1].strip(): [cell.strip() for cell in row.split("|")[2:-1]] for row in text.splitlines()}
    assert rows["color"] == ["2", "0.500", "0.095–0.905", "0.000", "1.000"]
    assert rows["side"][:2] == ["2", "0.500"] and rows["side"][3:] == ["0.500", "0.500"]
    assert rows["all"][:2] == ["5", "0.400"] and rows["all"][3:] == ["0.400", "0.800"]


def test_a_mistyped_folder_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nosuch.expressions_heldout\.jsonl"):
        main([str(bundled_checkpoint()), "--testsets", str(tmp_path / "nosuch")])
