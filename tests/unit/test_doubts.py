"""The estimator says when not to believe it: each case is one that it gets wrong, and must name."""

from __future__ import annotations

import functools
import math
import re
from pathlib import Path

import kernel_draws
import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from otsr.datasets import phone_crops, photos
from otsr.degradation import doubts, kernels
from otsr.degradation.camera import Camera, estimate_camera, photo_kernel
from otsr.images import luma, read, resize, to_pil, write


@functools.cache
def scene(index: int = 0) -> torch.Tensor:
    return resize(read(photos("val")[index]), 0.75).clamp(0, 1)[:, :512, :512]


def shot(kernel: torch.Tensor, index: int = 0, noise: float = 2.0) -> torch.Tensor:
    """A val photo at ×2 under a kernel, with noise in grey levels."""
    lr = kernels.downsample(scene(index), kernel, 2)
    return (lr + noise / 255 * torch.randn(lr.shape, generator=torch.Generator().manual_seed(index))).clamp(
        0, 1
    )


def estimated(folder: Path) -> Camera:
    return estimate_camera(sorted(folder.iterdir()), 2)


def enlarged(image: torch.Tensor, factor: float) -> torch.Tensor:
    picture = to_pil(image)
    size = (round(factor * picture.width), round(factor * picture.height))
    return read(picture.resize(size, Image.Resampling.BICUBIC))


def sharpened() -> torch.Tensor:
    return 2.2 * kernels.gaussian(24, 2.0) - 1.2 * kernels.gaussian(24, 10.0)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (lambda: shot(kernels.gaussian(56, 6.4**2), noise=0), "out of range"),
        (lambda: shot(sharpened()), "sharpened by software"),
        (lambda: enlarged(shot(kernels.gaussian(20, 1.0)), 1.9), r"enlarged before, 1\.9 or 2\.1\d? times"),
        (lambda: enlarged(shot(kernels.gaussian(20, 1.0)), 2), "enlarged before, 2 times"),
        (lambda: enlarged(shot(kernels.gaussian(20, 1.0)), 4), "enlarged before, 4 times"),
        (lambda: read(phone_crops("smooth", 1792)[0]), "hardly any texture"),
        (
            lambda: torch.cat([shot(kernels.gaussian(24, v), i) for v, i in ((1.0, 0), (30.0, 0))] * 2, 2),
            "differs over the picture",
        ),
    ],
)
def test_what_the_estimator_gets_wrong_is_said(image: object, words: str) -> None:
    said = "; ".join(photo_kernel(image(), 2).doubts)  # type: ignore[operator]
    assert re.search(words, said), said


@pytest.mark.parametrize("index", range(4))
def test_an_ordinary_photo_gives_no_reason_to_doubt(index: int) -> None:
    assert not photo_kernel(shot(kernels.gaussian(20, 4.0, 2.0, 30.0), index, 4.0), 2).doubts


def test_the_factor_of_an_enlargement_is_one_of_the_two_that_are_named() -> None:
    grey = luma(enlarged(shot(kernels.gaussian(20, 1.0)), 1.5))[0]
    assert doubts.enlarged(grey) == pytest.approx((1.5, 3.0), rel=0.02)
    assert doubts.enlarged(luma(shot(kernels.gaussian(20, 1.0)))[0]) == ()


def test_the_phone_enlarged_two_of_its_photos() -> None:
    found = {path.name: doubts.enlarged(luma(read(path))[0]) for path in phone_crops()}
    zoomed = {f"iso0100_{kind}.jpg" for kind in ("mixed", "smooth", "texture")}
    assert {name for name, factors in found.items() if factors} == {*zoomed, "iso0132_texture.jpg"}
    assert found["iso0132_texture.jpg"] == (
        2.0,
    )  # its pixels lie on a grid of two, its blur is 1.2 pixels wide


def test_photos_of_two_cameras_are_said_to_be_two_groups(tmp_path: Path) -> None:
    assert doubts.of_photos({"a": 1.0, "b": 1.1, "c": 2.0, "d": 2.1, "e": 2.2})
    assert not doubts.of_photos({"a": 1.0, "b": 1.3, "c": 1.7, "d": 2.2, "e": 2.8})
    assert not doubts.of_photos({"a": 1.0, "b": 3.0})
    for index, variance in enumerate((1.2, 1.2, 7.0, 7.0)):
        write(tmp_path / f"{index}.png", shot(kernels.gaussian(24, variance), index))
    assert any("two groups of kernels" in warning for warning in estimated(tmp_path).warnings)


def drawing() -> Image.Image:
    picture = Image.new("RGB", (400, 400), "white")
    draw = ImageDraw.Draw(picture)
    for number in range(60):
        x, y = 37 * number % 380, 91 * number % 380
        draw.rectangle((x, y, x + 25, y + 14), fill=("black", "red", "navy")[number % 3])
    return picture


def sixteen_bit(grey: bool) -> Image.Image:
    values = (65535 * luma(shot(kernels.gaussian(20, 2.0)))[0].numpy()).astype(np.uint16)
    return Image.fromarray(values if grey else (values // 256).astype(np.uint8))


@pytest.mark.parametrize(
    ("picture", "words"),
    [
        (lambda: drawing(), "no noise|unlike a photo"),
        (lambda: sixteen_bit(True), ""),
        (lambda: sixteen_bit(False), ""),
    ],
)
def test_odd_pictures_are_estimated_with_a_warning_where_it_is_due(
    tmp_path: Path, picture: object, words: str
) -> None:
    picture().save(tmp_path / "a.png")  # type: ignore[operator]
    camera = estimated(tmp_path)
    assert len(camera.kernels) == 1 and not camera.failures
    assert re.search(words, " ".join(camera.warnings))


@pytest.mark.parametrize(
    "picture", [lambda: Image.new("RGB", (20, 12), "grey"), lambda: Image.new("RGB", (300, 300), "white")]
)
def test_pictures_that_show_neither_blur_nor_noise_are_refused_in_words(
    tmp_path: Path, picture: object
) -> None:
    picture().save(tmp_path / "a.png")  # type: ignore[operator]
    with pytest.raises(ValueError, match=r"no kernel.*no noise"):
        estimated(tmp_path)


@pytest.mark.parametrize("family", list(kernel_draws.FAMILIES))
@pytest.mark.parametrize("scale", [2, 4])
def test_kernels_of_every_family_fit_the_grid_and_keep_brightness(family: str, scale: int) -> None:
    for seed in range(4):
        kernel = kernel_draws.draw(family, scale, np.random.default_rng(seed))
        assert float(kernel.sum()) == pytest.approx(1, abs=1e-5) and (kernel.shape[0] - scale) % 2 == 0
        assert (float(kernel.clamp(max=0).sum()) < -0.01) == (family in ("sharpened", "bicubic"))
        assert math.hypot(*kernels.moments(kernel)[0].tolist()) < 0.3 * scale
