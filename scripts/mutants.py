"""Mutation testing: how many small faults, put into the rooms that compute, do the tests notice?

    pip install -e '.[test,mutation]'
    python scripts/mutants.py                                        # 300 mutants of four rooms
    python scripts/mutants.py --rooms selection --sample 100 --seed 1 --jobs 4

A mutant is the package with one change by an operator of cosmic-ray, such as `<` → `<=` or 2 → 3. A seed draws the
sample from all mutants of the rooms, without those that cannot run (they do not compile, or are in an annotation,
where `int | None` → `int + None` fails at import) and those that change nothing (the same syntax tree). The tests of
the mutant's room and of those that use it (`TESTS`) then run in a copy of the checkout: a failure kills the mutant. A
test run that takes too long does, too. What survives is printed: a test is missing, the code says too much, or the
mutant is equivalent.

Results are written after every mutant; the same command goes on from there, unless code or tests are different. Every
mutant runs in a process forked from one that has loaded the libraries, but nothing of this package (Linux only).
"""

import argparse
import ast
import contextlib
import difflib
import hashlib
import importlib
import importlib.util
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

# Libraries read these when they are imported. One thread: a process with more cannot fork safely.
os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

CHECKOUT = Path(__file__).resolve().parent.parent
PACKAGE = "pbrec_hf"
# The tests that a mutant of a room meets, quick ones first: its own, then those of the rooms that use it.
TESTS = {
    "geometry": ("tests/geometry", "tests/comprehension", "tests/selection", "tests/test_image_processing.py"),
    "comprehension": ("tests/comprehension", "tests/test_modeling.py"),
    "selection": ("tests/selection",),
    "detectors": ("tests/detectors",),
}
# Parts of names of tests that start Python, ask for a Hub or build the full-size network: slow, or nothing for a fork.
LEFT_OUT = (
    "test_a_process", "runs_only_if_it_is_trusted", "its_code_is_saved", "a_folder_with_code", "rt_detr_and_sam",
    "a_hub_id_and_a_revision", "three_optimizer_steps",
)  # fmt: skip
PATIENCE = 30.0  # seconds that a test run may take beyond three times that of the unchanged code
MEMORY = 12 * 2**30  # bytes of address space for a test run
SURVIVED, KILLED, TIMEOUT = "survived", "killed", "timeout"


@dataclass(frozen=True)
class Mutant:
    """One change: `occurrence` numbers the places in `file` where `operator` applies; `code` is the changed file."""

    room: str
    file: str
    line: int
    operator: str
    occurrence: int
    diff: str
    code: str

    @property
    def key(self) -> tuple[str, int, str]:
        """What tells one mutant from another, in any state of the tests."""
        return self.file, self.line, self.diff


@dataclass
class Run:
    """A test run, and the file to restore after it (None = nothing was changed)."""

    pid: int
    copy: Path
    started: float
    limit: float
    restore: tuple[Path, str] | None = None
    ended: bool = False


def draw(root: Path, rooms: Iterable[str], sample: int, seed: int) -> list[Mutant]:
    """`sample` mutants of the rooms of the checkout `root`, in random order; all of them, if there are fewer."""
    from cosmic_ray.commands.init import init
    from cosmic_ray.work_db import use_db

    files = [path for room in sorted(rooms) for path in sorted((root / PACKAGE / room).glob("*.py"))]
    with tempfile.TemporaryDirectory() as folder, use_db(Path(folder) / "mutants.sqlite") as database:
        init(files, database, {})
        found = [item.mutations[0] for item in database.work_items]
    sources = {path: path.read_text(encoding="utf-8") for path in files}
    annotations = {path: _annotations(source) for path, source in sources.items()}
    found = [
        spec for spec in found if not any(a <= spec.start_pos < b for a, b in annotations[Path(spec.module_path)])
    ]
    found.sort(key=lambda spec: (str(spec.module_path), spec.operator_name, spec.occurrence))
    random.Random(seed).shuffle(found)
    mutants: list[Mutant] = []
    for spec in found:
        if len(mutants) == sample:
            break
        path = Path(spec.module_path)
        code = _mutated(sources[path], spec.operator_name, spec.occurrence)
        if code is not None:
            room, file = path.parent.name, str(path.relative_to(root))
            diff = _diff(sources[path], code, file)
            mutants.append(Mutant(room, file, spec.start_pos[0], spec.operator_name, spec.occurrence, diff, code))
    return mutants


def _mutated(source: str, operator: str, occurrence: int) -> str | None:
    """The changed file; None if it does not compile, or means the same."""
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator

    code: str | None = mutate_code(source, get_operator(operator)(), occurrence)
    try:
        with warnings.catch_warnings(action="ignore", category=SyntaxWarning):
            if code is None or ast.dump(ast.parse(code)) == ast.dump(ast.parse(source)):
                return None
            compile(code, "mutant", "exec")
    except SyntaxError:
        return None
    return code


def _annotations(source: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Start and end (line, column) of every annotation."""
    nodes: list[ast.expr | None] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.arg, ast.AnnAssign)):
            nodes.append(node.annotation)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            nodes.append(node.returns)
    return [
        ((node.lineno, node.col_offset), (node.end_lineno or 0, node.end_col_offset or 0)) for node in nodes if node
    ]


def _diff(source: str, code: str, file: str) -> str:
    lines = difflib.unified_diff(source.splitlines(), code.splitlines(), file, file, n=0, lineterm="")
    return "\n".join(line for line in list(lines)[2:] if not line.startswith("@@"))


def tracked_files(checkout: Path) -> list[Path]:
    """Files of the checkout, relative to it: those that git tracks, or would."""
    command = ["git", "-C", str(checkout), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")
    return [Path(name) for name in sorted(set(names)) if name and (checkout / name).is_file()]


def fingerprint(checkout: Path, files: Iterable[Path]) -> str:
    """A digest of the code and tests, without this script: results are those of one state."""
    digest = hashlib.sha256()
    for file in files:
        if file.suffix == ".py" and file.parts[0] in (PACKAGE, "tests"):
            digest.update(str(file).encode() + b"\0" + (checkout / file).read_bytes())
    return digest.hexdigest()[:16]


def copy_checkout(files: Iterable[Path], target: Path) -> Path:
    """A copy of the checkout whose bytecode is trusted only after a comparison of the sources."""
    for file in files:
        (target / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(CHECKOUT / file, target / file)
    # Two versions of a file, written within a second, may have one size and one time.
    command = [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "checked-hash", str(target / PACKAGE)]
    subprocess.run(command, check=True)
    return target


def load_libraries(copy: Path) -> None:
    """Import what the tests import, except what is in the copy, so that no test run needs to do it again."""
    every = dict.fromkeys(path for paths in TESTS.values() for path in paths)
    finish(start(copy, [["--collect-only", *every]], 600.0))
    for name in json.loads((copy / "modules.json").read_text()):
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    if PACKAGE in sys.modules or threading.active_count() > 1:
        raise SystemExit(f"The parent of all test runs must have neither {PACKAGE} nor threads.")


def start(copy: Path, runs: list[list[str]], limit: float, mutant: Mutant | None = None) -> Run:
    """Fork: pytest in `copy` with each of these arguments until a test fails; a `mutant` is in place until it ends."""
    restore = None
    if mutant is not None:
        path = copy / mutant.file
        restore = (path, path.read_text(encoding="utf-8"))
        path.write_text(mutant.code, encoding="utf-8")
    for name in ("first_failure.txt", "modules.json"):
        (copy / name).unlink(missing_ok=True)
    pid = os.fork()
    if pid == 0:
        code = 3
        try:
            code = _child(copy, runs, keep_bytecode=mutant is None)
        finally:
            os._exit(code)
    return Run(pid, copy, time.monotonic(), limit, restore)


def _child(copy: Path, runs: list[list[str]], keep_bytecode: bool) -> int:
    import pytest

    os.setsid()
    output = os.open(copy / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(copy)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    sys.dont_write_bytecode = not keep_bytecode
    sys.path[:] = [str(copy), *(path for path in sys.path if Path(path or ".").resolve() != CHECKOUT / "scripts")]
    os.environ.update(PYTHONPATH=str(copy), PYTHONDONTWRITEBYTECODE="1")
    importlib.invalidate_caches()
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not str(spec.origin).startswith(str(copy)):
        raise SystemExit(f"{PACKAGE} would be imported from {spec and spec.origin}, not from {copy}.")

    class Recorder:
        """Keeps the first test that fails, and which modules the tests need."""

        def pytest_runtest_logreport(self, report: pytest.TestReport | pytest.CollectReport) -> None:
            if report.failed and not (copy / "first_failure.txt").exists():
                (copy / "first_failure.txt").write_text(report.nodeid)

        pytest_collectreport = pytest_runtest_logreport  # a test module that cannot be imported

        def pytest_sessionfinish(self) -> None:
            files = {name: getattr(module, "__file__", None) for name, module in list(sys.modules.items())}
            names = [name for name, file in files.items() if file and not str(file).startswith(str(copy))]
            (copy / "modules.json").write_text(json.dumps(names))

    # The profile draws the same examples in every run and keeps none for the next.
    options = ["-x", "-q", "-p", "no:cacheprovider", "--hypothesis-profile=ci"]
    options += ["-k", f"not ({' or '.join(LEFT_OUT)})"]
    for some in runs:
        code = int(pytest.main([*options, *some], plugins=[Recorder()]))
        if code:
            return code
    return 0


def outcome(run: Run) -> str | None:
    """How a test run ended, with the file restored; None = it has not."""
    pid, status = os.waitpid(run.pid, os.WNOHANG)
    result = None
    if pid == run.pid:
        run.ended = True
        code = os.waitstatus_to_exitcode(status)
        # 0 = all passed; 1 = a test failed; 2 = a test could not be imported; below 0 = the process crashed.
        if code in (3, 4, 5):
            raise SystemExit(f"pytest could not run ({code}):\n{(run.copy / 'output.txt').read_text()[-3000:]}")
        result = SURVIVED if code == 0 else KILLED
    elif time.monotonic() - run.started > run.limit:
        stop(run)
        result = TIMEOUT
    if result is not None and run.restore is not None:
        run.restore[0].write_text(run.restore[1], encoding="utf-8")
    return result


def stop(run: Run) -> None:
    """End a test run, unless it has ended, with all processes that it has started."""
    if not run.ended:
        for kill in (os.killpg, os.kill):  # the group may not exist yet
            with contextlib.suppress(ProcessLookupError):
                kill(run.pid, signal.SIGKILL)
        os.waitpid(run.pid, 0)
        run.ended = True


def finish(run: Run) -> str:
    """Wait for the outcome; an interruption ends the test run, too."""
    try:
        while (result := outcome(run)) is None:
            time.sleep(0.02)
        return result
    finally:
        stop(run)


def run_all(mutants: list[Mutant], copies: list[Path], limits: dict[str, float]) -> Iterator[tuple[Mutant, str, str]]:
    """Mutant, outcome and first failing test, in the order in which the test runs end."""
    waiting, running = list(reversed(mutants)), dict[Path, tuple[Mutant, Run]]()
    try:
        while waiting or running:
            for copy in copies:
                if copy not in running and waiting:
                    mutant = waiting.pop()
                    # The tests of the module itself kill most, before those of other modules are imported.
                    mirror = Path("tests", mutant.room, f"test_{Path(mutant.file).name}")
                    runs = [[str(mirror)]] * (copy / mirror).exists() + [list(TESTS[mutant.room])]
                    running[copy] = (mutant, start(copy, runs, limits[mutant.room], mutant))
            for copy, (mutant, run) in list(running.items()):
                result = outcome(run)
                if result is not None:
                    del running[copy]
                    failed = copy / "first_failure.txt"
                    yield mutant, result, failed.read_text() if failed.exists() else ""
            time.sleep(0.02)
    finally:
        for _, run in running.values():  # interrupted
            stop(run)


def unchanged_seconds(copies: list[Path], rooms: Iterable[str]) -> dict[str, float]:
    """Seconds that the tests of each room take with the unchanged code, which must pass them."""
    seconds = {}
    for room in rooms:
        for copy in copies:  # each, for pytest to write the bytecode of the tests
            began = time.monotonic()
            if finish(start(copy, [list(TESTS[room])], 1800.0)) != SURVIVED:
                raise SystemExit(f"The unchanged code fails:\n{(copy / 'output.txt').read_text()[-3000:]}")
            seconds[room] = time.monotonic() - began
        print(f"{room}: the tests take {seconds[room]:.0f} s", flush=True)
    return seconds


def table(results: list[dict[str, Any]]) -> str:
    """Killed, timed out and survived per room, and the share of mutants that were noticed."""
    lines = ["| room | mutants | killed | timeout | survived | noticed |", "|---|---|---|---|---|---|"]
    rooms = sorted({result["room"] for result in results})
    for name, chosen in [*((room, {room}) for room in rooms), ("all", set(rooms))]:
        counts = Counter(result["outcome"] for result in results if result["room"] in chosen)
        total = sum(counts.values())
        lines.append(
            f"| {name} | {total} | {counts[KILLED]} | {counts[TIMEOUT]} | {counts[SURVIVED]} "
            f"| {1 - counts[SURVIVED] / total:.1%} |"
        )
    return "\n".join(lines)


def earlier_results(path: Path, state: str, survivors: bool) -> dict[tuple[str, int, str], dict[str, Any]]:
    """Results by `Mutant.key`: all those of this state; of another one none, or with `survivors` all but these."""
    if not path.exists():
        return {}
    old = json.loads(path.read_text())
    kept = [one for one in old["results"] if old["state"] == state or (survivors and one["outcome"] != SURVIVED)]
    return {(one["file"], one["line"], one["diff"]): one for one in kept}


def main() -> None:
    parser = argparse.ArgumentParser(description="Share of mutants that the tests notice, and those that survive.")
    parser.add_argument("--sample", type=int, default=300, help="number of mutants")
    parser.add_argument("--seed", type=int, default=0, help="which sample")
    parser.add_argument("--rooms", nargs="+", choices=list(TESTS), default=list(TESTS))
    parser.add_argument("--jobs", type=int, default=2, help="test runs at a time")
    parser.add_argument("--results", type=Path, help="JSON file, mutants-SEED.json by default")
    parser.add_argument(
        "--survivors",
        action="store_true",
        help="after adding tests: run only what survived in --results, and what is new",
    )
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("Stopped; the same command goes on from here."))
    path = options.results or Path(f"mutants-{options.seed}.json")
    began = time.monotonic()
    files = tracked_files(CHECKOUT)
    state = fingerprint(CHECKOUT, files)
    with tempfile.TemporaryDirectory(prefix="pbrec-mutants-") as folder:
        os.environ["HF_HOME"] = folder
        copies = [copy_checkout(files, Path(folder).resolve() / str(job)) for job in range(options.jobs)]
        mutants = draw(copies[0], options.rooms, options.sample, options.seed)
        old = earlier_results(path, state, options.survivors)
        results = [old[mutant.key] for mutant in mutants if mutant.key in old]
        left = [mutant for mutant in mutants if mutant.key not in old]
        if left:
            load_libraries(copies[0])
            seconds = unchanged_seconds(copies, sorted({mutant.room for mutant in left}))
            limits = {room: 3 * value + PATIENCE for room, value in seconds.items()}
            for mutant, result, test in run_all(left, copies, limits):
                record = {name: value for name, value in asdict(mutant).items() if name != "code"}
                results.append({**record, "outcome": result, "test": test})
                path.with_suffix(".part").write_text(json.dumps({"state": state, "results": results}, indent=1))
                path.with_suffix(".part").replace(path)
                print(f"{len(results)}/{len(mutants)} {result} {mutant.file}:{mutant.line} {test}", flush=True)
    print(f"\nSurvivors, seed {options.seed}:\n")
    for one in sorted(results, key=lambda one: (one["file"], one["line"])):
        if one["outcome"] == SURVIVED:
            print(f"{one['file']}:{one['line']} {one['operator'].removeprefix('core/')}\n{one['diff']}\n")
    print(f"{table(results)}\n\n{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
