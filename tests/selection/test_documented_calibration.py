"""The calibration of docs/referents.md is one."""

import re
from types import SimpleNamespace

import torch
from places import ROOT

from pbrec_hf.selection.calibration import Calibration


def test_the_documented_calibration_is_one():
    text = (ROOT / "docs" / "referents.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(from pbrec_hf\.selection.*?)```", text, flags=re.S)
    saved = []
    processor = SimpleNamespace(calibration=None, save_pretrained=saved.append)
    exec(compile(code, "docs/referents.md", "exec"), {"processor": processor})
    assert isinstance(processor.calibration, Calibration) and saved == ["my-checkpoint"]
    assert (processor.calibration.threshold, processor.calibration.exists_threshold) == (0.5, 0.6)
    assert processor.calibration.one(torch.tensor([0.4])).item() == torch.tensor(0.7).item()
