"""Kernels: closed forms, naive loops, scipy and linear programs say the same as otsr.degradation.kernels."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import scipy.optimize
import torch
from torch import Tensor
from torch.nn import functional as F

from otsr.degradation import Degradation, kernels
from otsr.degradation.estimation import Blur, kernel_of
from otsr.images import resize

D = torch.float64


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=D)


def lopsided(size: int, seed: int = 0) -> Tensor:
    """A kernel without any symmetry, so that a flip, transposition or shift shows."""
    kernel = noise(size, size, seed=seed) ** 3
    return kernel / kernel.sum()


def covariance(kernel: Tensor) -> np.ndarray:
    return kernels.moments(kernel)[1].numpy()


@pytest.mark.parametrize("size", [40, 41])
def test_gaussian_has_the_variances_and_the_direction_it_was_asked_for(size: int) -> None:
    angle = math.radians(30)
    axes = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])  # rows, y down
    kernel = kernels.gaussian(size, 6, 1.5, 30, dtype=D)
    assert kernels.moments(kernel)[0].abs().max() < 1e-12
    assert np.abs(covariance(kernel) - axes @ np.diag([6.0, 1.5]) @ axes.T).max() < 1e-6


@pytest.mark.parametrize("sigma", [0.3, 1.0])
def test_no_tap_is_so_small_that_a_blur_is_slow(sigma: float) -> None:
    narrow = kernels.gaussian(30, sigma**2, dtype=D)
    assert math.isclose(narrow.sum(), 1, abs_tol=1e-15)
    dusty = narrow.clone()
    dusty[0, 0] = 1e-40
    oval = Blur(torch.diag(torch.tensor([16.0, sigma**2])), torch.zeros(5), (0.1, 0.1), 0.1, 0.0, 1.0)
    for taps in (narrow.float(), Degradation(2, dusty).kernels, kernel_of(oval, 4)):
        assert taps is not None and taps[taps > 0].min() > torch.finfo(torch.float32).tiny


@pytest.mark.parametrize("angle", [0, 20, 90, 137])
def test_motion_has_the_variance_of_a_segment_and_no_mean(angle: float) -> None:
    kernel = kernels.motion(24, 14, angle, dtype=D)
    direction = np.array([math.cos(math.radians(angle)), -math.sin(math.radians(angle))])
    extra = covariance(kernel) - 14**2 / 12 * np.outer(direction, direction)
    assert kernels.moments(kernel)[0].abs().max() < 1e-12 and abs(float(kernel.sum()) - 1) < 1e-12
    # the bilinear footprint
    assert np.abs(extra[0, 1]) < 0.03 and ((np.diag(extra) > -0.02) & (np.diag(extra) < 0.26)).all()


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_bicubic_taps_downsample_as_resize_does(scale: int) -> None:
    image = noise(2, 3, 15 * scale + 1, 14 * scale)
    by_taps = kernels.downsample(image, kernels.bicubic(scale, dtype=D), scale)
    assert (by_taps - resize(image, 1 / scale))[..., 3:-3, 3:-3].abs().max() < 1e-13


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_ramp_comes_out_the_same_on_every_path(scale: int) -> None:
    """The published code shifts its kernel path by 1.5 pixels from its bicubic path; on a ramp that shows."""
    y, x = torch.meshgrid(*(torch.arange(n * scale, dtype=D) for n in (20, 24)), indexing="ij")
    image = torch.stack([x, y, x - 2 * y])
    size = 12 + scale % 2
    for kernel in (
        kernels.bicubic(scale, dtype=D), kernels.gaussian(size, 0.01, dtype=D), kernels.motion(size, 6, 70, dtype=D),
        kernels.gaussian(size, 3, 1, 25, dtype=D), kernels.centre(lopsided(13), scale),
    ):  # fmt: skip
        off = kernels.downsample(image, kernel, scale) - F.avg_pool2d(image, scale)
        assert off[..., 6:-6, 6:-6].abs().max() < 1e-9


@pytest.mark.parametrize(("scale", "size"), [(1, 1), (1, 5), (2, 8), (3, 1), (3, 7), (4, 2), (4, 10)])
def test_downsample_is_the_convolution_written_out_with_loops(scale: int, size: int) -> None:
    height, width = 5 * scale + (scale > 1), 4 * scale
    image, kernel = noise(height, width).numpy(), lopsided(size)
    mirrored = np.pad(image, 16, mode="reflect" if size > 1 else "edge")
    expected = np.zeros((-(-height // scale), 4))
    for i, j, a, b in np.ndindex(*expected.shape, size, size):
        y, x = (scale * (n + 0.5) - 0.5 - (tap - (size - 1) / 2) for n, tap in ((i, a), (j, b)))
        assert y == int(y)
        expected[i, j] += float(kernel[a, b]) * mirrored[int(y) + 16, int(x) + 16]
    found = kernels.downsample(torch.from_numpy(image)[None], kernel, scale)[0].numpy()
    inside = slice(None, -1) if height % scale else slice(None)  # the part beyond the picture is padding
    assert np.abs(found - expected)[inside].max() < 1e-12


def test_each_sample_of_a_batch_may_have_its_own_kernel() -> None:
    images = noise(4, 3, 24, 28)
    many = torch.stack([lopsided(8, seed) for seed in range(4)])
    together = kernels.downsample(images, many, 2)
    for image, kernel, lr in zip(images, many, together, strict=True):
        assert torch.allclose(kernels.downsample(image, kernel, 2), lr, atol=1e-14)


def test_gradients_reach_image_and_kernel() -> None:
    image, kernel = noise(1, 1, 6, 6).requires_grad_(), lopsided(4).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, k: kernels.downsample(x, k, 2), (image, kernel))
    assert torch.autograd.gradcheck(kernels.compose, (kernel,))


def test_an_image_smaller_than_the_kernel_is_continued_with_its_border() -> None:
    flat = torch.full((3, 4, 4), 0.25, dtype=D)
    assert torch.allclose(kernels.downsample(flat, kernels.gaussian(20, 4, dtype=D), 4), flat[:, :1, :1])


def test_composing_equals_two_steps_one_after_the_other() -> None:
    image = noise(3, 96, 88)
    for kernel in (lopsided(6), kernels.centre(lopsided(13), 2)):
        twice = kernels.downsample(kernels.downsample(image, kernel, 2), kernel, 2)
        once = kernels.downsample(image, kernels.compose(kernel), 4)
        assert (once - twice)[:, 8:-8, 8:-8].abs().max() < 1e-13


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [4, 13])
def test_centring_puts_the_mean_at_the_centre_with_the_parity_of_the_scale(scale: int, size: int) -> None:
    kernel = torch.zeros(size, size, dtype=D)
    kernel[:3, :3] = lopsided(3)  # far off the centre
    centred = kernels.centre(kernel, scale)
    assert (centred.shape[0] - scale) % 2 == 0 and abs(float(centred.sum()) - 1) < 1e-12
    assert kernels.moments(centred)[0].abs().max() < 1e-12
    assert np.abs(covariance(centred) - covariance(kernel)).max() < 1e-12
    assert torch.equal(kernels.centre(centred, scale), centred)


def test_distances_are_relative_to_the_truth_averages_take_weights_and_both_pad_the_smaller_kernel() -> None:
    small, large = lopsided(3), lopsided(7)
    padded = np.pad(small.numpy(), 2)
    expected = np.linalg.norm(padded - large.numpy()) / np.linalg.norm(large.numpy())
    assert abs(kernels.l2_distance(small, large) - expected) < 1e-12
    expected = 0.2 * padded + 0.8 * large.numpy()
    assert np.abs(kernels.average([small, large], [1, 4]).numpy() - expected).max() < 1e-15


def test_w2_is_the_root_of_the_linear_programs_value_and_of_a_shift_its_length() -> None:
    a, b = lopsided(3, 1), lopsided(3, 2)
    places = np.array([(x, y) for y in range(3) for x in range(3)], dtype=float)
    cost = ((places[:, None] - places[None]) ** 2).sum(-1)
    sums = np.vstack([np.kron(np.eye(9), np.ones(9)), np.kron(np.ones(9), np.eye(9))])
    solved = scipy.optimize.linprog(cost.ravel(), A_eq=sums, b_eq=np.concatenate([a.ravel(), b.ravel()]))
    assert abs(kernels.w2_distance(a, b) - math.sqrt(solved.fun)) < 1e-6
    kernel = F.pad(kernels.gaussian(7, 1.5, dtype=D), (5, 5, 5, 5))
    assert abs(kernels.w2_distance(kernel, kernel.roll((4, 3), (0, 1))) - 5) < 1e-6
    # sizes of another parity share the centre: without blur, an even size has four taps, half a diagonal away
    odd, even = (kernels.gaussian(size, 0.01) for size in (3, 4))
    assert abs(kernels.w2_distance(odd, even) - math.sqrt(0.5)) < 1e-6


def test_the_barycentre_of_crossed_blurs_is_bures_and_sharper_than_their_average() -> None:
    """Bures: the fixed point S of S = mean (S^½ A S^½)^½ is ((√6 + √1)/2)² I = 2.975 I."""
    crossed = [kernels.gaussian(21, 6, 1, dtype=D), kernels.gaussian(21, 1, 6, dtype=D)]
    bures = ((math.sqrt(6) + 1) / 2) ** 2
    assert np.abs(covariance(kernels.average(crossed)) - 3.5 * np.eye(2)).max() < 0.01
    found = kernels.barycentre(crossed)
    assert np.abs(covariance(found) - bures * np.eye(2)).max() < 0.012

    def objective(kernel: Tensor) -> float:
        return sum(kernels.w2_distance(kernel, other) ** 2 for other in crossed) / 2

    assert objective(found) < objective(kernels.gaussian(21, bures, dtype=D)) + 1e-4
    assert objective(found) < 0.9 * objective(kernels.average(crossed))


def test_the_barycentre_of_kernels_of_unlike_widths_is_bures_and_has_no_rings() -> None:
    """Between isotropic Gaussians of deviations σ_i it is the one of their mean, 3.45² = 11.9."""
    deviations = (5.7, 5.2, 4.5, 1.3, 0.55)
    found = kernels.barycentre([kernels.gaussian(40, deviation**2) for deviation in deviations])
    variance = float(kernels.moments(found)[1].trace()) / 2
    assert abs(variance / (sum(deviations) / 5) ** 2 - 1) < 0.05
    assert (found[20, 20:32].diff() < 0).all()


def test_the_barycentre_moves_mass_where_the_average_keeps_both() -> None:
    left, right = (kernels.gaussian(17, 1, dtype=D).roll(dx, 1) for dx in (-3, 3))
    found = kernels.barycentre([left, right], [0.25, 0.75])
    assert abs(float(kernels.moments(found)[0][0]) - 1.5) < 0.02
    assert abs(covariance(found)[0, 0] - 1) < 0.05
    assert abs(covariance(kernels.average([left, right], [0.25, 0.75]))[0, 0] - (1 + 36 * 3 / 16)) < 0.05
    streak = kernels.motion(15, 8, 20)
    assert kernels.l2_distance(kernels.barycentre([streak]), streak) < 0.03  # of one kernel: itself


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: kernels.downsample(noise(8, 8), lopsided(4), 2), r"image is \(8, 8\)"),
        (lambda: kernels.downsample(noise(3, 8, 8).byte(), lopsided(4), 2), "image is .*uint8"),
        (lambda: kernels.downsample(noise(3, 8, 8), noise(4, 5), 2), r"kernel is \(4, 5\)"),
        (lambda: kernels.downsample(noise(2, 3, 8, 8), noise(3, 4, 4), 2), "3 kernels for a batch of 2"),
        (lambda: kernels.downsample(noise(3, 8, 8), lopsided(4), 0), "scale is 0"),
        (lambda: kernels.downsample(noise(3, 32, 32), lopsided(13), 2), r"13 taps.*centre\(kernel, 2\)"),
        (lambda: kernels.l2_distance(lopsided(3), lopsided(4)), r"sizes \[3, 4\] .* kernels\.centre"),
        (lambda: kernels.average([lopsided(3)] * 2, [1]), r"weights are \[1.0\]"),
        (lambda: kernels.average([lopsided(3)] * 2, [0, 0]), "weights"),
        (lambda: kernels.average([lopsided(3)] * 2, [-1, 2]), "weights"),
        (lambda: kernels.barycentre([]), "no kernels"),
        (lambda: kernels.gaussian(0, 1), "size is 0"),
        (lambda: kernels.gaussian(5, 1, -1), "variance_y is -1"),
        (lambda: kernels.motion(5, 9), "does not fit size 5"),
        (lambda: kernels.motion(5, -1), "length is -1"),
        (lambda: kernels.moments(torch.zeros(3, 3)), "sums to 0"),
        (lambda: kernels.w2_distance(-lopsided(3), lopsided(3)), "no positive tap"),
    ],
)
def test_kernels_that_cannot_be_are_refused_by_name(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
