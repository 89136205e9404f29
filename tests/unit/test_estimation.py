"""One door to the kernel estimators: a proper kernel comes out, and what is wrong with the input is said."""

from __future__ import annotations

import pytest
import torch

from otsr.datasets import photos
from otsr.degradation import estimate_kernel, kernelgan, kernels
from otsr.images import read, resize


@pytest.fixture(scope="module")
def lr() -> torch.Tensor:
    hr = resize(read(photos("val")[0]), 0.5).clamp(0, 1)
    return kernels.downsample(hr, kernels.gaussian(20, 4.0, 1.5, 60.0), 2).clamp(0, 1)


@pytest.fixture
def short_training(monkeypatch: pytest.MonkeyPatch) -> None:
    train = kernelgan.train_kernel
    monkeypatch.setattr(
        kernelgan,
        "train_kernel",
        lambda image: train(image, 10),
    )


@pytest.mark.usefixtures("short_training")
@pytest.mark.parametrize(("method", "scale"), [("spectrum", 2), ("spectrum", 4), ("kernelgan", 2)])
def test_the_kernel_fits_the_sampling_grid(lr: torch.Tensor, method: str, scale: int) -> None:
    kernel = estimate_kernel(lr, scale, method)
    assert kernel.dtype == torch.float32
    assert kernel.shape[0] == kernel.shape[1]
    assert kernel.shape[0] % 2 == 0
    assert kernel.min() >= (
        0 if method == "kernelgan" else -0.05 * kernel.max()
    )  # this photo is hardly sharpened
    assert float(kernel.sum()) == pytest.approx(1, abs=1e-5)
    assert kernels.moments(kernel)[0].abs().max() < 0.05 * scale
    assert kernels.downsample(lr, kernel, scale).shape[1:] == tuple(-(-n // scale) for n in lr.shape[1:])
    assert torch.equal(kernel, estimate_kernel(lr, scale, method))


def test_a_turned_image_has_the_turned_kernel(lr: torch.Tensor) -> None:
    straight = estimate_kernel(lr.clone().requires_grad_(), 2)
    assert not straight.requires_grad
    assert kernels.moments(straight)[1][0, 1] < -0.2  # 60° rises to the right on screen; y runs down
    turned = estimate_kernel(lr.rot90(1, (1, 2)), 2)
    assert kernels.l2_distance(turned, straight.rot90()) < 0.03
    assert kernels.l2_distance(turned, straight) > 0.2


def test_most_photos_that_software_shrank_get_the_bicubic_kernel() -> None:
    shrunk = [resize(read(path), 0.2).clamp(0, 1) for path in photos("val")]
    exact = [torch.equal(estimate_kernel(lr, 4), kernels.bicubic(4)) for lr in shrunk]
    assert sum(exact) >= len(exact) / 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"lr": torch.rand(1, 80, 80)},
            r"lr is \(1, 80, 80\) torch.float32, expected a floating \(3, H, W\)",
        ),
        ({"lr": torch.rand(2, 3, 80, 80)}, r"expected a floating \(3, H, W\) tensor; otsr.images.read"),
        ({"lr": torch.zeros(3, 80, 80, dtype=torch.uint8)}, "torch.uint8, expected a floating"),
        ({"lr": "photo.jpg"}, "lr is str, expected a floating"),
        ({"lr": torch.rand(3, 63, 200)}, "63 × 200 pixels; estimating a kernel takes at least 64 × 64"),
        ({"lr": 255 * torch.rand(3, 80, 80)}, r"expected \[0, 1\]; divide 8-bit values by 255"),
        ({"scale": 3}, "scale is 3, expected 2 or 4"),
        ({"method": "magic"}, 'method is \'magic\', expected "spectrum" or "kernelgan"'),
        ({"lr": torch.full((3, 80, 80), torch.nan)}, r"lies in \[nan, nan\]"),
        ({"lr": torch.full((3, 100, 100), 0.3)}, "no texture"),
        ({"lr": torch.full((3, 100, 100), 0.3), "method": "kernelgan"}, "no texture"),
    ],
)
def test_wrong_arguments_are_named(lr: torch.Tensor, change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        estimate_kernel(**{"lr": lr, **change})  # type: ignore[arg-type]
