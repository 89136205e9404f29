"""What the page of `otsr app` answers to what is touched, without a browser."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image, ImageCms

from otsr.evaluation.comparison import SIDE
from otsr.inference import Upscaler
from otsr.networks.generators import Compact


@pytest.fixture
def page(tmp_path: Path) -> Any:
    layout = pytest.importorskip("otsr.cli.layout", reason="gradio is not installed")
    (tmp_path / "results").mkdir()
    upscaler = Upscaler(Compact(nf=4, nb=1, scale=4), device="cpu", tile=32)
    return layout.Page(lambda weight: upscaler, tmp_path / "results", blend=False)


def photo(path: Path, width: int, height: int, mode: str = "RGB", **options: object) -> str:
    Image.new(mode, (width, height)).save(path, **options)
    return str(path)


@pytest.mark.parametrize(
    ("width", "height", "mode"), [(1, 1, "L"), (300, 2, "RGBA"), (3, 500, "LA"), (700, 500, "RGB")]
)
def test_any_photo_can_be_looked_at(page: Any, tmp_path: Path, width: int, height: int, mode: str) -> None:
    path = photo(tmp_path / "photo.png", width, height, mode)
    said, _, _, overview = page.opened(path)
    assert f"{width} × {height} pixels" in said
    for place in ((0, 0), (overview.width - 1, overview.height - 1)):
        part, _ = page.looked(path, SimpleNamespace(index=place))
        plain, large = page.compared(path, part, 1.0)
        assert plain.size == large.size == (4 * min(width, SIDE), 4 * min(height, SIDE))


def test_errors_name_the_file_without_folders_that_nobody_chose(page: Any, tmp_path: Path) -> None:
    letter = tmp_path / "results" / "abc" / "letter.jpg"
    letter.parent.mkdir()
    letter.write_text("Dear Sir, this is no picture.")
    said, steps, part, overview = page.opened(str(letter))
    assert said.startswith("⚠ letter.jpg: not a picture that can be read") and not steps.visible
    assert part is overview is None
    glass = photo(tmp_path / "glass.png", 40, 30, "RGBA")
    news, save = page.enlarged(glass, 4, None, 1.0, ".jpg", 0.0)
    assert news == "⚠ glass_large.jpg: JPEG holds no transparency; write PNG, WebP or TIFF"
    assert not save.visible


def test_the_part_is_where_the_overview_was_clicked(page: Any, tmp_path: Path) -> None:
    path = photo(tmp_path / "photo.png", 1280, 960)
    part, overview = page.looked(path, SimpleNamespace(index=(300, 200)))
    assert overview.size == (640, 480)
    assert part == (600 - SIDE // 2, 400 - SIDE // 2, SIDE, SIDE)


def test_the_browser_is_told_the_colour_profile(page: Any, tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    path = photo(tmp_path / "phone.png", 9, 9, icc_profile=profile)
    _, _, part, overview = page.opened(path)
    assert {image.info["icc_profile"] for image in (overview, *page.compared(path, part, 1.0))} == {profile}


def test_a_cancel_counts_from_the_click_on_whenever_the_work_begins(page: Any, tmp_path: Path) -> None:
    chosen = (photo(tmp_path / "photo.png", 150, 120), 4, None, 1.0, ".png")
    (click,) = (one for one in page.blocks.fns.values() if (page.go._id, "click") in one.targets)
    assert not click.queue, "it is answered at once, whatever work is under way"
    first = click.fn()
    page.stop()
    second = click.fn()
    assert page.enlarged(*chosen, first)[0] == "Cancelled."
    assert not [file for file in (tmp_path / "results").rglob("*") if file.is_file()]
    assert page.enlarged(*chosen, second)[0].startswith("Done")
