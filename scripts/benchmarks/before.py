"""pbrec-mt-small as an older commit answers, in a process of its own, to be timed against today's in turns.

The commit's files come from the history of this repository, into a temporary folder. Without git or without the
commit, as in a shallow clone or an archive, there is nothing to compare with.
"""

import io
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from types import TracebackType

COMMIT = "e8dd132"
ROOT = Path(__file__).parents[2]
_PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
import torch
import pbrec_hf
assert pbrec_hf.__file__.startswith(sys.argv[1]), pbrec_hf.__file__
torch.set_num_threads(int(sys.argv[2]))
grounder = pbrec_hf.Grounder()
print("ready", flush=True)
for line in sys.stdin:
    path, expression = line.rstrip("\\n").split("\\t")
    grounder(path, [expression])
    print("answered", flush=True)
"""


class Before:
    """A context; `answer` asks the older commit and waits.

    Raises:
        LookupError: the history does not have the commit.
        RuntimeError: the older commit does not run with the libraries of today.
    """

    def __init__(self, threads: int, commit: str = COMMIT):
        self._folder = tempfile.TemporaryDirectory()
        command = ["git", "archive", "--format=tar", commit, "pbrec_hf"]
        try:
            done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
        except FileNotFoundError as error:
            raise LookupError("git is not installed, so there is no older commit to compare with") from error
        if done.returncode:
            raise LookupError(f"no commit {commit} here: run this in a full clone (git fetch --unshallow)")
        with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
            archive.extractall(self._folder.name, filter="data")
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, self._folder.name, str(threads)],
            cwd=self._folder.name,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def __enter__(self) -> "Before":
        self._wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()
        self._folder.cleanup()

    def answer(self, path: object, expression: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{path}\t{expression}\n")
        self._process.stdin.flush()
        self._wait()

    def _wait(self) -> None:
        assert self._process.stdout is not None
        if not self._process.stdout.readline():
            raise RuntimeError("the older commit does not run with the installed libraries")
