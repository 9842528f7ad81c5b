"""The engine of Ray: the rows of one process, also when a worker is killed in the middle."""

import threading
import time

import numpy as np
import psutil
import pytest
import ray
from checkpoints import save_tiny_checkpoint
from datasets import Dataset, Features, Image, Value
from PIL import Image as Picture

from pbrec_hf.app.cli import main
from pbrec_hf.app.label.journal import Records
from pbrec_hf.app.label.on_ray import OnRay

ASK = ["--expressions", "left dog", "the girl", "--any", "--threshold", "0.0055", "--format", "jsonl"]


@pytest.fixture
def asked(tmp_path):
    """Forty photographs, one of them broken, in a folder and three in a table; and how they are asked."""
    save_tiny_checkpoint(tmp_path / "checkpoint", masks=True)
    folder = tmp_path / "photographs"
    folder.mkdir()
    for number in range(40):
        pixels = np.random.default_rng(number).integers(0, 256, (90, 160, 3), dtype=np.uint8)
        Picture.fromarray(pixels).save(folder / f"{number:02d}.png")
    (folder / "13.png").write_bytes(b"broken")
    cells = [{"path": None, "bytes": (folder / f"{number:02d}.png").read_bytes()} for number in range(3)]
    columns = Features({"image": Image(), "text": Value("string")})
    table = tmp_path / "rows.parquet"
    Dataset.from_dict({"image": cells, "text": ["dog", "car", "girl"]}, features=columns).to_parquet(table)
    return ["label", str(folder), str(table), *ASK, "--model", str(tmp_path / "checkpoint")]


def kill_a_worker(journal, killed):
    """Kill one of Ray's workers as soon as the journal has a line."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and not killed:
        time.sleep(0.02)
        if not journal.is_dir() or not len(Records(journal)):
            continue  # listing all processes takes the time of those that it waits for
        workers = [p for p in psutil.process_iter(["cmdline"]) if "RayLabeller" in " ".join(p.info["cmdline"] or ())]
        if workers:
            workers[0].kill()
            killed.append(workers[0].pid)


def test_a_killed_worker_changes_nothing(asked, tmp_path, capsys):
    assert main([*asked, "--out", str(tmp_path / "here")]) == 1
    killed = []
    killer = threading.Thread(target=kill_a_worker, args=(tmp_path / "ray" / "journal", killed))
    killer.start()
    assert main([*asked, "--out", str(tmp_path / "ray"), "--engine", "ray", "--workers", "2"]) == 1
    killer.join()
    assert killed and not ray.is_initialized()
    here, there = ((tmp_path / name / "labels.jsonl").read_bytes() for name in ("here", "ray"))
    assert here == there and here.count(b"\n") == 2 * 39 + 9
    lines = (tmp_path / "ray" / "journal" / "00000.jsonl").read_bytes().splitlines()
    assert len(lines) == 43 == len({line.split()[1] for line in lines})
    assert capsys.readouterr().out.count("43 photographs: 42 labelled, 1 broken.") == 2


def test_what_is_wrong_is_named(asked, tmp_path, capsys, monkeypatch):
    with pytest.raises(ValueError, match="--workers 0: give a number of at least 1"):
        OnRay(0)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main([*asked, "--out", str(tmp_path / "out"), "--engine", "ray"]) == 2
    assert "leave accelerate launch out" in capsys.readouterr().err
