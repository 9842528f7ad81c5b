"""Programs in processes of their own, forked off one that has imported the libraries, but not the package.

Importing the libraries takes ten seconds of a core. A test of starting itself, or of variables that libraries read
while they are imported, starts Python anew instead.
"""

import atexit
import json
import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from places import ROOT

TENSORS = ("torch", "torchvision")
LIBRARIES = (*TENSORS, "scipy.optimize", "transformers.pipelines", "transformers.processing_utils")

# Its children leave `programs` with what they run, which then is all that is on their stack.
_SERVER = """
import importlib, json, os, sys
def programs():
    for line in sys.stdin:
        asked = json.loads(line)
        child = os.fork()
        if not child:
            for number, name in enumerate((os.devnull, asked["stdout"], asked["stderr"])):
                os.dup2(os.open(name, os.O_RDWR | os.O_CREAT), number)
            sys.stdin = open(0, closefd=False)
            os.chdir(asked["cwd"])
            sys.argv = ["-c", *asked["arguments"]]
            return asked["code"]
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
    sys.exit()
for library in sys.argv[1:]:
    importlib.import_module(library)
exec(programs(), {"__name__": "__main__"})
"""


def run(code: str, *arguments, cwd=None, imported: tuple[str, ...] = LIBRARIES) -> subprocess.CompletedProcess:
    """What `python -c code arguments…` says and returns, without the time that imports of `imported` take."""
    asked = [str(argument) for argument in arguments]
    if not hasattr(os, "fork"):
        command = [sys.executable, "-c", code, *asked]
        return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    server = _server(imported)
    with tempfile.TemporaryDirectory() as folder:
        said = {name: str(Path(folder, name)) for name in ("stdout", "stderr")}
        request = {"code": code, "arguments": asked, "cwd": str(cwd or Path.cwd()), **said}
        print(json.dumps(request), file=server.stdin, flush=True)
        returned = server.stdout.readline()
        assert returned, f"the process that has imported {', '.join(imported)} ended: what it said stands above"
        texts = {name: Path(path).read_text(encoding="utf-8") for name, path in said.items()}
    return subprocess.CompletedProcess(asked, int(returned), **texts)


def run_script(path: str, *arguments, cwd=None) -> subprocess.CompletedProcess:
    """The same of a script of the repository; `path` is relative to it."""
    code = "import runpy, sys\ndel sys.argv[0]\nrunpy.run_path(sys.argv[0], run_name='__main__')"
    return run(code, ROOT / path, *arguments, cwd=cwd)


@cache
def _server(imported: tuple[str, ...]) -> subprocess.Popen:
    command = [sys.executable, "-c", _SERVER, *imported]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    atexit.register(server.communicate)
    return server
