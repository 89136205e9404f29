"""The site and the slides in a browser, opened as files: nothing is fetched, search and formulas work."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver import Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests.browser import chromium, complaints, programs, requests

ROOT = Path(__file__).parents[2]
SECONDS = 60
FORMULAS = "return !document.querySelector('script[src*=mathjax]') || MathJax.startup.promise.then(() => true)"
pytestmark = pytest.mark.slow
pytest.importorskip("myst_nb", reason="the extra [docs] is not installed")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the site. Sphinx's warnings are errors: a link or a docstring that it cannot read ends here."""
    programs()
    folder = tmp_path_factory.mktemp("web") / "site"
    run("build_site.py", folder)
    return folder


def run(script: str, *arguments: object, status: int = 0) -> str:
    """Run a script that ends with this status, and return what it says."""
    command = [sys.executable, ROOT / "scripts" / script, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == status, result.stdout + result.stderr
    return result.stderr


def test_a_folder_that_holds_something_else_is_kept(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    assert "is not empty and holds no site" in run("build_site.py", tmp_path, status=2)
    assert (tmp_path / "thesis.tex").read_text() == "mine"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with chromium(tmp_path_factory.mktemp("chromium")) as chrome:
        yield chrome


def opened(browser: webdriver.Chrome, page: Path, query: str = "") -> list[str]:
    """Open a page, wait for its formulas, and return all that its console said and that was asked of other places."""
    requests(browser), complaints(browser)
    browser.get(page.as_uri() + query)
    WebDriverWait(browser, SECONDS).until(lambda chrome: chrome.execute_script(FORMULAS))
    own = ("file:", "data:", "blob:", "chrome")
    return [one for one in requests(browser) if not one.startswith(own)] + complaints(browser)


def width(browser: webdriver.Chrome, pixels: int) -> None:
    metrics = {"width": pixels, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def test_no_page_asks_anyone_complains_or_overflows(pages: Path, browser: webdriver.Chrome) -> None:
    width(browser, 400)
    for page in sorted({*pages.glob("*.html"), *pages.glob("[a-z]*/*.html")}):
        assert opened(browser, page) == [], page.name
        wide = browser.execute_script("return document.scrollingElement.scrollWidth")
        assert wide <= 400, f"{page.relative_to(pages)} is {wide} pixels wide"
        assert not browser.find_elements(By.CSS_SELECTOR, "mjx-merror"), f"{page.name}: a formula is not set"
    width(browser, 1300)


def test_every_notebook_is_there_with_its_pictures_described(pages: Path, browser: webdriver.Chrome) -> None:
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        text = (pages / "notebooks" / f"{notebook.stem}.html").read_text(encoding="utf-8")
        images = re.findall(r"<img [^>]*>", text)
        assert len(images) >= 3 and not re.search(r'<img (?![^>]*alt="[^"]+)[^>]*>', text), notebook.name
        assert "<summary>Solution</summary>" in text and "prev-next-area" in text


def test_formulas_are_set_and_solutions_are_folded(pages: Path, browser: webdriver.Chrome) -> None:
    opened(browser, pages / "notebooks" / "04_transport_with_pot.html")
    assert len(browser.find_elements(By.CSS_SELECTOR, "mjx-container svg")) > 20
    solution = browser.find_element(By.CSS_SELECTOR, "details .highlight")
    assert not solution.is_displayed()
    browser.execute_script("arguments[0].closest('details').firstElementChild.click()", solution)
    assert solution.is_displayed()


def test_light_and_dark_differ(pages: Path, browser: webdriver.Chrome) -> None:
    browser.get((pages / "index.html").as_uri())
    for theme in ("light", "dark"):
        browser.execute_script(f"document.documentElement.dataset.theme = '{theme}'")
        colour = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert (int(re.findall(r"\d+", colour)[0]) > 128) == (theme == "light")


def test_a_slider_follows_the_arrow_keys_without_a_kernel(pages: Path, browser: webdriver.Chrome) -> None:
    opened(browser, pages / "notebooks" / "04_transport_with_pot.html")
    handle = browser.find_element(By.CSS_SELECTOR, ".bd-article input[type=range]")
    images = handle.find_elements(By.XPATH, "../following-sibling::figure/img")
    for number in range(3):
        (shown,) = (one for one in images if one.is_displayed())
        assert shown == images[number]
        assert browser.execute_script("return arguments[0].naturalWidth", shown) > 100
        handle.send_keys(Keys.ARROW_RIGHT)


def test_search_finds_the_barycentre(pages: Path, browser: webdriver.Chrome) -> None:
    assert opened(browser, pages / "search.html", "?q=barycentre") == []
    found = WebDriverWait(browser, SECONDS).until(
        lambda chrome: chrome.find_elements(By.CSS_SELECTOR, "#search-results li a")
    )
    assert any("02_estimate_the_blur_kernel" in link.get_attribute("href") for link in found)


def test_slides_need_no_network_and_turn(browser: webdriver.Chrome, tmp_path: Path) -> None:
    programs()
    run("slides.py", "04", "--out", tmp_path)
    width(browser, 1280)
    assert opened(browser, tmp_path / "04_transport_with_pot.html") == []
    assert len(browser.find_elements(By.CSS_SELECTOR, ".slides > section")) >= 8
    assert len(browser.find_elements(By.CSS_SELECTOR, "mjx-container svg")) > 20
    title = browser.find_element(By.CSS_SELECTOR, "section.present h1")
    browser.find_element(By.TAG_NAME, "body").send_keys(Keys.ARROW_RIGHT)
    WebDriverWait(browser, SECONDS).until(lambda chrome: not title.is_displayed())
    assert browser.find_element(By.CSS_SELECTOR, "section.present h2").text == "You will"
