"""How many requests the service answers on loopback: requests per second, times and memory, by the number of clients.

    python scripts/load_test.py
    python scripts/load_test.py --clients 1 4 16 30 --seconds 20 --together 8
    python scripts/load_test.py --together 1          # without joining requests, to compare

Starts `pbrec-hf serve --no_page` in a process of its own. Every client asks again as soon as it is answered: an upload
of a photograph of the package, with its expressions. Each answer is compared with that of the same question asked
alone. Where other programs run beside it, times say little; the processor time of a request, of all cores, says more.
Exit status 1 if an answer differs, or if a request is answered with anything but 200, or a refusal of its limits.
"""

import argparse
import re
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import psutil

from pbrec_hf.app.demo import demo_photographs

COLUMNS = (
    "clients", "requests/s", "expressions/s", "median, ms", "p95, ms", "photographs per batch", "processor, ms",
    "refused", "late", "MB",
)  # fmt: skip
FULL, LATE = 429, (503, 504)
PATIENCE = 300.0  # seconds for the start, and for an answer
SAME = 0.01  # of a score; a batch rounds differently than a single photograph


def main() -> int:
    """Serve, ask, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16, 30], help="(default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=20, help="of each number of clients (default: %(default)s)")
    parser.add_argument("--together", type=int, default=8, help="photographs of a batch (default: %(default)s)")
    parser.add_argument("--queue", type=int, default=64, help="requests inside (default: %(default)s)")
    parser.add_argument("--masks", action="store_true", help="ask for masks, too")
    parser.add_argument("--model", help="default: the bundled checkpoint")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    questions = demo_photographs()
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}", flush=True)
    wrong = False
    with serving(options) as (address, process), httpx.Client(base_url=address, timeout=PATIENCE) as client:
        alone = [asked(client, question, options.masks) for question in questions]
        for clients in options.clients:
            told = measured(address, process, clients, questions, [answer for _, answer in alone], options)
            print(told.row(clients), flush=True)
            wrong |= bool(told.wrong) or bool(set(told.statuses) - {200, FULL, *LATE})
            if told.wrong:
                print(f"{told.wrong} answers differ from those alone", file=sys.stderr)
    return int(wrong)


@dataclass
class Told:
    """What clients were told in some seconds."""

    statuses: Counter[int] = field(default_factory=Counter)
    times: list[float] = field(default_factory=list)
    expressions: int = 0
    wrong: int = 0
    seconds: float = 0.0
    batch: float = 0.0
    processor: float = 0.0
    memory: int = 0

    def row(self, clients: int) -> str:
        """A row of the table."""
        if not self.times:
            raise SystemExit(f"nobody was answered: {dict(self.statuses)}")
        times = sorted(self.times)
        median, late = statistics.median(times), times[int(0.95 * (len(times) - 1))]
        rates = (f"{count / self.seconds:.1f}" for count in (len(times), self.expressions))
        spent = f"{1000 * self.processor / len(times):.0f}"
        refused = (f"{self.statuses[FULL]}", f"{sum(self.statuses[status] for status in LATE)}")
        figures = (f"{1000 * median:.0f}", f"{1000 * late:.0f}", f"{self.batch:.1f}", spent, *refused)
        return f"| {' | '.join((f'{clients}', *rates, *figures, f'{self.memory / 10**6:.0f}'))} |"


@contextmanager
def serving(options: argparse.Namespace) -> Iterator[tuple[str, psutil.Process]]:
    """The service in a process of its own, and its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "pbrec_hf", "serve", "--no_page", "--port", str(port), "--device", options.device]
    command += ["--together", str(options.together), "--queue", str(options.queue)]
    command += ["--model", options.model] if options.model else []
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    address, end = f"http://127.0.0.1:{port}", time.monotonic() + PATIENCE
    try:
        while True:
            if process.poll() is not None or time.monotonic() > end:
                raise SystemExit("the service does not start")
            try:
                httpx.get(f"{address}/health", timeout=PATIENCE).raise_for_status()
                break
            except httpx.ConnectError:
                time.sleep(0.2)
        yield address, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


def asked(client: httpx.Client, question: dict[str, Any], masks: bool) -> tuple[int, Any]:
    """The status and the answer of a question."""
    path = question["image"]
    data = {"expressions": question["expressions"], "masks": masks}
    response = client.post("/v1/ground/upload", files={"image": (path.name, path.read_bytes())}, data=data)
    return response.status_code, response.json()


def measured(
    address: str,
    process: psutil.Process,
    clients: int,
    questions: list[dict[str, Any]],
    alone: list[Any],
    options: argparse.Namespace,
) -> Told:
    """What so many clients are told."""
    told, lock = Told(), threading.Lock()
    batches = counted(address)
    begin, used = time.monotonic(), spent_by(process)
    end = begin + options.seconds

    def ask(number: int) -> None:
        with httpx.Client(base_url=address, timeout=PATIENCE, verify=False) as client:
            place = number
            while time.monotonic() < end:
                place = (place + 1) % len(questions)
                start = time.monotonic()
                status, answer = asked(client, questions[place], options.masks)
                seconds = time.monotonic() - start
                with lock:
                    told.statuses[status] += 1
                    if status == 200:
                        told.times.append(seconds)
                        told.expressions += len(questions[place]["expressions"])
                        told.wrong += not same(answer, alone[place])

    with ThreadPoolExecutor(clients) as pool:
        running = [pool.submit(ask, number) for number in range(clients)]
        while not all(future.done() for future in running):
            told.memory = max(told.memory, process.memory_info().rss)
            time.sleep(0.1)
        for future in running:
            future.result()
    told.seconds, told.processor = time.monotonic() - begin, spent_by(process) - used
    size, count = (after - before for after, before in zip(counted(address), batches, strict=True))
    told.batch = size / max(count, 1)
    return told


def spent_by(process: psutil.Process) -> float:
    """Seconds of all processors that a process has used."""
    times = process.cpu_times()
    return times.user + times.system


def counted(address: str) -> tuple[float, float]:
    """Photographs and batches that were answered so far."""
    text = httpx.get(f"{address}/metrics", timeout=PATIENCE).text
    size, count = (re.search(rf"^pbrec_batch_size_{name} (\S+)", text, re.M) for name in ("sum", "count"))
    if size is None or count is None:
        raise SystemExit("the service does not count")
    return float(size[1]), float(count[1])


def same(answer: Any, other: Any) -> bool:
    """Whether the answers of two responses have the same things, with about the same scores."""
    for result, right in zip(answer["results"], other["results"], strict=True):
        scores, expected = ([one["score"] for one in each["answers"]] for each in (result, right))
        if len(scores) != len(expected) or any(abs(a - b) > SAME for a, b in zip(scores, expected, strict=True)):
            return False
    return True


if __name__ == "__main__":
    sys.exit(main())
