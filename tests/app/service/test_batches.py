"""Questions that are asked at the same time are answered together; the answers are mocked, and told when to come."""

import threading
import time
from concurrent.futures import CancelledError

import pytest

from pbrec_hf.app.service.batches import Batches


class Slow:
    """Answers a batch when it is told to; the answer is the question doubled."""

    def __init__(self):
        self.batches = []
        self.begun, self.go_on = threading.Semaphore(0), threading.Semaphore(0)

    def __call__(self, questions):
        self.batches.append(list(questions))
        self.begun.release()
        assert self.go_on.acquire(timeout=30)
        if "bad" in questions:
            raise ValueError("a bad question")
        return [question * 2 for question in questions]


@pytest.fixture
def slow():
    return Slow()


@pytest.fixture
def batches(slow):
    made = Batches(slow, kind=type, most=3)
    yield made
    for _ in range(20):
        slow.go_on.release()
    made.close()


def test_what_waits_is_answered_together_by_kind_and_in_order(slow, batches):
    first = batches.submit(1)
    slow.begun.acquire()
    rest = [batches.submit(question) for question in (2, "a", 3, 4, "b", 5)]
    assert batches.waiting == 6 and batches.busy_seconds > 0
    for _ in range(4):
        slow.go_on.release()
    assert [first.result(30), *(future.result(30) for future in rest)] == [2, 4, "aa", 6, 8, "bb", 10]
    assert slow.batches == [[1], [2, 3, 4], ["a", "b"], [5]]


def test_a_question_that_nobody_waits_for_is_not_answered(slow, batches):
    first = batches.submit(1)
    slow.begun.acquire()
    left, kept = batches.submit(2), batches.submit(3)
    assert left.cancel() and not first.cancel()
    for _ in range(2):
        slow.go_on.release()
    assert kept.result(30) == 6 and slow.batches == [[1], [3]]


def test_one_bad_question_does_not_spoil_the_others(slow, batches):
    first = batches.submit("x")
    slow.begun.acquire()
    futures = [batches.submit(question) for question in ("good", "bad", "fine")]
    for _ in range(5):
        slow.go_on.release()
    assert (first.result(30), futures[0].result(30), futures[2].result(30)) == ("xx", "goodgood", "finefine")
    with pytest.raises(ValueError, match="a bad question"):
        futures[1].result(30)
    assert batches.alive


def test_closing_answers_what_was_begun_and_nothing_else(slow):
    told = []
    batches = Batches(slow, kind=type, most=3, done=lambda size, seconds: told.append((size, seconds)))
    first = batches.submit(1)
    slow.begun.acquire()
    waiting = batches.submit(2)
    closing = threading.Thread(target=batches.close)
    closing.start()
    with pytest.raises(CancelledError):
        waiting.result(30)
    slow.go_on.release()
    closing.join(30)
    assert first.result(0) == 2 and not batches.alive
    assert [size for size, _ in told] == [1] and 0 < batches.seconds_each <= told[0][1] + 1e-9
    assert batches.submit(3).cancelled()


def test_the_time_of_a_question_is_its_share_of_a_batch(slow, batches):
    first = batches.submit(1)
    slow.begun.acquire()
    time.sleep(0.05)
    slow.go_on.release()
    first.result(30)
    deadline = time.monotonic() + 30
    while batches.busy_seconds and time.monotonic() < deadline:
        time.sleep(0.001)
    assert batches.seconds_each >= 0.05 and batches.busy_seconds == 0
