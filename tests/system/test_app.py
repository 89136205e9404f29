"""`otsr app` in a real browser: a photo goes in, is looked at, and comes out as the command line makes it.

Needs gradio, chromium and chromedriver. Where one is missing the tests are passed over with a line that says so; in
continuous integration (environment variable CI) they fail instead.
"""

import importlib.util
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from command import Run, files, picture, start
from PIL import Image
from selenium import webdriver
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from tests.browser import chromium, requests

if not os.environ.get("CI") and importlib.util.find_spec("gradio") is None:
    pytest.skip("gradio is not installed (pip install gradio)", allow_module_level=True)

pytestmark = pytest.mark.slow
SECONDS = 120
CALLS = """\
import sys
def note(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo"):
        with open({path!r}, "a") as file:
            print(arguments[1][0] if event == "socket.connect" else arguments[0], file=file)
sys.addaudithook(note)
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("app")


@pytest.fixture(scope="module")
def address(home: Path, pair: Path) -> Iterator[str]:
    """The page; it is ended as Ctrl-C does."""
    for folder in ("temporary", "empty", "hook"):
        (home / folder).mkdir()
    (home / "hook" / "sitecustomize.py").write_text(CALLS.format(path=str(home / "calls")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(home / "hook"), os.environ.get("PYTHONPATH", "")]))
        patch.setenv("TMPDIR", str(home / "temporary"))
        command = ("app", "--weights", pair / "transport.safetensors", "--no-browser")
        server = start(*command, cwd=home / "empty")
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        assert line.startswith("The page is at http://127.0.0.1:"), server.communicate(timeout=30)
        yield line.split()[4]
    finally:
        server.send_signal(signal.SIGINT)
        assert server.wait(timeout=60) == 130
        assert files(home / "temporary") == files(home / "empty") == [], "temporary files are removed"


@pytest.fixture(scope="module")
def browser(home: Path, address: str) -> Iterator[webdriver.Chrome]:
    with chromium(home / "profile") as chrome:
        behaviour = {"behavior": "allow", "downloadPath": str(home / "saved")}
        chrome.execute_cdp_cmd("Browser.setDownloadBehavior", behaviour)
        yield chrome


def until(browser: webdriver.Chrome, condition: Callable[[], object]) -> object:
    return WebDriverWait(browser, SECONDS, ignored_exceptions=[Exception]).until(lambda _: condition())


def find(browser: webdriver.Chrome, selector: str) -> WebElement:
    return browser.find_element(By.CSS_SELECTOR, selector)


def drop(browser: webdriver.Chrome, address: str, photo: Path) -> str:
    """Give a file to a fresh page, and return what the page says."""
    browser.get(address)
    until(browser, lambda: find(browser, "#photo input[type=file]")).send_keys(str(photo))  # type: ignore[attr-defined]
    return str(until(browser, lambda: find(browser, "#said").text))


def enlarged(browser: webdriver.Chrome) -> str:
    """Where the network's picture of the part lies."""
    return find(browser, "#pair").find_elements(By.TAG_NAME, "img")[-1].get_attribute("src") or ""


def saved(browser: webdriver.Chrome, folder: Path) -> Path:
    """Enlarge the whole photo, click on save, and return the file."""
    find(browser, "#go").click()
    until(browser, lambda: "Done" in find(browser, "#news").text)
    until(browser, lambda: find(browser, "#save").is_displayed())
    find(browser, "#save").click()
    until(browser, lambda: [path for path in folder.glob("*") if path.suffix != ".crdownload"])
    (path,) = folder.iterdir()
    return path.rename(folder.parent / path.name)


def test_a_photo_is_compared_enlarged_and_saved_as_the_command_line_makes_it(
    browser: webdriver.Chrome, address: str, home: Path, pair: Path, otsr: Run
) -> None:
    photo = picture(home / "Été 1.png", 180, 140)
    assert "180 × 140 pixels" in drop(browser, address, photo)
    sharp = until(browser, lambda: enlarged(browser))
    handle = find(browser, "#weight input[type=range]")
    ActionChains(browser).drag_and_drop_by_offset(handle, -handle.size["width"] // 4, 0).perform()
    weight = find(browser, "#weight input[type=number]").get_attribute("value")
    assert 0 < float(weight or 1) < 1
    until(browser, lambda: enlarged(browser) != sharp)
    path = saved(browser, home / "saved")
    assert path.suffix == ".png"
    expected, weights = home / "expected.png", pair / "transport.safetensors"
    otsr("upscale", photo, "-o", expected, "--weights", weights, "--ot-weight", weight, status=0)
    np.testing.assert_array_equal(np.asarray(Image.open(path)), np.asarray(Image.open(expected)))
    find(browser, "#size label:nth-of-type(2)").click()
    until(browser, lambda: "360 × 280 pixels" in find(browser, "#cost").text)
    assert not find(browser, "#news").text
    assert not browser.find_elements(By.ID, "save") or not find(browser, "#save").is_displayed()


def test_nothing_leaves_this_computer(browser: webdriver.Chrome, address: str, home: Path) -> None:
    drop(browser, address, picture(home / "other.png", 40, 30))
    until(browser, lambda: enlarged(browser))
    seen = [urlsplit(url) for url in requests(browser)]
    assert {url.hostname for url in seen if url.scheme in ("http", "https", "ws", "wss")} == {"127.0.0.1"}
    assert set((home / "calls").read_text().split()) <= {"127.0.0.1"}, "the page's own program"
    with socket.socket() as other:  # another address of this computer; every interface would include it
        assert other.connect_ex(("127.0.0.2", urlsplit(address).port or 0)) != 0


def test_a_missing_gradio_and_a_taken_port_are_named(
    otsr: Run, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = otsr("app", "--weights", tiny_weights, "--no-browser", "--port", port, status=2)
    assert f"port {port}: in use" in result.stderr
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert otsr("app", status=2).stderr.endswith("is not installed: pip install gradio\n")
