"""What notebook 01 writes from scratch is what the package does."""

import io
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from otsr.datasets import data_dir
from otsr.degradation import kernels
from otsr.degradation.spectrum import radial_spectrum
from otsr.images import read, resize

GLOBALS = ("turn", "waves")


@pytest.fixture(scope="module")
def photo() -> torch.Tensor:
    return resize(read(data_dir() / "photos" / "koala.webp"), 0.75)[:, 180:372, 260:452].clamp(0, 1)


@pytest.mark.parametrize("sigma", [0.8, 2.0])
@pytest.mark.parametrize("size", [16, 17])
def test_its_gaussian_is_the_package_s(written: Any, size: int, sigma: float) -> None:
    torch.testing.assert_close(written.gaussian(size, sigma), kernels.gaussian(size, sigma**2))


def test_its_blur_and_sampling_are_the_package_s(written: Any, photo: torch.Tensor) -> None:
    every = {2: kernels.motion(8, 5.0, 30), 3: kernels.gaussian(9, 3.0, 1.0, 20), 4: kernels.bicubic(4)}
    for scale, kernel in every.items():
        lopsided = kernel * torch.linspace(0.5, 1.5, len(kernel))[:, None]
        lopsided = lopsided / lopsided.sum()
        lr = written.sample(written.blur(photo.double(), lopsided.double()), scale)
        torch.testing.assert_close(lr, kernels.downsample(photo.double(), lopsided, scale), atol=1e-9, rtol=0)


def test_its_spectrum_is_the_package_s(written: Any, photo: torch.Tensor) -> None:
    for ours, theirs in zip(written.spectrum(photo), radial_spectrum(photo), strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-3)


@pytest.mark.parametrize("quality", [90, 50, 20])
def test_its_jpeg_is_pillow_s_up_to_ties_in_rounding(written: Any, photo: torch.Tensor, quality: int) -> None:
    grey = (photo.mean(0) * 255).round()
    ours, numbers = written.jpeg(grey, quality)
    file = io.BytesIO()
    Image.fromarray(grey.byte().numpy()).save(file, "JPEG", quality=quality)
    theirs = torch.from_numpy(np.array(Image.open(file))).float()
    assert (ours == theirs).float().mean() > 0.75, "Pillow's cosines are whole numbers: some round otherwise"
    assert (ours == grey).float().mean() < 0.25, "something was rounded"
    assert numbers.shape == (24, 24, 8, 8)
