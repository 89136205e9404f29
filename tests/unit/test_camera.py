"""A camera from photos: blur of what is in focus, noise of what is smooth, the quality that files were saved at."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from otsr.datasets import phone_crops, photos
from otsr.degradation import Degradation, NoisePool, kernels
from otsr.degradation.camera import Camera, estimate_camera, photo_kernel, quality_of
from otsr.degradation.estimation import Blur
from otsr.degradation.report import describe
from otsr.images import read, resize, write


def sigma(kernel: torch.Tensor) -> float:
    return float(kernels.moments(kernel)[1].det()) ** 0.25


def shot(index: int, deviation: float) -> torch.Tensor:
    """A val photo at ×2 under a round blur, with noise of 3 grey levels."""
    hr = resize(read(photos("val")[index]), 0.75).clamp(0, 1)
    lr = kernels.downsample(hr[:, :512, :512], kernels.gaussian(24, deviation**2), 2)
    return (lr + 3 / 255 * torch.randn(lr.shape, generator=torch.Generator().manual_seed(index))).clamp(0, 1)


def estimated(paths: list[Path], scale: int = 2, **settings: object) -> Camera:
    return estimate_camera(paths, scale, **settings)  # type: ignore[arg-type]


def textured(size: int, flat: int, noise: float) -> np.ndarray:
    """Leaves of noise everywhere but in one flat square of `flat` pixels, with grain all over."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (size // 4, size // 4)).repeat(4, 0).repeat(4, 1).astype(float)
    image[40 : 40 + flat, 40 : 40 + flat] = 120
    grainy = image[..., None] + rng.normal(0, noise, (size, size, 3))
    return np.rint(grainy).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("quality", [30, 75, 98])
def test_the_quality_of_a_jpeg_is_read_from_its_tables(tmp_path: Path, quality: int) -> None:
    picture = Image.fromarray(textured(64, 16, 3))
    picture.save(tmp_path / "a.jpg", quality=quality)
    picture.save(tmp_path / "a.png")
    tables = [
        [min(255, 1 + step) for step in table]
        for table in Image.open(tmp_path / "a.jpg").quantization.values()
    ]  # type: ignore[attr-defined]
    picture.save(tmp_path / "own.jpg", qtables=tables)
    assert quality_of(tmp_path / "a.jpg") == quality
    assert quality_of(tmp_path / "a.png") is None
    assert quality - 12 <= (quality_of(tmp_path / "own.jpg") or 0) <= quality


def test_the_tables_of_luma_and_of_colours_both_count(tmp_path: Path) -> None:
    picture, tables = Image.fromarray(textured(64, 16, 3)), {}
    for quality in (40, 90):
        picture.save(tmp_path / "a.jpg", quality=quality)
        tables[quality] = Image.open(tmp_path / "a.jpg").quantization  # type: ignore[attr-defined]
    for luma, colours in ((40, 90), (90, 40)):
        picture.save(tmp_path / "mixed.jpg", qtables=[tables[luma][0], tables[colours][1]])
        assert 40 < (quality_of(tmp_path / "mixed.jpg") or 0) < 90


def test_noise_that_jpeg_left_stays_what_it_is_when_it_is_injected_before_jpeg() -> None:
    raw = 0.5 + 4 / 255 * torch.randn(64, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    once = Degradation(1, jpeg=(75, 75)).apply(raw.clamp(0, 1), seed=0)
    pool = NoisePool((255 * once).round().byte(), ["a"] * 64, [""] * 64)
    camera = Degradation(1, noise=pool, jpeg=(75, 75))
    again = camera.apply(torch.full((200, 3, 48, 48), 0.5), seed=1)
    assert float(again.var() / once.var()) == pytest.approx(1, abs=0.03)


def test_of_a_photo_that_is_half_out_of_focus_the_sharp_half_gives_the_kernel() -> None:
    mixed = torch.cat([shot(0, 1.4), shot(0, 4.5)], 2)
    focus = photo_kernel(mixed, 2)
    assert sigma(focus.kernel) == pytest.approx(1.4, rel=0.25)
    assert focus.tiles[-1] > 2 * focus.tiles[0]


def test_of_the_clearer_half_of_the_tiles_those_from_a_tenth_to_four_tenths_give_the_kernel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of 25 tiles every other one is clear: 13, with σ from 1 on in steps of 0.2; the second to the sixth count."""
    blurs = [
        Blur((1 + number / 10) ** 2 * torch.eye(2), torch.zeros(5), (0.1, 0.1), 0.1 + number % 2, 1, 99)
        for number in torch.randperm(25, generator=torch.Generator().manual_seed(0)).tolist()
    ]
    tiles = iter(blurs)
    monkeypatch.setattr("otsr.degradation.camera.estimate_blur", lambda *_: next(tiles))
    monkeypatch.setattr(
        "otsr.degradation.camera.kernel_of", lambda blur, _: kernels.gaussian(24, blur.sigma**2)
    )
    focus = photo_kernel(torch.rand(3, 960, 960), 2)
    sharp = [1.2, 1.4, 1.6, 1.8, 2.0]
    assert focus.sigma == pytest.approx(math.prod(sharp) ** 0.2)
    expected = kernels.average([kernels.gaussian(24, sigma**2) for sigma in sharp])
    assert torch.allclose(focus.kernel, expected, atol=1e-6)
    assert len(focus.tiles) == 25


def test_a_photo_that_is_nowhere_in_focus_is_left_out_and_said(tmp_path: Path) -> None:
    """Also where it has the name of a photo in another folder, as cameras give them."""
    (tmp_path / "more").mkdir()
    paths = [tmp_path / "0.png", tmp_path / "1.png", tmp_path / "more" / "0.png"]
    for index, (path, deviation) in enumerate(zip(paths, (1.2, 1.3, 4.5), strict=True)):
        write(path, shot(index, deviation))
    camera = estimated(paths)
    assert list(camera.kernels) == ["0.png", "1.png"]
    assert any(f"{paths[2]}: nowhere in focus" in warning for warning in camera.warnings)
    assert camera.degradation.jpeg is None
    report = describe(camera)["kernels"]["0.png"]
    assert report["tiles"] >= 1 and len(report["tiles_sigma_10_50_90"]) == 3


def test_the_phones_quality_is_part_of_its_degradation() -> None:
    assert estimated(phone_crops("mixed", 382), 4).degradation.jpeg == (98, 98)


@pytest.mark.parametrize(
    ("flat", "noise", "found", "words"),
    [
        (100, 3.0, 64, ""),
        (48, 3.0, 32, "no smooth patch of 64 pixels"),
        (0, 3.0, 0, "--max-variance"),
        (100, 12.0, 0, "--max-variance"),
    ],
)
def test_noise_is_looked_for_in_smaller_patches_before_a_warning_names_a_way_out(
    tmp_path: Path, flat: int, noise: float, found: int, words: str
) -> None:
    Image.fromarray(textured(256, flat, noise)).save(tmp_path / "a.png")
    camera = estimated([tmp_path / "a.png"])
    pool = camera.degradation.noise
    assert (pool.size if pool else 0) == found
    said = [warning for warning in camera.warnings if "patch" in warning]
    assert len(said) == 1 and words in said[0] if words else not said
    assert not camera.failures
    if noise > 10:
        assert estimated([tmp_path / "a.png"], max_variance=150.0).degradation.noise is not None
