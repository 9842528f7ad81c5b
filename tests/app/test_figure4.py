"""Figure 4: the panels show what the network and the vote really said, and the command draws the cases it is given."""

import numpy as np
import pytest
import tiles
import torch
from PIL import Image, ImageColor

from pbrec_hf import PbrecForReferringExpression, PbrecProcessor
from pbrec_hf.app import figure4
from pbrec_hf.app.case_sheet import CHOSEN, TOP_1, TOP_K, Case, case_sheet, look, panels, verdict
from pbrec_hf.geometry.letterbox import Letterbox
from pbrec_hf.selection.settings import SelectionSettings


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("figure4")
    tiles.write_tiles_folder(root / "data", ["refcoco/unc"])
    tiles.save_tiles_checkpoint(root / "checkpoint")
    return root


@pytest.fixture(scope="module")
def looked(place):
    model = PbrecForReferringExpression.from_pretrained(place / "checkpoint")
    processor = PbrecProcessor.from_pretrained(place / "checkpoint")
    picture = Image.fromarray(np.full((96, 128, 3), 90, np.uint8))
    return look(model, processor, Case(picture, "left dog", (10, 10, 90, 80)), SelectionSettings(top_k=5))


def has(picture, color, x, y):
    """Whether the colour is within three pixels of a place."""
    near = np.asarray(picture)[max(0, round(y) - 3) : round(y) + 4, max(0, round(x) - 3) : round(x) + 4]
    return bool((near == ImageColor.getrgb(color)).all(axis=-1).any())


def test_the_panels_are_those_of_the_figure(looked):
    titles = [panel.title for panel in panels(looked, detector_alone=0.65)]
    assert titles[:2] == ["photograph", "attention of [CLS]"] and titles[-1] == "chosen mask"
    assert titles[2].startswith("center-ness, up to 0.") and titles[3].startswith("mass-ness, up to 0.")
    assert titles[4].startswith("top 5, top 1, chosen: no. ")
    count = sum(quality >= 0.65 for quality in tiles.qualities())
    assert titles[5] == f"detector alone, quality from 0.65: {count}"
    assert all(panel.picture.size == (128, 96) for panel in panels(looked))


def test_the_attention_is_brightest_where_the_model_looks_most(looked):
    shown = np.asarray(panels(looked)[1].picture).astype(int)
    red = shown[..., 0] - shown[..., 2]
    y, x = np.unravel_index(red.argmax(), red.shape)
    best = int(looked.attention.argmax())
    # The picture of 128 × 96 pixels lies 16 pixels below the top of the canvas of 4 × 4 points of 32 pixels.
    assert (int(x) // 32, (int(y) + 16) // 32) == (best % 4, best // 4)


def test_the_boxes_of_the_vote_have_their_colours(looked):
    picture = panels(looked)[4].picture
    group = looked.groups["boxes"]
    letterbox = Letterbox.of(looked.inputs["letterbox"][0])
    boxes = letterbox.boxes_to_original(torch.tensor(tiles.tiles())[group.points[0]])
    chosen = boxes[group.winner[0]]
    inside = [min(max(value.item(), 2), side - 3) for value, side in zip(chosen, (128, 96, 128, 96), strict=True)]
    assert has(picture, CHOSEN, inside[0], (inside[1] + inside[3]) / 2)
    pixels = np.asarray(picture).reshape(-1, 3)
    colors = {color for color in (TOP_K, TOP_1, CHOSEN) if (pixels == ImageColor.getrgb(color)).all(axis=1).any()}
    assert colors >= ({TOP_K, CHOSEN} if int(group.winner[0]) == 0 else {TOP_K, TOP_1, CHOSEN})


def test_the_mask_is_the_one_with_the_most_votes(looked):
    picture = np.asarray(panels(looked)[-1].picture).astype(int)
    group = looked.groups["masks"]
    mask = Letterbox.of(looked.inputs["letterbox"][0]).mask_to_original(group.masks[0, group.winner[0]], (128, 128))
    assert np.array_equal((picture != 90).any(axis=-1), mask.numpy())


def test_the_verdict_is_of_the_chosen_box(looked):
    assert verdict(looked).startswith(("  (right, IoU 0.", "  (wrong, IoU 0."))


def test_a_sheet_has_a_row_for_each_case_and_a_legend(looked):
    one, two = (case_sheet([("a", panels(looked))] * count, height=60) for count in (1, 2))
    assert two.width == one.width and two.height > one.height
    assert has(one, TOP_K, 20, one.height - 25)
    with pytest.raises(ValueError, match="no cases"):
        case_sheet([])


def test_from_a_shell_with_pictures_and_with_data(place, capsys, monkeypatch):
    photograph = str(next((place / "data/images").glob("*.jpg")))
    data = ["--dataset", "refcoco", "--refer_dir", str(place / "data"), "--image_dir", str(place / "data/images")]
    command = [str(place / "checkpoint"), "--case", photograph, "left dog", *data, "--no_check_counts"]
    out = ["--numbers", "0", "5", "--height", "60", "--out", str(place / "sheet.png")]
    monkeypatch.setattr("sys.argv", ["figure4.py", *command, *out])
    figure4.main()
    assert capsys.readouterr().out.strip() == str(place / "sheet.png")
    with Image.open(place / "sheet.png") as sheet:
        assert sheet.height > 3 * 60
    with pytest.raises(ValueError, match=r"--numbers 1000: the data have \d+ expressions"):
        figure4.drawn([*command, "--numbers", "1000", "--out", str(place / "sheet.png")])
    with pytest.raises(ValueError, match="Give --case"):
        figure4.drawn([command[0], "--out", str(place / "sheet.png")])
    with pytest.raises(ValueError, match="from 0 to 1"):
        figure4.drawn([*command[:4], "--detector_alone", "3", "--out", str(place / "sheet.png")])
