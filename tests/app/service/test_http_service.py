"""The service over HTTP: many clients at once get right answers, and every refusal has its status and a reason."""

import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest
from served import as_text, png, question, served
from test_image_processing import bomb_png, truncated_jpeg

from pbrec_hf.app.service.limits import Limits, Places
from pbrec_hf.app.service.run import build_all
from pbrec_hf.app.service.service import Service
from pbrec_hf.images.segmentation import mask_to_rle
from pbrec_hf.inference.grounder import Grounder
from pbrec_hf.version import __version__

CLIENTS = 30
SECONDS = 90  # patience with a busy machine


@pytest.fixture(scope="module")
def grounder(checkpoint):
    return Grounder(checkpoint)


@contextmanager
def serving(grounder, **limits):
    service = Service(grounder, Limits(**limits), "tiny")
    with served(build_all(service, page=False)) as address, httpx.Client(base_url=address, timeout=SECONDS) as client:
        yield service, client


@pytest.fixture(scope="module")
def client(grounder):
    with serving(grounder, upload=100_000, pixels=1_000_000, expressions=4, letters=50) as (_, client):
        yield client


@pytest.fixture
def held():
    """Holds up the answers of a service until the test ends, or lets them go on."""
    go_on, begun = threading.Event(), threading.Semaphore(0)

    def hold(service):
        answer = service.batches.answer

        def slowly(questions):
            begun.release()
            assert go_on.wait(SECONDS)
            return answer(questions)

        service.batches.answer = slowly

    hold.go_on, hold.begun = go_on, begun
    yield hold
    go_on.set()


def expected(grounder, photograph, texts, **options):
    """What the service should answer, by the grounder alone."""
    found = grounder(photograph, texts, **options)
    return [
        [(answer["scores"][row].item(), answer["boxes"][row].tolist()) for row in range(len(answer["scores"]))]
        for answer in found.answers
    ]


def told(response):
    assert response.status_code == 200, response.text
    return [
        [(answer["score"], answer["box"]) for answer in result["answers"]] for result in response.json()["results"]
    ]


def same(found, right):
    assert [len(answers) for answers in found] == [len(answers) for answers in right]
    for answers, others in zip(found, right, strict=True):
        for (score, box), (other, corners) in zip(answers, others, strict=True):
            assert score == pytest.approx(other, abs=1e-5) and box == pytest.approx(corners, abs=1e-2)


def test_thirty_clients_at_once_get_their_own_answers(grounder, held):
    texts = [["left dog"], ["the red car", "girl"], ["cat on the right"], ["girl", "dog", "left cat"]]
    ways = [{}, {"referents": "any", "threshold": 0.006}]
    asked = [
        (png(number, 60 + number, 90), texts[number % len(texts)], ways[number % 7 % 2]) for number in range(CLIENTS)
    ]
    right = [expected(grounder, photograph, words, **way) for photograph, words, way in asked]
    with serving(grounder) as (service, client):
        held(service)

        def ask(number):
            photograph, words, way = asked[number]
            if number % 2:
                return client.post("/v1/ground", json=question(photograph, *words, **way))
            data = {"expressions": words, **way}
            return client.post("/v1/ground/upload", files={"image": ("photo.png", photograph)}, data=data)

        with ThreadPoolExecutor(CLIENTS) as clients:
            asking = [clients.submit(ask, number) for number in range(CLIENTS)]
            assert held.begun.acquire(timeout=SECONDS)
            wait_until(lambda: service.batches.waiting >= CLIENTS - service.limits.together)
            held.go_on.set()
            responses = [future.result() for future in asking]
        for number, response in enumerate(responses):
            same(told(response), right[number])
            assert (response.json()["width"], response.json()["height"]) == (60 + number, 90)
        metrics = client.get("/metrics").text
        assert f"pbrec_batch_size_sum {CLIENTS}.0" in metrics
        assert float(re.search(r"pbrec_batch_size_count (\S+)", metrics)[1]) < CLIENTS / 2, "hardly any were joined"
        assert f"pbrec_expressions_total {sum(len(words) for _, words, _ in asked)}.0" in metrics
        assert service.places.inside == 0


def test_what_is_answered_besides_scores_and_boxes(client, grounder):
    body = client.post("/v1/ground", json=question(png(), "left dog", "🐕", masks=True)).json()
    left, unknown = body["results"]
    answer = grounder(png(), ["left dog"]).answers[0]
    assert left["expression"] == "left dog" and left["count"] == 1 and "unread" not in left
    assert left["answers"][0]["mask"] == mask_to_rle(answer["masks"][0, 0])
    assert left["answers"][0]["mask_source"] == answer["mask_source"]
    assert unknown == {"expression": "🐕", "count": 0, "unread": ["🐕"], "answers": []}
    assert "mask" not in client.post("/v1/ground", json=question()).json()["results"][0]["answers"][0]
    assert client.post("/v1/ground", json=question(threshold=1.0)).json()["results"][0]["answers"] == []


WRONG = {
    "no picture": ({"expressions": ["dog"]}, 422, "No photograph: send one"),
    "an empty picture": (question() | {"image": ""}, 422, "No photograph: send one"),
    "a damaged picture": (question(png()[:2000]), 422, r"The photograph is damaged \(.*\): get the file again"),
    "a cut JPEG": (question(truncated_jpeg()), 422, "The photograph is damaged"),
    "no picture at all": (question(b"no picture"), 422, "The photograph is not a picture that Pillow can read"),
    "too many bytes": (question(bytes(100_001)), 413, "A photograph of 0.1 MiB: send at most 0.1 MiB"),
    "a large body": (question(bytes(900_000)), 413, "Too much at once"),
    "too many pixels": (question(bomb_png()), 413, "too large|20000×10000 pixels"),
    "more pixels than allowed": (question(png(0, 1200, 900)), 413, None),
    "an address": (question() | {"image": "http://127.0.0.1:1/a.png"}, 422, "Send the photograph itself.*no address"),
    "a file's address": (question() | {"image": "file:///etc/hostname"}, 422, "no address"),
    "a path": (question() | {"image": "/etc/hostname"}, 422, "no address|not a picture"),
    "a home path": (question() | {"image": "~/a.png"}, 422, "no address"),
    "a data address without base64": (question() | {"image": "data:image/png;base64,?"}, 422, "no address"),
    "a number as picture": (question() | {"image": 7}, 422, "image='7': give the photograph itself"),
    "no expression": ({"image": as_text(png())}, 422, "No expression: say what to find"),
    "no expressions": (question() | {"expressions": []}, 422, "No expression: say what to find"),
    "an empty expression": (question(None, "dog", " "), 422, "An expression is empty"),
    "one text": (question() | {"expressions": "dog"}, 422, "expressions='dog': give a list of texts"),
    "too many expressions": (question(None, *["dog"] * 5), 422, "5 expressions at once: give at most 4"),
    "a long expression": (question(None, "dog" * 20), 422, "An expression has 60 letters, more than 50"),
    "a threshold out of range": (
        question(threshold=1.5),
        422,
        "threshold='1.5': give a number from 0 to 1, or 'auto'",
    ),
    "a negative threshold": (question(threshold=-0.1), 422, "threshold='-0.1': give a number"),
    "no threshold": (question(threshold="high"), 422, "threshold='high': give a number"),
    "auto without a calibration": (question(threshold="auto"), 422, "calibration"),
    "any without a threshold": (question(referents="any"), 422, "calibration"),
    "other referents": (question(referents="two"), 422, "referents='two': give 'one' or 'any'"),
    "no proposals": (question(top_k=0), 422, "top_k='0': give a whole number from 1"),
    "an unknown field": (question(expresions=["dog"]), 422, "expresions is no field of a request: send image, exp"),
    "a list": ([], 422, "The body is no JSON object"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_question_is_refused_with_a_reason(client, name):
    body, status, reason = WRONG[name]
    response = client.post("/v1/ground", json=body)
    detail = response.json()["detail"]
    assert response.status_code == status and "\n" not in detail
    assert reason is None or re.search(reason, detail), detail


def test_a_wrong_form_is_refused_with_a_reason(client):
    def sent(files=None, **data):
        response = client.post("/v1/ground/upload", files=files, data=data)
        return response.status_code, response.json()["detail"]

    def file(content):
        return {"image": ("holiday.png", content)}

    assert sent(expressions=["dog"]) == (422, "No photograph: send one as `image`.")
    assert sent(file(png())) == (422, "No expression: say what to find as `expressions`.")
    status, detail = sent(file(png()[:2000]), expressions=["dog"])
    assert status == 422 and detail.startswith("holiday.png is damaged")
    assert sent(file(bytes(100_001)), expressions=["dog"])[0] == 413
    assert sent(file(b""), expressions=["dog"]) == (422, "No photograph: send one.")
    status, detail = sent(expressions=["dog"], image="http://127.0.0.1:1/a.png")
    assert status == 422 and detail.endswith("give the photograph itself; no address.")
    assert sent(file(png()), expressions=["dog"], threshold="2")[1].startswith("threshold='2': give a number")


def test_a_body_that_is_no_json_or_has_no_end(client):
    response = client.post("/v1/ground", content="{", headers={"content-type": "application/json"})
    assert response.status_code == 400 and response.json()["detail"].startswith("The body is no JSON (")
    response = client.post("/v1/ground", content=(b" " * 65536 for _ in range(40)))  # its length is not told
    assert response.status_code == 413 and response.json()["detail"].startswith("Too much at once")
    assert client.get("/v1/ground").status_code == 405 and client.get("/v1/nothing").status_code == 404


def test_a_full_queue_says_when_to_ask_again(grounder, held):
    with serving(grounder, queue=2) as (service, client), ThreadPoolExecutor(2) as clients:
        held(service)
        inside = [clients.submit(client.post, "/v1/ground", json=question()) for _ in range(2)]
        wait_until(lambda: service.places.inside == 2)
        refused = client.post("/v1/ground", json=question())
        assert refused.status_code == 429 and int(refused.headers["Retry-After"]) >= 1
        assert refused.json()["detail"] == "2 requests are being answered already: ask again later."
        assert client.get("/health").json() == {"status": "ok", "model": "tiny", "version": __version__, "inside": 2}
        held.go_on.set()
        assert [future.result().status_code for future in inside] == [200, 200]
        metrics = client.get("/metrics").text
        assert 'pbrec_requests_total{route="/v1/ground",status="429"} 1.0' in metrics
        assert 'pbrec_requests_total{route="/v1/ground",status="200"} 2.0' in metrics
        assert client.post("/v1/ground", json=question()).status_code == 200


def test_who_waits_too_long_is_told_whether_a_turn_came(grounder, held):
    with serving(grounder, seconds=0.5, together=1) as (service, client), ThreadPoolExecutor(2) as clients:
        held(service)
        first = clients.submit(client.post, "/v1/ground", json=question())
        assert held.begun.acquire(timeout=SECONDS)
        second = client.post("/v1/ground", json=question())
        assert first.result().status_code == 504
        assert first.result().json()["detail"].startswith("The answer took more than 0.5 seconds")
        assert second.status_code == 503 and int(second.headers["Retry-After"]) >= 1
        assert second.json()["detail"] == "No turn came within 0.5 seconds: ask again later."
        wait_until(lambda: client.get("/health").status_code == 503)
        assert client.get("/health").json()["status"] == "stuck"
        held.go_on.set()
        wait_until(lambda: client.get("/health").status_code == 200)
        for status in (503, 504):
            line = f'pbrec_requests_total{{route="/v1/ground",status="{status}"}} 1.0'
            assert line in service.measures.text().decode()


def test_a_slow_sender_does_not_keep_its_place(grounder):
    with serving(grounder, seconds=0.5) as (service, client):
        with socket.create_connection((client.base_url.host, client.base_url.port), timeout=SECONDS) as slow:
            slow.sendall(
                b"POST /v1/ground HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"
            )
            assert slow.recv(4096).startswith(b"HTTP/1.1 408 ")
        wait_until(lambda: service.places.inside == 0)


def test_whoever_goes_away_is_not_answered(grounder, held):
    with serving(grounder, together=1) as (service, client), ThreadPoolExecutor(1) as clients:
        held(service)
        first = clients.submit(client.post, "/v1/ground", json=question())
        assert held.begun.acquire(timeout=SECONDS)
        with pytest.raises(httpx.ReadTimeout):
            client.post("/v1/ground", json=question(), timeout=0.3)
        wait_until(lambda: service.places.inside == 1)
        held.go_on.set()
        assert first.result().status_code == 200
        assert "pbrec_batch_size_sum 1.0" in client.get("/metrics").text


def test_a_fault_is_no_fault_of_the_client(grounder):
    with serving(grounder) as (service, client):
        answer = service.batches.answer
        service.batches.answer = lambda questions: answer([])
        response = client.post("/v1/ground", json=question())
        assert response.status_code == 500 and response.json()["detail"].startswith("A fault of the service")
        service.batches.answer = answer
        assert client.post("/v1/ground", json=question()).status_code == 200


def test_addresses_are_fetched_only_if_allowed_and_from_public_servers(grounder):
    with serving(grounder, fetch=True) as (_, client):
        body = question() | {"image": f"{client.base_url}/metrics"}
        response = client.post("/v1/ground", json=body)
        assert response.status_code == 422 and "is no public address" in response.json()["detail"]


def test_what_is_described(client):
    described = client.get("/openapi.json").json()
    for path in ("/v1/ground", "/v1/ground/upload"):
        responses = described["paths"][path]["post"]["responses"]
        assert {"200", "400", "408", "413", "422", "429", "503", "504"} == set(responses)
        assert responses["422"]["content"]["application/json"]["schema"]["$ref"].endswith("/Problem")
    fields = described["components"]["schemas"]["Request"]["properties"]
    assert set(fields) == {"image", "expressions", "referents", "threshold", "top_k", "masks"}


def test_places_are_given_back_after_an_error():
    places = Places(1)
    with pytest.raises(KeyError), places.taken():
        raise KeyError
    with places.taken():
        assert places.inside == 1
    with pytest.raises(ValueError, match="queue=0 of the limits"):
        Limits(queue=0)


def wait_until(condition):
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
