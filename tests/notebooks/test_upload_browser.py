"""PhotoUpload in a real JupyterLab in a real browser: a file is chosen, the line beside the button says so."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import test_widgets_browser as lab
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait
from test_widgets_browser import address, browser  # noqa: F401  fixtures

SOURCE = """\
from otsr.course.upload import PhotoUpload
from otsr.datasets import phone_crops

PhotoUpload(phone_crops()[0])"""

CATCH = """
HTMLInputElement.prototype.click = function () { this.id = "chosen"; document.body.appendChild(this); };
"""  # no dialogue of the system can be driven: keep the input that would open it


@pytest.fixture
def upload_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab, "CELLS", [SOURCE])


def line(browser: webdriver.Chrome) -> str:  # noqa: F811
    return browser.find_element(By.CSS_SELECTOR, ".jupyter-widgets .widget-html-content").text


@pytest.mark.slow
def test_a_photo_chosen_in_jupyterlab_reaches_the_kernel(
    upload_notebook: None,
    address: str,  # noqa: F811
    browser: webdriver.Chrome,  # noqa: F811
    tmp_path: Path,
) -> None:
    noise = np.frombuffer(os.urandom(600 * 800 * 3), np.uint8).reshape(600, 800, 3)
    Image.fromarray(noise).save(tmp_path / "mine.jpg", quality=95)
    (tmp_path / "letter.jpg").write_text("Dear Sir, this is no picture.")
    browser.get(address)
    lab.run_all_cells(browser)
    button = lab.find(browser, ".jupyter-widgets.widget-upload")
    assert "comes with the course" in line(browser)
    browser.execute_script(CATCH)
    for name, words in (("letter.jpg", "cannot be read as a picture"), ("mine.jpg", "Your photo: mine.jpg")):
        button.click()
        browser.find_element(By.ID, "chosen").send_keys(str(tmp_path / name))
        WebDriverWait(browser, lab.SECONDS).until(lambda chrome, words=words: words in line(chrome))
    browser.save_screenshot(str(tmp_path / "upload.png"))
