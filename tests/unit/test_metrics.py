"""Each metric equals an independent value: a closed form, its formula written out, or another program's."""

from collections.abc import Callable

import numpy as np
import ot
import pytest
import torch
from scipy import stats
from torch import Tensor

from otsr import datasets, metrics
from otsr.images import luma, read, resize
from otsr.metrics import fidelity, mean_interval, naturalness, niqe
from otsr.metrics.fidelity import lr_consistency, patch_swd, psnr, ssim, st_lpips
from otsr.transport.sliced import unit_directions


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def photo(name: str) -> Tensor:
    """A vendored photo or phone crop by the stem of its file."""
    return read(next(path for path in datasets.photos() + datasets.phone_crops() if path.stem == name))


@pytest.mark.parametrize("channel", ["rgb", "y"])
def test_psnr_equals_the_formula_on_255_levels(channel: str) -> None:
    sr, hr = noise(3, 23, 31), noise(3, 23, 31, seed=1)
    x, y = (np.round(image.double().numpy() * 255) for image in (sr, hr))
    sr, hr = (torch.from_numpy(image / 255) for image in (x, y))
    if channel == "y":
        x, y = (np.tensordot([65.481 / 255, 128.553 / 255, 24.966 / 255], z, 1)[None] + 16 for z in (x, y))
    error = np.mean((x[:, 3:-3, 3:-3] - y[:, 3:-3, 3:-3]) ** 2)
    assert float(psnr(sr, hr, 3, channel)) == pytest.approx(10 * np.log10(255**2 / error), abs=1e-6)


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_the_border_is_left_out_and_nothing_else(metric: Callable[..., Tensor]) -> None:
    hr = noise(3, 40, 40)
    sr = hr.clone()
    sr[:, :4], sr[:, -4:], sr[:, :, :4], sr[:, :, -4:] = 0, 1, 0, 1
    best = float(metric(hr, hr))
    assert float(metric(sr, hr, border=4)) == best
    for row, column in ((3, 20), (36, 20), (20, 3), (20, 36)):
        sr = hr.clone()
        sr[:, row, column] = 0
        assert float(metric(sr, hr, border=3)) < best


def naive_ssim(x: np.ndarray, y: np.ndarray) -> float:
    """Wang et al. 2004, equation 13, window by window on one channel."""
    axis = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    weights = np.outer(axis, axis).ravel() / axis.sum() ** 2
    values = []
    for row, column in np.ndindex(x.shape[0] - 10, x.shape[1] - 10):
        a, b = (image[row : row + 11, column : column + 11].ravel() for image in (x, y))
        mean_a, mean_b = weights @ a, weights @ b
        (var_a, covariance), (_, var_b) = np.cov(a, b, aweights=weights, ddof=0)
        top = (2 * mean_a * mean_b + 0.01**2) * (2 * covariance + 0.03**2)
        values.append(top / ((mean_a**2 + mean_b**2 + 0.01**2) * (var_a + var_b + 0.03**2)))
    return float(np.mean(values))


@pytest.mark.parametrize("channel", ["rgb", "y"])
def test_ssim_equals_the_formula_written_out(channel: str) -> None:
    hr = photo("colosseum")[:, 300:332, 400:437]
    sr = (hr + 0.1 * (noise(*hr.shape) - 0.5)).clamp(0, 1)
    x, y = (luma(image) if channel == "y" else image for image in (sr, hr))
    truth = np.mean([naive_ssim(a.double().numpy(), b.double().numpy()) for a, b in zip(x, y, strict=True)])
    assert float(ssim(sr, hr, 0, channel)) == pytest.approx(truth, abs=1e-7)


def test_ssim_of_equal_pictures_is_one_even_where_they_are_flat() -> None:
    for image in (torch.full((3, 64, 64), 0.97), photo("cow")[:, :64, :64]):
        assert float(ssim(image, image)) == 1


def test_st_lpips_forgives_a_shift_that_psnr_punishes() -> None:
    whole = photo("colosseum")[:, 200:329, 300:429]
    hr, shifted = whole[..., 1:, 1:], whole[..., :-1, :-1]
    blurred = resize(resize(hr, 0.5), 2).clamp(0, 1)
    assert float(psnr(blurred, hr)) > float(psnr(shifted, hr))
    assert float(st_lpips(shifted, hr)) < 0.2 * float(st_lpips(blurred, hr))


def test_st_lpips_is_a_loss_even_after_use_without_gradients() -> None:
    fidelity._perceptual_network.cache_clear()
    hr, sr = noise(3, 32, 32), noise(3, 32, 32, seed=1)
    with torch.inference_mode():
        before = float(st_lpips(sr, hr))
    sr.requires_grad_()
    value = st_lpips(sr, hr)
    value.backward()
    assert value.item() == pytest.approx(before, rel=1e-5)
    assert sr.grad is not None and sr.grad.abs().max() > 0
    assert not st_lpips(hr, hr).requires_grad


def test_lr_consistency_is_the_psnr_of_the_shrunk_picture() -> None:
    sr, lr = noise(2, 3, 24, 36), noise(2, 3, 6, 9, seed=1)
    sr[0, :, :, :18], sr[0, :, :, 18:] = 0, 1  # bicubic overshoots beside the edge
    assert resize(sr, 0.25).max() > 1
    values = lr_consistency(sr, lr, 4, border=1)
    torch.testing.assert_close(values, psnr(resize(sr, 0.25).clamp(0, 1), lr, border=1))
    assert float(lr_consistency(sr[1], resize(sr[1], 0.25), 4)) == float("inf")


# Computed once by basicsr 1.4.2 (calculate_niqe, convert_to="y"), which its authors compared with MATLAB R2021a.
# It works in float32, hence the tolerance.
@pytest.mark.parametrize(("name", "value"), [("colosseum", 3.47651), ("cow", 4.19509), ("iso1792_mixed", 7.14558)])
def test_niqe_is_that_of_basicsr(name: str, value: float) -> None:
    assert float(niqe(photo(name))) == pytest.approx(value, abs=2e-3)


def test_niqe_counts_flat_blocks_the_same_whatever_their_grey() -> None:
    values = []
    for grey in (0.0, 0.4, 0.7, 1.0):
        image = photo("cow")[:, :384, :384].clone()
        image[:, :110] = grey  # the first row of blocks, and 14 of the 96 rows of the second
        values.append(float(niqe(image)))
    assert np.ptp(values) < 0.05 * values[0]


def test_what_flat_blocks_have_counts_in_niqes_means_but_not_in_its_covariance() -> None:
    """As nanmean does in its authors' code."""
    features = np.random.default_rng(0).normal(size=(6, 36))
    features[0, 3] = np.nan
    with np.load(datasets.data_dir() / "metrics" / "niqe_pris_params.npz") as pristine:
        mean, covariance = pristine["mu_pris_param"].ravel(), pristine["cov_pris_param"]
    gap = np.array([column[np.isfinite(column)].mean() for column in features.T]) - mean
    expected = gap @ np.linalg.pinv((covariance + np.cov(features[1:].T)) / 2) @ gap
    assert naturalness._distance(features) == pytest.approx(expected**0.5)


@pytest.mark.parametrize("size", [(20, 24), (31, 17)])
def test_patch_swd_equals_pot_on_the_same_projections(size: tuple[int, int]) -> None:
    sr, hr = noise(3, 20, 24), noise(3, *size, seed=1) ** 2
    directions = unit_directions(40, 147, torch.Generator().manual_seed(0)).T.double().numpy()
    patches = [torch.nn.functional.unfold(image[None].double(), 7)[0].T.numpy() for image in (sr, hr)]
    truth = ot.sliced_wasserstein_distance(*patches, projections=directions, p=2)
    assert float(patch_swd(sr, hr, projections=40)) == pytest.approx(truth, rel=1e-5)


def test_patch_swd_sees_what_patches_are_there_and_not_where() -> None:
    tile = noise(3, 8, 8)
    first = tile.repeat(1, 5, 5)[:, :39, :39]  # 33×33 patches of 7×7: some phases once more than others
    exact, moved = tile.repeat(1, 5, 5)[:, :38, :38], tile.roll((3, 5), (1, 2)).repeat(1, 5, 5)[:, :38, :38]
    assert float(patch_swd(exact, moved)) < 1e-6  # 32×32 patches: every phase 16 times
    assert float(psnr(exact, moved)) < 15
    assert 0.001 < float(patch_swd(first, moved)) < 0.05


def test_interval_is_the_expanded_percentile_interval_of_scipys_bootstrap() -> None:
    values = np.random.default_rng(0).gamma(2.0, size=12)
    tail = stats.norm.cdf(np.sqrt(12 / 11) * stats.t.ppf(0.025, 11))
    peer = stats.bootstrap(
        (values,), np.mean, confidence_level=1 - 2 * tail, method="percentile", n_resamples=20_000
    ).confidence_interval
    interval = mean_interval(values)
    assert interval == mean_interval(values)
    assert interval.mean == pytest.approx(values.mean())
    assert interval[1:] == pytest.approx((peer.low, peer.high), abs=0.03)


def test_interval_holds_the_truth_as_often_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("otsr.metrics.intervals._RESAMPLES", 1000)
    rng = np.random.default_rng(0)
    intervals = [mean_interval(rng.normal(size=6)) for _ in range(500)]
    assert 0.91 < np.mean([interval.low < 0 < interval.high for interval in intervals]) < 0.98


PAIRED = [psnr, ssim, st_lpips, patch_swd, lambda sr, hr: lr_consistency(sr, hr, 1), lambda sr, _: niqe(sr)]
NAMES = ["psnr", "ssim", "st_lpips", "patch_swd", "lr_consistency", "niqe"]
every_metric = pytest.mark.parametrize("metric", PAIRED, ids=NAMES)


def test_every_metric_of_the_package_is_in_the_list() -> None:
    others = {"noise_gain", "block_gain", "checkerboard", "colour_shift"}  # see test_artefacts.py
    assert set(NAMES) == set(metrics.__all__) - {"Interval", "mean_interval"} - others


@every_metric
def test_a_batch_gives_one_value_a_picture_and_a_picture_gives_a_number(metric: Callable) -> None:
    sr, hr = noise(2, 3, 96, 192), noise(2, 3, 96, 192, seed=1)
    values = metric(sr, hr)
    assert values.shape == (2,)
    for i in range(2):
        value = metric(sr[i], hr[i])
        assert value.shape == () and float(value) == pytest.approx(float(values[i]), rel=1e-5)


@every_metric
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_agrees_with_the_cpu(metric: Callable[..., Tensor]) -> None:
    sr, hr = noise(2, 3, 96, 192), noise(2, 3, 96, 192, seed=1)
    assert metric(sr.cuda(), hr.cuda()).tolist() == pytest.approx(metric(sr, hr).tolist(), rel=1e-3)


@every_metric
def test_half_precision_is_computed_in_full(metric: Callable[..., Tensor]) -> None:
    sr, hr = noise(3, 96, 192).half(), noise(3, 96, 192, seed=1).half()
    assert float(metric(sr, hr)) == pytest.approx(float(metric(sr.float(), hr.float())), rel=1e-6)


@every_metric
def test_no_metric_takes_255_levels(metric: Callable[..., Tensor]) -> None:
    with pytest.raises(ValueError, match=r"expected \[0, 1\]; divide by 255"):
        metric(255 * noise(3, 96, 192), noise(3, 96, 192))


SMALL = noise(3, 18, 30)


def test_what_is_refused_is_told_why() -> None:
    for measured, message in (
        (lambda: psnr(SMALL / 0, SMALL), r"sr holds values from .* to inf, expected \[0, 1\]; clamp"),
        (lambda: psnr(0 * SMALL / 0, SMALL), "sr holds NaN"),
        (lambda: psnr(SMALL - 0.5, SMALL), r"expected \[0, 1\]; clamp"),
        (lambda: psnr((SMALL * 255).byte(), SMALL), r"expected a floating-point tensor in \[0, 1\]"),
        (lambda: psnr("photo.png", SMALL), r"expected a floating-point tensor in \[0, 1\]"),
        (lambda: psnr(SMALL[:1], SMALL), r"shape \(1, 18, 30\), expected \(3, H, W\)"),
        (lambda: psnr(SMALL[:, :0], SMALL), r"shape \(3, 0, 30\)"),
        (lambda: psnr(SMALL, SMALL - 0.5), "hr holds"),
        (lambda: patch_swd(SMALL, SMALL - 0.5), "hr holds"),
        (lambda: lr_consistency(SMALL, SMALL - 0.5, 1), "lr holds"),
        (lambda: psnr(SMALL, SMALL[..., 1:]), "they must be equal"),
        (lambda: ssim(SMALL, SMALL[None]), "they must be equal"),
        (lambda: st_lpips(SMALL, SMALL[:, 1:]), "they must be equal"),
        (lambda: lr_consistency(SMALL, SMALL[:, :9, :14], 2), "expected 2 times lr's height and width"),
        (lambda: lr_consistency(SMALL, SMALL, 0), "expected 0 times"),
        (lambda: patch_swd(noise(2, 3, 40, 40), noise(3, 3, 40, 40)), "as many in both"),
        (lambda: ssim(SMALL, SMALL), r"SSIM needs 11 pixels .* border of 4, the picture has 30×18"),
        (lambda: psnr(SMALL, SMALL, border=9), "PSNR needs 1 pixels on each side inside a border of 9"),
        (lambda: psnr(SMALL, SMALL, border=-1), "border is -1"),
        (lambda: st_lpips(SMALL, SMALL), "ST-LPIPS needs 21 pixels"),
        (lambda: patch_swd(SMALL, SMALL[:, :6]), r"patch-SWD needs 7 .* has 30×6"),
        (lambda: niqe(noise(3, 191, 191)), "two blocks of 96×96 or more, the picture has 191×191"),
        (lambda: niqe(torch.full((3, 192, 192), 0.5)), "flat"),
        (lambda: psnr(SMALL, SMALL, channel="Y"), "channel is 'Y', expected 'rgb' or 'y'"),
        (lambda: mean_interval([1.0]), "2 or more"),
        (lambda: mean_interval([1.0, float("inf"), 2.0]), "value 1 is inf"),
    ):
        with pytest.raises(ValueError, match=message):
            measured()


def test_the_smallest_pictures_are_measured() -> None:  # and of 96×192, the smallest for NIQE, above
    assert float(ssim(SMALL[:, :17], SMALL[:, :17], border=3)) == pytest.approx(1)
