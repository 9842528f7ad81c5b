"""One process and two train and validate alike, whichever kind of detector proposes."""

import json

import pytest
from checkpoints import tiny_model, tiny_processor
from open_vocabularies import tiny_detector
from tiny_detectors import save_network
from training_data import tiny_config, write_data
from training_runs import run, train_and_record

from pbrec_hf import PbrecProcessor, PretrainedDetector


def of_a_set(folder):
    return PretrainedDetector.wrap(save_network(folder / "network", "detection", "conditional_detr"), top_n=20)


def of_words(folder):
    return tiny_detector(ask="expression", top_n=8)


@pytest.mark.parametrize("make", [of_a_set, of_words])
def test_one_process_and_two_train_and_validate_alike(make, tmp_path):
    detector = make(tmp_path)
    tiny_model(dropout=0.0, attention_dropout=0.0).save_pretrained(tmp_path / "start")
    tiny_processor(box_detector=detector).save_pretrained(tmp_path / "start")
    data = write_data(tmp_path / "data", pictures=4, expressions=2)
    scores = []
    for processes in (1, 2):
        out = tmp_path / str(processes)
        config = tiny_config(tmp_path / "start", data, out, epochs=1, validation_data=str(data), augment=False)
        run(train_and_record, config, processes, processes=processes)
        lines = map(json.loads, (out / "log.jsonl").read_text().splitlines())
        scores += [line for line in lines if any("accuracy@0.5" in name for name in line)]
    assert len(scores) == 2 and scores[0].keys() == scores[1].keys()
    assert scores[0] == pytest.approx(scores[1], abs=1e-4)
    last = PbrecProcessor.from_pretrained(tmp_path / "2" / "last").box_detector
    assert type(last) is type(detector) and last.config.top_n == detector.config.top_n
