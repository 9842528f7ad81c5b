"""What a command of a page is checked for: that it runs or, where that takes a GPU, a network or hours, is understood.

Verbs run in this process. Everything that a page may ask a shell for is here; another program is an error of the test.
"""

import argparse
import io
import json
import re
import subprocess
import sys
from configparser import ConfigParser
from importlib import import_module
from pathlib import Path

from places import ROOT

from pbrec_hf.app.cli import main, parse

# Why a verb with such arguments is only parsed.
PARSED = {
    r"^(convert|data) ": "needs files of others",
    r"^push ": "tests/hub/test_publishing.py runs it",
    r"^serve": "serves until it is stopped",
    r"--dataset (hub:|g?refcoco)|--config pbrec": "needs data of others; tests/training and tests/app have stand-ins",
    r"--engine ray|https://": "needs a cluster or the network",
    r"^recall (torchvision:|PekingU)": "needs weights of others",
    r"--rescore FILE": "names no file",
}
# What makes a command short, appended to it.
SHORT = {
    "scenes": ["--train", "6", "--held_out", "4"],
    "train": ["--epochs", "1", "--num_workers", "0", "--trackers", "none"],
    "evaluate": ["--num_workers", "0"],
    "calibrate": ["--num_workers", "0"],
    "recall": ["--cpu"],
}
# Programs of others, and why nothing more is checked.
FOREIGN = {
    "docker": "tests/test_dockerfile.py checks what it reads; CI builds the image",
    "git": "makes releases",
    "twine": "uploads",
    "hf": "logs in",
    "pre-commit": "writes into the clone",
    "mkdocs": "tests/docs/test_site.py builds the site",
    "mypy": "checks the clone",
    "ruff": "checks the clone",
    "rm": "removes",
    "source": "is the shell's",
    "uv": "measures a size",
}


SERVED = None  # address of the service that stands in for the one at 127.0.0.1:7860


def run(command: list[str], monkeypatch) -> None:
    """Run or check one command in the current folder; raises AssertionError."""
    command = [word for word in command if not re.fullmatch(r"[A-Z_]+=\S*", word)]  # the environment
    if "|" in command:
        left, right = command[: command.index("|")], command[command.index("|") + 1 :]
        given = subprocess.run(left, capture_output=True, check=True).stdout
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
        command = right
    program, arguments = command[0], command[1:]
    if program == "pbrec-hf":
        _verb(arguments)
    elif program == "accelerate":
        _accelerate(arguments)
    elif program in ("python", "python3"):
        _python(arguments, monkeypatch)
    elif program == "bash":
        subprocess.run(["bash", "-n", ROOT / arguments[0]], check=True)
    elif program == "pip":
        _pip(arguments)
    elif program == "curl":
        answer = subprocess.run(_served(command), capture_output=True, check=True).stdout
        assert "results" in json.loads(answer), answer
    elif program == "pytest":
        assert all((ROOT / path).exists() for path in arguments), arguments
    elif program not in FOREIGN:
        path = Path(program).name
        assert path in ("pip", "pbrec-hf"), f"{program}: say in tests/support/page_commands.py what it is checked for"


def _served(words: list[str]) -> list[str]:
    return [word.replace("http://127.0.0.1:7860", str(SERVED)) for word in words] + ["--silent", "--fail"]


def _verb(arguments: list[str]) -> None:
    line = " ".join(arguments)
    if any(re.search(pattern, line) for pattern in PARSED):
        parse(arguments)
        return
    status = main([*arguments, *_short(arguments)])
    # `ground` and `overfit` have 1 for a negative answer.
    assert status in ((0, 1) if arguments[0] == "ground" else (0,)), f"pbrec-hf {line}: exit status {status}"


def _short(arguments: list[str]) -> list[str]:
    return SHORT.get(arguments[0], [])


def _accelerate(arguments: list[str]) -> None:
    """Several processes and GPUs: the arguments are parsed."""
    assert arguments[0] == "launch"
    place = arguments.index("-m")
    options = arguments[1:place]
    if "--config_file" in options:
        assert Path(options[options.index("--config_file") + 1]).is_file(), options
    assert arguments[place + 1] == "pbrec_hf"
    parse(arguments[place + 2 :])


class _Understood(Exception):
    pass


def _python(arguments: list[str], monkeypatch) -> None:
    if arguments[0] == "-m":
        module, rest = arguments[1], arguments[2:]
        if module == "pbrec_hf":
            _verb(rest)
        elif module.startswith("scripts."):
            _understood(module, rest, monkeypatch)
        else:
            assert module in ("venv", "build", "pytest"), module
        return
    script, rest = ROOT / arguments[0], arguments[1:]
    text = script.read_text(encoding="utf-8")
    if found := re.search(r'run_script\("(\w+)"', text):
        _verb([found[1], *rest])
    elif found := re.search(r'run_program\("([\w.]+)"', text):
        if found[1] == "app.figure4":
            import_module("pbrec_hf.app.figure4").drawn(rest)
        else:
            _understood(f"pbrec_hf.{found[1]}", rest, monkeypatch)
    else:
        compile(text, str(script), "exec")
        options = {word for word in rest if word.startswith("--")}
        assert all(option in text for option in options), f"{script.name} knows none of {sorted(options)}"


def _understood(module: str, arguments: list[str], monkeypatch) -> None:
    """Its `main` parses the arguments; nothing else happens."""
    parse_args = argparse.ArgumentParser.parse_args

    def stop(parser, *given, **options):
        parse_args(parser, *given, **options)
        raise _Understood

    monkeypatch.setattr(sys, "argv", [module, *arguments])
    with monkeypatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", stop)
        try:
            import_module(module).main()
        except _Understood:
            return
    raise AssertionError(f"{module} parses no arguments.")


def _pip(arguments: list[str]) -> None:
    assert arguments[0] == "install"
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    for extras in re.findall(r"\[(.*?)\]", " ".join(arguments)):
        assert set(extras.split(",")) <= set(setup["options.extras_require"]), arguments
