"""The page: its parts, and a visit to it in a generated Space (Debian's `chromium` and `chromium-driver`)."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import gradio
import numpy as np
import pytest
import torch
from checkpoints import save_tiny_checkpoint
from gradio.data_classes import ImageData
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait
from test_image_processing import bomb_png

from pbrec_hf.app.demo import demo_photographs
from pbrec_hf.app.screen import at_screen_size
from pbrec_hf.app.serve import build_page, describe, launch, score_maps, split_expressions, uploaded, voters
from pbrec_hf.hub.space import write_space
from pbrec_hf.inference.grounder import Grounder

PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 90, 3), dtype=np.uint8))
TEXT = ["left dog", "red car"]
SECONDS = 240  # patience with a busy machine


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    save_tiny_checkpoint(folder, masks=True)
    return folder


@pytest.fixture(scope="module")
def grounder(checkpoint):
    return Grounder(checkpoint)


@pytest.fixture(scope="module")
def space_address(checkpoint, tmp_path_factory):
    """The Space's own app in a process of its own, with the package that it brings along."""
    folder = tmp_path_factory.mktemp("space") / "demo"
    write_space(str(checkpoint), folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "GRADIO_SERVER_PORT": str(port)}
    app = subprocess.Popen([sys.executable, "app.py"], cwd=folder, env=environment)
    try:
        deadline = time.monotonic() + SECONDS
        with socket.socket() as probe:
            while probe.connect_ex(("127.0.0.1", port)):
                assert app.poll() is None and time.monotonic() < deadline, "the Space does not start"
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/"
    finally:
        app.terminate()
        app.wait()


@pytest.fixture(scope="module")
def browser():
    if not (Path("/usr/bin/chromium").exists() and Path("/usr/bin/chromedriver").exists()):
        pytest.skip("no browser: install Debian's chromium and chromium-driver, as .ci/run does")
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    options.binary_location = "/usr/bin/chromium"
    driver = webdriver.Chrome(options, Service("/usr/bin/chromedriver"))
    yield driver
    driver.quit()


def test_expressions_are_lines():
    assert split_expressions(" left dog \n\nred car\n") == split_expressions("left dog; red car;") == TEXT
    with pytest.raises(ValueError, match="Write what to find"):
        split_expressions(" \n ")
    with pytest.raises(ValueError, match="at most 10"):
        split_expressions("dog\n" * 11)


def test_what_the_page_shows(grounder):
    result = grounder(PHOTO, TEXT)
    assert [row[0] for row in describe(result, TEXT)] == TEXT
    maps, proposals = score_maps(result, TEXT), voters(result, TEXT)
    assert [caption for _, caption in maps] == TEXT and all(picture.size == PHOTO.size for picture, _ in maps)
    assert [caption for _, caption in proposals] == [f"{text}: 12 proposals" for text in TEXT]
    nothing = grounder(PHOTO, TEXT, threshold=1.0)
    assert describe(nothing, TEXT)[0] == ["left dog", "", "nothing found"]
    several = grounder(PHOTO, TEXT, threshold=0.006, referents="any")
    counts = [len(answer["scores"]) for answer in several.answers]
    assert max(counts) > 1 and [row[0] for row in describe(several, TEXT)] == [
        text for text, count in zip(TEXT, counts, strict=True) for _ in range(max(count, 1))
    ]
    _, one = voters(result, TEXT), voters(several, TEXT)
    assert [caption for _, caption in one] == [f"{text}: 12 proposals" for text in TEXT]


def test_drawings_have_the_size_of_a_screen_and_answers_that_of_the_photograph(grounder):
    large = PHOTO.resize((3000, 2000))
    result = grounder(large, TEXT, return_masks=False)
    shown = at_screen_size(result, 0.5)
    assert shown.image.size == (1600, 1067) and result.image.size == (3000, 2000)
    for answer, whole in zip(shown.answers, result.answers, strict=True):
        assert answer["masks"].shape == (1, 1, 1067, 1600) and torch.equal(answer["scores"], whole["scores"])
        assert torch.allclose(answer["boxes"], whole["boxes"] * torch.tensor([1600 / 3000, 1067 / 2000] * 2), atol=1)
    pictures = [*score_maps(shown, TEXT), *voters(shown, TEXT)]
    assert len(pictures) == 4 and all(picture.size == (1600, 1067) for picture, _ in pictures)
    small = grounder(PHOTO, TEXT)
    again = at_screen_size(small, 0.5)
    assert again.image.size == PHOTO.size
    assert all(
        torch.equal(one["masks"], other["masks"]) for one, other in zip(small.answers, again.answers, strict=True)
    )
    nothing = at_screen_size(grounder(large, TEXT, threshold=1.0, return_masks=False), 0.5)
    assert all(len(answer["scores"]) == 0 for answer in nothing.answers)


@pytest.fixture(scope="module")
def client(grounder):
    page = build_page(grounder)
    try:
        yield Client(launch(page, "127.0.0.1", wait=False, most_bytes=20_000), verbose=False)
    finally:
        page.close()


def test_an_upload_is_answered_upright(client, grounder, tmp_path):
    tags = Image.Exif()
    tags[0x0112] = 6
    PHOTO.save(tmp_path / "sideways.jpg", exif=tags)
    drawn, table, maps, proposals = client.predict(
        handle_file(tmp_path / "sideways.jpg"), "\n".join(TEXT), 12, 0, api_name="/ground"
    )
    assert Image.open(drawn).size == (PHOTO.height, PHOTO.width)
    assert table["data"] == describe(grounder(tmp_path / "sideways.jpg", TEXT), TEXT)
    assert len(maps) == len(proposals) == 2
    arguments = (handle_file(tmp_path / "sideways.jpg"), "\n".join(TEXT), 12, 0.006, True)
    several = client.predict(*arguments, api_name="/ground")[1]["data"]
    found = grounder(tmp_path / "sideways.jpg", TEXT, threshold=0.006, referents="any")
    assert several == describe(found, TEXT) and len(several) > 2


def test_the_slider_where_the_calibration_has_it_means_all_that_the_calibration_says(checkpoint, tmp_path):
    grounder = Grounder(checkpoint)
    line = {"raw": [0.0, 0.01], "probability": [0.2, 1.0]}
    grounder.processor.calibration = {
        **dict.fromkeys(("one", "any", "exists"), line),
        **{"threshold": 0.678, "exists_threshold": 1.0, "fitted_on": "a test", "answers": 1},
    }
    PHOTO.save(tmp_path / "photo.png")
    page = build_page(grounder)
    try:
        visitor = Client(launch(page, "127.0.0.1", wait=False), verbose=False)
        asked = handle_file(tmp_path / "photo.png"), "\n".join(TEXT), 12
        auto, own, one = (
            visitor.predict(*asked, *given, api_name="/ground")[1]["data"]
            for given in ((0.68, True), (0.66, True), (0.68, False))
        )
    finally:
        page.close()
    assert auto == [[text, "", "nothing found"] for text in TEXT]  # nothing surely exists
    assert own == describe(grounder(PHOTO, TEXT, threshold=0.66, referents="any"), TEXT) and len(own) > 2
    assert one == describe(grounder(PHOTO, TEXT, threshold=0.68), TEXT) and one[0][2] != "nothing found"


def test_a_bad_upload_is_told_with_its_name_and_a_reason(client, tmp_path):
    PHOTO.save(tmp_path / "cut.png")
    data = (tmp_path / "cut.png").read_bytes()
    files = {
        "cut.png": (data[: len(data) // 2], r"cut\.png is damaged"),
        "text.jpg": (b"no picture", r"text\.jpg is not a picture that Pillow can read"),
        "empty.gif": (b"", r"empty\.gif is not a picture"),
        "bomb.png": (bomb_png(), r"bomb\.png .*scale"),
        "drawing.svg": (b"<svg/>", r"drawing\.svg is not a picture"),
    }
    for name, (content, reason) in files.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(AppError, match=f"^{reason}"):
            client.predict(handle_file(tmp_path / name), "left dog", 12, 0, api_name="/ground")
    with pytest.raises(AppError, match="Choose a photograph first"):
        client.predict(None, "left dog", 12, 0, api_name="/ground")


def test_an_upload_has_a_limit(client, tmp_path):
    (tmp_path / "large.jpg").write_bytes(bytes(20_001))
    with pytest.raises(Exception, match=r"413|exceed"):
        client.predict(handle_file(tmp_path / "large.jpg"), "left dog", 12, 0, api_name="/ground")


class Visit:
    """A visit to the page, in a window of some size."""

    def __init__(self, browser, address, width, height):
        self.browser, self.wait = browser, WebDriverWait(browser, SECONDS)
        browser.set_window_size(width, height)
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.get(address)
        self.find("#find")

    def find(self, selector):
        return self.wait.until(lambda driver: driver.find_elements(By.CSS_SELECTOR, selector))

    def upload(self, path):
        for button in self.browser.find_elements(By.CSS_SELECTOR, "button[aria-label='Remove Image']"):
            self.click(button)
        self.find("input[type=file]")[0].send_keys(str(path))
        self.find(f"img[src*='{path.name}']")

    def click(self, element):
        self.browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def write(self, *keys):
        box = self.find("#expressions textarea")[0]
        box.clear()
        box.send_keys(*keys)
        return box

    def says(self, words, where="numbers"):
        self.wait.until(lambda driver: any(words in one.text for one in driver.find_elements(By.ID, where)))

    def is_silent(self):
        self.wait.until(lambda driver: not any(one.text for one in driver.find_elements(By.ID, "reason")))

    def script(self, text, *arguments):
        return self.browser.execute_script(f"return {text}", *arguments)


@pytest.fixture(params=[(1280, 800), (390, 844)], ids=["desktop", "phone"])
def visit(request, browser, space_address):
    return Visit(browser, space_address, *request.param)


NEW_LINE = (Keys.SHIFT, Keys.ENTER, Keys.NULL)


def test_a_visit(visit, space_address, tmp_path):
    PHOTO.save(tmp_path / "photo.png")
    visit.upload(tmp_path / "photo.png")
    visit.click(visit.find("#find")[0])
    visit.says("Write what to find", "reason")
    box = visit.write("left dog", *NEW_LINE, "red car")
    assert box.get_attribute("value") == "left dog\nred car"
    assert "left dog" not in visit.find("#numbers")[0].text  # nothing is asked yet
    box.send_keys(Keys.ENTER)
    visit.says("left dog")
    visit.says("red car")
    assert box.get_attribute("value") == "left dog\nred car" and visit.find("#answers img")
    visit.is_silent()
    limit = visit.find("#threshold input[type=number]")[0]
    assert float(limit.get_attribute("value")) == 0
    visit.click(visit.find("#any input[type=checkbox]")[0])
    visit.wait.until(lambda driver: float(limit.get_attribute("value")) == 0.3)
    visit.write("red car", Keys.ENTER)
    visit.says("nothing found")  # of what scores less
    severe = [entry["message"] for entry in visit.browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert not [message for message in severe if space_address in message and "404" not in message]


@pytest.mark.parametrize("count", [1, 3])
def test_galleries_show_whole_pictures_in_their_shape(visit, tmp_path, count):
    PHOTO.save(tmp_path / "photo.png")
    visit.upload(tmp_path / "photo.png")
    visit.write("; ".join(["left dog", "red car", "girl"][:count]), Keys.ENTER)
    for gallery in ("#maps", "#proposals"):
        visit.wait.until(
            lambda driver, name=gallery: len(driver.find_elements(By.CSS_SELECTOR, f"{name} img")) == count
        )
        for picture in visit.find(f"{gallery} img"):
            visit.script("arguments[0].scrollIntoView()", picture)
            visit.wait.until(lambda driver, one=picture: visit.script("arguments[0].naturalWidth", one) == 90)
            width, height = picture.size["width"], picture.size["height"]
            assert width / height == pytest.approx(90 / 60, rel=0.02) and width > 250
        frame = visit.find(f"{gallery} .grid-wrap")[0]
        assert visit.script("arguments[0].scrollHeight - arguments[0].clientHeight", frame) <= 1
    page = "document.documentElement"
    assert visit.script(f"{page}.scrollWidth - {page}.clientWidth") <= 1


def test_an_example_is_answered(visit):
    pictures = visit.find("#examples img")
    assert len(pictures) == len({row["image"] for row in demo_photographs()})
    visit.click(pictures[0])
    visit.wait.until(lambda driver: visit.find("#expressions textarea")[0].get_attribute("value"))
    expression = visit.find("#expressions textarea")[0].get_attribute("value").splitlines()[0]
    visit.says(expression)
    assert visit.find("#any input[type=checkbox]")[0].is_selected() and visit.find("#maps img")


def test_a_bad_upload_is_told_on_the_page_and_stays_told(visit, tmp_path):
    visit.click(visit.find("#examples img")[0])  # from then on, Gradio has made the page's components anew
    visit.says("score")
    visit.find("#maps img")
    PHOTO.save(tmp_path / "cut.png")
    data = (tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(data[: len(data) // 2])
    visit.upload(tmp_path / "cut.png")
    visit.write("left dog", Keys.ENTER)
    visit.says("cut.png is damaged", "reason")
    assert "Error" not in visit.find("body")[0].text
    PHOTO.save(tmp_path / "whole.png")
    visit.upload(tmp_path / "whole.png")
    visit.is_silent()
    visit.write("left dog", Keys.ENTER)
    visit.says("left dog")


@pytest.mark.parametrize("url", ["/etc/hostname", "file:///etc/hostname", "http://127.0.0.1:1/a.png", "~/a.png"])
def test_an_address_in_place_of_a_photograph_is_refused(url):
    with pytest.raises(gradio.Error, match="Upload the photograph itself"):
        uploaded(ImageData(url=url))
    assert uploaded(ImageData(url="data:image/png;base64,AAAA")) == "data:image/png;base64,AAAA"
    assert uploaded(None) is None
