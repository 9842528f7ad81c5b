"""Predictions, their file, their scores, and the cache of proposals."""

import pytest
import torch
from checkpoints import tiny_box_detector, tiny_mask_detector, tiny_model, tiny_processor
from refer_folders import write_refer_folder
from training_data import write_data

from pbrec_hf.data.collator import PbrecCollator
from pbrec_hf.data.referents import referent_columns, referents_of
from pbrec_hf.training.build import load_rows
from pbrec_hf.training.evaluation import predict
from pbrec_hf.training.precompute import fill_caches
from pbrec_hf.training.predictions import read_predictions, write_predictions
from pbrec_hf.training.proposal_cache import ProposalCache, filled_caches, image_hash, open_caches
from pbrec_hf.training.scores import score


@pytest.fixture(scope="module")
def processor():
    return tiny_processor(box_detector=tiny_box_detector(), mask_detector=tiny_mask_detector())


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return load_rows(str(write_data(tmp_path_factory.mktemp("data"), pictures=5, expressions=2, masks=True)))


@pytest.fixture(scope="module")
def predictions(processor, rows):
    return predict(tiny_model(), processor, rows, batch_size=2)


def test_every_expression_is_answered_once(predictions, rows):
    assert [(entry["row"], entry["index"]) for entry in predictions] == [(r, i) for r in range(5) for i in range(2)]
    for entry in predictions:
        assert entry["expression"] == rows[entry["row"]]["expressions"][entry["index"]]["expression"]
        assert [mask["size"] for mask in entry["masks"]] == [[56, 64]]
        (left, top, right, bottom), *more = entry["boxes"]
        assert not more and entry["scores"] == entry["raw_scores"] and entry["exists"] is None
        assert 0 <= left < right <= 64 and 0 <= top < bottom <= 56


@pytest.mark.parametrize("task", ["grounding", "segmentation"])
def test_a_point_hits_any_of_several_referents(processor, tmp_path, task):
    """The best point of each expression, against the targets of its referents one by one."""
    refer_dir, image_dir = write_refer_folder(tmp_path, "grefcoco/unc")
    rows = load_rows(dataset="grefcoco", refer_dir=str(refer_dir), image_dir=str(image_dir))
    name = {"grounding": "centerness_labels", "segmentation": "massness_labels"}[task]
    seen = set()
    for seed in range(4):
        model = tiny_model(tasks=[task], seed=seed)
        collator = PbrecCollator.for_model(model.config, processor.image_processor, processor.tokenizer)
        said = predict(model, processor, rows, batch_size=3, oracles=False)
        hits = {(entry["row"], entry["index"]): entry["point_hit"] for entry in said}
        for number, row in enumerate(rows):
            output = model(**{key: value for key, value in collator([row]).items() if torch.is_tensor(value)})
            best = (output.center_logits if task == "grounding" else output.mass_logits).argmax(dim=1)
            size = (row["height"], row["width"])
            for index, sentence in enumerate(row["expressions"]):
                alone = [sentence | referent_columns([box], [mask], *size) for box, mask in referents_of(sentence)]
                own = [collator([row | {"expressions": [one]}])[name][0, best[index]].item() > 0 for one in alone]
                assert hits[number, index] is (any(own) if own else None)
                seen.add((len(own), hits[number, index]))
    assert {(0, None), (1, True), (1, False), (2, True), (2, False)} == seen


def test_pictures_together_are_as_pictures_alone(predictions, processor, rows):
    alone = predict(tiny_model(), processor, rows, batch_size=1)
    for one, other in zip(alone, predictions, strict=True):
        assert one["scores"] == pytest.approx(other["scores"], abs=1e-5)
        assert one["boxes"][0] == pytest.approx(other["boxes"][0], abs=1e-2)


def test_a_file_scores_as_its_run(predictions, rows, tmp_path):
    digest = write_predictions(tmp_path / "p.jsonl", predictions)
    again = read_predictions(tmp_path / "p.jsonl")
    assert again == predictions
    scores = score(predictions, rows)
    assert score(again[::-1], rows) == scores
    assert write_predictions(tmp_path / "q.jsonl", again) == digest
    assert scores["count"] == 10
    for name in ("accuracy@0.5", "overall_iou", "mask_mean_iou", "point_hit", "box_oracle@0.5", "mask_oracle"):
        assert 0 <= scores[name] <= 1, name
    assert scores["box_oracle@0.5"] >= scores["accuracy@0.5"]
    assert scores["mask_oracle"] >= scores["mask_mean_iou"]


def test_perfect_answers_score_one(predictions, rows):
    perfect = [entry | {"boxes": [rows[entry["row"]]["expressions"][entry["index"]]["bbox"]]} for entry in predictions]
    assert score(perfect, rows)["accuracy@0.9"] == 1


def test_predictions_of_other_data_are_refused(predictions, rows, tmp_path):
    with pytest.raises(ValueError, match="No prediction"):
        score(predictions[1:], rows)
    with pytest.raises(ValueError, match="more than one"):
        score([*predictions, predictions[0]], rows)
    with pytest.raises(ValueError, match="No prediction"):
        score([predictions[0] | {"expression": "another"}, *predictions[1:]], rows)
    (tmp_path / "p.jsonl").write_text("{}\n")
    with pytest.raises(ValueError, match="line 1"):
        read_predictions(tmp_path / "p.jsonl")


@pytest.fixture(scope="module")
def filled(processor, rows, tmp_path_factory):
    folder = tmp_path_factory.mktemp("proposals")
    assert fill_caches(open_caches(folder, processor), processor, rows, batch_size=2, pictures_per_file=2) == 5
    return folder


def test_the_cache_gives_what_the_detectors_give(filled, processor, rows, predictions):
    caches = open_caches(filled, processor)
    assert predict(tiny_model(), processor, rows, batch_size=2, caches=caches) == predictions


def test_filling_goes_on_where_it_stopped(filled, processor, rows, tmp_path):
    assert fill_caches(open_caches(filled, processor), processor, rows) == 0
    parts = sorted((filled / "boxes").iterdir())
    parts[0].rename(parts[0].with_suffix(".partial-1"))
    held = len(ProposalCache(filled / "boxes", processor.box_detector, processor.image_processor))
    assert fill_caches(open_caches(filled, processor), processor, rows) == 5 - held > 0
    assert len(open_caches(filled, processor)["boxes"]) == 5


def test_shares_fill_the_whole(processor, rows, tmp_path):
    added = [fill_caches(open_caches(tmp_path, processor), processor, rows, (index, 2)) for index in range(2)]
    assert sum(added) == 5
    assert len(open_caches(tmp_path, processor)["masks"]) == 5


def test_more_processes_than_pictures_fill_the_whole(processor, rows, tmp_path):
    few = rows.select([0, 1])
    caches = {"boxes": open_caches(tmp_path, processor)["boxes"]}
    assert sum(fill_caches(caches, processor, few, (index, 3)) for index in range(3)) == 2


def test_what_no_cache_holds_is_left_to_its_detector(processor, rows, predictions, tmp_path):
    with pytest.raises(ValueError, match="no proposals in"):
        filled_caches(tmp_path, processor)
    fill_caches({"boxes": open_caches(tmp_path, processor)["boxes"]}, processor, rows)
    assert not (tmp_path / "masks").exists()
    caches = filled_caches(tmp_path, processor)
    assert caches.keys() == {"boxes"}
    found = predict(tiny_model(), processor, rows, batch_size=2, caches=caches)
    # The last digit of a sum may depend on where in memory its terms lie.
    near = ("scores", "raw_scores")
    expected = [entry | {name: pytest.approx(entry[name], rel=1e-5) for name in near} for entry in predictions]
    assert found == expected


def test_another_detector_or_picture_is_an_error(filled, processor, tmp_path):
    with pytest.raises(ValueError, match="another detector"):
        ProposalCache(filled / "boxes", tiny_box_detector(seed=1), processor.image_processor)
    with pytest.raises(ValueError, match="hash"):
        open_caches(filled, processor)["boxes"].get([image_hash({"bytes": b"new", "path": None})])
    (tmp_path / "x.parquet").write_bytes(b"damaged")
    with pytest.raises(ValueError, match="not a file of proposals"):
        ProposalCache(tmp_path, processor.box_detector, processor.image_processor)


def test_evaluation_leaves_the_generator_of_dropout_alone(processor, rows):
    model = tiny_model()
    state = torch.get_rng_state()
    predict(model, processor, rows.select([0]))
    assert torch.equal(torch.get_rng_state(), state)
