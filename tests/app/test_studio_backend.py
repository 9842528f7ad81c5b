"""The ML backend for Label Studio: asked as Label Studio asks, by HTTP."""

import base64
import io
import json
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.error import HTTPError

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from pbrec_hf.app.cli import main
from pbrec_hf.app.label.labeller import Asking, Labeller
from pbrec_hf.app.label.studio_config import controls_of, expressions_of_task
from pbrec_hf.app.label.studio_pictures import StudioPictures
from pbrec_hf.app.studio_backend import Backend, build_backend
from pbrec_hf.inference.grounder import Grounder

CONFIG = """<View>
  <Image name="image" value="$photo"/>
  <TextArea name="prompt" toName="image"/>
  <RectangleLabels name="boxes" toName="image">
    <Label value="Dog" hint="left dog"/><Label value="girl"/>
  </RectangleLabels>
  <BrushLabels name="masks" toName="image"><Label value="car"/></BrushLabels>
</View>"""


def png():
    pixels = np.random.default_rng(0).integers(0, 256, (90, 160, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("root")
    (folder / "my photo.png").write_bytes(png())
    return folder


@pytest.fixture(scope="module")
def client(checkpoint, root):
    labeller = Labeller(Asking(checkpoint, "any", 0.006))
    return TestClient(build_backend(Backend(labeller, StudioPictures(root))))


def asked(photo, context=None, config=CONFIG, **data):
    """The body of a request for predictions, as Label Studio 1.23 sends it."""
    task = {
        "id": 7, "data": {"photo": photo, **data}, "meta": {}, "created_at": "2026-01-01T00:00:00Z", "project": 1,
        "annotations": [], "predictions": [], "is_labeled": False, "overlap": 1, "inner_id": 1,
    }  # fmt: skip
    params = {"login": None, "password": None, "context": context}
    return {"tasks": [task], "project": "1.1700000000", "label_config": config, "params": params}


def test_label_studio_finds_it_up_and_sets_it_up(client):
    for path in ("/health", "/"):
        assert client.get(path).json()["status"] == "UP"
    body = {
        "project": "1.17", "schema": CONFIG, "hostname": "http://localhost:8080", "access_token": "x",
        "extra_params": None,
    }  # fmt: skip
    version = client.post("/setup", json=body).json()["model_version"]
    assert version.startswith("pbrec_hf ") and client.get("/versions").json() == {"versions": [version]}
    assert client.post("/webhook", json={"action": "START_TRAINING", "project": {}}).json()["trained"] is False
    assert client.post("/validate", json={"config": CONFIG}).status_code == 200


def test_predictions_are_the_answers_in_per_cent(client, checkpoint):
    photo = "data:image/png;base64," + base64.b64encode(png()).decode()
    told = client.post("/predict", json=asked(photo)).json()
    (prediction,) = told["results"]
    picture = Image.open(io.BytesIO(png()))
    expected = Grounder(checkpoint)(picture, ["left dog", "girl", "car"], threshold=0.006, referents="any").answers
    boxes = [region for region in prediction["result"] if region["from_name"] == "boxes"]
    dogs = [region for region in boxes if region["value"].get("rectanglelabels") == ["Dog"]]
    assert len(dogs) == len(expected[0]["scores"]) > 1
    assert len(boxes) == sum(len(answer["scores"]) for answer in expected)
    for region, box, score in zip(dogs, expected[0]["boxes"].tolist(), expected[0]["scores"].tolist(), strict=True):
        value = region["value"]
        left, top = value["x"] * 1.6, value["y"] * 0.9
        assert [left, top, left + value["width"] * 1.6, top + value["height"] * 0.9] == pytest.approx(box, abs=0.02)
        assert region["score"] == pytest.approx(score, abs=1e-6) and region["to_name"] == "image"
        assert (region["original_width"], region["original_height"]) == (160, 90)
        assert region["meta"]["text"] == ["left dog"] and region["type"] == "rectanglelabels"
    masks = [region for region in prediction["result"] if region["from_name"] == "masks"]
    assert masks and all(region["value"]["brushlabels"] == ["car"] for region in masks)
    assert prediction["model_version"] == told["model_version"]
    scores = [score for answer in expected for score in answer["scores"].tolist()]
    assert prediction["score"] == pytest.approx(np.mean(scores), abs=1e-5)


def test_a_typed_prompt_is_asked_instead_of_the_labels(client):
    context = {"result": [{"type": "textarea", "from_name": "prompt", "value": {"text": ["the girl on the left"]}}]}
    (prediction,) = client.post("/predict", json=asked("/data/local-files/?d=my%20photo.png", context)).json()[
        "results"
    ]
    boxes = [region for region in prediction["result"] if region["from_name"] == "boxes"]
    assert boxes and {region["meta"]["text"][0] for region in boxes} == {"the girl on the left"}
    assert all(region["value"]["rectanglelabels"] == ["girl"] for region in boxes)
    other = asked("/data/local-files/?d=my%20photo.png", expressions=["red car", "left car"])
    (prediction,) = client.post("/predict", json=other).json()["results"]
    boxes = [region for region in prediction["result"] if region["from_name"] == "boxes"]
    assert boxes and all(
        region["type"] == "rectangle" and "rectanglelabels" not in region["value"] for region in boxes
    )


@pytest.mark.parametrize(
    ("photo", "message"),
    [
        ("/data/local-files/?d=../outside.png", "leads out of the folder"),
        ("/data/local-files/?d=missing.png", "No picture at"),
        ("/data/upload/1/photo.png", "lies in Label Studio: give its address and a token"),
        ("/etc/hostname", "neither an address nor a file of Label Studio"),
        ("file:///etc/hostname", "neither an address"),
        ("~/photo.png", "neither an address"),
        ("data:image/png;base64,AAAA", "not a picture"),
        ("http://127.0.0.1:9/photo.png", "is no public address"),
        (None, "The task has no picture"),
    ],
)
def test_a_picture_that_cannot_be_read_is_one_tasks_matter(client, photo, message):
    body = asked("/data/local-files/?d=my%20photo.png")
    body["tasks"].insert(0, {**body["tasks"][0], "data": {"photo": photo}})
    bad, good = client.post("/predict", json=body).json()["results"]
    assert bad["result"] == [] and bad["score"] == 0.0 and good["result"] and "error" not in good
    assert message in bad["error"]


def test_a_request_of_another_form_is_refused_with_a_reason(client):
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaa">]>' + CONFIG
    cases = [
        ("/predict", {"tasks": 3, "label_config": CONFIG}, "no list of tasks"),
        ("/predict", asked("x", config="<View>"), "no XML (no element found"),
        ("/predict", asked("x", config=bomb), "no XML without declarations"),
        ("/setup", {"schema": '<View><Text name="t" value="$t"/></View>'}, "has no RectangleLabels or BrushLabels"),
        ("/predict", [], "no JSON object"),
    ]
    for path, body, message in cases:
        response = client.post(path, json=body)
        assert response.status_code == 400 and message in response.json()["error"]
    assert client.post("/predict", content=b"{").status_code == 400


def test_labels_are_told_by_their_words():
    boxes, masks = controls_of(CONFIG)
    assert (boxes.field, boxes.kind, masks.kind) == ("photo", "rectanglelabels", "brushlabels")
    assert boxes.label_of("left dog") == "Dog" and boxes.label_of("the big DOG there") == "Dog"
    assert boxes.label_of("the dog beside the girl") is None and boxes.label_of("a cat") is None
    assert masks.label_of("anything") == "car"
    assert expressions_of_task({}, None, [boxes, masks]) == ["left dog", "girl", "car"]
    assert expressions_of_task({"data": {"expression": "a\n\n b "}}, None, [boxes]) == ["a", "b"]


class Studio(BaseHTTPRequestHandler):
    """Label Studio's uploads, for those who have a token; and a redirect to elsewhere."""

    def do_GET(self):
        if self.path == "/data/away":
            self.send_response(302)
            self.send_header("Location", "http://127.0.0.1:9/photo.png")
            self.end_headers()
            return
        right = self.headers.get("Authorization") in ("Token secret", "Bearer fresh")
        self.send_response(200 if right else 401)
        self.end_headers()
        self.wfile.write(png() if right else b"")

    def do_POST(self):
        token = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["refresh"]
        self.send_response(200 if (self.path, token) == ("/api/token/refresh", "a.b.c") else 401)
        self.end_headers()
        self.wfile.write(b'{"access": "fresh"}')

    def log_message(self, *_):
        pass


def test_uploads_are_fetched_with_the_token_and_from_label_studio_alone():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Studio)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_port}"
        for key in ("secret", "a.b.c"):
            pictures = StudioPictures(url=url + "/", api_key=key)
            for address in ("/data/upload/1/photo.png", f"{url}/data/upload/1/photo.png"):
                assert pictures.source(address).read() == png()
        for key in ("wrong", None, "x.y.z"):
            with pytest.raises(ValueError, match=r"could not be fetched|does not take the token"):
                StudioPictures(url=url, api_key=key).source("/data/upload/1/photo.png")
        with pytest.raises(ValueError, match="leads to another server"):
            StudioPictures(url=url, api_key="secret").source("/data/away")
        assert "secret" not in repr(pictures) and "a.b.c" not in repr(pictures)
        with pytest.raises(HTTPError):
            urllib.request.urlopen(f"{url}/data/upload/1/photo.png")
    finally:
        server.shutdown()


def test_its_options_belong_to_it(capsys, checkpoint):
    for arguments, message in (
        (["--document_root", "."], "--document_root is for the ML backend: add --label-studio"),
        (["--any"], "--any is for the ML backend: add --label-studio"),
        (["--label-studio", "--document_root", "missing"], "--document_root missing: there is no such"),
        (["--label-studio", "--threshold", "2"], "--threshold 2: give a number"),
        (["--label-studio", "--port", "0"], "--port 0: give a number from 1"),
    ):
        assert main(["serve", "--model", checkpoint, *arguments]) == 2
        assert message in " ".join(capsys.readouterr().err.split())
