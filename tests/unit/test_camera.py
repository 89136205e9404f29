"""A camera from photos: blur of what is in focus, noise of what is smooth, JPEG quality, and reasons for doubt."""

import functools
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from pytest import MonkeyPatch

from otsr.datasets import phone_crops, photos
from otsr.degradation import Degradation, DegradationError, NoisePool, camera, doubts, kernels
from otsr.degradation.camera import estimate_camera, photo_kernel, quality_of
from otsr.degradation.estimation import Blur
from otsr.degradation.report import describe, draw
from otsr.images import ImageError, luma, read, resize, to_pil, write


@functools.cache
def scene(index: int) -> torch.Tensor:
    return resize(read(photos("val")[index]), 0.75).clamp(0, 1)[:, :512, :512]


def shot(kernel: torch.Tensor, index: int = 0, noise: float = 2.0) -> torch.Tensor:
    """A val photo at ×2 under a kernel, with noise in grey levels."""
    lr = kernels.downsample(scene(index), kernel, 2)
    grain = torch.randn(lr.shape, generator=torch.Generator().manual_seed(index))
    return (lr + noise / 255 * grain).clamp(0, 1)


def round_shot(deviation: float, index: int = 0) -> torch.Tensor:
    return shot(kernels.gaussian(24, deviation**2), index)


def textured(size: int, flat: int, noise: float) -> Image.Image:
    """Leaves of noise everywhere but in one flat square of `flat` pixels, with grain all over."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (size // 4, size // 4)).repeat(4, 0).repeat(4, 1).astype(float)
    image[40 : 40 + flat, 40 : 40 + flat] = 120
    grainy = image[..., None] + rng.normal(0, noise, (size, size, 3))
    return Image.fromarray(np.rint(grainy).clip(0, 255).astype(np.uint8))


def saved(path: Path, **settings: Any) -> tuple[int, Any]:
    """The quality that is read from a picture saved so, and the file's tables."""
    textured(64, 16, 3).save(path, **settings)
    return quality_of(path) or 0, getattr(Image.open(path), "quantization", None)


@pytest.mark.parametrize("quality", [30, 75, 98])
def test_the_quality_of_a_jpeg_is_read_from_its_tables(tmp_path: Path, quality: int) -> None:
    assert saved(tmp_path / "a.png")[0] == 0
    found, tables = saved(tmp_path / "a.jpg", quality=quality)
    assert found == quality
    own = [[min(255, 1 + step) for step in table] for table in tables.values()]
    assert quality - 12 <= saved(tmp_path / "a.jpg", qtables=own)[0] <= quality


def test_the_tables_of_luma_and_of_colours_both_count(tmp_path: Path) -> None:
    low, high = (saved(tmp_path / "a.jpg", quality=quality)[1] for quality in (40, 90))
    for tables in ([low[0], high[1]], [high[0], low[1]]):
        assert 40 < saved(tmp_path / "a.jpg", qtables=tables)[0] < 90


def test_noise_that_jpeg_left_stays_what_it_is_when_it_is_injected_before_jpeg() -> None:
    raw = 0.5 + 4 / 255 * torch.randn(64, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    once = Degradation(1, jpeg=(75, 75)).apply(raw.clamp(0, 1), seed=0)
    pool = NoisePool((255 * once).round().byte(), ["a"] * 64, [""] * 64)
    again = Degradation(1, noise=pool, jpeg=(75, 75)).apply(torch.full((200, 3, 48, 48), 0.5), seed=1)
    assert float(again.var() / once.var()) == pytest.approx(1, abs=0.03)


def test_of_a_photo_that_is_half_out_of_focus_the_sharp_half_gives_the_kernel() -> None:
    focus = photo_kernel(torch.cat([round_shot(1.4), round_shot(4.5)], 2), 2)
    assert float(kernels.moments(focus.kernel)[1].det()) ** 0.25 == pytest.approx(1.4, rel=0.25)
    assert focus.tiles[-1] > 2 * focus.tiles[0]


def test_the_clearer_tiles_from_a_tenth_to_four_tenths_give_the_kernel(monkeypatch: MonkeyPatch) -> None:
    """Of 25 tiles every other one is clear: 13, with σ from 1 on in steps of 0.2; the second to the sixth count."""
    tiles = (
        Blur((1 + number / 10) ** 2 * torch.eye(2), torch.zeros(5), (0.1, 0.1), 0.1 + number % 2, 1, 99)
        for number in torch.randperm(25, generator=torch.Generator().manual_seed(0)).tolist()
    )
    monkeypatch.setattr(camera, "estimate_blur", lambda *_: next(tiles))
    monkeypatch.setattr(camera, "kernel_of", lambda blur, _: kernels.gaussian(24, blur.sigma**2))
    focus = camera.photo_kernel(torch.rand(3, 960, 960), 2)
    sharp = [1.2, 1.4, 1.6, 1.8, 2.0]
    assert focus.sigma == pytest.approx(math.prod(sharp) ** 0.2) and len(focus.tiles) == 25
    expected = kernels.average([kernels.gaussian(24, sigma**2) for sigma in sharp])
    assert torch.allclose(focus.kernel, expected, atol=1e-6)


def test_a_photo_that_is_nowhere_in_focus_is_left_out_and_said(tmp_path: Path) -> None:
    """Also where it has the name of a photo in another folder, as cameras give them."""
    (tmp_path / "more").mkdir()
    paths = [tmp_path / "0.png", tmp_path / "1.png", tmp_path / "more" / "0.png"]
    for index, (path, deviation) in enumerate(zip(paths, (1.2, 1.3, 4.5), strict=True)):
        write(path, round_shot(deviation, index))
    found = estimate_camera(paths, 2)
    assert list(found.photos) == ["0.png", "1.png"] and found.degradation.jpeg is None
    colours = [line.get_color() for line in draw(found).axes[-1].lines]  # spectra: one gave no kernel
    assert colours[0] == colours[1] != colours[2]
    assert any(f"{paths[2]}: nowhere in focus" in warning for warning in found.warnings)
    report = describe(found)["kernels"]["0.png"]
    assert report["tiles"] >= 1 and len(report["tiles_sigma_10_50_90"]) == 3


@pytest.mark.parametrize(
    ("flat", "noise", "limit", "side", "words"),
    [
        (100, 3.0, None, 64, ""),
        (48, 3.0, None, 32, "no smooth patch of 64 pixels"),
        (0, 3.0, None, 0, "--max-variance"),
        (100, 12.0, None, 0, "--max-variance"),
        (100, 12.0, 150.0, 64, ""),
    ],
)
def test_noise_is_looked_for_in_smaller_patches_before_a_warning_names_a_way_out(
    tmp_path: Path, flat: int, noise: float, limit: float | None, side: int, words: str
) -> None:
    textured(256, flat, noise).save(tmp_path / "a.png")
    found = estimate_camera([tmp_path / "a.png"], 2, max_variance=limit)
    pool = found.degradation.noise
    assert (pool.size if pool else 0) == side and not found.failures
    said = [warning for warning in found.warnings if "patch" in warning]
    assert len(said) == 1 and words in said[0] if words else not said


def enlarged(factor: float) -> torch.Tensor:
    picture = to_pil(round_shot(1.0))
    size = (round(factor * picture.width), round(factor * picture.height))
    return read(picture.resize(size, Image.Resampling.BICUBIC))


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (lambda: shot(kernels.gaussian(56, 6.4**2), noise=0), "out of range"),
        (
            lambda: shot(2.2 * kernels.gaussian(24, 2.0) - 1.2 * kernels.gaussian(24, 10.0)),
            "sharpened by software",
        ),
        (lambda: enlarged(1.5), r"enlarged before, 1\.(5|4\d) or (3|2\.9\d|3\.0\d) times"),
        (lambda: enlarged(1.9), r"enlarged before, 1\.9 or 2\.1\d? times"),
        (lambda: enlarged(2), "enlarged before, 2 times"),
        (lambda: enlarged(4), "enlarged before, 4 times"),
        (lambda: read(phone_crops("smooth", 1792)[0]), "hardly any texture"),
        (lambda: torch.cat([round_shot(1.0), round_shot(5.5)] * 2, 2), "differs over the picture"),
    ],
)
def test_what_the_estimator_gets_wrong_is_said(image: Callable[[], torch.Tensor], words: str) -> None:
    said = "; ".join(photo_kernel(image(), 2).doubts)
    assert re.search(words, said), said


@pytest.mark.parametrize("index", range(4))
def test_an_ordinary_photo_gives_no_reason_to_doubt(index: int) -> None:
    assert not photo_kernel(shot(kernels.gaussian(20, 4.0, 2.0, 30.0), index, 4.0), 2).doubts


def test_the_phone_enlarged_two_of_its_photos() -> None:
    found = {path.stem: doubts.enlarged(luma(read(path))[0]) for path in phone_crops()}
    zoomed = {"iso0100_mixed", "iso0100_smooth", "iso0100_texture", "iso0132_texture"}
    assert {name for name, factors in found.items() if factors} == zoomed
    assert found["iso0132_texture"] == (2.0,)  # its pixels lie on a grid of two, its blur is 1.2 pixels wide


def test_photos_of_two_cameras_are_said_to_be_two_groups(tmp_path: Path) -> None:
    assert doubts.of_photos({"a": 1.0, "b": 1.1, "c": 2.0, "d": 2.1, "e": 2.2})
    assert not doubts.of_photos({"a": 1.0, "b": 1.3, "c": 1.7, "d": 2.2, "e": 2.8})
    assert not doubts.of_photos({"a": 1.0, "b": 3.0})
    for index, deviation in enumerate((1.1, 1.1, 2.6, 2.6)):
        write(tmp_path / f"{index}.png", round_shot(deviation, index))
    warnings = estimate_camera(sorted(tmp_path.iterdir()), 2).warnings
    assert any("two groups of kernels" in warning for warning in warnings)


def test_a_drawing_is_estimated_with_a_warning(tmp_path: Path) -> None:
    picture = Image.new("RGB", (400, 400), "white")
    for number in range(60):
        x, y = 37 * number % 380, 91 * number % 380
        fill = ("black", "red", "navy")[number % 3]
        ImageDraw.Draw(picture).rectangle((x, y, x + 25, y + 14), fill=fill)
    picture.save(tmp_path / "a.png")
    found = estimate_camera([tmp_path / "a.png"], 2)
    assert len(found.photos) == 1 and re.search("no noise|unlike a photo", " ".join(found.warnings))


def test_photos_that_cannot_be_read_or_show_nothing_are_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    Image.new("RGB", (300, 300), "white").save(tmp_path / "white.png")
    with pytest.raises(DegradationError, match=r"white.png: no kernel .*no texture.*no noise"):
        estimate_camera([tmp_path / "broken.png", tmp_path / "white.png"], 2)
    with pytest.raises(ImageError, match=r"none of the photos could be read; .*broken\.png"):
        estimate_camera([tmp_path / "broken.png"], 2)


def test_kernelgan_reads_a_photo_as_a_whole(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    write(tmp_path / "a.png", round_shot(1.0))
    monkeypatch.setattr("otsr.degradation.kernelgan.train_kernel", lambda _: kernels.gaussian(13, 2.0))
    focus = estimate_camera([tmp_path / "a.png"], 2, method="kernelgan").photos["a.png"]
    assert focus.sigma == pytest.approx(2**0.5, rel=0.1) and not focus.tiles
