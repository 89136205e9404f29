"""Blur of one photo: the statistics are what they claim, the kernel fits the grid and turns with the picture."""

import math

import kernel_draws
import numpy as np
import pytest
import torch
from scipy import linalg, ndimage

from otsr.datasets import photos
from otsr.degradation import estimate_kernel, estimation, kernelgan, kernels, spectrum
from otsr.images import luma, read, resize


@pytest.fixture(scope="module")
def photo() -> torch.Tensor:
    """A val photo, blurred along a slope, at half size: sides that leave different remainders for patches."""
    hr = resize(read(photos("val")[1]), 0.6).clamp(0, 1)
    return kernels.downsample(hr, kernels.gaussian(20, 4.0, 1.0, 25.0), 2)


def gaussian_of(covariance: torch.Tensor, size: int) -> torch.Tensor:
    (minor, major), axes = torch.linalg.eigh(covariance)
    angle = math.degrees(math.atan2(-float(axes[1, 1]), float(axes[0, 1])))
    return kernels.gaussian(size, float(major), float(minor), angle)


def test_white_noise_has_its_variance_as_power_at_every_frequency() -> None:
    torch.manual_seed(0)
    power, floor, typical = spectrum.directional_power(3 * torch.randn(512, 512))
    assert torch.allclose(power, torch.full_like(power, 9.0), rtol=0.15)
    assert 0.8 * 9 < float(floor) < float(typical) < 1.1 * 9


def test_around_the_rings_noise_has_its_variance_and_a_wave_its_frequency() -> None:
    generator = torch.Generator().manual_seed(0)
    grey = (0.5 + 0.05 * torch.randn(1, 256, 192, generator=generator)).expand(3, -1, -1)
    frequency, power = spectrum.radial_spectrum(grey)
    variance = (0.05 * 219 / 255) ** 2  # luma spans 219 of 255 levels
    assert frequency[0] == pytest.approx(1 / 128)
    assert power[8:] == pytest.approx(variance, rel=0.15)
    assert power[8:].mean() == pytest.approx(variance, rel=0.02)
    wave = 0.5 + 0.2 * torch.sin(2 * math.pi * 0.25 * torch.arange(128.0)).expand(3, 128, 128)
    frequency, power = spectrum.radial_spectrum(wave)
    assert frequency[power.argmax()] == pytest.approx(0.25, abs=1 / 64)


@pytest.mark.parametrize(("direction", "frequency"), [(0, 4), (2, 3), (6, 5), (9, 6)])
def test_a_grating_shows_at_its_own_direction_and_frequency(direction: int, frequency: int) -> None:
    y, x = torch.meshgrid(torch.arange(200.0), torch.arange(200.0), indexing="ij")
    angle = math.pi * direction / spectrum.DIRECTIONS
    phase = 2 * math.pi * spectrum.FREQUENCIES[frequency] * (x * math.cos(angle) + y * math.sin(angle))
    power, _, _ = spectrum.directional_power(20 * phase.sin())
    assert divmod(int(power.argmax()), len(spectrum.FREQUENCIES)) == (direction, frequency)


def test_blur_multiplies_the_directional_power_by_its_transfer_function() -> None:
    torch.manual_seed(0)
    noise = 20 * torch.randn(1, 600, 600)
    covariance = torch.tensor([[1.2, 0.4], [0.4, 0.5]], dtype=torch.float64)
    blurred = kernels.downsample(noise, gaussian_of(covariance, 15), 1)
    power, _, _ = spectrum.directional_power(blurred[0])
    for direction in range(spectrum.DIRECTIONS):
        turn = math.pi * direction / spectrum.DIRECTIONS
        u = torch.tensor([math.cos(turn), math.sin(turn)], dtype=torch.float64)
        variances = torch.tensor(spectrum.FREQUENCIES[:5]) ** 2 * float(u @ covariance @ u)
        assert torch.allclose(power[direction, :5], 400 * torch.exp(-4 * math.pi**2 * variances), rtol=0.3)


def test_derivative_norms_agree_with_scipy(photo: torch.Tensor) -> None:
    grey = 255 * photo[0, :150, :120]
    norms = spectrum._derivative_norms(grey)
    for index, sigma in enumerate(spectrum.SCALES):
        across, down = (
            ndimage.gaussian_filter(grey.double().numpy(), sigma, order, radius=13)[13:-13, 13:-13]
            for order in ((0, 1), (1, 0))
        )
        slope = np.abs(math.cos(math.pi / 6) * across + math.sin(math.pi / 6) * down)
        expected = [math.log((slope**norm).mean()) / norm for norm in spectrum.NORMS]
        assert norms[2, index].tolist() == pytest.approx(expected, abs=0.01)


def test_covariance_from_log_is_the_matrix_exponential() -> None:
    rows = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for (m, c, q), found in zip(rows.tolist(), estimation.covariance_from_log(rows), strict=True):
        assert np.allclose(found.numpy(), linalg.expm(np.array([[m + c, q], [q, m - c]])))
    assert torch.allclose(estimation.log_of_covariance(estimation.covariance_from_log(rows)), rows, atol=1e-6)


def test_edge_profiles_are_those_of_the_blurred_edge() -> None:
    """Beside a step under a Gaussian of variance v the slope at t is exp(-t²/2(v + 1)); sharpening undershoots."""
    step = (120 + 60 * (torch.arange(128.0) - 64).sign()).expand(1, 128, 128)
    blurred = kernels.downsample(step, kernels.gaussian(25, 3.0), 1)[0]
    profile = spectrum.edge_profiles(blurred)[0]
    place = torch.arange(1, spectrum.PROFILE + 1)
    assert torch.allclose(profile, torch.exp(-0.125 * place**2), atol=0.03)
    unsharp = 2 * kernels.gaussian(25, 1.0) - kernels.gaussian(25, 4.0)
    assert spectrum.edge_profiles(kernels.downsample(step, unsharp, 1)[0])[0].min() < -0.05


@pytest.mark.parametrize("scale", [2, 4])
def test_the_closest_gaussian_of_a_gaussian_is_itself_and_its_kernel_too(scale: int) -> None:
    truth = kernels.gaussian(14 * scale, 0.9 * scale**2, 0.4 * scale**2, 20.0)
    log = kernel_draws.closest_gaussians([truth], torch.tensor([float(scale)]))
    covariance = scale**2 * estimation.covariance_from_log(log)[0].double()
    assert torch.allclose(covariance, kernels.moments(truth)[1], rtol=0.02, atol=0.02 * scale)
    blur = estimation.Blur(covariance, torch.zeros(estimation.SHAPES), (0.1, 0.1), 0.1, 1.0, 100.0)
    assert kernels.l2_distance(estimation.kernel_of(blur, scale), truth) < 0.03


@pytest.mark.parametrize(("method", "scale"), [("spectrum", 2), ("spectrum", 4), ("kernelgan", 2)])
def test_a_kernel_fits_the_sampling_grid(
    photo: torch.Tensor, method: estimation.Method, scale: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = kernelgan.train_kernel
    monkeypatch.setattr(kernelgan, "train_kernel", lambda image: train(image, 2))
    kernel = estimate_kernel(photo.clone().requires_grad_(), scale, method)
    assert kernel.dtype == torch.float32 and not kernel.requires_grad
    # this photo is hardly sharpened
    assert len(kernel) % 2 == 0 and kernel.min() >= (0 if method == "kernelgan" else -0.05 * kernel.max())
    assert float(kernel.sum()) == pytest.approx(1, abs=1e-5)
    assert kernels.moments(kernel)[0].abs().max() < 0.05 * scale
    assert torch.equal(kernel, estimate_kernel(photo, scale, method))


def test_most_photos_that_software_shrank_get_the_bicubic_kernel() -> None:
    shrunk = [resize(read(path), 0.2).clamp(0, 1) for path in photos("val")]
    exact = [torch.equal(estimate_kernel(lr, 4), kernels.bicubic(4)) for lr in shrunk]
    assert sum(exact) >= len(exact) / 2


@pytest.mark.parametrize("scale", [2, 4])
def test_known_blur_of_photos_is_recovered_better_than_by_the_best_isotropic_gaussian(scale: int) -> None:
    size, generator = 11 * scale, torch.Generator().manual_seed(0)
    ours, isotropic = [], []
    for index, path in enumerate(photos("val")):
        truth = kernels.gaussian(size, 1.25 * scale**2, 0.25 * scale**2, 35.0 * index)
        lr = kernels.downsample(resize(read(path), 0.25 * scale).clamp(0, 1), truth, scale)
        blur = estimation.estimate_blur(lr + 4 / 255 * torch.randn(lr.shape, generator=generator), scale)
        expected = kernels.moments(truth)[1]
        assert (blur.covariance - expected).norm() < 0.35 * expected.norm()
        assert all(0.02 < deviation < 0.5 for deviation in blur.deviation)
        ours.append(kernels.l2_distance(gaussian_of(blur.covariance, size), truth))
        round_ones = (kernels.gaussian(size, v * scale**2 / 16) for v in range(2, 24))
        isotropic.append(min(kernels.l2_distance(kernel, truth) for kernel in round_ones))
    assert sum(ours) < 0.5 * sum(isotropic)


def test_turning_the_image_turns_the_covariance(photo: torch.Tensor) -> None:
    (a, b), (_, d) = estimation.estimate_blur(photo, 2).covariance.tolist()
    for turned, expected, within in (
        (photo.rot90(1, (1, 2)), [[d, -b], [-b, a]], 0.02),
        (photo.rot90(2, (1, 2)), [[a, b], [b, d]], 0.02),
        (photo.flip(2), [[a, -b], [-b, d]], 0.02),
        (0.8 * photo + 0.05, [[a, b], [b, d]], 0.08),  # nor does exposure matter
    ):
        found = estimation.estimate_blur(turned, 2).covariance
        assert torch.allclose(found, torch.tensor(expected).double(), rtol=within, atol=within)


@pytest.mark.slow
def test_two_thirds_of_the_errors_on_val_photos_lie_within_one_standard_error() -> None:
    within = {}
    scenes = [resize(read(path), 0.5 + 0.04 * i).clamp(0, 1) for i, path in enumerate(photos("val"))]
    for family in kernel_draws.FAMILIES:
        truths, found, allowed = [], [], []
        for index, scene in enumerate(scenes):
            rng = np.random.default_rng(index)
            truths.append(kernels.centre(kernel_draws.draw(family, 2, rng), 2))
            lr = kernels.downsample(scene, truths[-1], 2)
            noise = torch.from_numpy(rng.standard_normal(lr.shape)).float()
            blur = estimation.estimate_blur(lr + 3 * (index % 2) / 255 * noise, 2)
            found.append((blur.covariance + estimation.FLOOR * torch.eye(2)).float() / 4)
            allowed.append([blur.deviation[0], blur.deviation[1], blur.deviation[1]])
        expected = kernel_draws.closest_gaussians(truths, torch.full((len(truths),), 2.0))
        miss = (estimation.log_of_covariance(torch.stack(found)) - expected).abs()
        within[family] = float((miss < torch.tensor(allowed)).float().mean())
    assert 0.58 < sum(within.values()) / len(within) < 0.82, within
    assert min(within.values()) > 0.25, within  # of 18 numbers each


def test_of_a_large_image_the_textured_window_is_read(photo: torch.Tensor) -> None:
    grey = luma(photo)[0]
    large = torch.full((1500, 2100), 0.5)
    large[-grey.shape[0] :, -grey.shape[1] :] = grey
    window = spectrum.busiest(large, 1024)
    assert window.shape == (1024, 1024)
    assert torch.isin(grey[len(grey) // 2], window).float().mean() > 0.75


@pytest.mark.parametrize(("slope", "noise"), [(0, 0), (0, 1), (0, 20), (1, 0), (1, 3)])
@pytest.mark.parametrize("method", ["spectrum", "kernelgan"])
def test_a_plane_with_noise_has_no_texture_and_is_refused(slope: float, noise: float, method: str) -> None:
    grain = torch.randn(200, 300, generator=torch.Generator().manual_seed(0))
    plane = (255 * (0.5 + slope * torch.linspace(-0.5, 0.5, 300))).round() / 255
    image = (plane + noise / 255 * grain).expand(3, -1, -1)
    with pytest.raises(spectrum.NoTextureError, match=r"no texture .* choose a crop with edges"):
        estimate_kernel(image, 2, method)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"lr": torch.rand(1, 80, 80)},
            r"lr is \(1, 80, 80\) torch.float32, expected a floating \(3, H, W\)",
        ),
        ({"lr": torch.zeros(3, 80, 80, dtype=torch.uint8)}, "uint8, expected a floating .* otsr.images.read"),
        ({"lr": "photo.jpg"}, "lr is str, expected a floating"),
        ({"lr": torch.rand(3, 63, 200)}, "63 × 200 pixels; estimating a kernel takes at least 64 × 64"),
        ({"lr": 255 * torch.rand(3, 80, 80)}, r"expected \[0, 1\]; divide 8-bit values by 255"),
        ({"lr": torch.full((3, 80, 80), torch.nan)}, r"lies in \[nan, nan\]"),
        ({"scale": 3}, "scale is 3, expected 2 or 4"),
        ({"method": "magic"}, 'method is \'magic\', expected "spectrum" or "kernelgan"'),
    ],
)
def test_wrong_arguments_are_named(photo: torch.Tensor, change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        estimate_kernel(**{"lr": photo, **change})  # type: ignore[arg-type]
