"""Frames are kept when a notebook runs, and come alive in a page as long as the notebook says the same."""

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
import sliders
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook, new_output
from PIL import Image

from otsr.course.widgets import FrameSlider

CAPTIONS = ["A grey of level 40.", "A tag </script><b> in words."]


@pytest.fixture
def run() -> NotebookNode:
    """A notebook as it is after a run that keeps the state of widgets."""
    frames = [np.full((60, 80, 3), level, np.uint8) for level in (40, 200)]
    slider = FrameSlider(frames, ["dark", "light"], CAPTIONS, title="level")
    data = {"text/plain": slider.description(), sliders.VIEW: {"model_id": "m"}}
    cell = new_code_cell("FrameSlider(…)", id="04-07", outputs=[new_output("execute_result", data)])
    notebook = new_notebook(cells=[cell])
    notebook.metadata.widgets = {sliders.STATES: {"state": {"m": {"state": slider.get_state()}, "other": {}}}}
    return notebook


def test_the_frames_of_a_run_are_kept_and_replace_older_ones(run: NotebookNode, tmp_path: Path) -> None:
    (tmp_path / "04-03.json").write_text("{}")
    (tmp_path / "05-03.json").write_text("{}")
    assert sliders.store(run, tmp_path) == [tmp_path / "04-07.json"]
    assert {path.name for path in tmp_path.iterdir()} == {"04-07.json", "05-03.json"}
    frames = json.loads((tmp_path / "04-07.json").read_text(encoding="utf-8"))["frames"]
    pictures = [Image.open(io.BytesIO(base64.b64decode(frame.partition(",")[2]))) for frame in frames]
    assert [one.size for one in pictures] == [(80, 60)] * 2
    assert [one.convert("L").getpixel((0, 0)) for one in pictures] == [40, 200]


def test_a_slider_lives_only_while_the_notebook_says_what_it_shows(run: NotebookNode, tmp_path: Path) -> None:
    assert sliders.live(run.cells[0], tmp_path) is None
    sliders.store(run, tmp_path)
    page = sliders.live(run.cells[0], tmp_path)
    assert page and CAPTIONS[0] in page and "data:image/webp" in page
    assert page.count("</script>") == 1, "a caption ends the script"
    run.cells[0].outputs[0].data["text/plain"] = "[slider] level\ndark: Another caption."
    assert sliders.live(run.cells[0], tmp_path) is None


def test_every_slider_of_the_course_moves_on_the_site(path: Path, notebook: NotebookNode) -> None:
    for cell in notebook.cells:
        data = [output.get("data", {}) for output in cell.get("outputs", [])]
        if any(str(one.get("text/plain", "")).startswith("[slider]") for one in data):
            assert sliders.live(cell), f"{cell.id}: run python scripts/course.py notebooks {path.name[:2]}"
