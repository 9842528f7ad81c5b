"""The paper's tables on a generated REFER folder, against plain loops over expressions that are written here."""

import json
import math

import pytest
import tiles
import torch
from checkpoints import tiny_mask_detector
from pycocotools import mask as coco_mask

from pbrec_hf import PbrecForReferringExpression, PbrecProcessor, load_refcoco
from pbrec_hf.geometry.letterbox import Letterbox
from pbrec_hf.training.origin import Origin
from pbrec_hf.training.paper import table1, table2, table3, table4, table5
from pbrec_hf.training.paper.report import published

SETS = ("refcoco/unc", "refcoco+/unc", "refcocog/umd")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Data, and a checkpoint with boxes and masks that says that it was trained on RefCOCO and chosen on its val."""
    root = tmp_path_factory.mktemp("paper")
    tiles.write_tiles_folder(root / "data")
    tiles.save_tiles_checkpoint(root / "checkpoint")
    origin = Origin(["refcoco/unc train"], "refcoco/unc val", "accuracy@0.5")
    (root / "checkpoint" / "training_data.json").write_text(origin.text())
    return root


def options(place, out="tables", *more):
    data = ["--refer_dir", str(place / "data"), "--image_dir", str(place / "data" / "images"), "--no_check_counts"]
    return [*data, "--out", str(place / out), "--cpu", "--quiet", *more]


def of_checkpoints(place, out="tables", *more):
    return options(place, out, "--num_workers", "0", *more)


def iou(one, other):
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    both = max(width, 0) * max(height, 0)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return both / (areas - both)


class ByHand:
    """A checkpoint asked one expression at a time, whose proposals are ranked and vote in plain Python."""

    def __init__(self, folder):
        self.model = PbrecForReferringExpression.from_pretrained(folder)
        self.processor = PbrecProcessor.from_pretrained(folder)
        self.known = {}

    def cases(self, place, key, split):
        if (key, split) not in self.known:
            self.known[key, split] = list(self._cases(place, key, split))
        return self.known[key, split]

    def _cases(self, place, key, split):
        rows = load_refcoco(key, refer_dir=place / "data", image_dir=place / "data" / "images", check_counts=False)
        for row in rows[split]:
            inputs = self.processor(row["image"], row["expression"])
            with torch.no_grad():
                outputs = self.model(**inputs)
            yield row, inputs, outputs

    def ranked(self, logits, inputs, quality, k, cells=4):
        """The best k points of `cells` × `cells` in the picture; the map of 4 × 4 is read bilinearly."""
        letterbox = Letterbox.of(inputs["letterbox"][0])
        known = [[1 / (1 + math.exp(-logit)) for logit in row] for row in logits[0].view(4, 4).tolist()]
        size, scored = 128 / cells, []
        for point in range(cells**2):
            row, column = divmod(point, cells)
            x, y = (column + 0.5) * size - letterbox.left, (row + 0.5) * size - letterbox.top
            if not (0 <= x < letterbox.resized_width and 0 <= y < letterbox.resized_height):
                continue
            down, across = (min(max((place + 0.5) * 4 / cells - 0.5, 0), 3) for place in (row, column))
            top, left = min(int(down), 2), min(int(across), 2)
            rows = [
                known[r][left] * (1 - across + left) + known[r][left + 1] * (across - left) for r in (top, top + 1)
            ]
            value = quality[point] * (rows[0] * (1 - down + top) + rows[1] * (down - top))
            scored.append((-round(value, 6), point))  # beyond the outermost middles, neighbours have equal values
        return [point for _, point in sorted(scored)[:k]]

    def box(self, outputs, inputs, k, weighed):
        quality = tiles.qualities() if weighed else [1.0] * 16
        voters = self.ranked(outputs.center_logits, inputs, quality, k)
        boxes = [tiles.tiles()[point] for point in voters]
        votes = [sum(iou(one, other) for other in boxes) for one in boxes]
        letterbox = Letterbox.of(inputs["letterbox"][0])
        x1, y1, x2, y2 = boxes[max(range(len(boxes)), key=lambda place: round(votes[place], 5))]
        across, down = letterbox.width / letterbox.resized_width, letterbox.height / letterbox.resized_height
        xs = [min(max((x - letterbox.left) * across, 0), letterbox.width) for x in (x1, x2)]
        ys = [min(max((y - letterbox.top) * down, 0), letterbox.height) for y in (y1, y2)]
        return [xs[0], ys[0], xs[1], ys[1]]

    def mask(self, outputs, inputs, k):
        ((cells, _),) = inputs["mask_proposals"].grids
        points = torch.tensor(self.ranked(outputs.mass_logits, inputs, [1.0] * cells**2, k, cells))
        masks = inputs["mask_proposals"].masks.at(torch.zeros_like(points), points)
        votes = []
        for one in masks > 0.5:
            both = [((one & other).sum().item(), (one | other).sum().item()) for other in masks > 0.5]
            votes.append(sum(part / whole if whole else 0 for part, whole in both) - bool(one.any()))
        winner = max(range(len(votes)), key=lambda place: round(votes[place], 5))
        return Letterbox.of(inputs["letterbox"][0]).mask_to_original(masks[winner], (128, 128))

    def accuracy(self, place, key, split, k=12, weighed=True):
        hits = [
            iou(self.box(out, inputs, k, weighed), row["bbox"]) > 0.5
            for row, inputs, out in self.cases(place, key, split)
        ]
        return sum(hits) / len(hits), len(hits)

    def overlaps(self, place, key, split, k=12):
        pixels = []
        for row, inputs, outputs in self.cases(place, key, split):
            found = self.mask(outputs, inputs, k)
            polygons = row["segmentation"]["polygons"]
            drawn = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(polygons, *found.shape)))
            true = torch.from_numpy(drawn).bool()
            pixels.append(((found & true).sum().item(), (found | true).sum().item()))
        return pixels


def value(table, row, column, metric=None):
    (found,) = [f for f in table.figures if (f.row, f.column) == (row, column) and metric in (None, f.metric)]
    return found


def test_table_2_equals_counting_and_says_what_it_is_of(place, capsys):
    row = ["--row", "PBREC-MT", f"refcoco={place / 'checkpoint'}"]
    table = table2.measured([*row, *of_checkpoints(place)])
    by_hand = ByHand(place / "checkpoint")
    shares = []
    for split in ("val", "testA", "testB"):
        figure = value(table, "PBREC-MT", f"refcoco/unc {split}")
        share, count = by_hand.accuracy(place, "refcoco/unc", split)
        assert (figure.value, figure.cases) == (pytest.approx(share), count)
        assert figure.interval[0] <= share <= figure.interval[1]
        assert figure.note == ("chosen on these cases" if split == "val" else "")
        shares.append(share)
    assert max(shares) > 0, "nothing was found, so that nothing was tested"
    text, told = (place / "tables/table2.md").read_text(), json.loads((place / "tables/table2.json").read_text())
    assert text == capsys.readouterr().out.rstrip("\n") + "\n"
    assert f"| PBREC-MT | {100 * shares[0]:.2f} (82.94) | {100 * shares[1]:.2f} (86.31) |" in text
    assert told["figures"][1]["paper"] == 86.31
    assert len(told["subjects"]["PBREC-MT, refcoco/unc"]["sha256"]) == 64
    assert told["data"]["refcoco/unc val"]["expressions"] == told["figures"][0]["cases"]
    assert told["subjects"]["PBREC-MT, refcoco/unc"]["training"]["trained_on"] == ["refcoco/unc train"]
    assert len(set(told["predictions"].values())) == 3


def test_what_is_answered_already_is_not_answered_again(place):
    row = ["--row", "ours", f"refcoco={place / 'checkpoint'}"]
    first = table2.measured([*row, *of_checkpoints(place, "again")])
    files = {path: path.stat().st_mtime_ns for path in (place / "again/predictions").iterdir()}
    second = table2.measured([*row, *of_checkpoints(place, "again")])
    assert second.figures == first.figures
    assert {path: path.stat().st_mtime_ns for path in (place / "again/predictions").iterdir()} == files


def test_table_3_has_the_papers_metric_under_its_right_name(place):
    row = ["--row", "PBREC-MT", f"refcoco={place / 'checkpoint'}"]
    table = table3.measured([*row, *of_checkpoints(place)])
    pixels = ByHand(place / "checkpoint").overlaps(place, "refcoco/unc", "testA")
    mean = value(table, "PBREC-MT", "refcoco/unc testA", "mean IoU")
    overall = value(table, "PBREC-MT", "refcoco/unc testA", "overall IoU")
    assert mean.value == pytest.approx(sum(part / whole for part, whole in pixels) / len(pixels)) and mean.value > 0
    assert overall.value == pytest.approx(sum(part for part, _ in pixels) / sum(whole for _, whole in pixels))
    assert (mean.paper, overall.paper, mean.cases) == (73.21, None, len(pixels))
    assert "computes the mean over cases" in (place / "tables/table3.md").read_text()


def test_all_sets_are_in_one_table_in_the_papers_order(place):
    tiles.save_tiles_checkpoint(place / "other", seed=1)
    rows = ["--row", "A", f"refcocog={place / 'other'}", f"refcoco={place / 'other'}"]
    rows += ["--row", "B", f"refcoco+={place / 'other'}"]
    table = table2.measured([*rows, *of_checkpoints(place, "tables", "--trained_on", "none")])
    assert [(figure.row, figure.column) for figure in table.figures] == [
        *(("A", f"refcoco/unc {split}") for split in ("val", "testA", "testB")),
        *(("A", f"refcocog/umd {split}") for split in ("val", "test")),
        *(("B", f"refcoco+/unc {split}") for split in ("val", "testA", "testB")),
    ]
    share, _ = ByHand(place / "other").accuracy(place, "refcocog/umd", "test")
    assert value(table, "A", "refcocog/umd test").value == pytest.approx(share)


def test_pictures_that_were_trained_on_are_not_measured_on(place):
    row = ["--row", "ours", f"refcocog={place / 'checkpoint'}"]
    with pytest.raises(
        ValueError, match=r"trained on refcoco/unc, whose train split has \d of the pictures of refcocog"
    ):
        table2.measured([*row, *of_checkpoints(place)])
    with pytest.raises(ValueError, match=r"does not say what it was trained on.*--trained_on"):
        tiles.save_tiles_checkpoint(place / "silent")
        table2.measured(["--row", "ours", f"refcoco={place / 'silent'}", *of_checkpoints(place)])


def test_table_4_names_its_rows_by_the_checkpoints_configs(place):
    for name, fields in {
        "hard": {"tasks": ["grounding"], "soft_targets": "hard"},
        "mixed": {"soft_targets": {"grounding": "paper", "segmentation": "hard"}},
        "masks": {"tasks": ["segmentation"]},
    }.items():
        tiles.save_tiles_checkpoint(place / name, seed=len(name), **fields)
    names = [str(place / name) for name in ("mixed", "hard", "masks")]
    table = table4.measured([*names, *of_checkpoints(place, "tables", "--trained_on", "refcoco+")])
    column = "refcoco+/unc val"
    assert [(figure.row, figure.column, figure.paper) for figure in table.figures] == [
        ("grounding=hard", "grounding", 71.93),
        ("segmentation=soft", "segmentation", 62.99),
        ("grounding=soft segmentation=hard", "grounding", 72.75),
        ("grounding=soft segmentation=hard", "segmentation", 62.04),
    ]
    share, count = ByHand(place / "hard").accuracy(place, "refcoco+/unc", "val")
    assert (table.figures[0].value, table.figures[0].cases) == (pytest.approx(share), count)
    pixels = ByHand(place / "mixed").overlaps(place, "refcoco+/unc", "val")
    assert table.figures[3].value == pytest.approx(sum(part / whole for part, whole in pixels) / len(pixels))
    assert table.data[column]["expressions"] == count
    with pytest.raises(ValueError, match="are both trained with grounding=hard"):
        table4.measured([names[1], names[1], *of_checkpoints(place, "tables", "--trained_on", "none")])


def test_the_paper_has_eight_rows_of_hard_and_soft():
    assert len(published()["table4"]) == 8


def test_table_5_sweeps_voters_and_rankings_in_one_pass(place, monkeypatch):
    seen = []
    forward = PbrecForReferringExpression.forward
    monkeypatch.setattr(
        PbrecForReferringExpression, "forward", lambda self, **inputs: seen.append(1) or forward(self, **inputs)
    )
    data = ["--dataset", "refcoco", "--split", "testA"]
    table = table5.measured([str(place / "checkpoint"), *data, *of_checkpoints(place, "sweep")])
    pictures = table.data["refcoco/unc testA"]["images"]
    assert len(seen) == pictures and len(table.figures) == 15
    by_hand = ByHand(place / "checkpoint")
    for k in (1, 4, 12):
        for ranking, weighed in (("center", False), ("center × quality", True)):
            share, _ = by_hand.accuracy(place, "refcoco/unc", "testA", k, weighed)
            assert value(table, f"k = {k}", ranking).value == pytest.approx(share), (k, ranking)
    for k in (12, 16):  # among fewer, the map's equal values at the border decide by rounding
        pixels = by_hand.overlaps(place, "refcoco/unc", "testA", k)
        mean = sum(part / whole for part, whole in pixels) / len(pixels)
        assert value(table, f"k = {k}", "mass").value == pytest.approx(mean)
    assert len({figure.value for figure in table.figures}) > 5
    assert table.figures[0].paper is None  # the paper's are of RefCOCO+ val


def test_table_1_equals_counting(place):
    tiles.TilesDetector(tiles.TilesConfig()).save_pretrained(place / "boxes")
    tiny_mask_detector().save_pretrained(place / "solo")
    rows = [["Mask R-CNN", place / "boxes", "10"], ["Mask R-CNN †", place / "boxes", "all", "0.65"]]
    rows += [["FCOS-P5", place / "boxes", "all"], ["SOLO", place / "solo", "all"]]
    detectors = [word for row in rows for word in ("--detector", *map(str, row))]
    table = table1.measured([*detectors, "--canvas", "128", *options(place)])
    assert [figure.column for figure in table.figures[:8]] == [
        f"{key} {split}"
        for key in SETS
        for split in (("val", "test") if key == "refcocog/umd" else ("val", "testA", "testB"))
    ]
    quality = tiles.qualities()
    order = sorted(range(16), key=lambda point: -quality[point])
    kept = {
        "Mask R-CNN": order[:10],
        "Mask R-CNN †": [point for point in order if quality[point] >= 0.65],
        "FCOS-P5": order,
    }
    by_hand = ByHand(place / "checkpoint")
    for row, points in kept.items():
        found = []
        for case, inputs, _ in by_hand.cases(place, "refcoco+/unc", "testA"):
            boxes = Letterbox.of(inputs["letterbox"][0]).boxes_to_original(torch.tensor(tiles.tiles()))
            found.append(any(iou(boxes[point].tolist(), case["bbox"]) > 0.5 for point in points))
        figure = value(table, row, "refcoco+/unc testA")
        assert (figure.value, figure.cases) == (pytest.approx(sum(found) / len(found)), len(found))
    shares = [value(table, row, "refcoco+/unc testA").value for row in ("Mask R-CNN", "FCOS-P5")]
    assert 0 < shares[0] < shares[1]
    assert value(table, "FCOS-P5", "refcoco/unc testB").paper == 97.43
    assert "(masks)" in value(table, "SOLO", "refcoco/unc val").note
    before = {path: path.stat().st_mtime_ns for path in (place / "tables/recall").iterdir()}
    assert table1.measured([*detectors, "--canvas", "128", *options(place)]).figures == table.figures
    assert {path: path.stat().st_mtime_ns for path in (place / "tables/recall").iterdir()} == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["x"], "give NAME SOURCE NUMBER"),
        (["x", "y", "none"], "none proposals: give a number such as 100, or all"),
        (["x", "y", "all", "2"], "quality 2: give a number from 0 to 1"),
    ],
)
def test_rows_that_say_no_detector_are_refused(words, message):
    with pytest.raises(ValueError, match=message):
        table1.row_of(words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["A"], "give a name of its own"),
        (["A", "refcoco"], "give SET=CHECKPOINT"),
        (["A", "refcocoX=y"], "not a known data set"),
    ],
)
def test_rows_without_checkpoints_are_refused(place, words, message):
    with pytest.raises(ValueError, match=message):
        table2.measured(["--row", *words, *of_checkpoints(place)])
