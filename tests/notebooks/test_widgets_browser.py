"""The course's widgets in a real browser.

FrameSlider: while it is dragged, or moved with a key, its picture follows, in a JupyterLab whose kernel is busy with
another cell and in a page without kernel. PhotoUpload: a file is chosen, the line beside the button says so.
"""

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import nbformat
import numpy as np
import pytest
import requests
from nbformat.v4 import new_code_cell, new_notebook
from PIL import Image
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver import Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.expected_conditions import visibility_of_any_elements_located
from selenium.webdriver.support.ui import WebDriverWait
from sliders import as_html

from otsr.course.widgets import FrameSlider
from tests.browser import chromium, programs

SECONDS = 90
QUIET = """{"fetchNews": "false", "checkForUpdates": false, "doNotDisturbMode": true}"""
SOURCE = """\
import time

import numpy as np
from otsr.course.widgets import FrameSlider

frames = [np.full((120, 200, 3), level, np.uint8) for level in (0, 85, 170, 255)]
captions = [f"Frame {i} is a grey of level {i * 85}." for i in range(4)]
FrameSlider(frames, ["black", "dark", "light", "white"], captions, title="level")"""
UPLOAD = """\
from otsr.course.upload import PhotoUpload
from otsr.datasets import phone_crops

PhotoUpload(phone_crops()[0])"""
CATCH = """
HTMLInputElement.prototype.click = function () { this.id = "chosen"; document.body.appendChild(this); };
"""  # no dialogue of the system can be driven: keep the input that would open it


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., str]]:
    """`lab(*cells)`: address of a new notebook in a JupyterLab on 127.0.0.1, without news or settings of the user."""
    programs()
    tmp_path = tmp_path_factory.mktemp("lab")
    (tmp_path / "work").mkdir()
    settings = tmp_path / "config/lab/user-settings/@jupyterlab/apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text(QUIET)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = secrets.token_hex(16)
    folders = {"JUPYTER_CONFIG_DIR": "config", "JUPYTER_RUNTIME_DIR": "runtime", "IPYTHONDIR": "ipython"}
    environment = os.environ | {name: str(tmp_path / folder) for name, folder in folders.items()}
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--IdentityProvider.token={token}",
        "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", "--ServerApp.port_retries=0",
        f"--ServerApp.root_dir={tmp_path / 'work'}", "--LabApp.news_url=None", "--LabApp.extension_manager=readonly",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]  # fmt: skip
    with (tmp_path / "jupyter.log").open("wb") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        wait_for_server(f"http://127.0.0.1:{port}/api", server, tmp_path / "jupyter.log")

        def notebook(*cells: str) -> str:
            made = new_notebook(cells=[new_code_cell(cell) for cell in cells])
            made.metadata.kernelspec = {"display_name": "Python 3", "language": "python", "name": "python3"}
            name = f"{secrets.token_hex(4)}.ipynb"
            nbformat.write(made, tmp_path / "work" / name)
            return f"http://127.0.0.1:{port}/lab/tree/{name}?token={token}&reset"

        yield notebook
    finally:
        server.terminate()
        server.wait(timeout=30)


def wait_for_server(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    session = requests.Session()
    session.trust_env = False  # never through a proxy
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        with suppress(requests.RequestException):
            return session.get(address, timeout=5).raise_for_status()
        time.sleep(0.3)
    pytest.fail(f"JupyterLab did not start; it said:\n{log.read_text()[-3000:]}")


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    with chromium(tmp_path / "chromium") as chrome:
        yield chrome
        chrome.save_screenshot(str(tmp_path / "last.png"))


def find(browser: webdriver.Chrome, selector: str) -> WebElement:
    """The first visible element, waited for."""
    stale = [StaleElementReferenceException]  # JupyterLab drew it anew in between
    wait = WebDriverWait(browser, SECONDS, ignored_exceptions=stale)
    visible = visibility_of_any_elements_located((By.CSS_SELECTOR, selector))
    return wait.until(visible, f"nothing visible matches {selector}")[0]


def run_all_cells(browser: webdriver.Chrome) -> None:
    """Run > Run All Cells; once more where the kernel was not yet connected and JupyterLab dropped the request."""
    find(browser, ".jp-NotebookPanel-toolbar")
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        with suppress(StaleElementReferenceException):  # JupyterLab drew it anew in between
            if find(browser, ".jp-InputPrompt").text != "[ ]:":
                return
            find(browser, ".jp-Notebook-ExecutionIndicator[data-status='idle']")
            menus = browser.find_elements(By.CSS_SELECTOR, ".lm-MenuBar-item")
            next(one for one in menus if one.text == "Run").click()
            find(browser, "li.lm-Menu-item[data-command='runmenu:run-all']").click()
        time.sleep(2)


READ = """
const image = [...document.querySelectorAll("figure img")].find((one) => one.offsetParent);
const caption = document.querySelector("figure figcaption");
if (!image || !image.complete) return null;
return [image.naturalWidth, image.src, image.alt, caption.innerText];
"""


def wait_for(browser: webdriver.Chrome, level: int) -> tuple[str, str, str]:
    """(source of the picture, alternative text, caption), read in one moment, once the caption is that of the frame."""
    find(browser, "figure figcaption")
    caption = f"Frame {level} is a grey of level {level * 85}."

    def shown(chrome: webdriver.Chrome) -> list[str] | None:
        found = chrome.execute_script(READ)
        return found if found and found[-1] == caption else None

    width, *texts = WebDriverWait(browser, 10).until(shown, f"the caption did not become: {caption}")
    assert width == 200, "the picture was not decoded"
    return tuple(texts)


def drag_and_type(browser: webdriver.Chrome) -> None:
    """Drag the handle from end to end without letting go, then use the keys; the picture follows each time."""
    seen = [wait_for(browser, 0)]
    handle = find(browser, "input[type=range]")

    def mouse(kind: str, part: float) -> None:
        """An event of the mouse on the slider, as the browser's own input; `part` of the way from left to right."""
        box = browser.execute_script("return arguments[0].getBoundingClientRect().toJSON()", handle)
        x, y = box["x"] + 8 + part * (box["width"] - 16), box["y"] + box["height"] / 2
        event = {"type": kind, "x": x, "y": y, "button": "left", "buttons": 1, "clickCount": 1}
        browser.execute_cdp_cmd("Input.dispatchMouseEvent", event)

    mouse("mousePressed", 0)
    mouse("mouseMoved", 1 / 3)
    seen.append(wait_for(browser, 1))
    mouse("mouseMoved", 1)
    wait_for(browser, 3)
    mouse("mouseReleased", 1)
    assert handle.get_attribute("aria-valuetext") == find(browser, "output").text == "white"
    handle.send_keys(Keys.ARROW_LEFT)
    seen.append(wait_for(browser, 2))
    handle.send_keys(Keys.HOME)
    wait_for(browser, 0)
    for part in zip(*seen, strict=True):
        assert len(set(part)) == 3, "picture, alternative text and caption change with the frame"


@pytest.mark.slow
def test_the_picture_follows_while_the_kernel_is_busy(lab: Callable[..., str], browser: webdriver.Chrome) -> None:
    browser.get(lab(SOURCE, f"time.sleep({SECONDS})"))
    run_all_cells(browser)
    find(browser, "figure figcaption")
    find(browser, ".jp-Notebook-ExecutionIndicator[data-status='busy']")
    drag_and_type(browser)
    find(browser, ".jp-Notebook-ExecutionIndicator[data-status='busy']")


def test_the_picture_follows_in_a_page_without_kernel(browser: webdriver.Chrome, tmp_path: Path) -> None:
    made: dict[str, FrameSlider] = {}
    exec(SOURCE.replace("\nFrameSlider", "\nslider = FrameSlider"), made)
    state = {name: getattr(made["slider"], name) for name in ("title", "labels", "captions", "frames")}
    page = tmp_path / "page.html"
    page.write_text("<!DOCTYPE html><meta charset=utf-8><title>A slider</title>" + as_html(state), "utf-8")
    browser.get(page.as_uri())
    drag_and_type(browser)
    assert not browser.get_log("browser"), "the console has a complaint"


@pytest.mark.slow
def test_a_photo_chosen_in_jupyterlab_reaches_the_kernel(
    lab: Callable[..., str], browser: webdriver.Chrome, tmp_path: Path
) -> None:
    def said() -> str:
        return browser.find_element(By.CSS_SELECTOR, ".jupyter-widgets .widget-html-content").text

    noise = np.random.default_rng(0).integers(0, 256, (600, 800, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "mine.jpg", quality=95)
    (tmp_path / "letter.jpg").write_text("Dear Sir, this is no picture.")
    browser.get(lab(UPLOAD))
    run_all_cells(browser)
    button = find(browser, ".jupyter-widgets.widget-upload")
    assert "comes with the course" in said()
    browser.execute_script(CATCH)
    for name, words in (("letter.jpg", "cannot be read as a picture"), ("mine.jpg", "Your photo: mine.jpg")):
        button.click()
        browser.find_element(By.ID, "chosen").send_keys(str(tmp_path / name))
        WebDriverWait(browser, SECONDS).until(lambda _, words=words: words in said())
