"""What notebook 03 writes from scratch is what the package, scipy and POT do."""

from typing import Any

import numpy as np
import ot
import pytest
import torch
from scipy.stats import wasserstein_distance

from otsr.datasets import phone_crops
from otsr.degradation import NoisePool, collect_noise
from otsr.images import open_picture
from otsr.transport.sliced import wasserstein_1d

GLOBALS = ("tiles", "arles", "sky", "crops")


@pytest.fixture(scope="module")
def tiles() -> NoisePool:
    return collect_noise(phone_crops("mixed", 1792), "realsr", patch=32, stride=32)


def in_rows(pool: NoisePool) -> np.ndarray:
    """(patches, height, width, 3)"""
    return pool.patches.permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize("rule", ["realsr", "otsr"])
@pytest.mark.parametrize("iso", [382, 1792])
def test_its_rules_keep_the_patches_that_the_package_keeps(written: Any, rule: Any, iso: int) -> None:
    pixels = open_picture(phone_crops("mixed", iso)[0]).pixels
    places = 32 * np.argwhere(getattr(written, f"{rule}_rule")(written.grey_of(pixels)))
    ours = np.stack([pixels[y : y + 64, x : x + 64] for y, x in places])
    published = collect_noise(pixels, rule, stride=32, max_coherence=1.0, max_correlation=1.0)
    assert len(ours) > 100
    assert np.array_equal(ours, in_rows(published))


def test_its_coherence_refuses_what_the_package_refuses(written: Any) -> None:
    pixels = open_picture(phone_crops("smooth", 382)[0]).pixels
    grey = written.grey_of(pixels)
    down, right = written.slopes(grey)  # of the whole photo, as the package takes them
    kept = [
        (y, x)
        for y, x in 32 * np.argwhere(written.otsr_rule(grey))
        if written.coherence(down[y : y + 64, x : x + 64], right[y : y + 64, x : x + 64]) <= 0.15
    ]
    expected = in_rows(collect_noise(pixels, stride=32, max_correlation=1.0))
    assert np.array_equal(np.stack([pixels[y : y + 64, x : x + 64] for y, x in kept]), expected)


def test_its_autocorrelation_finds_the_filter_that_made_the_noise_on_a_slope(written: Any) -> None:
    white = np.random.default_rng(0).normal(0, 12, (60, 64, 65))
    y, x = np.mgrid[:64, :64]
    soft = white[:, :, 1:] + 0.5 * white[:, :, :-1]
    fields = written.without_plane(soft + 0.3 * x - 0.2 * y + 100)
    np.testing.assert_allclose(fields, written.without_plane(soft), atol=1e-9)
    np.testing.assert_allclose(written.autocorrelation(fields, 3), [1, 0.4, 0, 0], atol=0.02)


def test_its_injection_is_the_package_s(written: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    patch = torch.randint(90, 130, (3, 64, 64), generator=generator, dtype=torch.uint8)
    lr = torch.rand(3, 64, 64, generator=generator)
    expected = NoisePool(patch[None], ["test"], [""]).inject(lr)
    torch.testing.assert_close(written.inject(lr, patch), expected, atol=1e-6, rtol=0)


def test_its_statistic_is_the_exact_wasserstein_distance(written: Any) -> None:
    random = np.random.default_rng(0)
    a, b = random.normal(size=(40, 1)), random.normal(1, 2, size=(40, 1))
    ours = written.wasserstein(abs(a - b.T))
    assert ours == pytest.approx(wasserstein_distance(a[:, 0], b[:, 0]))
    assert ours == pytest.approx(float(wasserstein_1d(torch.from_numpy(a[:, 0]), torch.from_numpy(b[:, 0]))))
    first, second = random.normal(size=(30, 16)), random.normal(size=(30, 16))
    cost = np.linalg.norm(first[:, None] - second, axis=2)
    assert written.wasserstein(cost) == pytest.approx(ot.emd2(np.full(30, 1 / 30), np.full(30, 1 / 30), cost))


def test_its_test_keeps_its_level_and_sees_a_shift(written: Any) -> None:
    random = np.random.default_rng(0)
    pairs = (random.normal(size=(2, 15, 2)) for _ in range(100))
    values = np.array([written.permutation_test(*pair, random, shuffles=19)[2] for pair in pairs])
    assert (values <= 0.05).mean() < 0.12  # 0.05 is expected; 0.12 is three standard deviations above
    assert values.mean() == pytest.approx(0.525, abs=0.1)
    shifted = random.normal(size=(15, 2)), random.normal(2, 1, size=(15, 2))
    assert written.permutation_test(*shifted, random, shuffles=99)[2] == 0.01


def test_real_patches_that_are_held_out_are_in_no_pool(written: Any, tiles: NoisePool) -> None:
    written.tiles = tiles
    pool, real, _ = written.divide(3)
    assert len(pool) == len(real) == len(tiles) // 2
    inside = written.without_plane(written.grey_of(in_rows(pool)))
    held, used = ({field.tobytes() for field in np.round(fields, 6)} for fields in (real, inside))
    assert not held & used


def test_rivals_have_the_variance_of_the_pool(written: Any, tiles: NoisePool) -> None:
    random = np.random.default_rng(0)
    variance = written.without_plane(written.grey_of(in_rows(tiles))).var()
    for name in ("gaussian_like", "coloured_like"):
        noise = getattr(written, name)(tiles, random).numpy() * 255
        assert noise.shape == (len(tiles), 3, 32, 32)
        assert noise.var() == pytest.approx(variance, rel=0.03), name
