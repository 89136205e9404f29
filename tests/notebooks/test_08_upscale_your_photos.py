"""What notebook 08 writes from scratch is what the package does."""

import io
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from otsr import Upscaler, inference, weights
from otsr.datasets import data_dir
from otsr.images import open_picture, read, to_pil
from otsr.machine import live_peak
from otsr.networks.generators import RRDBNet
from tests.unit.small_networks import difference, lively, plainly


@pytest.fixture
def written(written: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(written, "network", lively(RRDBNet(nf=8, nb=1, gc=4)), raising=False)
    return written


@pytest.fixture(scope="module")
def photo() -> Tensor:
    return read(data_dir() / "phone" / "iso1792_texture.jpg")[:, 240:300, 560:670]


def mirrored(photo: Tensor) -> Tensor:
    """With 8 pixels more at each border, as the upscaler shows it to the network."""
    return torch.from_numpy(np.pad(photo.numpy(), ((0, 0), (8, 8), (8, 8)), mode="symmetric"))


def inside(sr: Tensor) -> np.ndarray:
    return np.asarray(to_pil(sr))[32:-32, 32:-32]


def test_its_strips_are_what_the_upscaler_s_tiles_are(written: Any, photo: Tensor) -> None:
    upscaler = plainly(written.network, device="cpu", tile=32)
    expected = upscaler.upscale(photo)
    assert len(upscaler.tiles(110, 60)) > 1
    for strip in (32, 40, 126):
        glued = written.in_strips(written.enlarge, mirrored(photo), strip, upscaler.overlap)
        assert difference(inside(glued), expected) <= 1
    cut = written.in_strips(written.enlarge, mirrored(photo), 32, 0)
    assert difference(inside(cut), expected) > 5, "without overlap there is a seam to be seen"


def test_its_eight_ways_are_the_upscaler_s_ensemble(written: Any, photo: Tensor) -> None:
    ours = inside(written.eight_ways(mirrored(photo)))
    assert difference(ours, plainly(written.network, device="cpu", ensemble=True).upscale(photo)) <= 1
    assert difference(ours, inside(written.enlarge(mirrored(photo)))) > 5


@pytest.mark.parametrize("steps", [1, 4])
def test_its_back_projection_is_the_package_s(written: Any, photo: Tensor, steps: int) -> None:
    sr = written.enlarge(photo)
    expected = inference.back_project(sr[None].clone(), photo[None], steps)[0]
    torch.testing.assert_close(written.back_project(sr, photo, steps), expected)


@pytest.mark.parametrize("t", [0.0, 0.3, 1.0])
def test_its_mixture_is_the_package_s_blend(written: Any, monkeypatch: pytest.MonkeyPatch, t: float) -> None:
    stored = {"psnr": RRDBNet(nf=8, nb=1, gc=4), "otsr": RRDBNet(nf=8, nb=1, gc=4)}
    expected = dict(weights.blend(stored["psnr"], stored["otsr"], t).named_parameters())
    monkeypatch.setattr(written, "weights", SimpleNamespace(load=stored.__getitem__))
    for name, parameter in written.mixed(t).named_parameters():
        torch.testing.assert_close(parameter, expected[name])


@pytest.mark.parametrize("size", [(20, 20), (9, 31)])
def test_its_formula_for_memory_holds_to_the_byte(written: Any, size: tuple[int, int]) -> None:
    same = RRDBNet(nf=64, nb=6, gc=32).eval()  # the size of `otsr`
    lr = torch.zeros(1, 3, *size)
    with torch.no_grad():
        assert written.formula(*size) == live_peak(lambda: same(lr))
    assert written.counted(same.to("meta"), *size) == written.formula(*size)


def test_its_phone_file_has_tags_and_a_place_and_the_upscaled_one_has_none(
    written: Any, photo: Tensor, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written.like_a_phone(to_pil(photo))
    assert open_picture(Image.open(file)).pixels.shape == (110, 60, 3), "its tag turns it"
    written.reveal("before", Image.open(file))
    result = io.BytesIO()
    Upscaler(written.network, device="cpu", precision="fp32").upscale(Image.open(file)).save(result, "PNG")
    written.reveal("after", Image.open(result))
    before, after = capsys.readouterr().out.split("after:")
    assert "Xiaomi" in before and "2020:01:24" in before and "46.0" in before
    assert "240×440" in after and "tags  none" in after and "place none" in after and "bytes" in after


@pytest.mark.parametrize("middle", [(0.0, 0.0), (0.5, 0.5), (1.0, 1.0)])
def test_its_part_never_leaves_the_photo(written: Any, photo: Tensor, middle: tuple[float, float]) -> None:
    assert written.part(photo, middle, side=40).shape == (3, 40, 40)
