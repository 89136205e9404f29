"""The sheet of `otsr compare`: where it looks, what it shows."""

import numpy as np
import pytest
import torch
from PIL import Image
from small_networks import plainly
from torch import Tensor, nn

from otsr.evaluation.comparison import Window, detail, enlarged, overview, sheet, window_at
from otsr.images import resize, to_array


class Darker(nn.Module):
    """Bicubic interpolation at half the brightness."""

    scale = 2

    def forward(self, x: Tensor) -> Tensor:
        return resize(x, 2) / 2


def photo() -> Tensor:
    """Grey with noise, and a chequerboard of 8-pixel fields in its lower right quarter."""
    image = 0.5 + 0.1 * torch.randn(3, 200, 300, generator=torch.Generator().manual_seed(0))
    y, x = torch.meshgrid(torch.arange(100), torch.arange(150), indexing="ij")
    image[:, 100:, 150:] = ((y // 8 + x // 8) % 2).float()
    return image.clamp(0, 1)


def test_the_detail_is_where_edges_are_and_not_where_noise_is() -> None:
    left, top, width, height = detail(photo(), 64)
    assert (width, height) == (64, 64) and 140 <= left <= 236 and 90 <= top <= 136
    assert detail(photo()[:, :20, :30], 64) == (0, 0, 30, 20)  # a small photo is its own detail


def test_a_chosen_corner_is_moved_inside_and_one_outside_is_refused() -> None:
    assert window_at(photo(), 10, 20, 64) == (10, 20, 64, 64)
    assert window_at(photo(), 290, 190, 64) == (236, 136, 64, 64)
    with pytest.raises(ValueError, match="300,0 lies outside the photo, which has 300×200 pixels"):
        window_at(photo(), 300, 0)


def test_each_picture_is_the_same_place_at_the_same_size() -> None:
    """Also from a ×2 network, and equal to what the whole photo becomes there."""
    window = Window(40, 100, 50, 60)
    views = enlarged(photo(), {"dark": plainly(Darker())}, window)
    assert list(views) == ["bicubic", "dark"]
    assert [view.size for view in views.values()] == [(200, 240)] * 2
    bicubic, dark = (np.asarray(view) for view in views.values())
    assert np.array_equal(bicubic, to_array(resize(photo(), 4))[400:640, 160:360])
    assert dark.mean() == pytest.approx(bicubic.mean() / 2, rel=0.02)


def test_the_sheet_names_every_picture() -> None:
    views = {f"network {i}": Image.new("RGB", (100, 80), (0, 0, 90)) for i in range(5)}
    page = np.asarray(sheet(views, {"network 0": "for " + "everything " * 20}))
    blue = (page == (0, 0, 90)).all(-1)
    assert blue.sum() == 5 * 100 * 80
    labels = page[88:130].min(-1) < 128  # below the first row
    assert all(labels[:, 8 + 108 * i : 108 + 108 * i].any() for i in range(4))
    assert not labels[:, 108:116].any(), "words do not run into the next column"


def test_the_overview_frames_the_window() -> None:
    shown = np.asarray(overview(torch.full((3, 200, 300), 0.5), Window(100, 50, 100, 100), (150, 150)))
    assert shown.shape == (100, 150, 3)
    rows, columns = np.nonzero(shown[..., 0] == 255)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (25, 75, 50, 100)
