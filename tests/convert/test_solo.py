"""SOLO-R101 converts from both public layouts with every key accounted for."""

import json

import pytest
import torch
from places import GOLDEN
from seeded_weights import seeded_state_dict

from pbrec_hf.convert.solo import convert_solo

SPEC = GOLDEN / "solo_state_dict_spec.json"
LAYOUTS = ("mmdet_2x_3x (mask_head.*)", "original_repo_mmdet_v1 (bbox_head.*)")


def seeded(layout):
    shapes = {key: shape for key, shape in json.loads(SPEC.read_text())[layout].items() if shape}
    return {key: torch.from_numpy(value) for key, value in seeded_state_dict(shapes.items(), 7).items()}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_published_layout_converts(layout):
    weights = seeded(layout)
    model, report = convert_solo(weights)
    assert set(report.used) == set(weights) and not report.missing and not report.dead
    assert model.config.num_grids == [40, 36, 24, 16, 12] and model.config.backbone_config.depths == [3, 4, 23, 3]
    assert model.config.id2label[0] == "person" and model.config.stacked_convs == 7
    head = layout[layout.index("(") + 1 :].split(".")[0]
    masks, last = ("ins_convs", "solo_ins_list") if head == "bbox_head" else ("mask_convs", "conv_mask_list")
    assert torch.equal(model.head.mask_tower[6].norm.bias, weights[f"{head}.{masks}.6.gn.bias"])
    assert torch.equal(model.head.mask_outputs[2].weight, weights[f"{head}.{last}.2.weight"])
    assert torch.equal(model.pyramid.smooth[1].weight, weights["neck.fpn_convs.1.conv.weight"])


def test_damaged_checkpoints_are_refused():
    weights = seeded(LAYOUTS[0])
    with pytest.raises(ValueError, match=r"Unknown keys: mask_head\.kernel"):
        convert_solo({**weights, "mask_head.kernel": torch.zeros(1)})
    lost = "neck.fpn_convs.1.conv.weight"
    with pytest.raises(ValueError, match=r"missing: pyramid\.smooth\.1\.weight"):
        convert_solo({key: value for key, value in weights.items() if key != lost})
    with pytest.raises(ValueError, match="mask_head"):
        convert_solo({"rpn.head.scales.0.scale": torch.zeros(1)})
    with pytest.raises(ValueError, match="not finite"):
        convert_solo({**weights, lost: torch.full_like(weights[lost], torch.nan)})
