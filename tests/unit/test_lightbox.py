"""What the page of `otsr app` computes, without a page."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image, ImageCms

from otsr.cli.lightbox import Lightbox, Stopped
from otsr.cli.upscale import Size
from otsr.evaluation.comparison import SIDE
from otsr.inference import Upscaler
from otsr.networks.generators import Compact


@pytest.fixture
def lightbox(tmp_path: Path) -> Lightbox:
    torch.manual_seed(0)
    network = Compact(nf=4, nb=1, scale=4)
    (tmp_path / "results").mkdir()
    return Lightbox(lambda weight: Upscaler(network, device="cpu", tile=32), tmp_path / "results")


def photo(path: Path, width: int, height: int, mode: str = "RGB") -> str:
    Image.new(mode, (width, height)).save(path)
    return str(path)


@pytest.mark.parametrize(
    ("width", "height", "mode"), [(1, 1, "L"), (300, 2, "RGBA"), (3, 500, "LA"), (700, 500, "RGB")]
)
def test_a_photo_of_any_size_and_kind_can_be_looked_at(
    lightbox: Lightbox, tmp_path: Path, width: int, height: int, mode: str
) -> None:
    path = photo(tmp_path / "photo.png", width, height, mode)
    part = lightbox.detail(path)
    overview = lightbox.overview(path, part)
    for column, row in ((0, 0), (overview.width - 1, overview.height - 1)):
        part = lightbox.around(path, column, row)
        plain, large = lightbox.compare(path, part, 1.0)
        assert plain.size == large.size == (4 * min(width, SIDE), 4 * min(height, SIDE))


def test_the_part_is_where_the_overview_was_clicked(lightbox: Lightbox, tmp_path: Path) -> None:
    path = photo(tmp_path / "photo.png", 1280, 960)
    assert lightbox.overview(path, lightbox.detail(path)).size == (640, 480)
    assert lightbox.around(path, 300, 200) == (600 - SIDE // 2, 400 - SIDE // 2, SIDE, SIDE)


def test_the_browser_is_told_the_colour_profile(lightbox: Lightbox, tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.new("RGB", (9, 9)).save(tmp_path / "phone.png", icc_profile=profile)
    path = str(tmp_path / "phone.png")
    for image in lightbox.compare(path, lightbox.detail(path), 1.0):
        assert image.info["icc_profile"] == profile


def test_a_stopped_enlargement_says_so_and_leaves_nothing(lightbox: Lightbox, tmp_path: Path) -> None:
    path = photo(tmp_path / "photo.png", 1500, 1200)
    with pytest.raises(Stopped):
        for _ in lightbox.enlarge(path, 1.0, Size(), ".png"):
            lightbox.stop()
    assert not [file for file in (tmp_path / "results").rglob("*") if file.is_file()]


def test_what_goes_wrong_in_the_work_is_raised(lightbox: Lightbox, tmp_path: Path) -> None:
    path = photo(tmp_path / "glass.png", 9, 9, "RGBA")
    with pytest.raises(ValueError, match="JPEG holds no transparency"):
        list(lightbox.enlarge(path, 1.0, Size(), ".jpg"))
