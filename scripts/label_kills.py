"""Label photographs while the process is killed again and again, and compare with a labelling that nobody disturbs.

    python scripts/label_kills.py FOLDER --photographs 500 --kills 5 --out work
    python scripts/label_kills.py FOLDER --photographs 500 --kills 5 --out work --processes 2

Each kill is a SIGKILL at a random number of finished photographs. labels.jsonl and coco.json must be the same byte for
byte, the journal must hold every photograph once, and pycocotools must load the COCO file. With --processes, the same
photographs are labelled by several processes of `accelerate launch`, too. Exit status 1 if anything differs.
"""

import argparse
import contextlib
import io
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

EXPRESSIONS = ("the man on the left", "all the people", "the largest vehicle", "the dog", "the table")
SUFFIXES = (".jpg", ".jpeg", ".png")
SAME = ("labels.jsonl", "coco.json")


def main() -> int:
    """Label, kill, compare; prints what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("folder", type=Path, help="photographs")
    parser.add_argument("--photographs", type=int, default=500, help="how many (default: %(default)s)")
    parser.add_argument("--kills", type=int, default=5, help="how often (default: %(default)s)")
    parser.add_argument("--processes", type=int, default=0, help="also label with so many processes")
    parser.add_argument("--out", type=Path, required=True, help="folder to work in; what it holds is deleted")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    parser.add_argument("--expressions", nargs="+", default=list(EXPRESSIONS))
    parser.add_argument("--threshold", default="0.1", help="of the answers (default: %(default)s)")
    parser.add_argument("--model", help="default: the bundled checkpoint")
    options = parser.parse_args()
    found = sorted(path for path in options.folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    paths = found[: options.photographs]
    if len(paths) < options.photographs:
        parser.error(f"{options.folder} has {len(paths)} photographs, not {options.photographs}.")
    shutil.rmtree(options.out, ignore_errors=True)
    options.out.mkdir(parents=True)
    names = options.out / "photographs.txt"
    names.write_text("".join(f"{path.absolute()}\n" for path in paths), encoding="utf-8")
    arguments = [
        "--pictures",
        str(names),
        "--expressions",
        *options.expressions,
        "--any",
        "--threshold",
        options.threshold,
    ]
    arguments += ["--model", options.model] if options.model else []
    ways = {"unbroken": unbroken, "killed": killed}
    if options.processes:
        ways["several"] = several
    for name, way in ways.items():
        start = time.monotonic()
        way(options, [*arguments, "--out", str(options.out / name)], options.out / name)
        print(f"{name}: {time.monotonic() - start:.0f} s", flush=True)
    equal = [same(options.out, name, len(paths)) for name in ways]
    return int(not all(equal))


def command(*launcher: str) -> list[str]:
    """The start of a command line."""
    return [sys.executable, "-m", *launcher, "pbrec_hf", "label"]


def unbroken(options: argparse.Namespace, arguments: list[str], out: Path) -> None:
    """Label without a kill."""
    finish(command() + arguments)


def killed(options: argparse.Namespace, arguments: list[str], out: Path) -> None:
    """Label, killed at random moments."""
    draw = random.Random(options.seed)
    moments = sorted(draw.sample(range(1, options.photographs), options.kills))
    for moment in moments:
        process = subprocess.Popen(command() + arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while done(out) < moment and process.poll() is None:
            time.sleep(0.005)
        time.sleep(draw.random() * 0.1)  # into the middle of the next photograph
        if process.poll() is not None:
            raise SystemExit(f"the labelling ended by itself with status {process.returncode} before the kill")
        process.send_signal(signal.SIGKILL)
        process.wait()
        print(f"killed with {done(out)} of {options.photographs} photographs done", flush=True)
    finish(command() + arguments)


def several(options: argparse.Namespace, arguments: list[str], out: Path) -> None:
    """Label with several processes."""
    config = Path(__file__).resolve().parents[1] / "hub_configs" / "accelerate" / "multi_cpu.yaml"
    launcher = ("accelerate.commands.launch", "--config_file", str(config), "--num_processes", str(options.processes))
    finish(command(*launcher, "-m") + arguments)
    journals = len(list((out / "journal").iterdir()))
    if journals != options.processes:
        raise SystemExit(f"{journals} processes wrote, not {options.processes}")


def done(out: Path) -> int:
    """Photographs in a journal."""
    return sum(path.read_bytes().count(b"\n") for path in (out / "journal").glob("*.jsonl"))


def finish(line: list[str]) -> None:
    """Run to the end."""
    status = subprocess.run(line, env=os.environ, stdout=subprocess.DEVNULL, check=False).returncode
    if status not in (0, 1):  # 1: some photographs are broken
        raise SystemExit(f"status {status} of {' '.join(line)}")


def same(work: Path, name: str, photographs: int) -> bool:
    """Whether a labelling equals the unbroken one; prints the figures."""
    from pycocotools.coco import COCO

    equal = all((work / name / file).read_bytes() == (work / "unbroken" / file).read_bytes() for file in SAME)
    lines = [line for path in (work / name / "journal").glob("*.jsonl") for line in path.read_bytes().splitlines()]
    keys = [line.split()[1] for line in lines]
    once = len(keys) == len(set(keys)) == photographs
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(work / name / "coco.json"))
    rows = (work / name / "labels.jsonl").read_bytes().count(b"\n")
    told = f"{rows} rows, {len(coco.imgs)} pictures and {len(coco.anns)} annotations loaded by pycocotools"
    print(f"{name}: {told}; each photograph once: {once}; equal to the unbroken one: {equal}", flush=True)
    return equal and once


if __name__ == "__main__":
    sys.exit(main())
