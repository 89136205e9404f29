"""Chromium for tests of pages. Where it is missing they are passed over with a line that says so; in CI they fail."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

QUIET = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage", "--hide-scrollbars",
    "--no-proxy-server", "--window-size=1300,1100",
)  # fmt: skip


def program(*names: str) -> str:
    """Path of the first of these programs that is installed."""
    found = next((path for path in map(shutil.which, names) if path), None)
    if found:
        return found
    message = f"{' or '.join(names)} is not installed (Debian: apt install chromium chromium-driver)"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


def programs() -> tuple[str, str]:
    """Paths of the browser and its driver; ask before anything slow is started."""
    return program("chromium", "chromium-browser", "google-chrome"), program("chromedriver")


@contextmanager
def chromium(profile: Path) -> Iterator[webdriver.Chrome]:
    """A browser that writes down its requests and what its console says."""
    binary, driver = programs()
    options = Options()
    options.binary_location = binary
    for argument in (*QUIET, f"--user-data-dir={profile}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chrome = webdriver.Chrome(options, Service(driver))  # the path is given: Selenium asks no server for one
    try:
        yield chrome
    finally:
        chrome.quit()


def requests(browser: webdriver.Chrome) -> list[str]:
    """Addresses asked for since the last call."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [event["params"] for event in events if event["method"] == "Network.requestWillBeSent"]
    return [one["request"]["url"] for one in sent]


def complaints(browser: webdriver.Chrome) -> list[str]:
    """Warnings and errors that the console has shown since the last call."""
    return [one["message"] for one in browser.get_log("browser") if one["level"] in ("SEVERE", "WARNING")]
