"""Frames of a video with answers drawn on them."""

import sys

import numpy as np
import pytest
import supervision as sv
from checkpoints import tiny_box_detector, tiny_mask_detector, tiny_model, tiny_processor
from transformers import pipeline

from pbrec_hf.app.video import Annotator

TEXTS = ["left dog", "the girl"]


@pytest.fixture(scope="module")
def pipe():
    processor = tiny_processor(box_detector=tiny_box_detector(), mask_detector=tiny_mask_detector())
    return pipeline("referring-expression", model=tiny_model(), processor=processor)


@pytest.fixture(scope="module")
def frame():
    return np.random.default_rng(0).integers(0, 256, (90, 160, 3), dtype=np.uint8)


def test_detections_are_the_answers_of_the_pipeline(pipe, frame):
    found = Annotator(pipe, TEXTS, referents="any", threshold=0.006).detections(frame)
    expected = pipe(frame[..., ::-1].copy(), TEXTS, referents="any", threshold=0.006, return_masks=True)
    flat = [answer for answers in expected for answer in answers]
    assert len(found) == len(flat) > 2 and found.data["class_name"].tolist() == [one["label"] for one in flat]
    assert found.class_id.tolist() == [TEXTS.index(one["label"]) for one in flat]
    assert np.allclose(found.xyxy, [list(one["box"].values()) for one in flat])
    assert np.allclose(found.confidence, [one["score"] for one in flat])
    assert np.array_equal(found.mask, np.stack([np.asarray(one["mask"]) > 0 for one in flat]))


def test_a_video_is_annotated(pipe, frame, tmp_path):
    source, target = str(tmp_path / "in.mp4"), str(tmp_path / "out.mp4")
    info = sv.VideoInfo(width=160, height=90, fps=5, total_frames=3)
    with sv.VideoSink(source, info) as sink:
        for shift in range(3):
            sink.write_frame(np.roll(frame, 10 * shift, axis=1))
    annotate = Annotator(pipe, TEXTS)
    sv.process_video(source, target, callback=annotate)
    drawn = list(sv.get_video_frames_generator(target))
    assert len(drawn) == 3 and drawn[0].shape == frame.shape
    alone = annotate(frame, 0)
    assert alone.shape == frame.shape and (alone != frame).any()


def test_a_frame_without_answers_stays_as_it_is(pipe, frame):
    annotate = Annotator(pipe, TEXTS, masks=False, threshold=1.0)
    assert np.array_equal(annotate(frame), frame) and len(annotate.detections(frame)) == 0


def test_what_is_wrong_is_named(pipe, monkeypatch):
    for wrong in ("dog", []):
        with pytest.raises(ValueError, match="give a list of one or more"):
            Annotator(pipe, wrong)
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(ImportError, match=r"pip install 'pbrec_hf\[supervision\]'"):
        Annotator(pipe, TEXTS)
