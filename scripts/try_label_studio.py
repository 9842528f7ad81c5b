"""Run the ML backend with the real Label Studio, and take a screenshot of a task with its predictions.

    python3 -m venv studio && studio/bin/pip install label-studio
    python scripts/try_label_studio.py studio/bin/label-studio --out label-studio-trial

Label Studio runs with its own SQLite database in OUT, which a second run finds again. The script makes a project on a
folder of photographs, connects `pbrec-hf serve --label-studio`, asks for predictions of every task, opens one in
Chromium and writes OUT/task.png. Needs Debian's chromium and chromium-driver, and the extra `test`. Exit status 1 if a
task got nothing.
"""

import argparse
import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pbrec_hf.hub.bundled import bundled_photographs

PHOTOGRAPHS = bundled_photographs() / "images"
CONFIG = """<View>
  <Image name="image" value="$image" zoom="true"/>
  <RectangleLabels name="label" toName="image">
    <Label value="person" hint="all the people" background="#E69F00"/><Label value="giraffe" background="#56B4E9"/>
  </RectangleLabels>
</View>"""
SECONDS = 900


def main() -> int:
    """Start both, connect them, look."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("label_studio", type=Path, help="the command of an environment that has Label Studio")
    parser.add_argument("--out", type=Path, required=True, help="folder for its data and the screenshot")
    parser.add_argument("--photographs", type=Path, default=PHOTOGRAPHS, help="folder (default: those of the demo)")
    options = parser.parse_args()
    out = options.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    photographs = sorted(options.photographs.absolute().glob("*.jpg"))
    user, password, token = known_user(out / "user.json")
    with ExitStack() as stack:
        url, backend = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
        environment = {
            **os.environ,
            "LABEL_STUDIO_BASE_DATA_DIR": str(out / "data"),
            "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
            "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(photographs[0].parent.parent),
            "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
            "ML_BLOCK_LOCAL_IP": "false",  # the backend is on this machine
            "USE_DEFAULT_BANNED_SUBNETS": "false",
            "COLLECT_ANALYTICS": "false",
            "LATEST_VERSION_CHECK": "false",
        }
        studio = [str(options.label_studio), "start", "--no-browser", "--port", url.rpartition(":")[2]]
        studio += ["--username", user, "--password", password, "--user-token", token, "--host", url]
        stack.enter_context(running(studio, url + "/health", out / "label-studio.log", environment))
        serve = [sys.executable, "-m", "pbrec_hf", "serve", "--label-studio", "--any", "--port"]
        serve += [backend.rpartition(":")[2], "--document_root", str(photographs[0].parent.parent)]
        stack.enter_context(running(serve, backend + "/health", out / "backend.log", dict(os.environ)))
        ask = Studio(url, token)
        project = ask("POST", "/api/projects", {"title": "Trial", "label_config": CONFIG})["id"]
        folder = {"project": project, "path": str(photographs[0].parent), "use_blob_urls": True}
        ask("POST", "/api/storages/localfiles", folder)  # which allows its files to be shown
        name = photographs[0].parent.name
        tasks = [{"image": f"/data/local-files/?d={name}/{path.name}"} for path in photographs]
        ask("POST", f"/api/projects/{project}/import", tasks)
        connected = ask("POST", "/api/ml", {"url": backend, "project": project, "title": "pbrec_hf"})
        print(f"connected: {connected.get('state')}, {connected.get('model_version')}", flush=True)
        listed = ask("GET", f"/api/tasks?project={project}&page_size=100")["tasks"]
        ids = [task["id"] for task in listed]
        ask("POST", f"/api/dm/actions?id=retrieve_tasks_predictions&project={project}",
            {"selectedItems": {"all": False, "included": ids}})  # fmt: skip
        found = {}
        for number in ids:
            predictions = ask("GET", f"/api/tasks/{number}")["predictions"]
            found[number] = [region for prediction in predictions for region in prediction["result"]]
        counts = {number: len(regions) for number, regions in found.items()}
        print(f"{len(ids)} tasks, predictions: {counts}", flush=True)
        shown = max(counts, key=lambda number: counts[number])
        screenshot(url, user, password, f"/projects/{project}/data?task={shown}", out / "task.png")
        print(f"screenshot written to {out / 'task.png'}")
        predicted = [ask("GET", f"/api/tasks/{number}")["predictions"] for number in ids]
        return int(not all(predicted) or not any(counts.values()))


class Studio:
    """Label Studio's API."""

    def __init__(self, url: str, token: str):
        self.url, self.headers = url, {"Authorization": f"Token {token}", "Content-Type": "application/json"}

    def __call__(self, method: str, path: str, body: object = None) -> dict:
        """Send JSON, get JSON."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, self.headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            raise SystemExit(f"{method} {path}: {error}: {error.read()[:500]!r}") from error


def known_user(path: Path) -> tuple[str, str, str]:
    """Name, password and token of the database's user; made up the first time."""
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(json.dumps(["trial@example.org", secrets.token_urlsafe(12), secrets.token_hex(20)]))
    user, password, token = json.loads(path.read_text())
    return user, password, token


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def running(command: list[str], health: str, log: Path, environment: dict[str, str]):
    """A server, from when it answers until the end."""
    with open(log, "wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment)
        try:
            deadline = time.monotonic() + SECONDS
            while True:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"{command[0]} does not start: see {log}")
                try:
                    urllib.request.urlopen(health, timeout=5).close()
                    break
                except OSError:
                    time.sleep(0.5)
            yield process
        finally:
            process.terminate()
            process.wait()


def screenshot(url: str, user: str, password: str, page: str, path: Path) -> None:
    """Log in, open a page, wait until the photograph is drawn, and save what is seen."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1500,950"):
        options.add_argument(argument)
    options.binary_location = "/usr/bin/chromium"
    browser = webdriver.Chrome(options, Service("/usr/bin/chromedriver"))
    try:
        browser.get(url + "/user/login/")
        wait = WebDriverWait(browser, SECONDS)
        wait.until(lambda b: b.find_elements(By.NAME, "email"))
        browser.find_element(By.NAME, "email").send_keys(user)
        browser.find_element(By.NAME, "password").send_keys(password + "\n")
        wait.until(lambda b: "login" not in b.current_url)
        browser.get(url + page)
        wait.until(lambda b: b.find_elements(By.CSS_SELECTOR, "canvas"))
        time.sleep(10)  # regions are drawn some time after the photograph
        browser.save_screenshot(str(path))
    finally:
        browser.quit()


if __name__ == "__main__":
    sys.exit(main())
