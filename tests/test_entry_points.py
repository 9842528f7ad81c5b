"""Every public entry point, whoever calls it and wherever: threads, copies, processes, torch's default dtype.

The entry points and their questions are in `support/entry_points.py`.
"""

import copy
import json
import multiprocessing
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from entry_points import ASKED_ELSEWHERE, ENTRY_POINTS, QUESTIONS, answer_all, answers, flat, write_folder
from transformers import pipeline

import pbrec_hf

THREADS = 8
every_entry_point = pytest.mark.parametrize("name", ENTRY_POINTS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("entry_points"))


@pytest.fixture(scope="module")
def made(folder):
    """The object that is asked, by name."""
    return {name: entry_point.make(folder) for name, entry_point in ENTRY_POINTS.items()}


@pytest.fixture(scope="module")
def expected(made):
    return {name: answers(name, asked) for name, asked in made.items()}


def test_no_public_name_is_forgotten():
    asked = {name for entry_point in ENTRY_POINTS.values() for name in entry_point.names}
    assert asked >= set(pbrec_hf.__all__)
    assert {name for name in asked if "." not in name} == set(pbrec_hf.__all__)


def test_questions_have_different_answers(expected):
    alike = {name for name, found in expected.items() if found[1:] == found[:-1]}
    assert alike == {"config", "version"}


@every_entry_point
def test_threads_get_the_answers_to_their_own_questions(name, made, expected):
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(THREADS) as pool:
            numbers = [number % QUESTIONS for number in range(2 * THREADS)]
            found = list(pool.map(lambda number: flat(ENTRY_POINTS[name].ask(made[name], number)), numbers))
    finally:
        sys.setswitchinterval(interval)
    assert [number for number, answer in zip(numbers, found, strict=True) if answer != expected[name][number]] == []


@every_entry_point
@pytest.mark.parametrize("copied", [lambda asked: pickle.loads(pickle.dumps(asked)), copy.deepcopy])
def test_copies_answer_the_same(name, made, expected, copied):
    assert answers(name, copied(made[name])) == expected[name]


def test_a_copy_of_a_processor_moves_alone(made):
    copied = copy.deepcopy(made["processor"]).to(torch.bfloat16)
    assert {detector.dtype for detector in copied.held_detectors.values()} == {torch.bfloat16}
    assert {detector.dtype for detector in made["processor"].held_detectors.values()} == {torch.float32}


def test_a_copied_pipeline_runs_its_shared_detector_once(made):
    model, processor = copy.deepcopy(made["shared"])
    calls = []
    model.model.backbone.detector.register_forward_hook(lambda *_: calls.append(1))
    flat(ENTRY_POINTS["shared"].ask((model, processor), 0))
    assert len(calls) == 1


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_started_processes_answer_the_same(folder, made, expected, method):
    if method not in multiprocessing.get_all_start_methods():
        return  # Windows has no other method than spawn
    context = multiprocessing.get_context(method)
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=answer_all, args=(folder, pickle.dumps(made), send))
    process.start()
    send.close()
    try:
        received, remade = receive.recv()
    finally:
        process.join(60)
    for name, found in expected.items():
        assert received[name] == found[ASKED_ELSEWHERE], name
        assert remade[name] == found[ASKED_ELSEWHERE], name


def test_weights_of_half_precision_stay_so_on_a_processor_without_instructions_for_them(folder, tmp_path):
    """Such weights load as they were saved, unless asked for otherwise, and answer slowly, not differently."""
    whole = pipeline("referring-expression", model=str(folder / "checkpoint"))
    whole.model.to(torch.bfloat16).save_pretrained(tmp_path)
    whole.processor.to(torch.bfloat16).save_pretrained(tmp_path)
    code = (
        "import json, sys, torch\n"
        "from entry_points import ENTRY_POINTS, pipeline\n"
        "print(torch.backends.cpu.get_cpu_capability())\n"
        "for dtype in ('auto', 'float32'):\n"
        "    pipe = pipeline('referring-expression', model=sys.argv[1], dtype=dtype)\n"
        "    print(pipe.model.dtype, json.dumps([ENTRY_POINTS['pipeline'].ask(pipe, n) for n in range(4)]))\n"
    )
    environment = {
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | environment)
    capability, *found = done.stdout.splitlines()[-3:]
    assert capability == "DEFAULT"
    expected = [score(ENTRY_POINTS["pipeline"].ask(whole, number)) for number in range(QUESTIONS)]
    for dtype, line in zip(("torch.bfloat16", "torch.float32"), found, strict=True):
        name, _, answered = line.partition(" ")
        assert name == dtype
        for one, other in zip(json.loads(answered), expected, strict=True):
            assert score(one) == pytest.approx(other, rel=0.02)


def score(found):
    return [answer["score"] for answers in found for answer in answers]


@every_entry_point
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_default_dtype_changes_nothing(name, folder, made, expected, dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        assert answers(name, made[name]) == expected[name]
        assert answers(name, ENTRY_POINTS[name].make(folder)) == expected[name]
        assert torch.get_default_dtype() == dtype
    finally:
        torch.set_default_dtype(before)
