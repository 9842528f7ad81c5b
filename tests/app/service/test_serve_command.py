"""`pbrec-hf serve`: its options, and a process that serves until it is interrupted."""

import functools
import signal
import socket
import subprocess
import sys
import time

import httpx
import pytest
from served import question

from pbrec_hf.app.cli import main, parse
from pbrec_hf.app.commands.serve import limits_of
from pbrec_hf.app.service.limits import Limits

SECONDS = 180  # patience with a busy machine


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--queue", "0"], "--queue 0: give a positive number"),
        (["--seconds", "nan"], "--seconds nan: give a positive number"),
        (["--max_upload", "0"], "--max_upload 0: give a number of MiB"),
        (["--label-studio", "--mcp"], "--mcp is for the service: leave out --label-studio"),
        (["--label-studio", "--queue", "3"], "--queue is for the service: leave out --label-studio"),
        (["--threshold", "0.3"], "--threshold is for the ML backend: add --label-studio"),
        (["--precision", "int8"], "precision='int8' with runtime='torch': give one of 'fp32', 'bf16'"),
        (["--label-studio", "--precision", "int8"], "precision='int8' with runtime='torch'"),
        (["--host", "256.0.0.1"], "Port 7860 of 256.0.0.1 cannot be used"),
    ],
)
def test_wrong_options_are_told_before_anything_is_loaded(capsys, checkpoint, arguments, message):
    assert main(["serve", "--model", checkpoint, *arguments]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_options_become_limits():
    options = parse(["serve", "--queue", "3", "--pixels", "2", "--max_upload", "1", "--seconds", "0.5", "--fetch"])
    assert limits_of(options) == Limits(queue=3, pixels=2_000_000, upload=2**20, seconds=0.5, fetch=True)
    assert limits_of(parse(["serve"])) == Limits()


def test_a_process_serves_until_it_is_interrupted(checkpoint):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "pbrec_hf", "serve", "--model", checkpoint, "--port", str(port), "--no_page"]
    # A program that was started in the background may have been told to ignore Ctrl-C, and so its children.
    heed = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, **pipes, text=True, preexec_fn=heed)
    try:
        assert process.stdout.readline() == f"http://127.0.0.1:{port}/ (API: http://127.0.0.1:{port}/docs)\n"
        deadline = time.monotonic() + SECONDS
        while True:
            assert process.poll() is None and time.monotonic() < deadline
            try:
                assert httpx.get(f"http://127.0.0.1:{port}/health", timeout=SECONDS).json()["model"] == checkpoint
                break
            except httpx.ConnectError:
                time.sleep(0.1)
        answer = httpx.post(f"http://127.0.0.1:{port}/v1/ground", json=question(), timeout=SECONDS)
        assert answer.status_code == 200 and answer.json()["results"][0]["expression"] == "left dog"
        assert main(["serve", "--model", checkpoint, "--port", str(port)]) == 2  # it is taken
        process.send_signal(signal.SIGINT)
        process.wait(SECONDS)
        assert process.returncode == 130 and "Traceback" not in process.stderr.read()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()
